"""What a bundle meets on its way to a robot's motors: the guard, the proof in the sandbox, the process that drives.

Everything is the real code.  What is not: the sandboxed process is forked, not started (``forked.ForkedProcess``); sensors and bridge
are fakes, and time is simulated.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
from msgspec import Struct

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import RunResult
from edge_wm.drive.pilot import Pilot
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.plan import PlanError
from edge_wm.robot import Robot, load_robot
from edge_wm.sensors.observation import Observation
from edge_wm.update import confined, sandboxed
from edge_wm.update import proof as proof_module
from edge_wm.update.confined import Limits
from edge_wm.update.proof import Proof, prove
from edge_wm.update.sandbox import End, Ended
from edge_wm.world_model import ObservationError
from tests.control.fakes import FakeBridge, FakeSensors
from tests.model_files.forked import Bounds, ForkedProcess, Outcome, Series, in_child

GUARD = Bounds(cpu_s=10, wall_s=120.0, memory_bytes=640 << 20)
"""The files of a bundle are in memory one after the other, at most 256 MiB each."""
DRIVE = Bounds(cpu_s=20, wall_s=240.0, memory_bytes=768 << 20)
"""The sandbox has let nothing pass that needs more than 384 MiB."""
SANDBOX = Limits(cpu_s=4, wall_s=240.0, stand_back=False)
"""The usual limits of a proof, but for the time."""
PROVEN_TICKS = 2
GOAL = (3.0, 1.0)
ENOUGH = "the campaign has seen enough"
HANDLED = (EngineError, PlanError, ObservationError, BadInput)
"""What a model may make the control loop end a drive with."""

READY = Bounds(cpu_s=60, wall_s=240.0, memory_bytes=768 << 20)


class Way(Struct, frozen=True):
    """How far a bundle came.

    Attributes:
        guard: what came of it; ``passed``, or ``refused`` and why.
        proof: what the proof came to; None if it was refused before.
        drive: what the driving process made of it; None if it was refused before.
        failure: what may not happen; None if nothing did.
    """

    guard: str
    proof: str | None = None
    drive: str | None = None
    failure: str | None = None

    @property
    def end(self) -> str:
        """Where it ended: ``guard``, ``proof`` or ``drive``."""
        return "guard" if self.proof is None else "proof" if self.drive is None else "drive"

    @property
    def contained(self) -> str | None:
        """How the process in the sandbox died; None if it did not."""
        killed = re.search(r"in the sandbox: ([\w ]+): ([\w ]*)", self.proof or "")
        return f"{killed[1]}: {killed[2]}" if killed else None


def get_ready(sound: Sequence[tuple[Path, Execution]]) -> None:
    """Import and compile what children need, in a process that forks them: it must never run an engine itself.

    Args:
        sound: bundles that pass every stage, with how they are run.

    Raises:
        RuntimeError: one of them does not.
    """
    for bundle, execution in sound:
        guard(bundle)
        golden(bundle)
        request = msgspec.json.encode(sandboxed.Request(str(bundle), robot(), execution, PROVEN_TICKS))
        msgspec.json.decode(request, type=sandboxed.Request)
        imported = in_child(partial(_imported, bundle, execution, request), READY)
        if imported.end != "passed":
            raise RuntimeError(f"{bundle}: {imported}")
        for module in imported.said.split():
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or each child would copy every page that its garbage collector looks at


def _imported(bundle: Path, execution: Execution, request: bytes) -> str:
    """The modules that the other stages import on their way."""
    before = set(sys.modules)
    found = msgspec.json.decode(sandboxed.main(request), type=sandboxed.Findings)
    if found.refusal is not None:
        raise RuntimeError(found.refusal)
    drive(bundle, execution)
    return " ".join(sorted(sys.modules.keys() - before))


@cache
def robot() -> Robot:
    """The one that drives."""
    return load_robot()


class Stages:
    """The stages, for many bundles one after the other; a context manager, which ends its processes.

    To fork anew for every bundle takes most of the time, so a process sees many; what ends otherwise than most is done again
    alone.  The sandboxed process gives up what it may do exactly as a real one does (``edge_wm.update.confined``).

    Args:
        good: a folder with bundles that drive before some others, and after them: ``good-onnx`` and ``good-tflite``.
    """

    def __init__(self, good: Path) -> None:
        self._good = good
        confined_bounds = Bounds(SANDBOX.cpu_s, SANDBOX.wall_s, SANDBOX.memory_bytes)
        self._guard = Series(lambda about: _guarded(_asked(about)), GUARD)
        self._proof = Series(sandboxed_main, confined_bounds, _confine)
        self._drive = Series(lambda about: self._driven(_asked(about)), DRIVE)

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *exception: object) -> None:
        for series in (self._guard, self._proof, self._drive):
            series.close()

    def take(self, asked: Asked) -> Way:
        """Take a bundle as far as it comes."""
        about = msgspec.json.encode(asked)
        bundle = Path(asked.bundle)
        before = _listed(bundle)
        guarded = _sure(self._guard.ask(about), lambda: in_child(lambda: _guarded(asked), GUARD))
        if guarded.end != "passed":
            bad = guarded.crashed or "\n" in guarded.said
            return Way(
                _anywhere(str(guarded), bundle),
                failure=f"guard: {guarded}" if bad else _written(bundle, before),
            )
        try:
            proof = self._proven(bundle, asked.execution)
        except Exception as error:
            failure = f"proof: the updater fails: {type(error).__name__}: {error}"
            return Way("passed", failure, failure=failure)
        if not proof.passed:
            return Way("passed", _anywhere(said(proof), bundle), failure=_written(bundle, before))
        drove = _sure(self._drive.ask(about), lambda: in_child(lambda: self._driven(asked), DRIVE))
        failure = f"drive: {drove}" if drove.crashed else _written(bundle, before)
        return Way("passed", "passed", _anywhere(str(drove), bundle), failure)

    def _proven(self, bundle: Path, execution: Execution) -> Proof:
        request = msgspec.json.encode(sandboxed.Request(str(bundle), robot(), execution, PROVEN_TICKS))
        outcome = self._proof.ask(request)
        if outcome.end == "passed":
            ended = Ended(End.FINISHED, "", outcome.said.encode(), 0.0, 0.0)
            proof = proof_module._judged(bundle, ended, PROVEN_TICKS)
            if "memory" not in said(proof).lower():
                return proof
        return forked_proof(bundle, execution)

    def _driven(self, asked: Asked) -> str:
        if asked.takes_over:
            return take_over(
                self._good / f"good-{asked.execution.format}", Path(asked.bundle), asked.execution
            )
        return drive(Path(asked.bundle), asked.execution)


class Asked(Struct, frozen=True):
    """Which bundle to take, and how.

    Attributes:
        bundle: its directory.
        execution: how it is run.
        whole: whether golden vectors and all that is kept is read too, as where a bundle is packed.
        takes_over: whether it drives between two drives by another model.
    """

    bundle: str
    execution: Execution
    whole: bool = False
    takes_over: bool = False


def _asked(about: bytes) -> Asked:
    return msgspec.json.decode(about, type=Asked)


def _guarded(asked: Asked) -> str:
    return golden(Path(asked.bundle)) if asked.whole else guard(Path(asked.bundle))


def sandboxed_main(request: bytes) -> str:
    """The inside of the proof."""
    return sandboxed.main(request).decode()


def _confine(parent: int) -> None:
    """One process proves many bundles, so its CPU time is watched from outside."""
    limits = msgspec.structs.replace(SANDBOX, cpu_s=3600)
    confined.confine(confined.Order(limits, parent, beside=True))


def _sure(outcome: Outcome, alone: Callable[[], Outcome]) -> Outcome:
    """If a process died, the same alone; that it then does well makes it no better."""
    if not outcome.crashed:
        return outcome
    again = alone()
    return again if again.crashed else Outcome("not alone", f"{outcome}, after others; alone {again}"[:500])


def guard(bundle: Path) -> str:
    """What the updater does with a bundle outside of the sandbox; the process that drives keeps more of it."""
    load_bundle(bundle, roles=(), golden=False)
    return ""


def golden(bundle: Path) -> str:
    """What is done with all of a bundle where it is packed, published and looked at."""
    guard(bundle)
    loaded = load_bundle(bundle)
    vectors = Golden(loaded)
    for graph in loaded.manifest.graphs:
        vectors.cases(graph.role, graph.candidates)
    return ""


def forked_proof(bundle: Path, execution: Execution) -> Proof:
    """``prove``, with a fork in the place of a fresh interpreter."""
    with patch("edge_wm.update.sandbox.subprocess.Popen", ForkedProcess):
        return real_proof(bundle, execution)


def real_proof(bundle: Path, execution: Execution) -> Proof:
    """``prove``, with limits that do not stand back for anybody."""
    return prove(bundle, robot(), execution, SANDBOX, ticks=PROVEN_TICKS)


def said(proof: Proof) -> str:
    """What a proof came to, in words that do not depend on the clock."""
    return "passed" if proof.passed else re.sub(r"too slow here: .*", "too slow here", str(proof.refusal))


def is_undecided(proof: Proof) -> bool:
    """Whether another machine, or this one at another time, could say otherwise."""
    return (
        proof.undecided
        or "too slow" in said(proof)
        or proof.ended.end in (End.OUT_OF_CPU_TIME, End.OUT_OF_TIME)
    )


def drive(bundle: Path, execution: Execution) -> str:
    """A process that starts with the model drives by it, in light and darkness."""
    clock = SimulatedClock()
    pilot = Pilot(robot(), bundle, clock, execution=execution)
    pilot.rehearse()
    return _told(_drive(pilot, clock, LIGHTS))


def take_over(good: Path, bundle: Path, execution: Execution) -> str:
    """A process that drives by another model takes this one for a drive, and drives on by the other."""
    clock = SimulatedClock()
    try:
        pilot = Pilot(robot(), good, clock, execution=execution)
    except BadInput as refusal:
        raise RuntimeError(f"the model before is refused: {refusal}") from None
    try:
        former = pilot.take(pilot.prepare(bundle))
    except BadInput as refusal:
        _drives_on(pilot, clock)
        return f"not taken: {refusal}"
    result = _drive(pilot, clock, LIGHTS)
    pilot.take(former)
    _drives_on(pilot, clock)
    return _told(result)


def _told(result: RunResult) -> str:
    """How a drive ended.  Raises what the control loop ended it with, if a model should not be able to cause that."""
    if result.error is not None and not isinstance(result.error, HANDLED):
        raise result.error
    return f"{result.outcome}: {result.message}"


def _drives_on(pilot: Pilot, clock: SimulatedClock) -> None:
    result = _drive(pilot, clock, LIGHTS[:1])
    if result.message != ENOUGH:
        raise RuntimeError(f"the model before does not drive on: {result.message}")


def _drive(pilot: Pilot, clock: SimulatedClock, lights: Sequence[Light]) -> RunResult:
    sensors = FakeSensors(clock)
    sensors.change = lambda index, observation: lights[index % len(lights)](observation)
    with_map = True

    def stop() -> str | None:
        nonlocal with_map
        try:
            if with_map:
                pilot.local_map()  # as the recorder does, in a callback that is not called again once it has failed
        except EngineError:
            with_map = False
        return ENOUGH if sensors.reads >= len(lights) else None

    return pilot.drive(sensors, FakeBridge(), GOAL, stop=stop)


Light = Callable[[Observation], Observation]


def _lit(level: int, number: float) -> Light:
    def change(observation: Observation) -> Observation:
        arrays = dict(observation.arrays)
        arrays["camera"] = np.full((48, 64, 3), level, np.uint8)
        arrays["wheel"], arrays["gyro"] = np.full(2, number, np.float32), np.full(1, number, np.float32)
        return Observation(observation.time, observation.sequence, arrays)

    return change


LIGHTS = (
    _lit(0, 0.0),
    _lit(1, 0.1),
    _lit(2, -2.0),
    _lit(3, 1.0),
    _lit(7, 0.0),
    _lit(100, 2.0),
    _lit(255, 1e30),
)
"""What the sensors say in the ticks of a drive."""


def _listed(bundle: Path) -> list[tuple[str, int]]:
    return sorted((entry.name, entry.stat(follow_symlinks=False).st_mtime_ns) for entry in os.scandir(bundle))


def _written(bundle: Path, before: list[tuple[str, int]]) -> str | None:
    return None if _listed(bundle) == before else "the bundle was changed"


def _anywhere(text: str, bundle: Path) -> str:
    """The same on every machine and in every folder."""
    return text.replace(f"{bundle}/", "").replace(str(bundle), "bundle")
