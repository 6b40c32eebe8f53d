"""The serial port on a Raspberry Pi's header, which is off in every image: a robot whose bridge is there needs it."""

from __future__ import annotations

import re
from pathlib import Path

from edge_wm.board import Board, SerialPort
from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.robot_bridge import MavlinkTable, SerialTable

ON_BOARD = r"/dev/(serial|ttyAMA|ttyS)\d+"
"""Ports of the processor itself; all others are on USB, or no ports."""


def header_uart(robot: Path | None, board: Board) -> SerialPort | None:
    """The port of ``board`` that the bridge of a robot file is on; None if it is on none.

    Raises:
        BadInput: it is on one that nobody knows how to switch on; one line.
    """
    if robot is None:
        return None
    bridge = load_robot(robot).bridge
    device = bridge.device if isinstance(bridge, SerialTable | MavlinkTable) else None
    if device is None or not re.fullmatch(ON_BOARD, device):
        return None
    ports = {port.device: port for port in board.buses.serial if port.config_txt is not None}
    if device not in ports:
        known = " or ".join(ports) or "no other"
        raise BadInput(
            f"{robot}: bridge.device: {device} cannot be switched on for {board.name}: on its header is {known}"
        )
    return ports[device]
