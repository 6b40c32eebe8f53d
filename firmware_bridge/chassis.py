"""The robot as the computer knows it, and whether a firmware was built for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from firmware_bridge.bridge import BridgeError

if TYPE_CHECKING:
    from firmware_bridge.wire import Identity

SAME = 0.0005
"""Lengths may differ by this share: the firmware has them in whole micrometres."""
STARVED = 1.5
"""The deadman must outlast this many ticks, so that one late command does not stop the robot."""

LONGEST_DEADMAN_S = 0.5
"""A robot that goes on for longer without its computer is not driven."""


@dataclass(frozen=True)
class Chassis:
    """The robot as the computer knows it; SI units.

    Attributes:
        track_m: between the contact points of the wheels.
        wheel_radius_m: of both, by their drawing.
        max_v, max_reverse_v: m/s, both positive.
        max_w: rad/s.
        accel, decel: m/s^2.
        angular_accel: rad/s^2, either way.
        tick_s: seconds from one command to the next.
        trims: metres that the left and the right wheel make for each that they should by ``wheel_radius_m``.
        deadman_s: that the firmware was built with, seconds; None if nobody says.
        counts_per_turn: of an encoder, likewise.
    """

    track_m: float
    wheel_radius_m: float
    max_v: float
    max_reverse_v: float
    max_w: float
    accel: float
    decel: float
    angular_accel: float
    tick_s: float
    trims: tuple[float, float] = (1.0, 1.0)
    deadman_s: float | None = None
    counts_per_turn: int | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not (math.isfinite(number) and number >= 0.0):
                    raise BridgeError(f"{item.name} is {value}: it must be finite and not negative")


def differences(chassis: Chassis, identity: Identity) -> list[str]:
    """Why this firmware must not drive this robot."""
    found = []
    for name, ours, theirs in (
        ("track", chassis.track_m, identity.track_um * 1e-6),
        ("left wheel radius", chassis.wheel_radius_m * chassis.trims[0], identity.left_radius_um * 1e-6),
        ("right wheel radius", chassis.wheel_radius_m * chassis.trims[1], identity.right_radius_um * 1e-6),
    ):
        if not math.isclose(ours, theirs, rel_tol=SAME):
            found.append(
                f"its firmware was built for a {name} of {theirs:g} m, the robot has {ours:g} m: reflash it"
            )
    for name, ours, theirs in (
        ("max_v", chassis.max_v, identity.max_v_mmps / 1000.0),
        ("max_reverse_v", chassis.max_reverse_v, identity.max_reverse_mmps / 1000.0),
        ("max_w", chassis.max_w, identity.max_w_mradps / 1000.0),
        ("accel", chassis.accel, identity.accel_mmps2 / 1000.0),
        ("decel", chassis.decel, identity.decel_mmps2 / 1000.0),
        ("angular_accel", chassis.angular_accel, identity.angular_accel_mradps2 / 1000.0),
        ("angular_accel", chassis.angular_accel, identity.angular_decel_mradps2 / 1000.0),
    ):
        if ours > theirs * (1.0 + 1e-6):
            found.append(f"{name} {ours:g} is beyond the firmware's own {theirs:g}: lower it, or reflash")
    deadman_s = identity.deadman_ms / 1000.0
    for name, asked, built in (
        ("deadman_s", chassis.deadman_s, deadman_s),
        ("counts_per_turn", chassis.counts_per_turn, identity.counts_per_turn),
    ):
        if asked is not None and not math.isclose(asked, built, abs_tol=0.0005):
            found.append(
                f"its firmware was built with {name} = {built:g}, the robot file says {asked:g}: reflash it"
            )
    if STARVED * chassis.tick_s > deadman_s:
        found.append(
            f"its deadman of {deadman_s:g} s does not outlast {STARVED:g} ticks of {chassis.tick_s:g} s: lower tick_s"
        )
    if deadman_s > LONGEST_DEADMAN_S:
        found.append(f"its deadman of {deadman_s:g} s is longer than {LONGEST_DEADMAN_S:g} s: reflash it")
    return found
