"""The link to the motors.  It moves nothing; a microcontroller that was armed is disarmed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.drive.bridges import bridge_of
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.robot_bridge import Pca9685Table, SimavrTable, SimTable
from firmware_bridge.bridge import BridgeError


def link(robot: Robot, file: Path) -> Finding:
    """Whether the bridge can be reached, and is that of this robot."""
    if isinstance(robot.bridge, SimTable | SimavrTable):
        return ok("bridge", "the motors are simulated")
    try:
        bridge = bridge_of(robot, file)
        try:
            bridge.connect()
            report = bridge.telemetry()
        finally:
            bridge.close()
    except (BridgeError, BadInput) as why:
        return error("bridge", str(why), "docs/bridges.md")
    if report.faults:
        latched = f"latched: {', '.join(report.faults)}"
        return error("bridge", latched, f"edge-wm bridge clear-faults --robot {file}")
    battery = "" if report.battery_v is None else f", battery {report.battery_v:.1f} V"
    return ok("bridge", f"answers, disarmed, no fault{battery}")


def last_pulse(robot: Robot) -> Iterator[Finding]:
    """A PWM chip has no deadman: who stops the robot when its computer cannot?"""
    table = robot.bridge
    if not isinstance(table, Pca9685Table):
        return
    if table.output_enable is None:
        yield warning(
            "last pulse",
            "a PCA9685 keeps its last pulse: if the bus stays stuck, or this computer loses power or hangs, the robot drives on",
            "connect the chip's OE pin, with a pull-up, and name it in bridge.output_enable; docs/pca9685.md",
        )
    else:
        yield warning(
            "last pulse",
            "the OE pin stops the robot if this computer loses power; if its kernel hangs, the PCA9685 keeps its last pulse",
            "set up a hardware watchdog, or drive through a microcontroller; docs/pca9685.md",
        )
