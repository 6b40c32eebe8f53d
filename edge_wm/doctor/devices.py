"""Devices that the robot file names: whether they are there, and whether this user may use them."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edge_wm.board import Board
from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.doctor.remedy import join_group
from edge_wm.robot import Robot
from edge_wm.robot_bridge import MavlinkTable, Pca9685Table, SerialTable
from edge_wm.robot_sensors import RealSensors, V4l2Table

RASPI_CONFIG = "usr/bin/raspi-config"
HEADER_BUS = 1
"""That ``raspi-config`` switches on: the one on pins 3 and 5."""
ON_USB = ("ttyACM", "ttyUSB", "serial/")
"""Names below ``/dev`` of serial ports that come and go with a plug; those of the header are switched on."""


def devices(robot: Robot, root: Path) -> Iterator[Finding]:
    """Yield what is found of each device file that bridge and sensors need."""
    table, sensors = robot.bridge, robot.sensors
    for bus in _buses(robot):
        yield _device("i2c", Path(f"/dev/i2c-{bus}"), _switch_i2c_on(bus, robot.board, root), root)
    if isinstance(table, Pca9685Table) and table.output_enable is not None:
        yield _device("gpio", Path(table.output_enable.chip), "ls /dev/gpiochip*", root)
    if isinstance(table, SerialTable | MavlinkTable) and str(table.device).startswith("/dev/"):
        port = Path(str(table.device))
        yield _device("serial", port, _find_port(port, robot.board, root), root)
        yield from _console(port, root)
    if isinstance(sensors, RealSensors) and isinstance(sensors.camera, V4l2Table):
        yield _device("video", Path(sensors.camera.device), "ls /dev/video*: is it plugged in?", root)


def _buses(robot: Robot) -> list[int]:
    """Numbers of the I2C buses that chips of this robot are on."""
    sensors, found = robot.sensors, []
    if isinstance(robot.bridge, Pca9685Table):
        found.append(robot.bridge.bus)
    if isinstance(sensors, RealSensors):
        found.append(sensors.range.bus)
        if sensors.imu is not None:
            found.append(sensors.imu.bus)
    return list(dict.fromkeys(found))


def _switch_i2c_on(bus: int, board: Board, root: Path) -> str:
    if bus == HEADER_BUS and (root / RASPI_CONFIG).exists():
        return "sudo raspi-config nonint do_i2c 0"
    return board.buses.enable or "sudo modprobe i2c-dev; ls /dev/i2c-*"


def _find_port(port: Path, board: Board, root: Path) -> str:
    if str(port.relative_to("/dev")).startswith(ON_USB):
        return "edge-wm bridge find-port: is it plugged in, and switched on?"
    if (root / RASPI_CONFIG).exists():
        return (
            "sudo raspi-config nonint do_serial_hw 0; sudo raspi-config nonint do_serial_cons 1; sudo reboot"
        )
    return board.buses.enable or f"ls {port.parent}"


def _device(check: str, device: Path, where: str, root: Path) -> Finding:
    """Look at one.

    Args:
        check: its name.
        device: the file.
        where: what to do if it is not there.
        root: of the file system.
    """
    file = root / device.relative_to("/")
    if not file.exists():
        return error(check, f"{device} is not there", where)
    if os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        return ok(check, f"{device} can be used")
    facts = file.stat()
    if facts.st_gid == 0 or facts.st_mode & 0o060 != 0o060:
        return error(
            check, f"{device} is for root alone", "sudo boards/install/install.sh gives it to a group"
        )
    group = _group(facts.st_gid)
    return error(check, f"{device} belongs to group {group}, and this user is not in it", join_group(group))


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _console(device: Path, root: Path) -> Iterator[Finding]:
    """A login console on the motors' serial port sends what is no command, and reads what is none for it."""
    try:
        command_line = (root / "proc/cmdline").read_text()
    except OSError:
        return
    real = (root / device.relative_to("/")).resolve().name
    if re.search(rf"\bconsole=({re.escape(device.name)}|{re.escape(real)})\b", command_line):
        yield warning(
            "console",
            f"the kernel's console is on {device}",
            f"take console={device.name} out of /boot/firmware/cmdline.txt; sudo raspi-config nonint do_serial_cons 1",
        )
