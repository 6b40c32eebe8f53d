"""How long a tick takes on this machine, for every way of running a model that is still the same model here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle
from edge_wm.bundle.manifest import Format, Manifest
from edge_wm.bundle.verify import verify_execution
from edge_wm.clock import Clock
from edge_wm.engines.execution import Accelerator, Execution
from edge_wm.errors import BadInput
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, Plan, PlannerConfig
from edge_wm.sensors.observation import Array, Observation
from edge_wm.world_model import WorldModel

ROUNDS = 6
TICKS_A_ROUND = 10
WARM_UP_TICKS = 3
ROUND_S = 1.0
"""A round ends after this time: a model whose plans take seconds is measured within minutes too."""

ON_CPU_CORES = ("cpu", "xnnpack")
"""Accelerators for which more threads can mean less time."""


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way of running the model, and what a tick of it takes here: observe and a whole plan.

    Attributes:
        execution: form, accelerator and threads.
        failure: why it cannot be used here; then there are no times.
        tick_p50_ms: median of a tick with the bundle's own number of iterations.
        tick_p99_ms: its 99th percentile.
        observe_p50_ms: median of observe alone.
        accelerated: the share of the nodes that the accelerator took off the CPU in one inference of each graph.
    """

    execution: Execution
    failure: str | None = None
    tick_p50_ms: float | None = None
    tick_p99_ms: float | None = None
    observe_p50_ms: float | None = None
    accelerated: float | None = None


def ways(manifest: Manifest, cores: int, board: Execution, candidates: int | None = None) -> list[Execution]:
    """Every format and precision of one size of plan, on the CPU and on each accelerator that this machine may have.

    Those that use threads are tried with one thread and with each power of two up to ``cores``, and several threads of
    the CPU in ONNX Runtime also spinning.

    Args:
        manifest: of the bundle.
        cores: of this machine.
        board: the board file's, which alone knows where a delegate or a cache for engines is.
        candidates: of a plan; None: the bundle's own.
    """
    forms = sorted(
        (graph.format, graph.precision)
        for graph in manifest.graphs
        if (graph.role, graph.candidates) == ("imagine", candidates)
    )
    threads = [count for count in (1, 2, 4, 8, 16) if count <= max(1, cores)]
    found = []
    for format, precision in forms:
        for accelerator in ("cpu", *_accelerators(format, board)):
            own = board if board.accelerator == accelerator else Execution()
            found += [
                Execution(
                    format,
                    precision,
                    count,
                    accelerator,
                    own.delegate,
                    own.engine_cache,
                    candidates=candidates,
                )
                for count in (threads if accelerator in ON_CPU_CORES else [1])
            ]
            if (format, accelerator) == ("onnx", "cpu"):
                found += [
                    Execution(format, precision, count, spin=True, candidates=candidates)
                    for count in threads[1:]
                ]
    return found


def plausible(found: Iterable[Execution], board: Execution) -> list[Execution]:
    """Of the ``found`` ways those that a quick profile tries: each form on one thread, and the way of the board file."""
    return [
        way
        for way in found
        if way.threads == 1 or msgspec.structs.replace(way, candidates=board.candidates) == board
    ]


def _accelerators(format: Format, board: Execution) -> list[Accelerator]:
    if format == "tflite":
        return ["delegate"] if board.accelerator == "delegate" else []
    from edge_wm.engines.providers import available

    return available()


