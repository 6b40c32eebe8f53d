"""``edge-wm worlds``: generate worlds with tasks, and look at one."""

from __future__ import annotations

import io
from pathlib import Path

import click

from edge_wm.commands.output_option import OutputFile
from edge_wm.errors import BadInput
from edge_wm.output_file import write_atomically

KINDS = ("rooms", "rooms-hard", "corridors", "mazes")
"""As in ``edge_wm.sim.generator``, here so that ``--help`` needs no simulator."""


@click.group("worlds")
def command() -> None:
    """Generate worlds with tasks, or look at one."""


@command.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), default="rooms", show_default=True)
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0),
    required=True,
    help="Of the first world; the next has S + 1.",
)
@click.option(
    "--count", metavar="N", type=click.IntRange(1), default=100, show_default=True, help="How many worlds."
)
@click.option(
    "--movers",
    metavar="M",
    type=click.IntRange(0, 10),
    default=0,
    show_default=True,
    help="Moving obstacles a world.",
)
def generate(directory: Path, kind: str, seed: int, count: int, movers: int) -> None:
    """Write N worlds and their tasks into DIR.

    Seeds below 1 000 000 made the training data of the shipped model; use 2 000 000 and more to test it.
    """
    from edge_wm.sim.world_folder import write_worlds

    try:
        write_worlds(directory, kind, seed, count, movers=movers)
    except OSError as error:
        raise BadInput(f"{directory}: the worlds cannot be written: {error.strerror}") from error
    click.echo(f"{count} worlds of kind {kind} in {directory}")


@command.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("number", metavar="N", type=click.IntRange(0))
@click.option(
    "--png",
    metavar="FILE",
    type=OutputFile(),
    required=True,
    help="Picture to write, a PNG whatever its name.",
)
def show(directory: Path, number: int, png: Path) -> None:
    """Draw task N of DIR from above: start, goal and the comfortable shortest path."""
    from edge_wm.sim.tasks import load_tasks
    from edge_wm.sim.top_view import draw_task

    tasks = load_tasks(directory)
    if number >= len(tasks):
        raise BadInput(f"{directory}: has tasks 0 to {len(tasks) - 1}, not {number}")
    picture = io.BytesIO()
    draw_task(tasks[number]).save(picture, "PNG")
    write_atomically(png, picture.getvalue())
    click.echo(f"{tasks[number].world.name}: {tasks[number].geodesic_m:.2f} m, drawn in {png}")
