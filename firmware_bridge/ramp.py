"""Ramps: speeds change by so much a second, and slow down faster than they grow."""

from __future__ import annotations

from firmware_bridge.bridge import Command
from firmware_bridge.chassis import Chassis


def approach(now: float, target: float, up: float, down: float) -> float:
    """One step from speed ``now`` towards ``target``: at most ``down`` towards rest, at most ``up`` away from it."""
    if now * target < 0.0:
        target = 0.0  # first to rest, then the other way
    step = down if abs(target) < abs(now) else up
    return min(max(target, now - step), now + step)


def ramped(now: Command, target: Command, chassis: Chassis, seconds: float) -> Command:
    """The velocity after so many seconds on the way from ``now`` to ``target``, at the accelerations of the chassis."""
    turn = chassis.angular_accel * seconds
    return Command(
        approach(now.v, target.v, chassis.accel * seconds, chassis.decel * seconds),
        min(max(target.w, now.w - turn), now.w + turn),
    )
