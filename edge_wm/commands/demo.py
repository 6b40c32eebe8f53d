"""``edge-wm demo``: the simulated robot drives through generated rooms that its model has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.cli import EXIT_INTERRUPTED
from edge_wm.commands.run_options import execution, run_options
from edge_wm.robot import load_robot

if TYPE_CHECKING:
    from edge_wm.bundle.manifest import Precision

KINDS = ("rooms-hard", "rooms")
"""Of the worlds, in turns; *hard* cannot be driven blind."""
WORLDS_A_SEED = 100


@click.command("demo")
@click.option(
    "--goals",
    metavar="N",
    type=click.IntRange(1, WORLDS_A_SEED),
    default=5,
    show_default=True,
    help="One world each.",
)
@run_options
def command(
    goals: int,
    model: Path,
    precision: Precision | None,
    candidates: int | None,
    seed: int,
    fast: bool,
    no_view: bool,
    no_pictures: bool,
    runs: Path,
    json_file: Path | None,
) -> int:
    """Drive the simulated robot to N goals, one unseen world each.

    Exit code 0: all reached, nothing touched; 1: not so; 130: stopped with Ctrl-C, motors at rest.
    """
    from edge_wm.drive.pilot import Pilot
    from edge_wm.drive.run import RunOptions, run_tasks
    from edge_wm.drive.simulated import task_in_generated_world

    options = RunOptions(runs, not no_view, not no_pictures, fast, json_file)
    clock = options.clock()
    robot = load_robot()
    pilot = Pilot(robot, model, clock, execution=execution(robot, precision, candidates), seed=seed)
    manifest = pilot.model.manifest
    click.echo(
        f"{manifest.name} {manifest.version} ({pilot.execution}) drives to {goals} goals it has never seen"
    )
    first = seed * WORLDS_A_SEED
    tasks = [task_in_generated_world(KINDS[number % len(KINDS)], first + number) for number in range(goals)]
    end = run_tasks("edge-wm demo", pilot, clock, tasks, options, click.echo)
    summary = end.summary
    files = {"watch it": end.folder / "drive.mp4", "read about it": end.folder / "report.html"}
    if made := [f"{what}: {file}" for what, file in files.items() if file.is_file()]:
        click.echo(", ".join(made))
    click.echo(
        f"RESULT goals={goals} reached={summary['reached']} collisions={_count(summary['collisions'])}"
        f" tick_p50_ms={_ms(summary['tick_p50_ms'])} tick_p99_ms={_ms(summary['tick_p99_ms'])}"
        f" misses={summary['misses']}"
    )
    if end.interrupted:
        return EXIT_INTERRUPTED
    return 0 if summary["reached"] == goals and not summary["collisions"] else 1


def _count(figure: int | None) -> str:
    return "nan" if figure is None else str(figure)


def _ms(figure: float | None) -> str:
    return "nan" if figure is None else f"{figure:.1f}"
