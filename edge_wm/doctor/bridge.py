"""The link to the motors.  It moves nothing; a microcontroller that was armed is disarmed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.doctor.remedy import remedy_for
from edge_wm.drive.bridges import bridge_of
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.robot_bridge import Pca9685Table, SimavrTable, SimTable
from edge_wm.robot_sensors import RealSensors
from firmware_bridge.bridge import Bridge, BridgeError
from firmware_bridge.mavlink_bridge import MavlinkBridge
from firmware_bridge.serial_bridge import SerialBridge, WrongFirmware, fault_names
from firmware_bridge.wire import Fault

FOR_ANOTHER_ROBOT = set(fault_names(Fault.MISBUILT))
"""Faults that nothing clears."""


def link(robot: Robot, file: Path) -> Finding:
    """Whether the bridge can be reached, and is that of this robot."""
    if isinstance(robot.bridge, SimTable | SimavrTable):
        return ok("bridge", "the motors are simulated")
    named = f"--robot {shlex.quote(str(file))}"
    try:
        bridge = bridge_of(robot, file)
        try:
            bridge.connect()
            report, firmware = bridge.telemetry(), _firmware(bridge)
        finally:
            bridge.close()
    except WrongFirmware as why:
        return error("bridge", str(why), f"edge-wm bridge flash {named}")
    except (BridgeError, BadInput) as why:
        return error("bridge", str(why), remedy_for(str(why), "docs/bridges.md"))
    if report.faults:
        command = "flash" if FOR_ANOTHER_ROBOT & set(report.faults) else "clear-faults"
        return error("bridge", f"latched: {', '.join(report.faults)}", f"edge-wm bridge {command} {named}")
    if isinstance(robot.sensors, RealSensors) and robot.sensors.wheels and report.wheels_m is None:
        return error(
            "bridge", "it does not say how far the wheels have turned", f"{file}: sensors.wheels = false"
        )
    battery = "" if report.battery_v is None else f", battery {report.battery_v:.1f} V"
    state = "armed" if report.armed else "disarmed"
    return ok("bridge", f"answers, {state}, no fault{battery}{firmware}")


def _firmware(bridge: Bridge) -> str:
    """What runs at its other end, to be put behind the rest; empty where that is nothing that has a version."""
    return f"; {bridge.firmware()}" if isinstance(bridge, SerialBridge | MavlinkBridge) else ""


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
        yield ok(
            "last pulse",
            "the OE pin stops the robot if this computer loses power; if its kernel hangs, only the watchdog does, seconds later",
        )
