"""The first drive of a robot, wheels off the ground: whether each wheel turns as it is told, and stops when nobody tells it anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from firmware_bridge.bridge import NEUTRAL, Bridge, BridgeError, Command
from firmware_bridge.chassis import LONGEST_DEADMAN_S, Chassis

MOVEMENTS = {
    "forward": Command(0.1, 0.0),
    "backward": Command(-0.1, 0.0),
    "turn left": Command(0.0, 1.0),
    "turn right": Command(0.0, -1.0),
}
DRIVE_S, REST_S, PERIOD_S = 1.0, 0.6, 0.05
TOLERANCE = 0.3
"""Of the way that a wheel turns, as a share of the way it should."""
SILENCE_S = 0.2 + LONGEST_DEADMAN_S
STANDING_M = 0.005


class Check(NamedTuple):
    """What came of one movement.

    Attributes:
        name: of the movement.
        expected_m: metres that the left and the right wheel should have turned; None when a fault ended it.
        found_m: and have; None without encoders.
        passed: None if only a person can see it.
        remark: why not.
    """

    name: str
    expected_m: tuple[float, float] | None
    found_m: tuple[float, float] | None
    passed: bool | None
    remark: str = ""


def arm_test(
    bridge: Bridge, chassis: Chassis, sleep: Callable[[float], None], *, has_deadman: bool = True
) -> Iterator[Check]:
    """Drive each movement for a second, and then fall silent.

    Args:
        bridge: connected.  It is disarmed at the end.
        chassis: the robot; no movement is faster than it may be, and one that it must not make is left out.
        sleep: waits so many seconds.
        has_deadman: whether it must stop by itself within ``SILENCE_S``.  An autopilot takes longer, and is not made to wait for.

    Yields:
        One check a movement, as it ends, and one of the deadman.  A fault ends the test with the check that it failed.
    """
    try:
        for name, command in MOVEMENTS.items():
            allowed = command.within(chassis.max_v, chassis.max_reverse_v, chassis.max_w)
            if allowed == NEUTRAL:
                continue
            check = _movement(bridge, name, allowed, chassis, sleep)
            yield check
            if check.expected_m is None:
                return
        if has_deadman:
            yield _silence(bridge, chassis, sleep)
    finally:
        bridge.stop()


def _movement(
    bridge: Bridge, name: str, command: Command, chassis: Chassis, sleep: Callable[[float], None]
) -> Check:
    try:
        bridge.arm()
        applied = bridge.apply(command)
        before = bridge.telemetry()
        _keep(bridge, command, DRIVE_S, chassis, sleep)
        bridge.apply(NEUTRAL)
        lasted_s = bridge.telemetry().time - before.time
        _keep(bridge, NEUTRAL, REST_S, chassis, sleep)
        after = bridge.telemetry()
    except BridgeError as error:
        return Check(name, None, None, False, str(error))
    rim = applied.w * chassis.track_m / 2.0
    expected = ((applied.v - rim) * lasted_s, (applied.v + rim) * lasted_s)
    if before.wheels_m is None or after.wheels_m is None:
        return Check(name, expected, None, None, "no encoders: look whether it did")
    found = (after.wheels_m[0] - before.wheels_m[0], after.wheels_m[1] - before.wheels_m[1])
    wrong = [
        side
        for side, should, did in zip(("left", "right"), expected, found, strict=True)
        if abs(did - should) > TOLERANCE * abs(should)
    ]
    return Check(name, expected, found, not wrong, f"wrong: {' and '.join(wrong)}" if wrong else "")


def _silence(bridge: Bridge, chassis: Chassis, sleep: Callable[[float], None]) -> Check:
    """Turn, say nothing, and see whether the firmware has stopped the wheels by itself."""
    name = "falls silent"
    try:
        bridge.arm()
        _keep(bridge, Command(min(MOVEMENTS["forward"].v, chassis.max_v), 0.0), DRIVE_S, chassis, sleep)
        sleep(SILENCE_S)
        bridge.apply(NEUTRAL)
    except BridgeError:
        first = bridge.telemetry()
        sleep(SILENCE_S)
        bridge.stop()  # reports once more
        last = bridge.telemetry()
        if "deadman" not in first.faults:
            return Check(name, None, None, False, "it stopped for another reason")
        if first.wheels_m is None or last.wheels_m is None:
            return Check(name, None, None, None, "no encoders: look whether the wheels stand")
        stands = max(abs(b - a) for a, b in zip(first.wheels_m, last.wheels_m, strict=True)) < STANDING_M
        return Check(name, None, None, stands, "" if stands else "the wheels still turn")
    return Check(name, None, None, False, "it still obeyed: its deadman does not work")


def _keep(
    bridge: Bridge, command: Command, seconds: float, chassis: Chassis, sleep: Callable[[float], None]
) -> None:
    period_s = min(PERIOD_S, chassis.tick_s)  # no deadman of this robot is shorter
    for _ in range(round(seconds / period_s)):
        bridge.apply(command)
        sleep(period_s)
