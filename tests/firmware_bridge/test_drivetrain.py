"""From a velocity to power and steering, and the ramps before it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import NEUTRAL, BridgeError, Command
from firmware_bridge.chassis import Chassis
from firmware_bridge.drivetrain import Ackermann, Differential, Motor
from firmware_bridge.ramp import approach, ramped

MOTOR = Motor(full_speed=1.0, dead_zone=0.2)
PAIR = Differential(track_m=0.2, left=MOTOR, right=MOTOR)
CAR = Ackermann(wheelbase_m=0.25, max_angle=0.4, motor=Motor(full_speed=2.0))
CHASSIS = Chassis(
    track_m=0.2,
    wheel_radius_m=0.03,
    max_v=0.5,
    max_reverse_v=0.2,
    max_w=3.0,
    accel=1.0,
    decel=2.0,
    angular_accel=10.0,
    tick_s=0.05,
)
speeds = st.floats(-3.0, 3.0)
commands = st.builds(Command, speeds, st.floats(-8.0, 8.0))


def test_power_begins_behind_the_dead_zone_and_ends_at_full() -> None:
    assert MOTOR.power(0.0) == 0.0
    assert MOTOR.power(0.001) == pytest.approx(0.2008)
    assert MOTOR.power(0.5) == pytest.approx(0.6)
    assert MOTOR.power(1.0) == MOTOR.power(7.0) == 1.0
    assert MOTOR.power(-0.5) == pytest.approx(-0.6)


def test_a_wheel_that_is_asked_for_less_than_it_can_show_gets_no_power() -> None:
    """Not that of the dead zone, back and forth, for what is left of 0.1 - 0.1."""
    assert MOTOR.power(1e-17) == 0.0
    assert PAIR.mix(Command(0.1 + 0.2, 3.0)).left == 0.0


def test_a_motor_connected_the_wrong_way_round_is_turned_the_other_way() -> None:
    assert Motor(1.0, reversed=True).power(0.5) == -0.5


def test_a_wheel_that_makes_more_of_its_power_gets_less() -> None:
    assert Motor(1.0, trim=1.25).power(0.5) == pytest.approx(0.4)


def test_the_right_wheel_is_the_faster_one_in_a_left_turn() -> None:
    left, right, applied = PAIR.mix(Command(0.4, 1.0))
    assert left == pytest.approx(MOTOR.power(0.3))
    assert right == pytest.approx(MOTOR.power(0.5))
    assert applied == Command(0.4, 1.0)


@given(commands)
def test_a_drive_that_cannot_is_slower_on_the_same_arc(command: Command) -> None:
    left, right, applied = PAIR.mix(command)
    assert max(abs(left), abs(right)) <= 1.0
    assert abs(applied.v) <= abs(command.v)
    assert applied.v * command.w == pytest.approx(applied.w * command.v, abs=1e-9)


@given(commands)
def test_a_car_never_turns_tighter_than_its_wheels_and_never_the_other_way(command: Command) -> None:
    power, steering, applied = CAR.mix(command)
    assert abs(power) <= 1.0
    assert abs(steering) <= 1.0
    assert abs(applied.w) <= abs(command.w)
    assert applied.w * command.w >= 0.0
    if applied.v:
        angle = steering * CAR.max_angle
        assert applied.w == pytest.approx(applied.v * math.tan(angle) / CAR.wheelbase_m, abs=1e-6)


def test_a_car_steers_by_tan_angle_times_v_over_the_wheelbase() -> None:
    assert CAR.mix(Command(1.0, 1.0)).steering == pytest.approx(math.atan(0.25) / 0.4)
    assert CAR.mix(Command(-0.5, 0.5)).steering < 0.0  # backwards to the left the wheels point right
    assert CAR.mix(Command(0.0, 2.0)) == (0.0, 0.0, NEUTRAL)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Motor(0.0), "full_speed is 0.0: it must be finite and positive"),
        (lambda: Motor(math.nan), "full_speed"),
        (lambda: Motor(1.0, dead_zone=1.0), "dead_zone"),
        (lambda: Motor(1.0, trim=3.0), "trim"),
        (lambda: Differential(0.0, MOTOR, MOTOR), "track_m"),
        (lambda: Ackermann(math.inf, 0.4, MOTOR), "wheelbase_m"),
        (lambda: Ackermann(0.2, 1.6, MOTOR), "max_angle"),
    ],
)
def test_numbers_that_make_no_drive_are_refused(make: type, said: str) -> None:
    with pytest.raises(BridgeError, match=said):
        make()


def test_it_stops_faster_than_it_starts() -> None:
    assert approach(0.0, 1.0, 0.1, 0.3) == pytest.approx(0.1)
    assert approach(1.0, 0.0, 0.1, 0.3) == pytest.approx(0.7)
    assert approach(-1.0, -0.2, 0.1, 0.3) == pytest.approx(-0.7)


def test_from_forward_to_backward_it_rests_in_between() -> None:
    assert approach(0.2, -1.0, 0.1, 0.3) == 0.0
    assert approach(0.0, -1.0, 0.1, 0.3) == pytest.approx(-0.1)


@given(commands, commands, st.floats(0.0, 0.2))
def test_no_ramp_is_steeper_than_the_chassis_allows(now: Command, target: Command, seconds: float) -> None:
    then = ramped(now, target, CHASSIS, seconds)
    assert abs(then.v - now.v) <= CHASSIS.decel * seconds + 1e-9
    if abs(then.v) > abs(now.v):
        assert abs(then.v - now.v) <= CHASSIS.accel * seconds + 1e-9
    assert abs(then.w - now.w) <= CHASSIS.angular_accel * seconds + 1e-9


@given(commands, commands)
def test_every_ramp_arrives(now: Command, target: Command) -> None:
    for _ in range(200):
        now = ramped(now, target, CHASSIS, 0.05)
    assert now == target
