"""The bridge that a robot file describes."""

from __future__ import annotations

from pathlib import Path

from edge_wm.errors import BadInput
from edge_wm.robot import Robot, chassis_of
from edge_wm.robot_bridge import MavlinkTable, Pca9685Table, RecordedTable, SerialTable
from firmware_bridge.bridge import Bridge


def bridge_of(robot: Robot, file: Path, device: str | None = None) -> Bridge:
    """A bridge to real actuators, or of a replay; not connected.

    Args:
        robot: what the file says.
        file: the robot file; names in it are relative to it.
        device: of the command line, in place of that in the file.

    Raises:
        BadInput: the robot is a simulated one, or no device is named.
    """
    table = robot.bridge
    if device is not None and isinstance(table, RecordedTable | Pca9685Table):
        raise BadInput(f"{file}: bridge.kind: --device names a port, and this robot has none")
    if isinstance(table, RecordedTable):
        from firmware_bridge.recorded_bridge import RecordedBridge

        return RecordedBridge(file.parent / table.file, goal=table.goal)
    if isinstance(table, Pca9685Table):
        return table.bridge(robot.drive, chassis_of(robot))
    if isinstance(table, MavlinkTable):
        from firmware_bridge.mavlink_bridge import MavlinkBridge

        return MavlinkBridge(
            device or table.device, chassis_of(robot), table.baud, vehicle=table.vehicle, system=table.system
        )
    if isinstance(table, SerialTable) or device is not None:
        from firmware_bridge.serial_bridge import SerialBridge

        baud = table.baud if isinstance(table, SerialTable) else SerialTable().baud
        return SerialBridge(device or port_of(robot, file), chassis_of(robot), baud)
    raise BadInput(
        f"{file}: bridge.kind: the motors are simulated: describe your robot in a file of its own, or name a port with --device"
    )


def port_of(robot: Robot, file: Path) -> str:
    """The serial port of the robot file.  Raises BadInput if there is none in it."""
    if isinstance(robot.bridge, RecordedTable | Pca9685Table | MavlinkTable):
        raise BadInput(f"{file}: bridge.kind: only a microcontroller, kind 'serial', can be asked this")
    device = robot.bridge.device if isinstance(robot.bridge, SerialTable) else None
    if device is None:
        raise BadInput(
            f"{file}: bridge.device: none: name the port there, or with --device; `edge-wm bridge find-port` lists them"
        )
    return device
