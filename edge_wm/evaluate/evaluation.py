"""One evaluation from its settings to its report: checked first, driven in parallel, resumable, written whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_wm.bundle.manifest import Format, Precision
from edge_wm.errors import BadInput
from edge_wm.evaluate.contestants import NEEDS_MODEL, PolicyName
from edge_wm.evaluate.report import Report, compare, make_report, read_report, write_report
from edge_wm.evaluate.runner import Settings, episode_seed, load_model, partial_file, run_episodes
from edge_wm.robot import DEFAULT_ROBOT, load_robot
from edge_wm.sim.tasks import FILE_NAME, Task, load_tasks


def make_settings(
    worlds: Path,
    policy: PolicyName,
    *,
    model: Path | None = None,
    precision: Precision = "int8",
    format: Format = "onnx",
    candidates: int | None = None,
    seed: int = 0,
    robot: Path = DEFAULT_ROBOT,
) -> tuple[Settings, list[Task]]:
    """Settings and tasks of an evaluation, with everything checked that can be before a process is started.

    Raises:
        BadInput: worlds, model or robot cannot be used, or the policy needs a model and has none.
    """
    load_robot(robot)
    tasks = load_tasks(worlds)
    settings = Settings(
        policy=policy,
        worlds=str(worlds),
        tasks_sha256=_hash_of(worlds / FILE_NAME),
        worlds_sha256=_hash_of(*sorted({task.world for task in tasks})),
        seed=seed,
        robot=str(robot),
    )
    if policy not in NEEDS_MODEL:
        return settings, tasks
    if model is None:
        raise BadInput(f"--policy {policy} drives by a model: name its bundle with --model DIR")
    settings = msgspec.structs.replace(
        settings, model=str(model), precision=precision, format=format, candidates=candidates
    )
    loaded = load_model(settings)
    assert loaded is not None
    return msgspec.structs.replace(settings, model_sha256=loaded.sha256), tasks


def _hash_of(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def evaluate_once(settings: Settings, tasks: list[Task], count: int, jobs: int, json_file: Path) -> Report:
    """The report in ``json_file`` if it is of these settings and this many episodes; else :func:`evaluate`."""
    if json_file.exists():
        report = read_report(json_file)
        made_of = (
            report.policy,
            report.format,
            report.precision,
            report.candidates,
            report.model_sha256,
            report.tasks_sha256,
            report.seed,
        )
        wanted = (
            settings.policy,
            settings.format,
            settings.precision,
            settings.candidates,
            settings.model_sha256,
            settings.tasks_sha256,
            settings.seed,
        )
        if made_of == wanted and report.summary.n == count:
            return report
    return evaluate(settings, tasks, count, jobs, json_file)


def evaluate(
    settings: Settings,
    tasks: list[Task],
    count: int,
    jobs: int,
    json_file: Path | None = None,
    compare_with: Path | None = None,
) -> Report:
    """Drive ``count`` episodes in ``jobs`` processes, showing progress, and report.

    Args:
        settings: who drives where, and
        tasks: which tasks; as :func:`make_settings` gave them.
        count: episodes.
        jobs: processes.
        json_file: where the report goes; episodes are kept beside it as they end, so that an interrupted evaluation
            goes on where it stopped.
        compare_with: report of another policy on the same episodes, for a paired test.

    Raises:
        BadInput: there is nothing to compare with in ``compare_with``; see also
            :func:`edge_wm.evaluate.runner.run_episodes`.
    """
    other = _read_comparable(compare_with, settings, tasks, count) if compare_with is not None else None
    partial = partial_file(json_file) if json_file else None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
    )
    finished = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(settings.policy, total=count, rates="")
        for episode in run_episodes(settings, tasks, count, jobs, partial):
            finished.append(episode)
            success = sum(e.success for e in finished) / len(finished)
            touched = sum(e.collision for e in finished) / len(finished)
            progress.update(bar, advance=1, rates=f"success {success:.0%}, collision {touched:.0%}")
    finished.sort(key=lambda episode: episode.index)
    comparison = compare(finished, other, str(compare_with)) if other is not None else None
    report = make_report(settings, finished, comparison)
    if json_file is not None and partial is not None:
        write_report(json_file, report)
        partial.unlink(missing_ok=True)
    return report


def _read_comparable(file: Path, settings: Settings, tasks: list[Task], count: int) -> Report:
    """The report in ``file``; an hour of driving is a long wait for hearing that it is of other episodes."""
    other = read_report(file)
    ours = [
        (index, tasks[index % len(tasks)].world.name, index % len(tasks), episode_seed(settings.seed, index))
        for index in range(count)
    ]
    if ours != [(e.index, e.world, e.task, e.seed) for e in other.episodes]:
        raise BadInput(
            f"{file}: has other episodes; a paired test needs the same worlds, --episodes and --seed"
        )
    return other
