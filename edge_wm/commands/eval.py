"""``edge-wm eval``: measure a policy over many episodes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm.errors import BadInput
from edge_wm.robot import DEFAULT_ROBOT

if TYPE_CHECKING:
    from edge_wm.evaluate.episode import Episode
    from edge_wm.evaluate.runner import Settings

POLICIES = ("world-model", "policy-head", "reactive", "straight", "oracle")
"""As in ``edge_wm.evaluate.contestants``, here so that ``--help`` needs no simulator."""


@click.command("eval")
@click.option(
    "--worlds", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Worlds with tasks.json."
)
@click.option(
    "--policy", type=click.Choice(POLICIES), default="world-model", show_default=True, help="Who drives."
)
@click.option("--model", metavar="DIR", type=click.Path(path_type=Path), help="The bundle to drive by.")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option("--episodes", metavar="N", type=click.IntRange(1), help="How many; all tasks once if left out.")
@click.option(
    "--seed",
    metavar="S",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Same seed, same episodes.",
)
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1), help="Parallel processes; one a core if left out."
)
@click.option(
    "--robot", metavar="FILE", type=click.Path(path_type=Path), default=DEFAULT_ROBOT, help="Robot file."
)
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write the result here."
)
@click.option(
    "--compare",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Result of another policy on the same episodes: paired test.",
)
def command(
    worlds: Path,
    policy: str,
    model: Path | None,
    precision: str,
    episodes: int | None,
    seed: int,
    jobs: int | None,
    robot: Path,
    json_file: Path | None,
    compare: Path | None,
) -> int:
    """Drive N episodes and report success, collisions and path lengths.

    With --json, episodes are kept as they end: the same command goes on after an interruption.
    """
    from edge_wm.evaluate.report import as_text, make_report, read_report, write_report
    from edge_wm.evaluate.runner import partial_file
    from edge_wm.sim.tasks import load_tasks

    if compare is not None:
        read_report(compare)  # an hour of driving is a long wait for a typing mistake
    settings = _settings(worlds, policy, model, precision, seed, robot)
    count = episodes or len(load_tasks(worlds))
    partial = partial_file(json_file) if json_file else None
    try:
        finished = _drive(settings, count, jobs or os.cpu_count() or 1, partial)
    except KeyboardInterrupt:
        if partial is not None and partial.exists():
            click.echo(f"what is done is kept in {partial}: the same command goes on from there", err=True)
        raise
    report = make_report(settings, finished, compare)
    if json_file is not None and partial is not None:
        write_report(json_file, report)
        partial.unlink(missing_ok=True)
    click.echo(as_text(report))
    return 0


def _settings(
    worlds: Path, policy: str, model: Path | None, precision: str, seed: int, robot: Path
) -> Settings:
    """Check what can be checked before any process is started."""
    import hashlib

    import msgspec

    from edge_wm.evaluate.contestants import NEEDS_MODEL
    from edge_wm.evaluate.runner import Settings, load_model
    from edge_wm.robot import load_robot
    from edge_wm.sim.tasks import FILE_NAME, load_tasks

    load_robot(robot)
    load_tasks(worlds)
    settings = Settings(
        policy=policy,  # type: ignore[arg-type]  # click has checked it
        worlds=str(worlds),
        tasks_sha256=hashlib.sha256((worlds / FILE_NAME).read_bytes()).hexdigest(),
        seed=seed,
        robot=str(robot),
    )
    if policy not in NEEDS_MODEL:
        return settings
    if model is None:
        raise BadInput(f"--policy {policy} drives by a model: name its bundle with --model DIR")
    settings = msgspec.structs.replace(settings, model=str(model), precision=precision)
    loaded = load_model(settings)
    assert loaded is not None
    return msgspec.structs.replace(settings, model_sha256=loaded.sha256)


def _drive(settings: Settings, count: int, jobs: int, partial: Path | None) -> list[Episode]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edge_wm.evaluate.runner import run_episodes

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
    )
    finished: list[Episode] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(settings.policy, total=count, rates="")
        for episode in run_episodes(settings, count, jobs, partial):
            finished.append(episode)
            success = sum(e.success for e in finished) / len(finished)
            touched = sum(e.collision for e in finished) / len(finished)
            progress.update(bar, advance=1, rates=f"success {success:.0%}, collision {touched:.0%}")
    return finished
