"""The first drive of a robot, wheels off the ground: whether each wheel turns as it is told, and stops when nobody tells it anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from firmware_bridge.bridge import NEUTRAL, Bridge, BridgeError, Command

MOVEMENTS = {
    "forward": Command(0.1, 0.0),
    "backward": Command(-0.1, 0.0),
    "turn left": Command(0.0, 1.0),
    "turn right": Command(0.0, -1.0),
}
DRIVE_S, REST_S, PERIOD_S = 1.0, 0.6, 0.05
TOLERANCE = 0.3
"""Of the way that a wheel turns, as a share of the way it should."""
SILENCE_S = 0.5
"""Longer than any deadman that a bridge connects with."""


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
    bridge: Bridge, track_m: float, max_reverse_v: float, sleep: Callable[[float], None]
) -> Iterator[Check]:
    """Drive each movement for a second, and then fall silent.

    Args:
        bridge: connected.  It is disarmed at the end.
        track_m: between the contact points of the wheels.
        max_reverse_v: m/s, positive; 0 leaves out driving backward.
        sleep: waits so many seconds.

    Yields:
        One check a movement, as it ends, and one of the deadman.  A fault ends the test with the check that it failed.
    """
    try:
        for name, command in MOVEMENTS.items():
            if command.v < 0.0:
                command = Command(-min(-command.v, max_reverse_v), 0.0)
                if not command.v:
                    continue
            check = _movement(bridge, name, command, track_m, sleep)
            yield check
            if check.expected_m is None:
                return
        yield _silence(bridge, sleep)
    finally:
        bridge.stop()


def _movement(
    bridge: Bridge, name: str, command: Command, track_m: float, sleep: Callable[[float], None]
) -> Check:
    rim = command.w * track_m / 2.0
    try:
        bridge.arm()
        bridge.apply(command)
        before = bridge.telemetry()
        _keep(bridge, command, DRIVE_S, sleep)
        bridge.apply(NEUTRAL)
        lasted_s = bridge.telemetry().time - before.time
        _keep(bridge, NEUTRAL, REST_S, sleep)
        after = bridge.telemetry()
    except BridgeError as error:
        return Check(name, None, None, False, str(error))
    expected = ((command.v - rim) * lasted_s, (command.v + rim) * lasted_s)
    if before.wheels_m is None or after.wheels_m is None:
        return Check(name, expected, None, None, "no encoders: look whether it did")
    found = (after.wheels_m[0] - before.wheels_m[0], after.wheels_m[1] - before.wheels_m[1])
    wrong = [
        side
        for side, should, did in zip(("left", "right"), expected, found, strict=True)
        if abs(did - should) > TOLERANCE * abs(should)
    ]
    return Check(name, expected, found, not wrong, f"wrong: {' and '.join(wrong)}" if wrong else "")


def _silence(bridge: Bridge, sleep: Callable[[float], None]) -> Check:
    """Turn, say nothing, and see whether the firmware has stopped the wheels by itself."""
    name = "falls silent"
    try:
        bridge.arm()
        _keep(bridge, MOVEMENTS["forward"], DRIVE_S, sleep)
        sleep(SILENCE_S)
        bridge.apply(NEUTRAL)
    except BridgeError:
        stopped = "deadman" in bridge.telemetry().faults
        return Check(name, None, None, stopped, "" if stopped else "it stopped for another reason")
    return Check(name, None, None, False, "it still obeyed: its deadman does not work")


def _keep(bridge: Bridge, command: Command, seconds: float, sleep: Callable[[float], None]) -> None:
    for _ in range(round(seconds / PERIOD_S)):
        bridge.apply(command)
        sleep(PERIOD_S)
