"""All sensors as one observation: no part of it is passed off as new when it is old."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock, SimulatedClock
from edge_wm.sensors.assembled import BLIND_S, AssembledSensors
from edge_wm.sensors.camera import Camera, Checks
from edge_wm.sensors.mpu6050 import ImuSample
from edge_wm.sensors.observation import malformed
from edge_wm.sensors.range_ring import RingReading
from edge_wm.sensors.sampler import Sampler, TooOld
from edge_wm.sensors.wheel_speeds import MAX_AGE_S, WheelSpeeds
from firmware_bridge.bridge import NEUTRAL, Telemetry
from firmware_bridge.i2c import I2cError
from tests.sensors.fake_source import HEIGHT, WIDTH, FakeSource

BEAMS = 4


class Stamped(NamedTuple):
    time: float
    number: int


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- the newest reading of a chip ------------------------------------------------------------------------------------


class FakeChip:
    """Counts its readings; raises or hangs when it is told to."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: Exception | None = None
        self.hangs = threading.Event()

    def read(self) -> Stamped:
        while self.hangs.is_set():
            time.sleep(0.005)
        if self.error is not None:
            raise self.error
        self.reads += 1
        return Stamped(time.monotonic(), self.reads)


@pytest.fixture
def chip() -> FakeChip:
    return FakeChip()


@pytest.fixture
def sampler(chip: FakeChip) -> Iterator[Sampler[Stamped]]:
    sampler = Sampler("chip", chip.read, 0.02, 1.0, MonotonicClock())
    yield sampler
    chip.hangs.clear()
    sampler.close()


def test_a_sampler_gives_the_newest_reading(chip: FakeChip, sampler: Sampler[Stamped]) -> None:
    sampler.start()
    assert sampler.newest().number == 1
    until(lambda: chip.reads >= 5)
    before = chip.reads
    until(lambda: chip.reads > before)  # what it read before has been handed over
    assert sampler.newest().number >= before


def test_a_reading_that_is_too_old_is_none_and_says_why(chip: FakeChip, sampler: Sampler[Stamped]) -> None:
    sampler.start()
    chip.error = I2cError("a wire is loose")
    time.sleep(0.2)
    assert sampler.newest().number == chip.reads  # for a moment the last one will do
    time.sleep(1.0)
    with pytest.raises(TooOld, match=r"^chip: no reading for 1\.\d\d s: a wire is loose$"):
        sampler.newest()
    chip.error = None
    until(lambda: chip.reads > 1)
    assert sampler.newest().number > 1


def test_a_chip_that_hangs_holds_up_neither_the_reader_nor_the_end(
    chip: FakeChip, sampler: Sampler[Stamped]
) -> None:
    sampler.start()
    chip.hangs.set()
    time.sleep(1.2)
    began = time.monotonic()
    with pytest.raises(TooOld):
        sampler.newest()
    assert time.monotonic() - began < 0.5
    sampler.close()
    assert time.monotonic() - began < 3.0


def test_a_chip_that_fails_at_once_is_refused_at_once(chip: FakeChip, sampler: Sampler[Stamped]) -> None:
    chip.error = I2cError("nothing answers there")
    with pytest.raises(I2cError, match="nothing answers"):
        sampler.start()
    with pytest.raises(TooOld, match="not started"):
        sampler.newest()


# --- wheel speeds ----------------------------------------------------------------------------------------------------


class FakeBridge:
    """A bridge that reports what a test says."""

    def __init__(self) -> None:
        self.report = Telemetry(0.0, True, NEUTRAL, wheels_m=(10.0, 20.0))

    def telemetry(self) -> Telemetry:
        return self.report

    def turn(self, seconds: float, left_m: float, right_m: float) -> None:
        assert self.report.wheels_m is not None
        left, right = self.report.wheels_m
        self.report = Telemetry(
            self.report.time + seconds, True, NEUTRAL, wheels_m=(left + left_m, right + right_m)
        )

    connect = arm = apply = stop = close = None


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


def wheels_of(bridge: FakeBridge, clock: SimulatedClock) -> WheelSpeeds:
    return WheelSpeeds(bridge, 0.5, clock)  # type: ignore[arg-type]


def test_wheel_speeds_are_metres_over_the_time_between_reports(bridge: FakeBridge) -> None:
    wheels = wheels_of(bridge, SimulatedClock())
    assert wheels.read().tolist() == [0.0, 0.0]
    bridge.turn(0.1, 0.02, -0.01)
    speeds = wheels.read()
    assert speeds.dtype == np.float32
    assert speeds == pytest.approx([0.2, -0.1])
    assert wheels.read() == pytest.approx([0.2, -0.1])  # no new report
    bridge.turn(0.2, -0.03, -0.05)
    assert wheels.read() == pytest.approx([-0.15, -0.25])
    assert wheels.travelled_m == pytest.approx(0.005 + 0.04)


def test_reports_that_no_longer_come_are_an_error(bridge: FakeBridge) -> None:
    clock = SimulatedClock()
    wheels = wheels_of(bridge, clock)
    wheels.read()
    bridge.turn(0.1, 0.02, 0.02)
    clock.advance(0.1)
    wheels.read()
    clock.advance(MAX_AGE_S - 0.01)
    wheels.read()  # control: not yet
    clock.advance(0.02)
    with pytest.raises(TooOld, match=r"has not reported for 0\.26 s"):
        wheels.read()


