"""The robot that is really there: its sensors on their interfaces, its bridge, and the drives that it makes with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edge_wm.clock import Clock
from edge_wm.control.loop import Outcome, RunResult
from edge_wm.drive.body import Body, Point
from edge_wm.drive.bridges import bridge_of
from edge_wm.errors import BadInput, one_line
from edge_wm.record.tick_record import GoalResult, TopView
from edge_wm.robot import Robot
from edge_wm.robot_sensors import Mpu6050Table, RealSensors, Vl53l0xTable
from edge_wm.sensors.assembled import AssembledSensors
from edge_wm.sensors.cameras import camera_of
from edge_wm.sensors.frame import CameraError
from edge_wm.sensors.mpu6050 import ImuSample, Mpu6050
from edge_wm.sensors.range_ring import RangeRing, RingReading
from edge_wm.sensors.sampler import Sampler
from edge_wm.sensors.wheel_speeds import WheelSpeeds
from edge_wm.stop_signals import without_stop_signals
from firmware_bridge.bridge import Bridge, BridgeError
from firmware_bridge.i2c import I2cBus, I2cError, LinuxBus

SAMPLES_A_TICK = 2.0
"""Chips are read so often: what the loop finds is then at most half a tick old when it looks."""


class Hardware(NamedTuple):
    """A robot that is connected: motors disarmed, sensors giving observations.

    Attributes:
        sensors, bridge: what the loop reads and drives, for any number of drives.
    """

    sensors: AssembledSensors
    bridge: Bridge


@contextmanager
def hardware(robot: Robot, file: Path, clock: Clock) -> Iterator[Hardware]:
    """Connect the robot, which takes some seconds in which it has to stand; in the end its motors are at rest.

    Args:
        robot: what the file says.
        file: the robot file.
        clock: the loop's, of the machine.

    Raises:
        BadInput: a part of it is missing, does not answer or is not what the file says: one line.
    """
    sensors = robot.sensors
    if not isinstance(sensors, RealSensors):
        raise BadInput(
            f"{file}: sensors.kind: a robot that is there has 'real' ones, and this is another kind"
        )
    stack = ExitStack()
    try:
        try:
            bridge = bridge_of(robot, file)
            stack.callback(bridge.close)
            bridge.connect()  # first of all: whoever drove before may have been killed, and this disarms its motors
            assembled = _assembled(robot, sensors, file, clock, bridge, stack)
        except (BridgeError, CameraError) as error:
            raise BadInput(f"robot {robot.name}: {one_line(str(error))}") from error
        try:
            yield Hardware(assembled, bridge)
        finally:
            bridge.stop()  # before the sensors are closed, which may take seconds
    finally:
        with without_stop_signals():
            stack.close()


def _assembled(
    robot: Robot, sensors: RealSensors, file: Path, clock: Clock, bridge: Bridge, stack: ExitStack
) -> AssembledSensors:
    """Start each sensor; ``stack`` closes what has been started, in reverse order."""
    buses = I2cBuses(stack)
    ring = range_ring(sensors.range, buses, robot.rates.tick_s, clock)
    imu = None if sensors.imu is None else gyroscope(sensors.imu, buses, robot.rates.tick_s, clock)
    wheels = WheelSpeeds(bridge, robot.limits.max_v, clock) if sensors.wheels else None
    camera = camera_of(sensors.camera, file.parent, clock)
    stack.callback(camera.close)
    camera.start()
    return AssembledSensors(camera, ring, sensors.range.beams, imu, wheels, clock)


class I2cBuses:
    """The buses that chips are on, each opened once.

    Args:
        stack: closes them, and the chips that are started on them.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self._opened: dict[int, I2cBus] = {}

    def __getitem__(self, number: int) -> I2cBus:
        if number not in self._opened:
            self._opened[number] = LinuxBus(number)
            self.stack.callback(self._opened[number].close)
        return self._opened[number]


def range_ring(table: Vl53l0xTable, buses: I2cBuses, tick_s: float, clock: Clock) -> Sampler[RingReading]:
    """The ring of distance sensors, started.  Raises BadInput or I2cError."""
    ring = RangeRing(
        buses[table.bus], table.channels, table.reach_m, multiplexer=table.multiplexer, clock=clock
    )
    ring.start()
    sampler = Sampler("range ring", ring.read, tick_s / SAMPLES_A_TICK, table.max_age_s, clock)
    sampler.start()
    buses.stack.callback(sampler.close)
    return sampler


def gyroscope(table: Mpu6050Table, buses: I2cBuses, tick_s: float, clock: Clock) -> Sampler[ImuSample]:
    """The gyroscope, started and calibrated.  Raises BadInput or I2cError."""
    period_s = tick_s / SAMPLES_A_TICK
    imu = Mpu6050(buses[table.bus], table.address, mounting=table.mounting, clock=clock)
    imu.calibrate()
    clock.sleep_until(clock.now() + period_s)  # until there is another sample than the last that it took

    def read() -> ImuSample:
        sample = imu.read()
        if sample.rates_saturated:
            raise I2cError("it turns faster than its range")
        return sample

    sampler = Sampler("gyroscope", read, period_s, table.max_age_s, clock)
    sampler.start()
    buses.stack.callback(sampler.close)
    return sampler


class RealRobot:
    """See ``Body``.  One drive of a robot that is connected.

    Args:
        parts: of the robot.
        goal_xy: x forward, y left, in metres from where it stands now.
    """

    def __init__(self, parts: Hardware, goal_xy: Point) -> None:
        self.sensors, self.bridge = parts
        self.goal_xy = self.goal_in_view = goal_xy
        self._travelled_before_m = parts.sensors.travelled_m or 0.0

    def true_pose(self) -> None:
        """See ``Body.true_pose``: nobody knows."""

    def top_view(self) -> TopView | None:
        """See ``Body.top_view``: nobody looks."""
        return None

    def result(self, ended: RunResult) -> GoalResult:
        """What became of the drive, as the robot believes."""
        travelled_m = self.sensors.travelled_m
        problem = self.sensors.problem if ended.outcome is Outcome.FAULT else ""
        return GoalResult(
            outcome=str(ended.outcome),
            reached=ended.outcome is Outcome.REACHED,
            collision=None,
            time_s=round(ended.duration_s, 2),
            travelled_m=None if travelled_m is None else round(travelled_m - self._travelled_before_m, 3),
            message=one_line(f"{ended.message} ({problem})" if problem else ended.message),
        )


class RealTrip(NamedTuple):
    """See ``Trip``.  A drive from where the robot stands.

    Attributes:
        file: the robot file.
        goal: x forward, y left, in metres.
    """

    file: Path
    goal: Point

    @property
    def name(self) -> str:
        """See ``Trip.name``."""
        return f"({self.goal[0]:g}, {self.goal[1]:g})"

    def begin(self, robot: Robot, clock: Clock) -> AbstractContextManager[Body]:
        """See ``Trip.begin``."""
        return self._at_start(robot, clock)

    def save(self, directory: Path) -> None:
        """See ``Trip.save``: its goal is in the run's own files."""

    @contextmanager
    def _at_start(self, robot: Robot, clock: Clock) -> Iterator[Body]:
        with hardware(robot, self.file, clock) as parts:
            yield RealRobot(parts, self.goal)
