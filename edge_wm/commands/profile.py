"""``edge-wm profile``: how fast every way of running a model is on this machine, stage by stage, and which one is the best."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.commands.output_option import OutputFile, json_option
from edge_wm.output_file import write_json
from edge_wm.robot import load_robot

if TYPE_CHECKING:
    from rich.console import Console

    from edge_wm.profile.compare import Comparison
    from edge_wm.profile.profile_file import Profile

_PATH = click.Path(path_type=Path)


@click.command("profile")
@click.option(
    "--model",
    metavar="DIR",
    type=_PATH,
    help="Bundle; default: the one that drives an installed board, else the shipped one.",
)
@click.option(
    "--robot",
    metavar="FILE",
    type=_PATH,
    help="Robot file: its rate and limits; its board's [engine] says where a delegate is. Default: that of the driving service "
    "on an installed board, else the simulated robot.",
)
@click.option(
    "--on-robot",
    is_flag=True,
    help="Read the robot's own sensors and tell its motors to rest. They are armed: wheels off the ground.",
)
@click.option(
    "--quick", is_flag=True, help="Fewer ways and fewer ticks: for the shipped model under a minute."
)
@json_option
@click.option("--html", "html_file", metavar="FILE", type=OutputFile(), help="Write a page with charts here.")
@click.option("--compare", "old_file", metavar="OLD.json", type=_PATH, help="Compare with an earlier --json.")
@click.option(
    "--contribute",
    "folder",
    metavar="DIR",
    type=_PATH,
    help="Write it here for everybody, without names and paths: boards/profiles of a checkout.",
)
@click.option("--note", metavar="TEXT", help="What a reader must know of this machine; goes into the files.")
@click.option(
    "--no-store", is_flag=True, help="Only show: do not remember the choice for `drive` and `demo`."
)
def command(
    model: Path | None,
    robot: Path | None,
    on_robot: bool,
    quick: bool,
    json_file: Path | None,
    html_file: Path | None,
    old_file: Path | None,
    folder: Path | None,
    note: str | None,
    no_store: bool,
) -> int:
    """Measure every form of the model, accelerator, number of threads and of candidates on this machine, and remember the best.

    All ways take turns first, and the fastest that is still the same model is chosen: int8 only where it is measured to be
    faster, of several numbers of candidates the largest that keeps the bundle's budget. Then each runs alone, in the real
    control loop at the robot's rate, with nothing else to do and beside as many burning processes as there are cores.
    Nothing moves. Let nothing else run meanwhile.

    Exit code 0: one was chosen and 99 of 100 of its ticks keep the bundle's budget; 1: not so, or with --compare it has become
    slower; 2: bad input.
    """
    from rich.console import Console

    from edge_wm.bundle.load import load_bundle
    from edge_wm.clock import MonotonicClock
    from edge_wm.drive.real import hardware
    from edge_wm.drive.robot_files import robot_files
    from edge_wm.profile import take
    from edge_wm.profile.choice import remember
    from edge_wm.profile.compare import compare
    from edge_wm.profile.contribute import check_contribution, contribute
    from edge_wm.profile.page import write_page
    from edge_wm.profile.profile_file import read_profile
    from edge_wm.profile.tables import WIDTH, verdict

    files = robot_files(robot, model)
    described = load_robot(files.robot)
    old = None if old_file is None else read_profile(old_file)
    bundle = load_bundle(files.model, roles=("observe", "imagine"))
    if folder is not None:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        check_contribution(take.board_of(described).name, bundle.manifest.name, today, folder)
    click.echo(str(files))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    if on_robot:  # a part that does not answer is said now
        with hardware(described, files.robot, MonotonicClock()):
            pass
    with _progress(console) as on_progress:
        effort = take.QUICK if quick else take.WHOLE
        profile = take.take_profile(
            bundle, described, effort, on_progress, note, robot_file=files.robot if on_robot else None
        )
    comparison = None if old is None else compare(old, profile)
    _show(console, profile, bundle.manifest.imagine.candidates, comparison)
    if json_file is not None:
        write_json(json_file, profile)
    if html_file is not None:
        write_page(html_file, profile, bundle.manifest.imagine.candidates, comparison)
    if profile.chosen is None:
        click.echo(f"{files.model}: no form of it can be used on this machine")
        return 1
    click.echo(verdict(profile, len(bundle.manifest.sizes) > 1))
    if not no_store:
        click.echo(f"remembered in {remember(bundle.sha256, profile.chosen, profile.rows)}")
    if folder is not None:
        click.echo(f"contributed as {contribute(profile, folder)}")
    worse = comparison is not None and comparison.worse is not None
    return 0 if profile.keeps_budget and not worse else 1


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("profile", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)


def _show(console: Console, profile: Profile, own: int, comparison: Comparison | None) -> None:
    from edge_wm.profile import tables

    console.print(tables.ways_table(profile, own))
    for row in profile.rows:
        if row.failure:  # whole: people copy and search for what an engine said
            click.echo(f"{row.execution}: {row.failure}")
    chosen = profile.row(profile.chosen)
    stages = None if chosen is None else tables.stages_table(chosen)
    if stages is not None:
        console.print(stages)
    console.print(tables.accuracy_table(profile))
    _say(console, tables.facts(profile))
    if comparison is None:
        return
    if comparison.ratios:
        console.print(tables.comparison_table(comparison, profile))
    _say(console, tables.comparison_facts(comparison))


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False)
