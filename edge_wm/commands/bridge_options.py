"""What the ``edge-wm bridge`` commands have in common: which robot, which port, and how they are reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.drive.bridges import bridge_of, port_of
from edge_wm.errors import BadInput
from edge_wm.robot import DEFAULT_ROBOT, Robot, load_robot
from edge_wm.robot_bridge import SerialTable

if TYPE_CHECKING:
    from firmware_bridge.bridge import Bridge
    from firmware_bridge.link import Link

robot_option = click.option(
    "--robot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROBOT,
    help="Robot file; its [bridge] says what moves the robot and where it is.",
)
device_option = click.option("--device", metavar="PORT", help="Serial port; default: that of the robot file.")
wheels_up_option = click.option(
    "--wheels-up", is_flag=True, help="Yes, the wheels turn freely and nothing is near them."
)


@contextmanager
def linked(file: Path, device: str | None) -> Iterator[tuple[Link, str]]:
    """A link to the microcontroller of the robot, and its port.  What goes wrong with it is bad input."""
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.link import Link, open_line

    robot = load_robot(file)
    table = robot.bridge if isinstance(robot.bridge, SerialTable) else SerialTable()
    port = device or port_of(robot, file)
    try:
        link = Link(open_line(port, table.baud))
        try:
            yield link, port
        finally:
            link.close()
    except BridgeError as error:
        raise BadInput(str(error)) from error


@contextmanager
def connected(robot: Robot, file: Path, device: str | None) -> Iterator[Bridge]:
    """The bridge of the robot, connected; closed at the end.  What goes wrong with it is bad input."""
    from firmware_bridge.bridge import BridgeError

    try:
        bridge = bridge_of(robot, file, device)
        try:
            bridge.connect()
            yield bridge
        finally:
            bridge.close()
    except BridgeError as error:
        raise BadInput(str(error)) from error
