"""``edge-wm profile``: which way of running a model is the fastest on this machine, of those that are the same model."""

from __future__ import annotations

from pathlib import Path

import click

from edge_wm.commands.output_option import json_option
from edge_wm.commands.run_options import DEFAULT_MODEL
from edge_wm.output_file import write_json
from edge_wm.robot import DEFAULT_ROBOT, load_robot


@click.command("profile")
@click.option(
    "--model",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=DEFAULT_MODEL,
    help="Bundle; default: the shipped one.",
)
@click.option(
    "--robot",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROBOT,
    help="Robot file; its board's [engine] says where a delegate is.",
)
@json_option
@click.option(
    "--no-store", is_flag=True, help="Only show: do not remember the choice for `drive` and `demo`."
)
def command(model: Path, robot: Path, json_file: Path | None, no_store: bool) -> int:
    """Try every form of the model, accelerator and number of threads on this machine, and remember the best for `drive` and `demo`.

    A form that does not pass the golden vectors here is not chosen, and int8 only where it is measured to be faster. Of
    several numbers of candidates the largest is chosen that keeps the bundle's budget. Let nothing else run meanwhile.

    Exit code 0: one was chosen and its slowest ticks keep the bundle's budget; 1: not so; 2: bad input.
    """
    import msgspec
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Column, Table

    from edge_wm.bundle.load import load_bundle
    from edge_wm.profile.choice import remember, this_machine
    from edge_wm.profile.measure import cores
    from edge_wm.profile.sizes import measure_sizes

    board = load_robot(robot).board.engine
    bundle = load_bundle(model, roles=("observe", "imagine"))
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("profile", total=1.0)
        rows, chosen = measure_sizes(
            bundle, cores(), board, lambda share: progress.update(task, completed=share)
        )
    own = bundle.manifest.imagine.candidates
    table = Table(
        "candidates",
        "form",
        Column("on", no_wrap=True),
        "threads",
        "tick p50 ms",
        "p99 ms",
        "observe ms",
        "",
    )
    failures = []
    for row in rows:
        how = row.execution
        times = (row.tick_p50_ms, row.tick_p99_ms, row.observe_p50_ms)
        told = [f"{time:.2f}" if time is not None else "" for time in times]
        remark = "chosen" if row is chosen else "fails" if row.failure else ""
        on = how.accelerated_by + (f" {row.accelerated:.0%}" if row.accelerated is not None else "")
        table.add_row(
            f"{how.candidates or own}",
            f"{how.format} {how.precision}",
            on,
            f"{how.threads}{' spinning' if how.spin else ''}",
            *told,
            remark,
        )
        if row.failure:
            failures.append(f"{how}: {row.failure}")
    console.print(table)
    for failure in failures:
        click.echo(failure)
    budget = bundle.manifest.latency_budget_ms
    if json_file is not None:
        facts = {
            "model_sha256": bundle.sha256,
            "machine": this_machine(),
            "budget_ms": budget,
            "chosen": chosen.execution if chosen else None,
            "candidates": (chosen.execution.candidates or own) if chosen else None,
            "rows": rows,
        }
        write_json(json_file, facts)
    if chosen is None or chosen.tick_p99_ms is None:
        click.echo(f"{model}: no form of it can be used on this machine")
        return 1
    in_budget = chosen.tick_p99_ms <= budget
    size = chosen.execution.candidates or own
    verdict = "within" if in_budget else "over"
    fewest = " even with the fewest candidates" if not in_budget and len(bundle.manifest.sizes) > 1 else ""
    click.echo(
        f"{msgspec.structs.replace(chosen.execution, candidates=size)}: p99 {chosen.tick_p99_ms:.1f} ms a tick,"
        f" {verdict} the budget of {budget:g} ms{fewest}"
    )
    if not no_store:
        click.echo(f"remembered in {remember(bundle.sha256, chosen.execution, rows)}")
    return 0 if in_budget else 1