def measure(
    bundle: Bundle, executions: Iterable[Execution], on_progress: Callable[[float], None] = lambda share: None
) -> list[Measured]:
    """Verify and time each way of running ``bundle``.

    The golden inputs are what is observed and planned from.  The ways take turns, a few ticks each, so that a machine
    that warms up or is shared slows all of them alike.

    Args:
        bundle: loaded with all graphs and golden vectors.
        executions: the ways.
        on_progress: called with the share that is done.

    Returns:
        One row for each way, in the order given.
    """
    golden = Golden(bundle)
    rows = [_checked(bundle, execution, golden) for execution in executions]
    drivers = {
        number: _Driver(bundle, row.execution, golden)
        for number, row in enumerate(rows)
        if row.failure is None
    }
    for turn in range(ROUNDS):
        for place, driver in enumerate(drivers.values()):
            driver.tick(TICKS_A_ROUND)
            on_progress((turn * len(drivers) + place + 1) / (ROUNDS * len(drivers)))
    return [drivers[number].measured(row) if number in drivers else row for number, row in enumerate(rows)]


def _checked(bundle: Bundle, execution: Execution, golden: Golden) -> Measured:
    """A row without times: with a failure if the model is another one here, or not where it should be."""
    try:
        placement = verify_execution(bundle, execution, golden)
    except BadInput as error:
        return Measured(execution, str(error))
    return Measured(execution, accelerated=None if placement is None else round(placement.share, 3))


class GoldenTicks:
    """Observes and plans again and again from golden inputs, as a drive by the model does.

    Args:
        bundle: loaded with all graphs.
        execution: how to run them.
        golden: of the bundle.
        load: makes the world model of bundle and execution.

    Raises:
        BadInput: the engine refuses a graph, or the golden vectors cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        execution: Execution,
        golden: Golden,
        load: Callable[[Bundle, Execution], WorldModel] = WorldModel,
    ) -> None:
        self._model = load(bundle, execution)
        manifest = self._model.manifest
        limits = ActionLimits(manifest.action.low, manifest.action.high)
        self._planner = ICEM(self._model, PlannerConfig.from_manifest(manifest), limits)
        seen, imagined = golden.cases("observe")[0].inputs, golden.cases("imagine")[0].inputs
        self._state: Mapping[str, Array] = self._model.initial_state()
        self._observation = Observation(0.0, 0, {spec.name: seen[spec.name] for spec in manifest.observation})
        self._applied, self._goal = seen["applied_action"], imagined.get("goal")
        self._planned_from = {name: imagined[name] for name in self._state}

    def observe(self) -> None:
        """The first half of a tick."""
        self._state = self._model.observe(self._state, self._observation, self._applied)

    def plan(self, deadline: float | None = None, clock: Clock | None = None) -> Plan:
        """The second half: a whole plan, or what there is of it at the ``deadline`` on ``clock``."""
        return self._planner.plan(self._planned_from, self._goal, deadline=deadline, clock=clock)

    def draw_ahead(self) -> None:
        """What is done after the command of a tick is sent, and no part of its time."""
        self._planner.draw_ahead()


class _Driver:
    """Keeps the times of golden ticks."""

    def __init__(self, bundle: Bundle, execution: Execution, golden: Golden) -> None:
        self._ticks = GoldenTicks(bundle, execution, golden)
        self._ticks_s: list[float] = []
        self._observe_s: list[float] = []
        self.tick(WARM_UP_TICKS)
        self._ticks_s.clear()
        self._observe_s.clear()

    def tick(self, count: int) -> None:
        """One tick, and more up to ``count`` while the time of a round lasts."""
        until = time.perf_counter() + ROUND_S
        for _ in range(count):
            began = time.perf_counter()
            self._ticks.observe()
            observed = time.perf_counter()
            self._ticks.plan()
            self._ticks_s.append(time.perf_counter() - began)
            self._observe_s.append(observed - began)
            self._ticks.draw_ahead()
            if time.perf_counter() > until:
                break

    def measured(self, row: Measured) -> Measured:
        """The row with its times."""
        p50, p99 = np.percentile(self._ticks_s, [50, 99]) * 1e3
        observe = float(np.median(self._observe_s)) * 1e3
        return msgspec.structs.replace(
            row,
            tick_p50_ms=round(float(p50), 3),
            tick_p99_ms=round(float(p99), 3),
            observe_p50_ms=round(observe, 3),
        )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
