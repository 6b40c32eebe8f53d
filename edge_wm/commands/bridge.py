"""``edge-wm bridge``: find what moves the robot, ask it who it is, and watch it.  What turns wheels is in ``bridge_setup.py``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.commands.bridge_options import connected, device_option, linked, robot_option
from edge_wm.commands.bridge_setup import arm_test, calibrate, flash
from edge_wm.commands.output_option import json_option
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.robot import load_robot
from edge_wm.robot_bridge import Pca9685Table, RecordedTable

if TYPE_CHECKING:
    from firmware_bridge.bridge import Telemetry
    from firmware_bridge.link import Link

MONITOR_S, SILENT_S = 0.2, 2.5


@click.group("bridge")
def command() -> None:
    """The link to the motors: a microcontroller, a PWM chip or an autopilot (docs/bridges.md)."""


command.add_command(arm_test)
command.add_command(calibrate)
command.add_command(flash)


@command.command("find-port")
def find_port() -> int:
    """List the serial ports that a microcontroller may be on.

    Exit code 0: there is one; 1: there is none.
    """
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.ports import usb_ports

    try:
        found = usb_ports()
    except BridgeError as error:
        raise BadInput(str(error)) from error
    for device, what in found:
        click.echo(f"{device}  {what}")
    if not found:
        click.echo("no USB serial port: is the board plugged in, and with a cable that carries data?")
    return 0 if found else 1


@command.command("info")
@robot_option
@device_option
@json_option
def info(robot: Path, device: str | None, json_file: Path | None) -> int:
    """Ask a microcontroller who it is: protocol, geometry, limits, state, faults and counters.  It disarms what drives.

    Opening the port of an Arduino resets it, and a reset forgets faults and counters.

    Exit code 0: it answered; 2: it did not, or speaks another protocol.
    """
    from firmware_bridge.serial_bridge import fault_names, greet
    from firmware_bridge.wire import Counters, Poll, ReadCounters, Reset, State, Status

    with linked(robot, device) as (link, port):
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


@command.command("monitor")
@robot_option
@device_option
@json_option
@click.option(
    "--seconds", type=click.FloatRange(min=0.0, min_open=True), help="Stop after so long; default: at Ctrl-C."
)
def monitor(robot: Path, device: str | None, json_file: Path | None, seconds: float | None) -> int:
    """Watch what the actuators report, disarmed: turn a wheel by hand and see it counted, press the button and see the fault.

    Exit code 0: they reported to the end; 2: they could not be reached, or fell silent.
    """
    described = load_robot(robot)
    if isinstance(described.bridge, Pca9685Table | RecordedTable):
        raise BadInput(f"{robot}: bridge.kind: nothing there reports anything of itself")
    reports = []
    with connected(described, robot, device) as bridge:
        began = time.monotonic()
        try:
            while True:
                report = bridge.telemetry()
                if time.monotonic() - report.time > SILENT_S:
                    raise BadInput(f"{robot}: bridge: it has fallen silent")
                reports.append(report)
                _show(report)
                if seconds is not None and time.monotonic() - began >= seconds:
                    break
                time.sleep(MONITOR_S)
        except KeyboardInterrupt:
            if seconds is not None:
                raise
        finally:
            if sys.stdout.isatty():
                click.echo()
    if json_file is not None:
        write_json(json_file, reports)
    return 0


@command.command("clear-faults")
@robot_option
@device_option
def clear_faults(robot: Path, device: str | None) -> int:
    """Forget a microcontroller's latched faults, once you know why they came.  The robot stays disarmed.

    Exit code 0: none is latched any more; 1: one still is; 2: bad input.
    """
    from firmware_bridge.serial_bridge import fault_names, greet
    from firmware_bridge.wire import ClearFaults, Result, Status

    with linked(robot, device) as (link, port):
        status, _ = link.ask(ClearFaults(greet(link, port).session), Status)
    if status.result == Result.BUTTON_PRESSED:
        click.echo("the emergency-stop button is pressed, or its wire is broken")
    click.echo(f"latched: {', '.join(fault_names(status.faults)) or 'none'}")
    return 1 if status.faults else 0


def _faults_before(link: Link) -> int:
    """Latched faults, before a new session forgets that of the deadman; none if nobody is there yet to say so."""
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.wire import Poll, Status

    try:
        return link.ask(Poll(), Status)[0].faults
    except BridgeError:
        return 0


def _show(report: Telemetry) -> None:
    """One report in one line; on a terminal always the same one."""
    words = [
        "armed" if report.armed else "disarmed",
        f"{report.applied.v:+.2f} m/s {report.applied.w:+.2f} rad/s",
    ]
    if report.wheels_m is not None:
        words.append("wheels {:+.3f} m {:+.3f} m".format(*report.wheels_m))
    if report.battery_v is not None:
        words.append(f"battery {report.battery_v:.1f} V")
    words.append(f"faults: {', '.join(report.faults) or 'none'}")
    line = "  ".join(words)
    click.echo(f"\r{line:<110}" if sys.stdout.isatty() else line, nl=not sys.stdout.isatty())
