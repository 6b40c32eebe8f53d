"""The real control loop at the robot's rate, for so many ticks, with stopwatches in it.

Model, planner, supervisor, loop and rate are those of a drive.  The model takes in golden inputs, whatever the sensors gave,
and plans from golden states: how long that takes does not depend on them, and so every bundle can be measured.
"""

from __future__ import annotations

import math
import time
from functools import partial

import msgspec
import numpy as np

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import Bundle
from edge_wm.clock import Clock
from edge_wm.control.loop import Loop, Tick
from edge_wm.control.policy import Decision
from edge_wm.control.supervisor import SupervisorConfig
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.plan import BODY_VELOCITY
from edge_wm.profile.measure import GoldenTicks
from edge_wm.profile.stages import (
    CAMERA_TO_MOTOR,
    IMAGINE,
    WARM_UP_TICKS,
    Durations,
    PlannersClock,
    StageTimes,
    Stopwatch,
    TimedBridge,
    TimedModel,
    TimedSensors,
    TimedSupervisor,
    durations,
    iteration,
)
from edge_wm.robot import Robot
from edge_wm.sensors.observation import Observation, Sensors
from firmware_bridge.bridge import NEUTRAL, Bridge, Command, Telemetry

PICTURES = 8
"""Different frames of the stand-in for a camera: to the supervisor one that repeats itself is frozen."""
MEASURED = "all ticks are measured"


class AtRate(msgspec.Struct, frozen=True):
    """Ticks at the robot's rate.

    Attributes:
        stages: by name, in the order of the tick: see ``stages.py``.
        imagine: the engine's part of all iterations of a tick; None if there was no time for any.
        camera_to_motor: from the time stamp of the frame until the bridge had the command.
        ticks: steady ones.
        ended_early: why there are fewer than was asked for.
        missed: how many of them ended after their deadline.
        cut_short: how many of them had fewer iterations than the bundle asks for, because time ran out.
        began, ended: seconds on the loop's clock, in a profile since the first run of this way began.
    """

    stages: dict[str, Durations]
    imagine: Durations | None
    camera_to_motor: Durations
    ticks: int
    missed: int
    cut_short: int
    began: float
    ended: float
    ended_early: str | None = None


class StandInSensors:
    """Gives pictures of noise, free space all around, and wheels at rest, at once; stamped when they are read."""

    def __init__(self, robot: Robot, clock: Clock) -> None:
        camera, ring = robot.sensors.camera, robot.sensors.range
        noise = np.random.default_rng(0)
        shape = (PICTURES, camera.height, camera.width, 3)
        self._pictures = noise.integers(0, 256, shape, dtype=np.uint8)
        self._others = {
            "range": np.full(ring.beams, ring.reach_m, dtype=np.float32),
            "wheel": np.zeros(2, dtype=np.float32),
            "gyro": np.zeros(1, dtype=np.float32),
        }
        self._clock, self._reads = clock, 0

    def read(self) -> Observation:
        """See ``Sensors.read``."""
        self._reads += 1
        picture = self._pictures[self._reads % PICTURES]
        return Observation(self._clock.now(), self._reads, {"camera": picture, **self._others})

    def close(self) -> None:
        """Nothing to release."""


