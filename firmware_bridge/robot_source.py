"""``robot.c``, the robot that a firmware is built for, made of the numbers that the computer drives it by.

So nobody writes them down twice.  The firmware's own limits are those of the computer; its ramps are somewhat steeper, so that they
never hold up one of the supervisor's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from firmware_bridge.bridge import BridgeError
from firmware_bridge.chassis import LONGEST_DEADMAN_S, Chassis
from firmware_bridge.drivetrain import Differential, Motor

STEEPER = 4.0 / 3.0
"""The firmware's ramps, as a multiple of the computer's."""
BRAKING = 2.0
"""Its ramps towards rest, likewise, or as a multiple of its own where the computer knows only one."""
RESERVE = 6.0 / 7.0
"""No wheel is asked for more than this share of its full speed: a loaded one could not follow."""
MOST_RIM, MOST_RADIUS_M = 2.14, 0.34
"""m/s and m: `motion_fits` (core/motion.c) takes no more, so that no product of 32 bits overflows."""
TICK_MS = 5
LATE_TICK_MS = 50


@dataclass(frozen=True)
class Build:
    """What a firmware needs to know beside chassis and motors.

    Attributes:
        counts_per_turn: of an encoder, all four edges, for one turn of the wheel; 0 without encoders.
        reversed_encoders: whether the left and the right one count backward.
        deadman_s: the motors are off so long after the last command.
        gain_p: share of full power for an error of 1 m/s.
        gain_i: share of full power for an error of 1 m/s that lasted for 1 s.
        stall_m, stall_s: of a way of ``stall_m`` and what it should turn in ``stall_s`` beside, a wheel must turn an eighth.
        runaway_v, runaway_s: turning faster than this against the command, for so long, is a fault; m/s, s.
    """

    counts_per_turn: int = 0
    reversed_encoders: tuple[bool, bool] = (False, False)
    deadman_s: float = 0.2
    gain_p: float = 0.4
    gain_i: float = 2.0
    stall_m: float = 0.03
    stall_s: float = 0.12
    runaway_v: float = 0.08
    runaway_s: float = 0.2

    def __post_init__(self) -> None:
        if not 2 * TICK_MS / 1000.0 < self.deadman_s <= LONGEST_DEADMAN_S:
            raise BridgeError(f"deadman_s is {self.deadman_s}: it must be 0.01 to {LONGEST_DEADMAN_S}")


def robot_source(chassis: Chassis, wheels: Differential, build: Build) -> str:
    """The text of ``robot.c``.

    Args:
        chassis: geometry and limits.
        wheels: their motors.
        build: the rest.

    Raises:
        BridgeError: a number is beyond what the firmware can hold, or the wheels cannot reach ``max_v``.
    """
    fastest = RESERVE * min(_full_speed(motor, build) for motor in (wheels.left, wheels.right))
    if chassis.max_v > fastest:
        raise BridgeError(
            f"max_v {chassis.max_v:g} m/s is beyond {fastest:g} m/s, six sevenths of the slower motor's full_speed: lower it"
        )
    if chassis.max_w * chassis.track_m / 2.0 > MOST_RIM:
        raise BridgeError(
            f"max_w {chassis.max_w:g} rad/s on a track of {chassis.track_m:g} m is more than the firmware can calculate with"
        )
    if chassis.wheel_radius_m * max(chassis.trims) > MOST_RADIUS_M:
        raise BridgeError(
            f"wheel_radius_m {chassis.wheel_radius_m:g} is more than the firmware can calculate with, {MOST_RADIUS_M:g}"
        )
    return _TEXT.format(
        track=_whole("track_m", chassis.track_m, 1e6, 32),
        left=_wheel("left", chassis, wheels.left, chassis.trims[0], build, build.reversed_encoders[0]),
        right=_wheel("right", chassis, wheels.right, chassis.trims[1], build, build.reversed_encoders[1]),
        counts=_whole("counts_per_turn", build.counts_per_turn, 1, 16),
        max_v=_limit("max_v", chassis.max_v),
        max_reverse=_limit("max_reverse_v", chassis.max_reverse_v),
        max_w=_limit("max_w", chassis.max_w),
        max_wheel=_whole("full_speed", fastest, 1e3, 15),
        accel=_ramp("accel", chassis.accel, STEEPER),
        decel=_ramp("decel", chassis.decel, BRAKING),
        angular_accel=_ramp("angular_accel", chassis.angular_accel, STEEPER),
        angular_decel=_ramp("angular_accel", chassis.angular_accel, STEEPER * BRAKING),
        deadman=_whole("deadman_s", build.deadman_s, 1e3, 16),
        tick=TICK_MS,
        late_tick=LATE_TICK_MS,
        gain_p=_whole("gain_p", build.gain_p, 1e3, 15),
        gain_i=_whole("gain_i", build.gain_i, 1e3, 15),
        stall_mm=_whole("stall_m", build.stall_m, 1e3, 16),
        stall_ms=_whole("stall_s", build.stall_s, 1e3, 16),
        runaway_mmps=_whole("runaway_v", build.runaway_v, 1e3, 15),
        runaway_ms=_whole("runaway_s", build.runaway_s, 1e3, 16),
    )


def _ramp(name: str, number: float, steeper: float) -> int:
    """Steeper than the computer's, as far as the firmware can hold it."""
    return max(_whole(name, number, 1e3, 16), min(_whole(name, number * steeper, 1e3, 32), (1 << 16) - 1))


