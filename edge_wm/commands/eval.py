"""``edge-wm eval``: measure a policy over many episodes."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_wm.commands.output_option import OutputFile
from edge_wm.robot import DEFAULT_ROBOT

POLICIES = ("world-model", "policy-head", "reactive", "straight", "oracle")
"""As in ``edge_wm.evaluate.contestants``, here so that ``--help`` needs no simulator."""

MOST_EPISODES = 1_000_000


@click.command("eval")
@click.option(
    "--worlds", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Worlds with tasks.json."
)
@click.option(
    "--policy", type=click.Choice(POLICIES), default="world-model", show_default=True, help="Who drives."
)
@click.option("--model", metavar="DIR", type=click.Path(path_type=Path), help="The bundle to drive by.")
@click.option("--precision", type=click.Choice(["int8", "fp32", "fp16"]), default="int8", show_default=True)
@click.option("--format", type=click.Choice(["onnx", "tflite"]), default="onnx", show_default=True)
@click.option(
    "--candidates",
    metavar="N",
    type=click.IntRange(1, 65536),
    help="Of a plan; default: the bundle's own number.",
)
@click.option(
    "--episodes",
    metavar="N",
    type=click.IntRange(1, MOST_EPISODES),
    help="How many; all tasks once if left out.",
)
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
@click.option("--json", "json_file", metavar="FILE", type=OutputFile(), help="Write the result here.")
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
    format: str,
    candidates: int | None,
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
    from edge_wm.evaluate.evaluation import evaluate, make_settings
    from edge_wm.evaluate.report import as_text
    from edge_wm.evaluate.runner import partial_file

    settings, tasks = make_settings(
        worlds,
        policy,  # type: ignore[arg-type]  # click has checked it
        model=model,
        precision=precision,  # type: ignore[arg-type]
        format=format,  # type: ignore[arg-type]
        candidates=candidates,
        seed=seed,
        robot=robot,
    )
    count = episodes or len(tasks)
    try:
        report = evaluate(settings, tasks, count, jobs or os.cpu_count() or 1, json_file, compare)
    except KeyboardInterrupt:
        partial = partial_file(json_file) if json_file else None
        if partial is not None and partial.exists():
            click.echo(f"what is done is kept in {partial}: the same command goes on from there", err=True)
        raise
    click.echo(as_text(report))
    return 0
