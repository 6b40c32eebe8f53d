"""``edge-wm bridge``: find the microcontroller, ask it who it is, and try its wheels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.commands.output_option import OutputFile
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.robot import DEFAULT_ROBOT, Robot, chassis_of, load_robot

if TYPE_CHECKING:
    from firmware_bridge.link import Link

KNOWN = {
    0x2341: "Arduino",
    0x2A03: "Arduino",
    0x1A86: "CH340, as on many copies of the Nano",
    0x0403: "FTDI",
    0x10C4: "CP210x",
    0x2E8A: "Raspberry Pi Pico",
}
"""What the vendor number of a USB port stands for."""

_robot = click.option(
    "--robot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROBOT,
    help="Robot file; its [bridge] says where the port is.",
)
_device = click.option("--device", metavar="PORT", help="Serial port; default: that of the robot file.")
_json = click.option(
    "--json", "json_file", metavar="FILE", type=OutputFile(), help="Write the same facts here."
)


@click.group("bridge")
def command() -> None:
    """The link to the motors: a microcontroller with our firmware (docs/firmware.md)."""


@command.command("find-port")
def find_port() -> int:
    """List the serial ports that a microcontroller may be on.

    Exit code 0: there is one; 1: there is none.
    """
    from serial.tools.list_ports import comports

    found = sorted((port.device, KNOWN.get(port.vid, port.description)) for port in comports() if port.vid)
    for device, what in found:
        click.echo(f"{device}  {what}")
    if not found:
        click.echo("no USB serial port: is the board plugged in, and with a cable that carries data?")
    return 0 if found else 1


@command.command("info")
@_robot
@_device
@_json
def info(robot: Path, device: str | None, json_file: Path | None) -> int:
    """Ask who is there: protocol, geometry, limits, state, faults and counters.  It disarms what drives.

    Opening the port of an Arduino resets it, and a reset forgets faults and counters.

    Exit code 0: it answered; 2: it did not, or speaks another protocol.
    """
    from firmware_bridge.serial_bridge import fault_names, greet
    from firmware_bridge.wire import Counters, Poll, ReadCounters, Reset, State, Status

    with _linked(robot, device) as (link, port):
        before = _faults_before(link)
        identity = greet(link, port)
        status, _ = link.ask(Poll(), Status)
        counters, _ = link.ask(ReadCounters(), Counters)
    facts = {
        **identity._asdict(),
        "protocol": f"{identity.protocol:08x}",
        "reset": Reset(identity.reset).name,
        "state": State(status.state).name,
        "faults": fault_names(status.faults | before),
        "battery_mv": status.battery_mv,
        **counters._asdict(),
    }
    for name, number in facts.items():
        click.echo(f"{name:22} {', '.join(number) or 'none' if isinstance(number, tuple) else number}")
    if json_file is not None:
        write_json(json_file, facts)
    return 0


@command.command("arm-test")
@_robot
@_device
@_json
@click.option("--wheels-up", is_flag=True, help="Yes, the wheels turn freely and nothing is near them.")
def arm_test(robot: Path, device: str | None, json_file: Path | None, wheels_up: bool) -> int:
    """Turn the wheels forward, backward, left and right, compare with the encoders, and fall silent: does it stop?

    Exit code 0: all as it should be, as far as it can be measured; 1: not so; 2: bad input.
    """
    from firmware_bridge.arm_test import arm_test as checks
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.serial_bridge import SerialBridge

    described = load_robot(robot)
    port = device or _port_of(described, robot)
    if not wheels_up:
        raise BadInput(
            "arm-test turns the wheels: lift the robot, keep hands and cables away, and add  --wheels-up"
        )
    bridge = SerialBridge(port, chassis_of(described))
    found = []
    try:
        bridge.connect()
        for check in checks(bridge, chassis_of(described), time.sleep):
            verdict = {True: "ok", False: "FAILED", None: "look"}[check.passed]
            way = "" if check.found_m is None else "left {:+.3f} m, right {:+.3f} m".format(*check.found_m)
            click.echo(f"{check.name:14} {verdict:7} {way} {check.remark}".rstrip())
            found.append(check)
    except BridgeError as error:
        raise BadInput(str(error)) from error
    finally:
        bridge.close()
    if json_file is not None:
        write_json(json_file, [check._asdict() for check in found])
    return 1 if any(check.passed is False for check in found) else 0


@command.command("clear-faults")
@_robot
@_device
def clear_faults(robot: Path, device: str | None) -> int:
    """Forget latched faults, once you know why they came.  The robot stays disarmed.

    Exit code 0: none is latched any more; 1: one still is; 2: bad input.
    """
    from firmware_bridge.serial_bridge import fault_names, greet
    from firmware_bridge.wire import ClearFaults, Result, Status

    with _linked(robot, device) as (link, port):
        status, _ = link.ask(ClearFaults(greet(link, port).session), Status)
    if status.result == Result.BUTTON_PRESSED:
        click.echo("the emergency-stop button is pressed, or its wire is broken")
    click.echo(f"latched: {', '.join(fault_names(status.faults)) or 'none'}")
    return 1 if status.faults else 0


@contextmanager
def _linked(robot: Path, device: str | None) -> Iterator[tuple[Link, str]]:
    """A link to the port of the robot, and its name.  What goes wrong with it is bad input."""
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.link import Link, open_line
    from firmware_bridge.serial_bridge import BAUD

    port = device or _port_of(load_robot(robot), robot)
    try:
        link = Link(open_line(port, BAUD))
        try:
            yield link, port
        finally:
            link.close()
    except BridgeError as error:
        raise BadInput(str(error)) from error


def _faults_before(link: Link) -> int:
    """Latched faults, before a new session forgets that of the deadman; none if nobody is there yet to say so."""
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.wire import Poll, Status

    try:
        return link.ask(Poll(), Status)[0].faults
    except BridgeError:
        return 0


def _port_of(robot: Robot, file: Path) -> str:
    if robot.bridge.device is None:
        raise BadInput(
            f"{file}: bridge.device: none: name the port there, or with --device; `edge-wm bridge find-port` lists them"
        )
    return robot.bridge.device
