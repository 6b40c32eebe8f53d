"""Where the time of a tick goes: the parts of the real control loop, each with a stopwatch around it.

A tick is ``sensor``, ``observe``, the iterations of the plan, ``supervise``, ``bridge``, and ``other``: what lies between them,
the loop's own checks and the planner's work beside its iterations.  Together they are ``tick``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from edge_wm.bundle.load import Bundle
from edge_wm.clock import Clock
from edge_wm.control.supervisor import SupervisedCommand, Supervisor, SupervisorConfig
from edge_wm.engines.execution import Execution
from edge_wm.sensors.observation import Array, Observation, Sensors
from edge_wm.world_model import Tensors, WorldModel
from firmware_bridge.bridge import Bridge, Command, Telemetry

SENSOR, OBSERVE, SUPERVISE, BRIDGE, OTHER, TICK = "sensor", "observe", "supervise", "bridge", "other", "tick"
IMAGINE = "imagine"
"""The engine's part of an iteration; counted within it."""
CAMERA_TO_MOTOR = "camera to motor"
"""From the time stamp of the frame to the return of the bridge."""

WARM_UP_TICKS = 10
"""The first tick and those after it that are not steady yet: caches, branch predictors and the clock follow the load."""

Stopwatch = Callable[[], float]
Row = Mapping[str, float]


def iteration(number: int) -> str:
    """Name of an iteration of the plan, counted from 1."""
    return f"iteration {number}"


class Durations(msgspec.Struct, frozen=True):
    """How long one stage took, in milliseconds.

    Attributes:
        n: steady ticks that had this stage.
        first: in the first tick; None if that did not have it.
        warm_up: the longest of the other ticks before the steady ones.
        p50, p95, p99, max: of the steady ticks.  Of fewer than 100, p99 is hardly less than the maximum.
    """

    n: int
    first: float | None
    warm_up: float | None
    p50: float
    p95: float
    p99: float
    max: float


class StageTimes:
    """Collects how long the stages of each tick took.

    Args:
        clock: the loop's, which observations are stamped with.
        stopwatch: real seconds.
    """

    def __init__(self, clock: Clock, stopwatch: Stopwatch) -> None:
        self.clock, self.stopwatch = clock, stopwatch
        self._rows: list[Row] = []
        self._now: dict[str, float] = {}
        self._iterations = 0
        self._captured = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """A stage of the present tick took so long, once more."""
        self._now[stage] = self._now.get(stage, 0.0) + seconds

    def add_iteration(self, seconds: float) -> None:
        """So did the next iteration of the plan."""
        self._iterations += 1
        self.add(iteration(self._iterations), seconds)

    def captured(self, moment: float) -> None:
        """When the frame of the present tick was captured, on the loop's clock."""
        self._captured = moment

    def sent(self) -> None:
        """The command of the present tick is out."""
        self._now[CAMERA_TO_MOTOR] = self.clock.now() - self._captured

    def end_tick(self, seconds: float) -> None:
        """The present tick took so long in all."""
        inside = sum(
            self._now.get(stage, 0.0) for stage in self._now if stage not in (IMAGINE, CAMERA_TO_MOTOR)
        )
        self._rows.append({**self._now, OTHER: seconds - inside, TICK: seconds})
        self._now = {}
        self._iterations = 0

    @property
    def rows(self) -> Sequence[Row]:
        """Seconds by stage, one row a tick."""
        return self._rows


class TimedSensors:
    """Sensors with a stopwatch around ``read``."""

    def __init__(self, sensors: Sensors, times: StageTimes) -> None:
        self._sensors, self._times = sensors, times

    def read(self) -> Observation:
        """See ``Sensors.read``."""
        began = self._times.stopwatch()
        observation = self._sensors.read()
        self._times.add(SENSOR, self._times.stopwatch() - began)
        self._times.captured(observation.time)
        return observation

    def close(self) -> None:
        """See ``Sensors.close``."""
        self._sensors.close()


