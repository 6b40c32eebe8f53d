"""The model: whole, fit for this robot, the same model on this machine's engine, and fast enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.bundle.verify import verify_execution
from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.doctor.remedy import pip_install
from edge_wm.drive.accelerated import accelerated_or_not
from edge_wm.drive.pilot import refuse_misfit
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.profile.choice import remembered
from edge_wm.profile.measure import GoldenTicks
from edge_wm.robot import Robot

TICKS = 20
WARM_UP_TICKS = 3


def model(directory: Path, robot: Robot) -> Iterator[Finding]:
    """Yield what is found of the bundle in ``directory``.  Takes a second or two of one core."""
    try:
        bundle = load_bundle(directory)
    except BadInput as why:
        yield error("model", str(why), "edge-wm update rollback, or put the bundle there again")
        return
    manifest = bundle.manifest
    yield ok(
        "model", f"{manifest.name} {manifest.version} ({bundle.sha256[:12]}), every hash as its manifest says"
    )
    try:
        refuse_misfit(robot, bundle)
    except BadInput as why:
        yield error("fit", str(why), "docs/your-own-model.md")
        return
    yield from _engine(bundle, robot)


def _engine(bundle: Bundle, robot: Robot) -> Iterator[Finding]:
    """Whether the engine computes this model, and in time."""
    profiled = remembered(bundle.sha256)
    execution, fell_back = accelerated_or_not(bundle, profiled or robot.board.engine)
    if fell_back is not None:
        yield warning("accelerator", fell_back, "docs/engines.md")
    try:
        golden = Golden(bundle)
        verify_execution(bundle, execution, golden)
    except BadInput as why:
        yield error("engine", str(why), f"{pip_install('--force-reinstall', 'edge-wm')}; docs/engines.md")
        return
    yield ok("engine", f"{execution}: repeats the golden vectors")
    yield _speed(bundle, execution, golden, profiled is not None)


def _speed(bundle: Bundle, execution: Execution, golden: Golden, profiled: bool) -> Finding:
    """Whether a tick keeps the bundle's budget now, with whatever else runs."""
    ticks = GoldenTicks(bundle, execution, golden)
    times_ms = []
    for tick in range(-WARM_UP_TICKS, TICKS):
        began = perf_counter()
        ticks.observe()
        ticks.plan()
        if tick >= 0:
            times_ms.append((perf_counter() - began) * 1e3)
        ticks.draw_ahead()
    p50, longest = float(np.median(times_ms)), max(times_ms)
    budget = bundle.manifest.latency_budget_ms
    said = f"a tick takes {p50:.1f} ms, the longest of {TICKS} {longest:.1f}; the budget is {budget:g}"
    if p50 > budget:
        return error("speed", said, "edge-wm profile; top: what else runs?")
    if not profiled:
        said += "; not profiled on this machine: edge-wm profile chooses the fastest form"
    return ok("speed", said)
