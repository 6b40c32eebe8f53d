"""Many episodes in parallel processes, written down as they end, so that an interrupted evaluation goes on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from edge_wm.bundle.manifest import Format, Precision
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.evaluate.contestants import PolicyName
from edge_wm.evaluate.episode import Episode, check_episode, run_episode
from edge_wm.robot import DEFAULT_ROBOT, Robot, load_robot
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import Task
from edge_wm.worker_pool import worker_pool
from edge_wm.world_model import WorldModel


class Settings(msgspec.Struct, frozen=True):
    """What an evaluation is about.  Two with the same settings have the same episodes.

    Attributes:
        policy: who drives.
        worlds: folder with ``tasks.json``.
        tasks_sha256: of ``tasks.json``.
        worlds_sha256: of the world files that it names.
        seed: from which every episode's seed is derived.
        model: bundle, and its hash; None for a policy without a model.
        precision: of the model's graphs.
        format: of the model's graphs.
        candidates: of a plan; None: the bundle's own.
        robot: robot file.
    """

    policy: PolicyName
    worlds: str
    tasks_sha256: str
    worlds_sha256: str
    seed: int
    model: str | None = None
    model_sha256: str | None = None
    precision: Precision | None = None
    format: Format = "onnx"
    robot: str = str(DEFAULT_ROBOT)
    candidates: int | None = None


class Job(msgspec.Struct, frozen=True):
    """One episode to run: its number, and the task's."""

    index: int
    task: int


def episode_seed(seed: int, index: int) -> int:
    """Seed of episode ``index`` of an evaluation with ``seed``."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def run_episodes(
    settings: Settings, tasks: list[Task], count: int, jobs: int, partial: Path | None
) -> Iterator[Episode]:
    """Yield the episodes 0 .. ``count`` - 1, in the order in which they end.

    Episode ``k`` tries task ``k`` modulo the number of tasks, each time round with another robot.  All tasks are checked
    before the first is tried.

    Args:
        settings: what to evaluate.
        tasks: of the folder of worlds.
        count: how many episodes.
        jobs: how many processes; 1 runs them in this one.
        partial: file of JSON lines to which episodes are added as they end; those that it has already, of the
            same settings, are yielded first and not run again.

    Raises:
        BadInput: a task, the model or the robot cannot be used.
    """
    done = _read_partial(partial, settings) if partial else {}
    done = {index: episode for index, episode in done.items() if index < count}
    yield from done.values()
    todo = [Job(index, index % len(tasks)) for index in range(count) if index not in done]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(_append(partial, settings)) if partial else None
        for episode in _episodes(settings, tasks, todo, jobs):
            if log is not None:
                log.write(msgspec.json.encode(episode) + b"\n")
                log.flush()
            yield episode


def _episodes(settings: Settings, tasks: list[Task], todo: list[Job], jobs: int) -> Iterator[Episode]:
    needed = sorted({job.task for job in todo})
    if jobs == 1 or len(todo) <= 1:
        worker = Worker(settings, tasks)
        for task in needed:
            worker.check(task)
        yield from map(worker.run, todo)
        return
    with worker_pool(min(jobs, len(todo)), _start_worker, (settings, tasks)) as pool:
        for refusal in pool.imap(_check, needed):
            if refusal is not None:
                raise BadInput(refusal)
        for result in pool.imap_unordered(_work, todo):
            if isinstance(result, str):
                raise BadInput(result)
            yield result


class Worker:
    """What one process needs for all of its episodes; loaded once."""

    def __init__(self, settings: Settings, tasks: list[Task]) -> None:
        self._settings, self._tasks = settings, tasks
        self._robot: Robot = load_robot(settings.robot)
        self._model = load_model(settings)

    def check(self, task: int) -> None:
        """Raise BadInput if the task cannot be tried."""
        check_episode(self._tasks[task], task)
        Simulation(self._tasks[task].world, self._tasks[task].start, render=False)

    def run(self, job: Job) -> Episode:
        """Run one episode."""
        seed = episode_seed(self._settings.seed, job.index)
        task = self._tasks[job.task]
        return run_episode(job.index, task, job.task, seed, self._settings.policy, self._robot, self._model)


def load_model(settings: Settings) -> WorldModel | None:
    """The model of the settings, on one thread: the processes share the cores.

    Raises:
        BadInput: it cannot be loaded, or was made for another robot.
    """
    if settings.model is None:
        return None
    from edge_wm.bundle.load import load_bundle
    from edge_wm.drive.pilot import refuse_misfit

    precision: Precision = settings.precision or "int8"
    bundle = load_bundle(
        Path(settings.model), roles=("observe", "imagine"), precisions=(precision,), golden=False
    )
    refuse_misfit(load_robot(settings.robot), bundle)
    return WorldModel(bundle, Execution(settings.format, precision, candidates=settings.candidates))


_worker: Worker | str | None = None


def _start_worker(settings: Settings, tasks: list[Task]) -> None:
    global _worker
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    try:
        _worker = Worker(settings, tasks)
    except BadInput as error:  # a pool restarts a worker that cannot start, for ever: tell the parent instead
        _worker = str(error)


def _check(task: int) -> str | None:
    """Say in a line why the task cannot be tried: exceptions with arguments of their own do not cross processes."""
    assert _worker is not None
    if isinstance(_worker, str):
        return _worker
    try:
        _worker.check(task)
    except BadInput as error:
        return str(error)
    return None


def _work(job: Job) -> Episode | str:
    """Run one episode, or say in a line why not."""
    assert _worker is not None
    if isinstance(_worker, str):
        return _worker
    try:
        return _worker.run(job)
    except BadInput as error:
        return str(error)


def partial_file(result: Path) -> Path:
    """Where the episodes of an evaluation that writes ``result`` are kept until all have ended."""
    return result.with_name(result.name + ".partial")


def _read_partial(path: Path, settings: Settings) -> dict[int, Episode]:
    """Episodes of an interrupted evaluation of the same settings; a line cut short by the interruption is dropped."""
    if not path.exists() or not path.stat().st_size:  # empty: the disk was full
        return {}
    lines = path.read_bytes().split(b"\n")
    with contextlib.suppress(msgspec.DecodeError):
        if msgspec.json.decode(lines[0], type=Settings) == settings:
            episodes = {}
            for line in lines[1:]:
                with contextlib.suppress(msgspec.DecodeError):
                    episode = msgspec.json.decode(line, type=Episode)
                    episodes[episode.index] = episode
            return episodes
    raise BadInput(
        f"{path}: holds episodes of an evaluation with other settings; finish that or delete the file"
    )


@contextlib.contextmanager
def _append(path: Path, settings: Settings) -> Iterator[BinaryIO]:
    """Open the partial file, beginning it with the settings if it is new, and ending a line that was cut short."""
    with path.open("ab") as file:
        file.write(b"\n" if file.tell() else msgspec.json.encode(settings) + b"\n")
        file.flush()
        yield file
