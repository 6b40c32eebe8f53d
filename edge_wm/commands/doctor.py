"""``edge-wm doctor``: what would keep this robot from driving safely, and what mends it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from edge_wm.commands.output_option import json_option
from edge_wm.output_file import write_json
from edge_wm.robot import load_robot


@click.command("doctor")
@click.option(
    "--robot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Robot file; default: that of the driving service on an installed board, with its model and updates, else the "
    "simulated robot.",
)
@click.option(
    "--model",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Bundle that is to drive it; default: the one that updates chose, else the shipped one.",
)
@click.option(
    "--updates",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The robot's update.toml, if it has one.",
)
@json_option
def command(robot: Path | None, model: Path | None, updates: Path | None, json_file: Path | None) -> int:
    """Look at a robot before it drives: one line a check, and what mends what is wrong.  Nothing moves.

    Exit code 0: nothing is wrong; 1: there is a warning or an error, and the last line says which is the worst; 2: bad input.
    """
    from edge_wm.doctor.examination import findings
    from edge_wm.doctor.finding import Level, ok
    from edge_wm.drive.robot_files import robot_files

    files = robot_files(robot, model, updates)
    described = load_robot(files.robot)
    about = ok("robot", f"{files.robot} ({files.because})"), ok("bundle", str(files.model))
    found = []
    for finding in chain(about, findings(described, files.robot, files.model, files.runs, files.folders)):
        found.append(finding)
        click.echo(f"{finding.check:12} {finding.level.value:8} {finding.said}")
        if finding.remedy:
            click.echo(f"{'':21} -> {finding.remedy}")
    levels = [finding.level for finding in found]
    worst = max(levels, key=list(Level).index)
    counts = ", ".join(f"{levels.count(level)} {level.value}" for level in Level if level in levels)
    click.echo(f"worst: {worst.value} ({counts})")
    if json_file is not None:
        write_json(json_file, {"worst": worst, "findings": [finding._asdict() for finding in found]})
    return 0 if worst in (Level.OK, Level.NOTE) else 1
