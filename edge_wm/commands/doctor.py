"""``edge-wm doctor``: what would keep this robot from driving safely, and what mends it."""

from __future__ import annotations

from pathlib import Path

import click

from edge_wm.commands.output_option import json_option
from edge_wm.commands.run_options import DEFAULT_MODEL
from edge_wm.output_file import write_json
from edge_wm.robot import DEFAULT_ROBOT, load_robot


@click.command("doctor")
@click.option(
    "--robot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROBOT,
    help="Robot file.",
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
def command(robot: Path, model: Path | None, updates: Path | None, json_file: Path | None) -> int:
    """Look at a robot before it drives: one line a check, and what mends what is wrong.  Nothing moves.

    Exit code 0: all is well; 1: there is a warning or an error; 2: bad input.
    """
    from edge_wm.doctor.examination import findings
    from edge_wm.doctor.finding import Level

    folders = None
    if updates is not None:
        from edge_wm.doctor.updates import driven
        from edge_wm.update.config import folders_of, load_config

        folders = folders_of(load_config(updates), updates)
        model = model or driven(folders)
    found = []
    for finding in findings(load_robot(robot), robot, model or DEFAULT_MODEL, Path("runs"), folders):
        found.append(finding)
        click.echo(f"{finding.check:12} {finding.level.value:8} {finding.said}")
        if finding.remedy:
            click.echo(f"{'':21} -> {finding.remedy}")
    if json_file is not None:
        write_json(json_file, [finding._asdict() for finding in found])
    return 0 if all(finding.level is Level.OK for finding in found) else 1
