"""Drives by which a person with a tape measure finds what a robot's wheels really do.

After Borenstein and Feng, Measurement and Correction of Systematic Odometry Errors in Mobile Robots (1996), who name the two errors that
matter: wheels that are not equally large, and a track that is not as long as it was drawn.  A straight drive shows the first, turning on the spot
the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from firmware_bridge.bridge import NEUTRAL, Bridge, BridgeError, Command
from firmware_bridge.chassis import Chassis

PERIOD_S = 0.05
SPEED, TURNING = 0.2, 1.0
"""m/s and rad/s, or as much as the chassis may."""
REST_S = 0.6
PATIENCE = 2.0
"""A drive that takes so many times as long as it should is given up."""
MOST = 0.2
"""A trim or a track that changes by more than this share is a mistake of the measurement, or of the robot file."""

MOST_DEAD_ZONE, DEAD_ZONE_STEP = 0.5, 0.01
"""Shares of full power."""
DEAD_ZONE_S = 0.25
"""Seconds at each step."""


class Driven(NamedTuple):
    """What the robot believes that it has driven.

    Attributes:
        left_m, right_m: ways of its wheels, by its encoders, or by the commands in force if it has none.
        measured: by encoders.
    """

    left_m: float
    right_m: float
    measured: bool


def drive_straight(
    bridge: Bridge, chassis: Chassis, distance_m: float, sleep: Callable[[float], None]
) -> Driven:
    """Drive so far straight ahead.

    Args:
        bridge: connected; it is stopped at the end.
        chassis: the robot.
        distance_m: metres.
        sleep: waits so many seconds.

    Raises:
        BridgeError: the bridge refuses, or the way takes far too long.
    """
    return _drive(bridge, Command(min(SPEED, chassis.max_v), 0.0), distance_m, chassis, sleep)


def drive_turns(bridge: Bridge, chassis: Chassis, turns: float, sleep: Callable[[float], None]) -> Driven:
    """Turn left on the spot, so many times.  Arguments and errors as of :func:`drive_straight`."""
    way_m = turns * math.pi * chassis.track_m
    return _drive(bridge, Command(0.0, min(TURNING, chassis.max_w)), way_m, chassis, sleep)


def _drive(
    bridge: Bridge, command: Command, way_m: float, chassis: Chassis, sleep: Callable[[float], None]
) -> Driven:
    """Until the wheels have made the way, on average and whatever their direction."""
    expected_s = way_m / (abs(command.v) + abs(command.w) * chassis.track_m / 2.0)
    period_s = min(PERIOD_S, chassis.tick_s)  # no deadman of this robot is shorter
    try:
        bridge.arm()
        ways = _Ways(bridge, chassis.track_m)
        began = ways.step(NEUTRAL)
        while ways.mean_m < way_m:
            lasted_s = ways.step(command) - began
            if lasted_s > PATIENCE * expected_s + 1.0:
                raise BridgeError(f"after {lasted_s:.0f} s the wheels have not made {way_m:.2f} m")
            sleep(period_s)
        for _ in range(round(REST_S / period_s)):  # down the ramp
            ways.step(NEUTRAL)
            sleep(period_s)
        ways.step(NEUTRAL)
        return Driven(ways.left_m, ways.right_m, ways.measured)
    finally:
        bridge.stop()


class _Ways:
    """The ways of both wheels since it was made, by encoders, or by what was in force from step to step."""

    def __init__(self, bridge: Bridge, track_m: float) -> None:
        self.left_m = self.right_m = 0.0
        self._bridge, self._track_m = bridge, track_m
        self._applied = NEUTRAL
        report = bridge.telemetry()
        self._time, self._start = report.time, report.wheels_m

    @property
    def measured(self) -> bool:
        return self._start is not None

    @property
    def mean_m(self) -> float:
        """Of both wheels, whatever their direction."""
        return (abs(self.left_m) + abs(self.right_m)) / 2.0

    def step(self, command: Command) -> float:
        """Put a command in force, and add up; return the time."""
        applied = self._bridge.apply(command)
        report = self._bridge.telemetry()
        if self._start is not None and report.wheels_m is not None:
            self.left_m = report.wheels_m[0] - self._start[0]
            self.right_m = report.wheels_m[1] - self._start[1]
        else:
            rim, passed_s = self._applied.w * self._track_m / 2.0, report.time - self._time
            self.left_m += (self._applied.v - rim) * passed_s
            self.right_m += (self._applied.v + rim) * passed_s
        self._time, self._applied = report.time, applied
        return report.time


def trims_of(chassis: Chassis, driven: Driven, ahead_m: float, aside_m: float) -> tuple[float, float]:
    """The chassis' trims, corrected by a straight drive.

    The robot has really driven an arc from the start to a point ``ahead_m`` before and ``aside_m`` beside it.

    Args:
        chassis: as it was driven.
        driven: what the robot believes.
        ahead_m: measured, from where its middle started.
        aside_m: likewise; left is positive.

    Raises:
        BridgeError: this cannot have been.
    """
    if not (math.isfinite(ahead_m) and ahead_m > 0.0 and abs(aside_m) <= ahead_m):
        raise BridgeError(
            f"{ahead_m:g} m ahead and {aside_m:g} m aside: measure again, from where its middle started"
        )
    if driven.left_m <= 0.0 or driven.right_m <= 0.0:
        raise BridgeError("a wheel has not turned forward by its encoder: run  edge-wm bridge arm-test")
    turned = 2.0 * math.atan2(aside_m, ahead_m)
    chord = math.hypot(ahead_m, aside_m)
    arc = chord if turned == 0.0 else chord * (turned / 2.0) / math.sin(turned / 2.0)
    rim = turned * chassis.track_m / 2.0
    left = _corrected("left trim", chassis.trims[0], (arc - rim) / driven.left_m)
    right = _corrected("right trim", chassis.trims[1], (arc + rim) / driven.right_m)
    return left, right


def track_of(chassis: Chassis, driven: Driven, turned: float) -> float:
    """The track, corrected by a drive on the spot.

    Args:
        chassis: as it was driven.
        driven: what the robot believes.
        turned: what it has really turned, rad, all turns together.

    Raises:
        BridgeError: this cannot have been.
    """
    if not turned > 0.0:
        raise BridgeError(f"turned by {turned:g} rad: measure again, all turns together, left is positive")
    believed = (driven.right_m - driven.left_m) / chassis.track_m
    return _corrected("track_m", chassis.track_m, believed / turned)


def _corrected(name: str, value: float, factor: float) -> float:
    if not abs(factor - 1.0) <= MOST:
        raise BridgeError(
            f"{name} would change by {factor - 1.0:+.0%}: measure again, and check wheel_radius_m and the motors' numbers"
        )
    return round(value * factor, 5)


def find_dead_zone(
    bridge: Bridge, chassis: Chassis, full_speed: float, right: bool, turns: Callable[[float], bool]
) -> float:
    """Raise the power of one motor until a person sees its wheel turn.

    Args:
        bridge: connected, to motors without encoders, whose dead zone is set to 0; it is stopped at the end.
        chassis: the robot.
        full_speed: of this motor, trim included, m/s.
        right: whether it is the right one.
        turns: waits so many seconds, and says whether the person has seen the wheel turn.

    Returns:
        The share of full power at which it began to turn.

    Raises:
        BridgeError: the bridge refuses, or the wheel has not begun to turn at ``MOST_DEAD_ZONE``.
    """
    period_s = min(PERIOD_S, chassis.tick_s)
    try:
        bridge.arm()
        for step in range(1, round(MOST_DEAD_ZONE / DEAD_ZONE_STEP) + 1):
            share = step * DEAD_ZONE_STEP
            speed = share * full_speed
            spin = speed / chassis.track_m
            for _ in range(round(DEAD_ZONE_S / period_s)):
                applied = bridge.apply(Command(speed / 2.0, spin if right else -spin))
                if turns(period_s):
                    if applied.v < 0.9 * speed / 2.0 or abs(applied.w) < 0.9 * spin:
                        raise BridgeError(
                            "the limits of the robot file hold the wheel back: it cannot be calibrated"
                        )
                    return share
        raise BridgeError(f"the wheel stands at {MOST_DEAD_ZONE:.0%} of full power: is its motor connected?")
    finally:
        bridge.stop()
