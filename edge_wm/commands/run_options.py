"""The options that `drive` and `demo` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from edge_wm.commands.output_option import OutputFile
from edge_wm.engines.execution import Execution
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.robot import Robot

if TYPE_CHECKING:
    from edge_wm.bundle.manifest import Precision


Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_OPTIONS = (
    click.option(
        "--model", metavar="DIR", type=_PATH, default=DEFAULT_MODEL, help="Bundle; default: the shipped one."
    ),
    click.option(
        "--precision",
        type=click.Choice(["int8", "fp32", "fp16"]),
        help="Of the graphs; default: what `edge-wm profile` chose here, else the board file's.",
    ),
    click.option(
        "--candidates",
        metavar="N",
        type=click.IntRange(1, 65536),
        help="Of a plan, one of the bundle's sizes; default: as for --precision, else the bundle's own.",
    ),
    click.option(
        "--seed",
        metavar="S",
        type=click.IntRange(0, 9999),
        default=0,
        show_default=True,
        help="Same seed, same worlds.",
    ),
    click.option("--fast", is_flag=True, help="Simulated time: as fast as this machine can."),
    click.option("--no-view", is_flag=True, help="Nothing live on the terminal."),
    click.option(
        "--no-pictures",
        is_flag=True,
        help="No video, no picture, no report, no observations: the summary only.",
    ),
    click.option(
        "--runs",
        metavar="DIR",
        type=_PATH,
        default=Path("runs"),
        show_default=True,
        help="Where run folders go.",
    ),
    click.option(
        "--json", "json_file", metavar="FILE", type=OutputFile(), help="Write the summary here too."
    ),
)


def run_options(command: Decorated) -> Decorated:
    """Add the shared options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def execution(robot: Robot, precision: Precision | None, candidates: int | None) -> Execution | None:
    """How the person at the keyboard wants the model to be run, the board file's way otherwise; None if they do not say."""
    said = {"precision": precision, "candidates": candidates}
    said = {name: value for name, value in said.items() if value is not None}
    return msgspec.structs.replace(robot.board.engine, **said) if said else None
