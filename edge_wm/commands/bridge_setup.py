"""``edge-wm bridge arm-test | calibrate | flash``: from a board out of its box to wheels that turn as they are told."""

from __future__ import annotations

import math
import os
import select
import sys
import tempfile
import termios
import time
from pathlib import Path

import click
import msgspec

from edge_wm.commands.bridge_options import (
    connected,
    device_option,
    robot_option,
    wheels_up_option,
)
from edge_wm.commands.output_option import json_option
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.robot import Robot, amend_robot, chassis_of, load_robot
from edge_wm.robot_bridge import DifferentialTable, MavlinkTable, RecordedTable, SerialTable

STRAIGHT_M, TURNS = 2.0, 3.0
"""Long enough that a tape measure is more exact than the wheels."""


@click.command("arm-test")
@robot_option
@device_option
@json_option
@wheels_up_option
def arm_test(robot: Path, device: str | None, json_file: Path | None, wheels_up: bool) -> int:
    """Turn the wheels forward, backward, left and right, compare with the encoders, and fall silent: does it stop?

    Exit code 0: all as it should be, as far as it can be measured; 1: not so; 2: bad input.
    """
    from firmware_bridge.arm_test import arm_test as checks

    described = load_robot(robot)
    if not wheels_up:
        raise BadInput(
            "arm-test turns the wheels: lift the robot, keep hands and cables away, and add  --wheels-up"
        )
    if isinstance(described.bridge, RecordedTable):
        raise BadInput(f"{robot}: bridge.kind: a recording turns no wheels")
    has_deadman = not isinstance(described.bridge, MavlinkTable)
    found = []
    with connected(described, robot, device) as bridge:
        for check in checks(bridge, chassis_of(described), time.sleep, has_deadman=has_deadman):
            verdict = {True: "ok", False: "FAILED", None: "look"}[check.passed]
            way = "" if check.found_m is None else "left {:+.3f} m, right {:+.3f} m".format(*check.found_m)
            click.echo(f"{check.name:14} {verdict:7} {way} {check.remark}".rstrip())
            found.append(check)
    if json_file is not None:
        write_json(json_file, [check._asdict() for check in found])
    return 1 if any(check.passed is False for check in found) else 0


@click.command("calibrate")
@click.argument("what", type=click.Choice(["straight", "turn", "dead-zone"]))
@robot_option
@device_option
@click.option(
    "--distance",
    default=STRAIGHT_M,
    show_default=True,
    type=click.FloatRange(0.5, 20.0),
    help="Metres straight ahead.",
)
@click.option(
    "--turns", default=TURNS, show_default=True, type=click.FloatRange(1.0, 20.0), help="Turns on the spot."
)
@click.option("--clear-floor", is_flag=True, help="Yes, the way is free.")
@wheels_up_option
@click.option("--write", is_flag=True, help="Write what was found into the robot file, without asking.")
def calibrate(
    what: str,
    robot: Path,
    device: str | None,
    distance: float,
    turns: float,
    clear_floor: bool,
    wheels_up: bool,
    write: bool,
) -> int:
    r"""Find the numbers of a robot's wheels with a tape measure, and write them into its file.

    \b
    straight   drives ahead and asks where the robot came to: both wheels' trim
    turn       turns on the spot and asks how far: track_m
    dead-zone  raises each motor's power until you see its wheel turn (motors without encoders, wheels up)

    The firmware of a microcontroller has these numbers too: flash it afterwards.

    Exit code 0: found, and written if you said so; 2: bad input, or a measurement that cannot be.
    """
    described = load_robot(robot)
    if not isinstance(described.drive, DifferentialTable):
        raise BadInput(f"{robot}: drive: two wheels side by side are calibrated: describe their motors there")
    if isinstance(described.bridge, MavlinkTable | RecordedTable):
        raise BadInput(
            f"{robot}: bridge.kind: an autopilot is calibrated by its own parameters, and a recording not at all"
        )
    if not os.access(robot, os.W_OK):
        raise BadInput(f"{robot}: read-only: what is found could not be written into it")
    if what == "dead-zone":
        if not wheels_up:
            raise BadInput("dead-zone turns the wheels: lift the robot, and add  --wheels-up")
        found = _dead_zones(described, robot, device)
    else:
        if not clear_floor:
            raise BadInput(
                f"{what} drives the robot, and it sees nothing meanwhile: clear the floor, and add  --clear-floor"
            )
        found = (
            _straight(described, robot, device, distance)
            if what == "straight"
            else _turn(described, robot, device, turns)
        )
    for key, number in found.items():
        click.echo(f"{key} = {number}")
    if write or click.confirm(f"Write this into {robot}?"):
        amend_robot(robot, found)
        if isinstance(described.bridge, SerialTable):
            click.echo(f"now flash the firmware:  edge-wm bridge flash --robot {robot}")
    return 0


