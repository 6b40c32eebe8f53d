"""Devices that the robot file names: whether they are there, and whether this user may use them."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

from edge_wm.board import Board
from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.robot import Robot
from edge_wm.robot_bridge import MavlinkTable, Pca9685Table, SerialTable


def devices(robot: Robot, root: Path) -> Iterator[Finding]:
    """Yield what is found of each device file that the bridge needs."""
    table = robot.bridge
    if isinstance(table, Pca9685Table):
        yield _device("i2c", Path(f"/dev/i2c-{table.bus}"), robot.board, root)
        if table.output_enable is not None:
            yield _device("gpio", Path(table.output_enable.chip), robot.board, root)
    elif isinstance(table, SerialTable | MavlinkTable) and str(table.device).startswith("/dev/"):
        port = Path(str(table.device))
        yield _device("serial", port, robot.board, root)
        yield from _console(port, root)


def _device(check: str, device: Path, board: Board, root: Path) -> Finding:
    file = root / device.relative_to("/")
    if not file.exists():
        remedy = board.buses.enable or f"ls {device.parent}: is it plugged in, and switched on?"
        return error(check, f"{device} is not there", remedy)
    if not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        group = _group(file)
        user = pwd.getpwuid(os.geteuid()).pw_name
        return error(
            check,
            f"{device} belongs to group {group}, and {user} is not in it",
            f"sudo usermod -aG {group} {user}, then log in again",
        )
    return ok(check, f"{device} can be used")


def _group(file: Path) -> str:
    number = file.stat().st_gid
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