class StandInBridge:
    """Takes every command, and moves nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._armed, self._in_force = clock, False, NEUTRAL

    def connect(self) -> None:
        """Nothing to open."""

    def arm(self) -> None:
        """See ``Bridge.arm``."""
        self._armed = True

    def apply(self, command: Command) -> Command:
        """See ``Bridge.apply``."""
        self._in_force = command
        return command

    def telemetry(self) -> Telemetry:
        """See ``Bridge.telemetry``."""
        return Telemetry(self._clock.now(), self._armed, self._in_force)

    def stop(self) -> None:
        """See ``Bridge.stop``."""
        self._armed, self._in_force = False, NEUTRAL

    def close(self) -> None:
        """Stop; there is no link to release."""
        self.stop()


class GoldenPolicy:
    """Decides by golden ticks: the work of a drive by the model, and a command from its plan."""

    def __init__(self, ticks: GoldenTicks, clock: PlannersClock, drives: bool) -> None:
        self._ticks, self._clock, self._drives = ticks, clock, drives

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """See ``Policy.reset``."""

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """See ``Policy.act``."""
        self._ticks.observe()
        plan = self._ticks.plan(deadline, self._clock)
        command = Command(*(float(value) for value in plan.actions[0])) if self._drives else NEUTRAL
        return Decision(command, plan, math.inf)


class AtRateLoop:
    """One way of running a model, ready for ticks at the robot's rate.

    Args:
        bundle: with the graphs of this way.
        execution: the way.
        golden: of the bundle.
        robot: its rate and its limits.
        clock: the loop's.
        stopwatch: real seconds.

    Raises:
        BadInput: the engine refuses a graph, or the golden vectors cannot be used.
    """

    def __init__(
        self,
        bundle: Bundle,
        execution: Execution,
        golden: Golden,
        robot: Robot,
        clock: Clock,
        stopwatch: Stopwatch = time.perf_counter,
    ) -> None:
        self._clock, self._robot = clock, robot
        self._stopwatch = stopwatch
        self._manifest = bundle.manifest
        self._times = StageTimes(clock, stopwatch)
        self._planners_clock = PlannersClock(self._times)
        load = partial(TimedModel, self._times, self._planners_clock)
        self._ticks = GoldenTicks(bundle, execution, golden, load)

    def run(self, ticks: int, sensors: Sensors | None = None, bridge: Bridge | None = None) -> AtRate:
        """Run the loop.

        Args:
            ticks: steady ones; ``WARM_UP_TICKS`` come before.
            sensors: of the robot; a stand-in if None.
            bridge: of the robot, connected, which is only ever asked for rest; a stand-in if None.

        Raises:
            BadInput: the loop ended before the first steady tick: why.
        """
        count = WARM_UP_TICKS + ticks
        first = len(self._times.rows)
        missed: list[int] = []

        def on_tick(tick: Tick) -> None:
            self._times.end_tick(tick.compute_s)
            missed.append(tick.missed)
            self._ticks.draw_ahead()

        def stop() -> str | None:
            return MEASURED if len(missed) > count else None

        tick_s = self._robot.rates.tick_s
        config = SupervisorConfig.from_robot(self._robot, goal_timeout_s=None)
        drives = bridge is None and self._manifest.action.names == BODY_VELOCITY
        loop = Loop(
            TimedSensors(sensors or StandInSensors(self._robot, self._clock), self._times),
            GoldenPolicy(self._ticks, self._planners_clock, drives),
            TimedSupervisor(self._times, config, tick_s),
            TimedBridge(bridge or StandInBridge(self._clock), self._times),
            self._clock,
            tick_s,
            on_tick=[on_tick],
            stop=stop,
            stopwatch=self._stopwatch,
        )
        began = self._clock.now()
        result = loop.run((0.0, 0.0))
        # A tick knows the misses before it, so one more was run than counts; the braking at the end counts neither.
        count = min(count, len(missed) - 1)
        if count <= WARM_UP_TICKS:
            raise BadInput(f"the loop ended after {count} ticks: {result.message}")
        rows = self._times.rows[first : first + count]
        found = durations(rows)
        last = iteration(self._manifest.planner.iterations)
        return AtRate(
            stages={name: ms for name, ms in found.items() if name not in (IMAGINE, CAMERA_TO_MOTOR)},
            imagine=found.get(IMAGINE),
            camera_to_motor=found[CAMERA_TO_MOTOR],
            ticks=count - WARM_UP_TICKS,
            missed=missed[count] - missed[WARM_UP_TICKS],
            cut_short=sum(last not in row for row in rows[WARM_UP_TICKS:]),
            began=began,
            ended=self._clock.now(),
            ended_early=None if result.message == MEASURED else result.message,
        )
