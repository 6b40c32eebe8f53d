"""What happens to a model file on its way to a robot's motors, in processes that may crash.

The guard reads the file; the engine loads it in the sandbox and runs it; a driving process loads it and gives it whatever sensors and a
planner can give.  To start a process anew takes a second, so these are forked, and one tries many files until it ends; then the file
that it ended with, and every one that there is a doubt about, is tried in a process of its own.  The sandboxed one gives up what it may
do exactly as a real one does (``edge_wm.update.confined``).
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wm.engines.engine import Array, Engine, EngineError, TensorSpec, load_engine
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput, one_line
from edge_wm.update import confined
from edge_wm.update.confined import Limits, Order
from tests.update.model_files.seeds import Seed

SANDBOX = Limits(cpu_s=3600)
DRIVING_BYTES = 2 << 30
"""Of memory for a driving process: much beyond what a proof gets, so that only what the sandbox did not see exceeds it."""
HUNG_CPU_S = 5.0
"""CPU time after which a file hangs; a proof would run it hundreds of times."""
HUNG_WALL_S = 120.0
FILES_A_PROCESS = 40
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class Outcome(NamedTuple):
    """How it ended: ``passed``, ``refused`` (with the engine's line), or what became of the process instead."""

    end: str
    said: str = ""

    @property
    def ok(self) -> bool:
        """Whether the process would go on."""
        return self.end in ("passed", "refused")


Work = Callable[[Seed], str]


class Stage:
    """Does some work on one file after the other, in child processes.

    Args:
        prepare: what a child does first; it is told the process that forked it.
        work: what it then does with each file, and what it wants to have said.
    """

    def __init__(self, prepare: Callable[[int], None], work: Work) -> None:
        self._prepare, self._work = prepare, work
        self._child: _Child | None = None

    def try_(self, file: Seed) -> Outcome:
        """Do the work on one file.  What ends otherwise than most is done again in a process of its own."""
        if self._child is None:
            self._child = _Child(self._prepare, self._work)
        outcome = self._child.ask(file)
        if self._child.asked >= FILES_A_PROCESS or not outcome.ok:
            self.close()
        if outcome.end == "passed" or (outcome.end == "refused" and "memory" not in outcome.said.lower()):
            return outcome
        return self.alone(file)

    def alone(self, file: Seed) -> Outcome:
        """Do the work on one file in a new process."""
        child = _Child(self._prepare, self._work)
        try:
            return child.ask(file)
        finally:
            child.end()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child:
    """A forked process that is asked about files through pipes."""

    def __init__(self, prepare: Callable[[int], None], work: Work) -> None:
        self.asked = 0
        parent = os.getpid()
        read_files, self._files = os.pipe()
        self._answers, write_answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._files)
            os.close(self._answers)
            _serve(lambda: prepare(parent), work, read_files, write_answers)
        os.close(read_files)
        os.close(write_answers)

    def ask(self, file: Seed) -> Outcome:
        self.asked += 1
        data = pickle.dumps(file)
        with contextlib.suppress(BrokenPipeError):  # it is gone, and its status says how
            _write(self._files, struct.pack("<I", len(data)) + data)
        began, cpu_s = time.monotonic(), self._cpu_s()
        said = b""
        while not said.endswith(b"\0"):
            if not select.select([self._answers], [], [], 0.25)[0]:
                if self._cpu_s() - cpu_s > HUNG_CPU_S or time.monotonic() - began > HUNG_WALL_S:
                    os.kill(self._pid, signal.SIGKILL)
                    self._wait()
                    return Outcome("hung")
                continue
            more = os.read(self._answers, 65536)
            if not more:
                return self._ended()
            said += more
        end, _, line = said[:-1].decode(errors="replace").partition(":")
        return Outcome(end, line.strip())

    def _ended(self) -> Outcome:
        status = self._wait()
        code = os.waitstatus_to_exitcode(status)
        return Outcome(signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def _wait(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return status

    def end(self) -> None:
        os.close(self._files)
        os.close(self._answers)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._wait()


def _serve(prepare: Callable[[], None], work: Work, files: int, answers: int) -> None:
    """The whole life of a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    prepare()
    while header := _exactly(files, 4):
        file = pickle.loads(_exactly(files, *struct.unpack("<I", header)))
        try:
            answer = f"passed: {work(file)}"
        except (EngineError, BadInput) as error:
            answer = f"refused: {error}"
        except MemoryError:
            answer = "out of memory: "
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        _write(answers, one_line(answer)[:2000].encode(errors="replace") + b"\0")
    os._exit(0)


def _exactly(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return bytes(data)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def sandbox() -> Stage:
    """Loads a file in the sandbox and runs it once on zeros, as a proof does first."""
    return Stage(
        lambda parent: confined.confine(Order(SANDBOX, parent, beside=True)),
        lambda file: _run(file, _loaded(file), [{spec.name: spec.empty() for spec in file.inputs}]),
    )


def driving() -> Stage:
    """Loads a file as a driving process does, and runs it on everything that it might be given."""

    def prepare(parent: int) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (DRIVING_BYTES, DRIVING_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return Stage(prepare, lambda file: _run(file, _loaded(file), hostile(file.inputs)))


def _loaded(file: Seed) -> Engine:
    engine = load_engine(file.data, Execution(file.format))
    return engine


def _run(file: Seed, engine: Engine, every: Iterator[dict[str, Array]] | list[dict[str, Array]]) -> str:
    """Run it by the names and shapes of the manifest; returns what the engine said of those that it would not run."""
    refusals: list[str] = []
    for inputs in every:
        try:
            outputs = engine.run(inputs)
        except EngineError as error:
            refusals.append(str(error))
            continue
        for spec in file.outputs:
            if outputs[spec.name].shape != spec.shape or outputs[spec.name].dtype != spec.dtype:
                raise ValueError(
                    f"output {spec} came as {outputs[spec.name].dtype}{list(outputs[spec.name].shape)}"
                )
    return "; ".join(refusals[:1])


def hostile(specs: tuple[TensorSpec, ...]) -> Iterator[dict[str, Array]]:
    """Inputs that a model might compute from what sensors give, to feed an operator with."""
    chance = np.random.default_rng(7)
    for fill in (0, 1, -1, "small", "random", "least", "most", "nan", "mixed"):
        yield {spec.name: _filled(spec, fill, chance) for spec in specs}


def _filled(spec: TensorSpec, fill: object, chance: np.random.Generator) -> Array:
    kind = np.dtype(spec.dtype)
    if kind.kind == "b":
        return chance.integers(0, 2, spec.shape).astype(kind)
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    extremes = [0, 1, -1, 2, 7, limits.min, limits.max]
    if kind.kind == "f":
        extremes += [np.nan, np.inf, -np.inf, 1e-40, 2.0**31, -(2.0**63)]
    with np.errstate(all="ignore"):
        if fill == "small":
            return chance.integers(0, 4, spec.shape).astype(kind)
        if fill == "random":
            return (chance.normal(size=spec.shape) * 3).astype(kind)
        if fill == "mixed":
            return np.array([np.array(one).astype(kind) for one in extremes])[
                chance.integers(0, len(extremes), spec.shape)
            ]
        number = {"least": limits.min, "most": limits.max, "nan": np.nan if kind.kind == "f" else 7}.get(
            str(fill), fill
        )
        return np.full(spec.shape, np.array(number).astype(kind))
