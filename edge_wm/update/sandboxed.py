"""The inside of a proof, run by ``confined.py``: loads a fetched bundle, checks all of it, and times its ticks.

**Which time.**  The proof stands back for whatever drives, so the clock on the wall tells how busy the machine is, not how
fast the model.  What counts is the CPU time of a tick: of the thread that ticks, or of all threads divided by their number
if that is more.  It leaves out the waiting for a core, and for nothing else: a graph that runs on CPU cores waits for nothing
but them.  One that runs on an accelerator waits for that, and its time is the wall's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.bundle.manifest import ModelName, Sha256, Version
from edge_wm.bundle.verify import verify_execution
from edge_wm.clock import MonotonicClock
from edge_wm.drive.pilot import prepared
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.plan import PlanError
from edge_wm.profile.measure import ON_CPU_CORES, WARM_UP_TICKS, GoldenTicks
from edge_wm.profile.memory import peak_bytes
from edge_wm.robot import Robot

MAY_BE_OVER = 0.01
"""Share of the ticks that may take longer than the budget: it is for the 99th percentile."""


class Request(msgspec.Struct, frozen=True):
    """What to prove: a bundle's directory, for a robot if there is one, run like this, and over how many ticks."""

    bundle: str
    robot: Robot | None
    execution: Execution | None
    ticks: int


class Times(msgspec.Struct, frozen=True):
    """How long ticks took: observe and a whole plan.  A model that is too slow is not timed for longer than that needs.

    Attributes:
        ticks: how many were timed.
        p50_ms: median, of the time that counts.
        p99_ms: 99th percentile, of the time that counts.
        wall_p50_ms: median on the wall's clock, with all that came between.
        wall_p99_ms: its 99th percentile.
    """

    ticks: int
    p50_ms: float
    p99_ms: float
    wall_p50_ms: float
    wall_p99_ms: float


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof found.  A bundle that cannot be loaded has a refusal and nothing else.

    Attributes:
        refusal: why the model must not drive, one line; None if nothing speaks against it.
        model: hash of its manifest.
        name, version, robot_kind: as it calls itself.
        execution: how it was run, which is how it will be run.
        fell_back: why the CPU runs it though an accelerator was asked for.
        budget_ms: its own, for a tick.
        times: of its ticks.
        peak_bytes: the most memory that the whole process had in use.
    """

    refusal: str | None = None
    model: Sha256 | None = None
    name: ModelName | None = None
    version: Version | None = None
    robot_kind: ModelName | None = None
    execution: Execution | None = None
    fell_back: str | None = None
    budget_ms: float | None = None
    times: Times | None = None
    peak_bytes: int | None = None


def main(request: bytes) -> bytes:
    """Prove what the ``Request`` names; returns ``Findings``."""
    wanted = msgspec.json.decode(request, type=Request)
    findings = Findings()
    try:
        for findings in _prove(wanted):  # noqa: B007
            pass
    except (BadInput, EngineError, PlanError) as error:
        findings = msgspec.structs.replace(findings, refusal=str(error))
    return msgspec.json.encode(msgspec.structs.replace(findings, peak_bytes=peak_bytes()))


def _prove(wanted: Request) -> Iterator[Findings]:
    """Check one thing after the other; yield what is known so far.

    Raises:
        BadInput, EngineError, PlanError: what the model fails in.
    """
    bundle = load_bundle(Path(wanted.bundle))
    manifest = bundle.manifest
    known = Findings(
        model=bundle.sha256,
        name=manifest.name,
        version=manifest.version,
        robot_kind=manifest.robot_kind,
        budget_ms=manifest.latency_budget_ms,
    )
    yield known
    execution, fell_back = wanted.execution or Execution(), None
    if wanted.robot is not None:
        ready = prepared(wanted.robot, bundle, MonotonicClock(), execution=wanted.execution)
        ready.rehearse(MonotonicClock())
        execution, fell_back = ready.execution, ready.fell_back
    known = msgspec.structs.replace(known, execution=execution, fell_back=fell_back)
    yield known
    golden = Golden(bundle)
    verify_execution(bundle, execution, golden)
    times = _timed(bundle, execution, golden, wanted.ticks)
    yield msgspec.structs.replace(known, times=times)


def _timed(bundle: Bundle, execution: Execution, golden: Golden, count: int) -> Times:
    model = GoldenTicks(bundle, execution, golden)
    budget_s = bundle.manifest.latency_budget_ms / 1e3
    on_cores = execution.accelerator in ON_CPU_CORES
    ticks_s: list[float] = []
    walls_s: list[float] = []
    over = 0
    for tick in range(-WARM_UP_TICKS, count):
        wall, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
        model.observe()
        model.plan()
        process_s, thread_s = time.process_time() - process, time.thread_time() - thread
        wall_s = time.perf_counter() - wall
        model.draw_ahead()
        if tick < 0:
            continue
        walls_s.append(wall_s)
        ticks_s.append(max(thread_s, process_s / execution.threads) if on_cores else wall_s)
        over += ticks_s[-1] > budget_s
        if over > MAY_BE_OVER * count:
            break
    p50, p99 = np.percentile(ticks_s, [50, 99]) * 1e3
    wall_p50, wall_p99 = np.percentile(walls_s, [50, 99]) * 1e3
    return Times(len(ticks_s), *(round(float(ms), 3) for ms in (p50, p99, wall_p50, wall_p99)))