def test_a_count_that_jumps_is_an_error_once(bridge: FakeBridge) -> None:
    wheels = wheels_of(bridge, SimulatedClock())
    wheels.read()
    bridge.turn(0.1, -10.0, -20.0)  # it counts from zero: the microcontroller was reset
    with pytest.raises(TooOld, match="count has jumped"):
        wheels.read()
    assert wheels.travelled_m == 0.0
    bridge.turn(0.1, 0.02, 0.02)
    assert wheels.read() == pytest.approx([0.2, 0.2])


def test_what_the_wheels_did_between_two_drives_is_none_of_theirs(bridge: FakeBridge) -> None:
    wheels = wheels_of(bridge, SimulatedClock())
    wheels.read()
    bridge.turn(0.1, 0.02, 0.02)
    wheels.read()
    bridge.turn(3600.0, -10.0, -20.0)  # carried away, or reset
    assert wheels.read().tolist() == [0.0, 0.0]
    assert wheels.travelled_m == pytest.approx(0.02)
    bridge.turn(0.1, 0.03, 0.03)
    assert wheels.read() == pytest.approx([0.3, 0.3])


def test_a_bridge_without_encoders_is_an_error(bridge: FakeBridge) -> None:
    bridge.report = Telemetry(0.0, True, NEUTRAL)
    with pytest.raises(TooOld, match="does not say how far"):
        wheels_of(bridge, SimulatedClock()).read()


# --- all of them -----------------------------------------------------------------------------------------------------


class Robot:
    """The parts, in a test's hands."""

    def __init__(self) -> None:
        self.source, self.bridge = FakeSource(), FakeBridge()
        self.ring_error: Exception | None = None
        self.imu_error: Exception | None = None
        self.ring = np.array([0.5, 1.0, 0.7, 0.0], dtype=np.float32)
        clock = MonotonicClock()
        camera = Camera(self.source, WIDTH, HEIGHT, clock, checks=Checks())
        first = threading.Thread(target=self.source.give, daemon=True)
        first.start()
        camera.start()
        first.join()
        ring = Sampler("range ring", self._ring, 0.02, 0.3, clock)
        imu = Sampler("gyroscope", self._imu, 0.02, 0.3, clock)
        for sampler in (ring, imu):
            sampler.start()
        self.sensors = AssembledSensors(camera, ring, BEAMS, imu, wheels_of(self.bridge, clock), clock)  # type: ignore[arg-type]

    def _ring(self) -> RingReading:
        if self.ring_error is not None:
            raise self.ring_error
        return RingReading(time.monotonic(), self.ring, ())

    def _imu(self) -> ImuSample:
        if self.imu_error is not None:
            raise self.imu_error
        return ImuSample(time.monotonic(), (0.0, 0.0, 0.25), (0.0, 0.0, 9.8), False, False)


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    robot.bridge.report = Telemetry(time.monotonic(), True, NEUTRAL, wheels_m=(0.0, 0.0))
    yield robot
    robot.sensors.close()


def fresh_wheels(robot: Robot) -> None:
    robot.bridge.report = Telemetry(time.monotonic(), True, NEUTRAL, wheels_m=(0.0, 0.0))


def test_an_observation_has_every_part_in_its_form(robot: Robot) -> None:
    reading = robot.sensors.read()
    assert malformed(reading) == ""
    assert {name: (array.shape, str(array.dtype)) for name, array in reading.arrays.items()} == {
        "camera": ((HEIGHT, WIDTH, 3), "uint8"),
        "range": ((BEAMS,), "float32"),
        "wheel": ((2,), "float32"),
        "gyro": ((1,), "float32"),
    }
    assert reading.arrays["gyro"][0] == pytest.approx(0.25)
    assert reading.arrays["range"].tolist() == robot.ring.tolist()


def test_time_and_number_are_those_of_the_frame_whatever_else_is_new(robot: Robot) -> None:
    before = robot.sensors.read()
    time.sleep(0.15)
    fresh_wheels(robot)
    again = robot.sensors.read()
    assert (again.time, again.sequence) == (before.time, before.sequence)
    robot.source.give()
    fresh_wheels(robot)
    assert robot.sensors.read().sequence == before.sequence + 1


def test_a_ring_that_is_too_old_is_drop_outs_and_then_an_error(robot: Robot) -> None:
    robot.sensors.read()
    robot.ring_error = I2cError("no sensor gives anything")
    time.sleep(0.4)
    fresh_wheels(robot)
    assert robot.sensors.read().arrays["range"].tolist() == [0.0] * BEAMS
    time.sleep(BLIND_S)
    fresh_wheels(robot)
    with pytest.raises(TooOld, match=r"range ring: no reading for .*: no sensor gives anything"):
        robot.sensors.read()
    robot.ring_error = None
    time.sleep(0.1)
    fresh_wheels(robot)
    assert robot.sensors.read().arrays["range"].tolist() == robot.ring.tolist()


def test_a_turning_rate_that_is_too_old_is_an_error(robot: Robot) -> None:
    robot.imu_error = I2cError("it has lost its settings")
    time.sleep(0.1)
    robot.sensors.read()  # control: one that was missed is none yet
    time.sleep(0.4)
    fresh_wheels(robot)
    with pytest.raises(TooOld, match=r"gyroscope: no reading for .*: it has lost its settings"):
        robot.sensors.read()


def test_what_is_wrong_with_the_camera_is_told(robot: Robot) -> None:
    assert robot.sensors.problem == ""
    robot.source.plugged = False
    until(lambda: "no such device" in robot.sensors.problem)
    assert math.isfinite(robot.sensors.read().time)  # its last frame is still there, with its age
