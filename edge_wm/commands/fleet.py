"""``edge-wm fleet``: which robot has what, and whether more may get a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_wm.commands.output_option import json_option
from edge_wm.errors import BadInput, one_line
from edge_wm.output_file import write_json

if TYPE_CHECKING:
    from edge_wm.fleet.collector import Fleet
    from edge_wm.fleet.status import SeenRobot

_OPTIONS = (
    click.option(
        "--broker",
        metavar="URL",
        required=True,
        envvar="EDGE_WM_BROKER",
        help="mqtts://HOST, or mqtt://HOST without TLS.",
    ),
    click.option("--ca", metavar="FILE", help="Certificates to believe; default: the system's."),
    click.option("--certificate", metavar="FILE", help="Of yours, if the broker asks for one."),
    click.option("--key", metavar="FILE", help="Of that certificate."),
    click.option("--user", metavar="NAME", help="To log in with."),
    click.option("--password-file", metavar="FILE", help="Its first line is the password."),
    click.option("--kind", metavar="KIND", default="+", help="Only robots of this kind."),
    json_option,
)


def _broker_options(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group("fleet")
def command() -> None:
    """Which robot has what, as the robots tell an MQTT broker (docs/updates.md)."""


@command.command("status")
@_broker_options
def status(json_file: Path | None, **broker: Any) -> int:
    """One line for each robot: what drives it, how its newest trial went, when it was heard.

    Exit code 0: no robot's newest model failed; 1: one did; 2: the broker cannot be asked.
    """
    fleet = _gather(**broker)
    for line in (*_table(fleet.robots, time.time()), *_totals(fleet)):
        click.echo(line)
    if json_file is not None:
        write_json(json_file, fleet)
    return 1 if any(_failed(robot) for robot in fleet.robots) else 0


@command.command("gate")
@_broker_options
@click.option("--model", metavar="HASH", required=True, help="Of the model, or its first 8 digits or more.")
@click.option("--min-passed", type=click.IntRange(1), required=True, help="So many must have passed.")
@click.option("--max-failed", type=click.IntRange(0), default=0, show_default=True, help="So many may fail.")
def gate(json_file: Path | None, model: str, min_passed: int, max_failed: int, **broker: Any) -> int:
    """Whether a model may go to more robots.

    Of use before it does:  edge-wm fleet gate … && edge-wm update promote …

    A robot that the broker lost on trial, or that is overdue, counts as one that failed, and so does one whose status is missing
    or cannot be understood.

    Exit code 0: it may; 1: too few have passed, or too many failed; 2: the broker cannot be asked.
    """
    from edge_wm.fleet.verdict import stage_verdict

    if not 8 <= len(model) <= 64 or set(model) - set("0123456789abcdef"):
        raise BadInput(f"{model}: name a model by its hash, or by the first 8 digits or more of it")
    fleet = _gather(**broker)
    if not fleet.complete:
        raise BadInput(f"{broker['broker']}: had more to say than could be heard: name a kind with --kind")
    verdict = stage_verdict(
        fleet.robots, model, min_passed, max_failed, fleet.refused_count + len(fleet.silent)
    )
    click.echo(verdict.why)
    for line in _doubts(fleet):
        click.echo(line)
    if json_file is not None:
        write_json(json_file, verdict)
    return 0 if verdict.go else 1


def _gather(
    *,
    broker: str,
    kind: str,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    user: str | None,
    password_file: str | None,
) -> Fleet:
    from edge_wm.fleet.collector import gather
    from edge_wm.fleet.config import BrokerConfig

    if kind != "+" and set(kind) & set("+#/"):
        raise BadInput(f"{kind}: is no kind of robot")
    config = BrokerConfig(broker, ca, certificate, key, user, password_file)
    return gather(config, Path(), robot_kind=kind)


def _failed(robot: SeenRobot) -> bool:
    return robot.status.trial is not None and robot.status.trial.result == "failed"


def _table(robots: tuple[SeenRobot, ...], now: float) -> Iterator[str]:
    """Columns as wide as they must be: what a robot says is never cut, nor read as markup."""
    rows = [("robot", "kind", "drives", "update", "newest trial", "seen")]
    rows += [_row(robot, now) for robot in robots]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(robot: SeenRobot, now: float) -> tuple[str, str, str, str, str, str]:
    status = robot.status
    model, trial = status.active, status.trial
    told = ""
    if trial is not None:
        reason = f": {one_line(trial.reason)}" if trial.result == "failed" else ""
        told = f"{trial.version} {trial.result}{reason}"
    seen = robot.availability.value if robot.availability is not None else "?"
    if status.time_trusted:
        seen += f", {_age(now - status.at)} ago"
    drives = f"{model.name} {model.version} ({model.model[:12]})"
    return status.robot_id, status.robot_kind, drives, status.state.value, told, seen


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _totals(fleet: Fleet) -> Iterator[str]:
    by_model = Counter(
        (robot.status.active.name, robot.status.active.version, robot.status.active.model)
        for robot in fleet.robots
    )
    for (name, version, model), count in by_model.most_common():
        yield f"{count} of {len(fleet.robots)} drive by {name} {version} ({model[:12]})"
    trials = Counter(robot.status.trial.result for robot in fleet.robots if robot.status.trial is not None)
    yield f"newest trial: {trials['passed']} passed, {trials['failed']} failed"
    for robot in fleet.robots:
        if robot.status.error:
            yield f"{robot.status.robot_id}: {one_line(robot.status.error)}"
    yield from _doubts(fleet)


def _doubts(fleet: Fleet) -> Iterator[str]:
    if not fleet.complete:
        yield "warning: the broker had more to say: name a kind with --kind"
    if fleet.refused_count:
        yield f"warning: {fleet.refused_count} messages are not believed:"
        yield from (f"  {one_line(why)}" for why in fleet.refused)
    if fleet.silent:
        yield f"warning: {len(fleet.silent)} robots are known by availability alone, as {fleet.silent[0]}: does the broker drop messages?"
