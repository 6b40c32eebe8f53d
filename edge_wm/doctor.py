"""What is wrong with a robot before it drives: one finding a check, with the value that was found and what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from edge_wm.drive.bridges import bridge_of
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.robot_bridge import Pca9685Table, SimavrTable, SimTable
from firmware_bridge.bridge import BridgeError


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "ERROR"


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        check: its name.
        level: how bad it is.
        said: one line, with the measured value if there is one.
        remedy: what to do; empty if nothing has to be done.
    """

    check: str
    level: Level
    said: str
    remedy: str = ""


def findings(robot: Robot, file: Path) -> Iterator[Finding]:
    """Yield what is found, check by check.  It moves nothing; a microcontroller that was armed is disarmed."""
    yield _link(robot, file)
    yield from _last_pulse(robot)


def _link(robot: Robot, file: Path) -> Finding:
    """Whether the bridge can be reached, and is that of this robot."""
    table = robot.bridge
    if isinstance(table, SimTable | SimavrTable):
        return Finding("bridge", Level.OK, "the motors are simulated")
    try:
        bridge = bridge_of(robot, file)
        try:
            bridge.connect()
            report = bridge.telemetry()
        finally:
            bridge.close()
    except (BridgeError, BadInput) as error:
        return Finding("bridge", Level.ERROR, str(error), "docs/bridges.md")
    if report.faults:
        latched = f"latched: {', '.join(report.faults)}"
        return Finding("bridge", Level.ERROR, latched, f"edge-wm bridge clear-faults --robot {file}")
    battery = "" if report.battery_v is None else f", battery {report.battery_v:.1f} V"
    return Finding("bridge", Level.OK, f"answers, disarmed, no fault{battery}")


def _last_pulse(robot: Robot) -> Iterator[Finding]:
    """A PWM chip has no deadman: who stops the robot when its computer cannot?"""
    table = robot.bridge
    if not isinstance(table, Pca9685Table):
        return
    if table.output_enable is None:
        yield Finding(
            "last pulse",
            Level.WARNING,
            "a PCA9685 keeps its last pulse: if the bus stays stuck, or this computer loses power or hangs, the robot drives on",
            "connect the chip's OE pin, with a pull-up, and name it in bridge.output_enable; docs/pca9685.md",
        )
    else:
        yield Finding(
            "last pulse",
            Level.WARNING,
            "the OE pin stops the robot if this computer loses power; if its kernel hangs, the PCA9685 keeps its last pulse",
            "set up a hardware watchdog, or drive through a microcontroller; docs/pca9685.md",
        )
