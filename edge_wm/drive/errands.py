"""Where a driving service can send its robot: points of the frame in which it was started, or worlds of a simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from edge_wm.clock import Clock, SimulatedClock
from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.drive.body import Body, Point
from edge_wm.drive.real import Hardware, RealRobot, hardware
from edge_wm.drive.service_file import Mission
from edge_wm.errors import BadInput
from edge_wm.record.tick_record import Pose
from edge_wm.robot import Robot
from edge_wm.robot_sensors import ReplaySensors, SimSensors
from edge_wm.sensors.observation import all_finite
from edge_wm.sim.frames import to_odometry_frame, to_world_frame
from firmware_bridge.bridge import NEUTRAL


class Errand(NamedTuple):
    """One drive that can be made.

    Attributes:
        name: what people call it.
        begin: the robot at its start; raises BadInput if it is not there.
    """

    name: str
    begin: Callable[[], AbstractContextManager[Body]]


class Errands(Protocol):
    """All drives that can be made.  A context manager: the motors are disarmed within it, unless the robot drives."""

    has_place: bool
    """Whether one drive begins where the last one ended."""

    @property
    def pose(self) -> Pose | None:
        """x, y, yaw where the robot believes it is, in the frame in which it was started; None without a place."""

    def of_mission(self) -> Sequence[Errand]:
        """The drives of the mission, in order."""

    def to_point(self, point: Point, *, from_here: bool) -> Errand:
        """The drive to a point: x, y in metres, from where the robot was started or where it is now.

        Raises:
            BadInput: no way leads there.
        """

    def tick(self, tick: Tick) -> None:
        """Take one tick of the drive that goes on."""

    def ended(self, result: RunResult) -> None:
        """Take the end of a drive."""


class SimulatedErrands:
    """Drives of the simulated robot: each in a generated world, from the start of that world.

    Args:
        robot: what the robot file says.
        clock: the loop's.
        mission: its worlds.
    """

    has_place = False
    pose = None

    def __init__(self, robot: Robot, clock: Clock, mission: Mission) -> None:
        self._robot, self._clock, self._mission = robot, clock, mission

    def __enter__(self) -> SimulatedErrands:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left of a simulation."""

    def of_mission(self) -> Sequence[Errand]:
        """See ``Errands.of_mission``."""
        return [Errand(f"{self._mission.kind} {n}", partial(self._begin, n)) for n in self._mission.worlds]

    def to_point(self, point: Point, *, from_here: bool) -> Errand:
        """See ``Errands.to_point``: in the first world of the mission, from its start."""
        from edge_wm.drive.simulated import task_in_generated_world

        number = self._mission.worlds[0] if self._mission.worlds else 0
        start = task_in_generated_world(self._mission.kind, number).task.start
        goal = to_world_frame(start, point)
        task_in_generated_world(self._mission.kind, number, goal)  # refuses what cannot be reached
        return Errand(f"({point[0]:g}, {point[1]:g})", lambda: self._begin(number, goal))

    def tick(self, tick: Tick) -> None:
        """See ``Errands.tick``: the next drive begins elsewhere."""

    def ended(self, result: RunResult) -> None:
        """See ``Errands.ended``: the next robot is another one."""

    def _begin(self, number: int, goal: Point | None = None) -> AbstractContextManager[Body]:
        from edge_wm.drive.simulated import task_in_generated_world

        return task_in_generated_world(self._mission.kind, number, goal).begin(self._robot, self._clock)


class RealErrands:
    """Drives of the robot that is there: each begins where the last one ended, as far as ``DeadReckoning`` knows.

    Args:
        robot: what the robot file says.
        mission: its goals.
        connect: the robot, connected and disarmed.
    """

    has_place = True

    def __init__(
        self, robot: Robot, mission: Mission, connect: Callable[[], AbstractContextManager[Hardware]]
    ) -> None:
        self._mission, self._connect = mission, connect
        self._stack = ExitStack()
        self._parts: Hardware | None = None
        self._start: Pose = (0.0, 0.0, 0.0)
        """Of the drive that goes on, or of the next one."""
        self._driven, self._tick_s = DeadReckoning(), robot.rates.tick_s
        self._applied = NEUTRAL
        """What was sent in the tick before."""

    def __enter__(self) -> RealErrands:
        self._connected()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def pose(self) -> Pose:
        """See ``Errands.pose``."""
        x, y, yaw = self._driven.pose
        return *to_world_frame(self._start, (x, y)), math.remainder(self._start[2] + yaw, math.tau)

    def of_mission(self) -> Sequence[Errand]:
        """See ``Errands.of_mission``."""
        return [self.to_point(goal, from_here=False) for goal in self._mission.goals]

    def to_point(self, point: Point, *, from_here: bool) -> Errand:
        """See ``Errands.to_point``: whether a way leads there shows when it drives."""
        x, y = to_world_frame(self.pose, point) if from_here else point
        return Errand(f"({x:.2f}, {y:.2f})", partial(self._begin, (x, y)))

    def tick(self, tick: Tick) -> None:
        """See ``Errands.tick``."""
        usable = tick.observation is not None and all_finite(tick.observation)
        self._driven.update(tick.observation if usable else None, self._applied, self._tick_s)
        self._applied = tick.applied

    def ended(self, result: RunResult) -> None:
        """See ``Errands.ended``: after a fault the robot is connected anew, perhaps a plug was loose."""
        if result.outcome is Outcome.FAULT:
            self._parts = None
            self._stack.close()

    @contextmanager
    def _begin(self, goal: Point) -> Iterator[Body]:
        parts = self._connected()
        self._start = self.pose
        self._driven.reset()
        self._applied = NEUTRAL
        yield RealRobot(parts, to_odometry_frame(self._start, goal))

    def _connected(self) -> Hardware:
        if self._parts is None:
            self._parts = self._stack.enter_context(self._connect())
        return self._parts


def errands_of(
    robot: Robot, file: Path, clock: Clock, mission: Mission
) -> AbstractContextManager[SimulatedErrands | RealErrands]:
    """The drives that this robot can make.

    Args:
        robot: what the file says.
        file: the robot file.
        clock: the loop's.
        mission: what nobody has to ask for.

    Raises:
        BadInput: the mission, or the clock, is none for it.
    """
    if isinstance(robot.sensors, SimSensors):
        if mission.goals:
            raise BadInput(
                "mission.goals: the simulated robot is in another world each time: name worlds, each has a goal"
            )
        return SimulatedErrands(robot, clock, mission)
    if isinstance(robot.sensors, ReplaySensors):
        raise BadInput("sensors.kind: a replay is of one drive that is over: `edge-wm drive` makes it")
    if mission.worlds:
        raise BadInput("mission.worlds: they are simulated, and this robot is not: name goals")
    if isinstance(clock, SimulatedClock):
        raise BadInput("--fast is for the simulated robot, and this one is real")
    return RealErrands(robot, mission, partial(hardware, robot, file, clock))