class PlannersClock:
    """The planner's clock.  An iteration is what lies between the planner's looks at it before and after ``imagine``."""

    def __init__(self, times: StageTimes) -> None:
        self._times = times
        self._last = 0.0
        self._began: float | None = None

    def now(self) -> float:
        """See ``Clock.now``."""
        moment = self._times.clock.now()
        if self._began is not None:
            self._times.add_iteration(moment - self._began)
            self._began = None
        self._last = moment
        return moment

    def sleep_until(self, moment: float) -> None:
        """See ``Clock.sleep_until``."""
        self._times.clock.sleep_until(moment)

    def imagining(self) -> None:
        """The planner imagines: it began this iteration when it last looked here."""
        self._began = self._last


class TimedModel(WorldModel):
    """A world model with a stopwatch around what a tick asks of it."""

    def __init__(self, times: StageTimes, clock: PlannersClock, bundle: Bundle, execution: Execution) -> None:
        super().__init__(bundle, execution)
        self._times, self._clock = times, clock

    def observe(self, state: Mapping[str, Array], observation: Observation, applied: Array) -> Tensors:
        """See ``WorldModel.observe``."""
        began = self._times.stopwatch()
        after = super().observe(state, observation, applied)
        self._times.add(OBSERVE, self._times.stopwatch() - began)
        return after

    def imagine(
        self, state: Mapping[str, Array], actions: Array, goal: Array | None = None
    ) -> Mapping[str, Array]:
        """See ``WorldModel.imagine``."""
        self._clock.imagining()
        began = self._times.stopwatch()
        outcomes = super().imagine(state, actions, goal)
        self._times.add(IMAGINE, self._times.stopwatch() - began)
        return outcomes


class TimedSupervisor(Supervisor):
    """A supervisor with a stopwatch around ``check``."""

    def __init__(self, times: StageTimes, config: SupervisorConfig, tick_s: float) -> None:
        self._times = times
        super().__init__(config, tick_s)

    def check(self, *args: Any, **options: Any) -> SupervisedCommand:
        """See ``Supervisor.check``."""
        began = self._times.stopwatch()
        supervised = super().check(*args, **options)
        self._times.add(SUPERVISE, self._times.stopwatch() - began)
        return supervised


class TimedBridge:
    """A bridge with a stopwatch around ``apply``."""

    def __init__(self, bridge: Bridge, times: StageTimes) -> None:
        self._bridge, self._times = bridge, times

    def connect(self) -> None:
        """See ``Bridge.connect``."""
        self._bridge.connect()

    def arm(self) -> None:
        """See ``Bridge.arm``."""
        self._bridge.arm()

    def apply(self, command: Command) -> Command:
        """See ``Bridge.apply``."""
        began = self._times.stopwatch()
        applied = self._bridge.apply(command)
        self._times.add(BRIDGE, self._times.stopwatch() - began)
        self._times.sent()
        return applied

    def telemetry(self) -> Telemetry:
        """See ``Bridge.telemetry``."""
        return self._bridge.telemetry()

    def stop(self) -> None:
        """See ``Bridge.stop``."""
        self._bridge.stop()

    def close(self) -> None:
        """See ``Bridge.close``."""
        self._bridge.close()


def durations(rows: Sequence[Row], warm_up: int = WARM_UP_TICKS) -> dict[str, Durations]:
    """What each stage took, in the order of the tick.

    Args:
        rows: of all ticks, from the first on.
        warm_up: how many of them, the first one too, are not steady yet.
    """
    found = {}
    for stage in _in_order(rows):
        ms = [row[stage] * 1e3 for row in rows[warm_up:] if stage in row]
        if not ms:
            continue
        between = [row[stage] * 1e3 for row in rows[1:warm_up] if stage in row]
        p50, p95, p99 = np.percentile(ms, [50, 95, 99])
        first = rows[0].get(stage)
        found[stage] = Durations(
            n=len(ms),
            first=None if first is None else _rounded(first * 1e3),
            warm_up=_rounded(max(between)) if between else None,
            p50=_rounded(p50),
            p95=_rounded(p95),
            p99=_rounded(p99),
            max=_rounded(max(ms)),
        )
    return found


def _in_order(rows: Sequence[Row]) -> list[str]:
    known = {stage for row in rows for stage in row}
    iterations = [iteration(number) for number in range(1, len(known) + 1)]
    order = [SENSOR, OBSERVE, *iterations, SUPERVISE, BRIDGE, OTHER, TICK, IMAGINE, CAMERA_TO_MOTOR]
    return [stage for stage in order if stage in known]


def _rounded(ms: float) -> float:
    return round(float(ms), 4)