@click.command("flash")
@robot_option
@device_option
@click.option(
    "--build-only",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Compile into DIR, and flash nothing.",
)
def flash(robot: Path, device: str | None, build_only: Path | None) -> int:
    """Build the firmware for a robot, put it on the microcontroller, and ask it whether it is there.

    The port is that of --device or of the robot file; without either, the only USB serial port that there is.

    Needs make and gcc-avr, avr-libc and avrdude for an ATmega328P (Arduino Uno, Nano), or gcc-arm-none-eabi for an RP2040 (Pico).

    Exit code 0: flashed, and it answers; 2: bad input, or it could not be.
    """
    from firmware_bridge.bridge import BridgeError
    from firmware_bridge.flash import build
    from firmware_bridge.flash import flash as put
    from firmware_bridge.ports import only_port
    from firmware_bridge.robot_source import robot_source

    described = load_robot(robot)
    table, drive = described.bridge, described.drive
    if not isinstance(table, SerialTable) or not isinstance(drive, DifferentialTable):
        raise BadInput(
            f"{robot}: bridge.kind must be 'serial', and drive.kind 'differential', for a firmware to be built"
        )
    processor = table.firmware.processor
    port = device or table.device
    try:
        source = robot_source(
            chassis_of(described), drive.drivetrain(described.geometry.track_m), table.firmware.build()
        )
        with tempfile.TemporaryDirectory() as folder:
            file = build(processor, source, build_only or Path(folder))
            click.echo(f"built {file.name} for {described.name}")
            if build_only is not None:
                return 0
            if processor == "atmega328p":
                port = port or only_port()
            click.echo(put(processor, file, port))
    except BridgeError as error:
        raise BadInput(str(error)) from error
    if port is None:
        click.echo("whether it answers:  edge-wm bridge info --device PORT")
        return 0
    with connected(described, robot, port) as bridge:
        faults = bridge.telemetry().faults
    if faults:
        raise BadInput(f"{port}: it answers, and says: {', '.join(faults)}")
    click.echo("it answers, and was built for this robot")
    return 0


def _straight(robot: Robot, file: Path, device: str | None, distance_m: float) -> dict[str, float]:
    from firmware_bridge.calibration import drive_straight, trims_of

    chassis = chassis_of(robot)
    with connected(robot, file, device) as bridge:
        driven = drive_straight(bridge, chassis, distance_m, time.sleep)
        ahead = click.prompt("metres that its middle has come straight ahead", type=float)
        aside = click.prompt("and aside, left positive", type=float)
        left, right = trims_of(chassis, driven, ahead, aside)
    return {"drive.left.trim": left, "drive.right.trim": right}


def _turn(robot: Robot, file: Path, device: str | None, turns: float) -> dict[str, float]:
    from firmware_bridge.calibration import drive_turns, track_of

    chassis = chassis_of(robot)
    with connected(robot, file, device) as bridge:
        driven = drive_turns(bridge, chassis, turns, time.sleep)
        degrees = click.prompt(f"degrees that it has turned left in all, about {turns * 360:.0f}", type=float)
        return {"geometry.track_m": track_of(chassis, driven, math.radians(degrees))}


def _dead_zones(robot: Robot, file: Path, device: str | None) -> dict[str, float]:
    from firmware_bridge.calibration import find_dead_zone

    drive = robot.drive
    assert isinstance(drive, DifferentialTable)
    if isinstance(robot.bridge, SerialTable) and robot.bridge.firmware.counts_per_turn:
        raise BadInput(
            f"{file}: the firmware closes its loop over the encoders: it overcomes the dead zone by itself"
        )
    if isinstance(robot.bridge, SerialTable) and (drive.left.dead_zone or drive.right.dead_zone):
        raise BadInput(
            f"{file}: the firmware adds the dead zone that it was built with: set both to 0, flash, and run this again"
        )
    bare = msgspec.structs.replace(
        drive,
        left=msgspec.structs.replace(drive.left, dead_zone=0.0),
        right=msgspec.structs.replace(drive.right, dead_zone=0.0),
    )
    found = {}
    with connected(msgspec.structs.replace(robot, drive=bare), file, device) as bridge:
        for side, motor in (("left", drive.left), ("right", drive.right)):
            if sys.stdin.isatty():
                termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before is about another wheel
            click.echo(f"press Enter as soon as the {side} wheel turns")
            share = find_dead_zone(
                bridge, chassis_of(robot), motor.motor().max_speed, side == "right", _entered
            )
            found[f"drive.{side}.dead_zone"] = round(share, 3)
    return found


def _entered(seconds: float) -> bool:
    """Wait so long for the Enter key."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return False
    if not sys.stdin.readline():
        raise BadInput("dead-zone needs somebody at the keyboard: its input has ended")
    return True