def _limit(name: str, number: float) -> int:
    """Rounded up, so that the computer's own limit is never beyond it."""
    return _whole(name, math.ceil(number * 1e3 - 1e-6) / 1e3, 1e3, 15)


def _whole(name: str, number: float, per_unit: float, bits: int) -> int:
    """A number in the firmware's unit.  Raises BridgeError if so many bits cannot hold it."""
    whole = round(number * per_unit)
    if not 0 <= whole < 1 << bits:
        raise BridgeError(
            f"{name}: {number:g} is more than the firmware can hold, {((1 << bits) - 1) / per_unit:g}"
        )
    return whole


def _full_speed(motor: Motor, build: Build) -> float:
    """What the trim is of: the radius where an encoder measures the way, and the speed where nothing does."""
    return motor.full_speed if build.counts_per_turn else motor.max_speed


def _wheel(
    side: str, chassis: Chassis, motor: Motor, trim: float, build: Build, reversed_encoder: bool
) -> str:
    # The firmware adds the dead zone to a power in proportion to the speed, so that both together are full power at full speed.
    proportional = _full_speed(motor, build) / (1.0 - motor.dead_zone)
    return _WHEEL.format(
        radius=_whole("wheel_radius_m", chassis.wheel_radius_m * trim, 1e6, 32),
        full_speed=_whole(f"{side}: full_speed", proportional, 1e3, 15),
        dead_zone=_whole(f"{side}: dead_zone", motor.dead_zone, 1e3, 15),
        motor="true" if motor.reversed else "false",
        encoder="true" if reversed_encoder else "false",
    )


_WHEEL = """{{
        .radius_um = {radius}U,
        .dead_zone_permille = {dead_zone},
        .full_speed_mmps = {full_speed},
        .motor_reversed = {motor},
        .encoder_reversed = {encoder}
    }}"""

_TEXT = """\
/* Made by firmware_bridge/robot_source.py of a robot file. */
#include "robot.h"

const robot_t ROBOT = {{
    .track_um = {track}U,
    .left = {left},
    .right = {right},
    .counts_per_turn = {counts}U,

    .max_v_mmps = {max_v},
    .max_reverse_mmps = {max_reverse},
    .max_w_mradps = {max_w},
    .max_wheel_mmps = {max_wheel},
    .accel_mmps2 = {accel}U,
    .decel_mmps2 = {decel}U,
    .angular_accel_mradps2 = {angular_accel}U,
    .angular_decel_mradps2 = {angular_decel}U,

    .deadman_ms = {deadman}U,
    .tick_ms = {tick}U,
    .late_tick_ms = {late_tick}U,

    .gain_p = {gain_p},
    .gain_i = {gain_i},
    .stall_mm = {stall_mm}U,
    .stall_ms = {stall_ms}U,
    .runaway_mmps = {runaway_mmps},
    .runaway_ms = {runaway_ms}U
}};
"""
