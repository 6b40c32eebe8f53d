"""What a person measures on the floor becomes the numbers that make the robot drive straight and turn as far as it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry
from firmware_bridge.calibration import (
    Driven,
    drive_straight,
    drive_turns,
    find_dead_zone,
    track_of,
    trims_of,
)
from firmware_bridge.simulator.avr_bench import CHASSIS


@dataclass
class Floor:
    """A robot on a floor, whose wheels and track are not what its file says; it is a bridge, and its ``sleep`` is time.

    ``left`` and ``right`` are metres made for each that is asked for, ``track_m`` is the true one.
    """

    left: float = 1.0
    right: float = 1.0
    track_m: float = 0.15
    trims: tuple[float, float] = (1.0, 1.0)
    believed_track_m: float = 0.15
    encoders: bool = True
    stuck: bool = False
    now: float = 10.0
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    armed: bool = False
    applied: Command = NEUTRAL
    counted: tuple[float, float] = (3.0, -2.0)

    def connect(self) -> None:
        raise AssertionError("whoever calibrates gets it connected")

    def close(self) -> None:
        self.stop()

    def arm(self) -> None:
        self.armed = True

    def apply(self, command: Command) -> Command:
        assert self.armed
        self.applied = command
        return command

    def telemetry(self) -> Telemetry:
        return Telemetry(self.now, self.armed, self.applied, wheels_m=self.counted if self.encoders else None)

    def stop(self) -> None:
        self.armed, self.applied = False, NEUTRAL

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.stuck:
            return
        rim = self.applied.w * self.believed_track_m / 2.0
        asked = ((self.applied.v - rim) * seconds, (self.applied.v + rim) * seconds)
        self.counted = (self.counted[0] + asked[0], self.counted[1] + asked[1])
        left, right = asked[0] * self.left / self.trims[0], asked[1] * self.right / self.trims[1]
        turned, way = (right - left) / self.track_m, (left + right) / 2.0
        chord = way if turned == 0.0 else way * math.sin(turned / 2.0) / (turned / 2.0)
        self.x += chord * math.cos(self.yaw + turned / 2.0)
        self.y += chord * math.sin(self.yaw + turned / 2.0)
        self.yaw += turned


@settings(deadline=None)
@given(left=st.floats(0.95, 1.05), right=st.floats(0.95, 1.05), encoders=st.booleans())
def test_after_a_straight_drive_it_drives_straight_and_so_far_as_it_is_told(
    left: float, right: float, encoders: bool
) -> None:
    floor = Floor(left, right, encoders=encoders)
    driven = drive_straight(floor, CHASSIS, 2.0, floor.sleep)
    assert driven.measured is encoders
    found = trims_of(CHASSIS, driven, floor.x, floor.y)
    assert found == pytest.approx((left, right), abs=2e-4)
    again = Floor(left, right, trims=found)
    drive_straight(again, replace(CHASSIS, trims=found), 2.0, again.sleep)
    assert again.y == pytest.approx(0.0, abs=0.005)
    assert again.x == pytest.approx(2.0, abs=0.03)  # it stops one step late


@pytest.mark.parametrize("encoders", [True, False])
@pytest.mark.parametrize("track_m", [0.138, 0.15, 0.165])
def test_after_turning_on_the_spot_it_turns_as_far_as_it_is_told(track_m: float, encoders: bool) -> None:
    floor = Floor(track_m=track_m, encoders=encoders)
    driven = drive_turns(floor, CHASSIS, 3.0, floor.sleep)
    found = track_of(CHASSIS, driven, floor.yaw)
    assert found == pytest.approx(track_m, abs=2e-5)
    again = Floor(track_m=track_m, believed_track_m=found)
    drive_turns(again, replace(CHASSIS, track_m=found), 3.0, again.sleep)
    assert again.yaw == pytest.approx(6.0 * math.pi, abs=0.06)


def test_a_straight_drive_on_a_good_robot_changes_nothing() -> None:
    assert trims_of(CHASSIS, Driven(2.0, 2.0, True), 2.0, 0.0) == (1.0, 1.0)


def test_trims_add_up() -> None:
    assert trims_of(replace(CHASSIS, trims=(1.02, 0.99)), Driven(2.0, 2.0, True), 2.02, 0.0) == (
        pytest.approx(1.0302),
        pytest.approx(0.9999),
    )


@pytest.mark.parametrize(
    ("ahead", "aside"),
    [
        (0.0, 0.0),
        (-1.0, 0.0),
        (1.0, 1.5),
        (math.nan, 0.0),
        (2.0, math.nan),
        (math.inf, 0.0),
        (200.0, 0.0),
        (1.0, 0.0),
    ],
)
def test_what_cannot_have_been_is_refused(ahead: float, aside: float) -> None:
    with pytest.raises(BridgeError, match="measure again"):
        trims_of(CHASSIS, Driven(2.0, 2.0, True), ahead, aside)


@pytest.mark.parametrize("turned", [0.0, -18.8, 2.0 * math.pi, math.nan])
def test_turns_that_cannot_have_been_are_refused(turned: float) -> None:
    with pytest.raises(BridgeError, match="measure again"):
        track_of(CHASSIS, Driven(-1.4137, 1.4137, True), turned)


def test_a_robot_that_does_not_come_forward_is_stopped() -> None:
    floor = Floor(stuck=True)
    with pytest.raises(BridgeError, match=r"the wheels have not made 2\.00 m"):
        drive_straight(floor, CHASSIS, 2.0, floor.sleep)
    assert not floor.armed
    assert floor.now < 10.0 + 2.0 * 10.0 + 2.0


def test_whatever_ends_the_drive_stops_the_robot() -> None:
    floor = Floor()

    def interrupted(seconds: float) -> None:
        floor.sleep(seconds)
        if floor.now > 12.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive_straight(floor, CHASSIS, 2.0, interrupted)
    assert (floor.armed, floor.applied) == (False, NEUTRAL)


# --- dead zone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [False, True])
def test_the_dead_zone_is_the_power_at_which_a_wheel_begins_to_turn(right: bool) -> None:
    floor, full_speed, dead_zone = Floor(encoders=False), 0.7, 0.137
    others: list[float] = []

    def turns(seconds: float) -> bool:
        floor.now += seconds
        rim = floor.applied.w * CHASSIS.track_m / 2.0
        speeds = (floor.applied.v - rim, floor.applied.v + rim)
        others.append(abs(speeds[not right]))
        return speeds[right] / full_speed > dead_zone

    assert find_dead_zone(floor, CHASSIS, full_speed, right, turns) == pytest.approx(0.14)
    assert max(others) < 1e-9  # the other wheel stands
    assert not floor.armed


def test_a_wheel_that_never_turns_is_a_line() -> None:
    floor = Floor(encoders=False)
    with pytest.raises(BridgeError, match="is its motor connected"):
        find_dead_zone(floor, CHASSIS, 0.3, False, lambda seconds: False)
    assert not floor.armed


def test_a_wheel_that_its_encoder_says_stood_still_is_no_calibration() -> None:
    with pytest.raises(BridgeError, match="has not turned forward"):
        trims_of(CHASSIS, Driven(0.0, 4.0, True), 2.0, 0.0)


def test_limits_that_hold_the_wheel_back_are_no_dead_zone() -> None:
    class Slow(Floor):
        def apply(self, command: Command) -> Command:
            return super().apply(command.within(0.5, 0.15, 1.0))

    floor = Slow(encoders=False)
    with pytest.raises(BridgeError, match="hold the wheel back"):
        find_dead_zone(floor, CHASSIS, 0.7, True, lambda seconds: floor.applied.v > 0.12)
