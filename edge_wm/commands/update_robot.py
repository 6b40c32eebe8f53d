"""``edge-wm update`` on the robot: look, fetch, try, keep or go back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click
import msgspec

from edge_wm.commands.output_option import json_option
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.update.config import DEFAULT_CONFIG, UpdateConfig, folders_of, load_config

config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="EDGE_WM_UPDATE",
    help="The robot's update.toml.",
)


@click.command("check")
@config_option
@json_option
def check(config_file: Path, json_file: Path | None) -> int:
    """Ask the repository which model this robot should have.  Nothing is fetched but signed metadata.

    Exit code 0: asked, whatever the answer; 2: it cannot be reached or not be believed.
    """
    from edge_wm.update.robot_updater import robot_updater

    with robot_updater(config_file, load_config(config_file)) as updater:
        decision = updater.check()
        to_fetch = updater.plan(decision.release).bytes_to_fetch if decision.release else 0
    click.echo(decision.why + (f": {to_fetch / 1e3:,.1f} kB to fetch" if decision.release else ""))
    if json_file is not None:
        model = decision.release.model if decision.release else None
        write_json(json_file, {"why": decision.why, "model": model, "bytes_to_fetch": to_fetch})
    return 0


@click.command("fetch")
@config_option
@click.option("--again", is_flag=True, help="Also a model that failed on this robot before.")
@click.option("--metered-ok", is_flag=True, help="Whatever the bytes cost.")
def fetch(config_file: Path, again: bool, metered_ok: bool) -> int:
    """Fetch the newest model for this robot and prove it: then it is staged.

    Exit code 0: staged, or nothing to fetch; 2: it could not be fetched, or it is refused.  The robot keeps its model.
    """
    return _fetch(config_file, load_config(config_file), again, metered_ok)


@click.command("from-usb")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@config_option
@click.option("--again", is_flag=True, help="Also a model that failed on this robot before.")
def from_usb(folder: Path, config_file: Path, again: bool) -> int:
    """Fetch from DIR, which holds a copy of the repository: the same signatures, the same checks.

    Exit code: as for ``fetch``.
    """
    if not (folder / "metadata").is_dir():
        raise BadInput(f"{folder}: holds no repository: copy the whole of it, with metadata/ and targets/")
    config = load_config(config_file)
    url = folder.resolve().as_uri()
    return _fetch(config_file, msgspec.structs.replace(config, url=url), again, metered_ok=True)


def _fetch(config_file: Path, config: UpdateConfig, again: bool, metered_ok: bool) -> int:
    from edge_wm.update.robot_updater import robot_updater

    with robot_updater(config_file, config) as updater:
        decision = updater.check(again=again)
        if decision.release is None:
            click.echo(decision.why)
            return 0
        with _progress() as progress:
            updater.fetch(decision.release, progress, metered_ok=metered_ok)
        release = decision.release
    click.echo(f"{release.name} {release.version} is staged: edge-wm update apply, or with the next rest")
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    with Progress(BarColumn(), DownloadColumn(), TransferSpeedColumn(), transient=True) as bar:
        task = bar.add_task("fetch", total=None)
        yield lambda here, of: bar.update(task, completed=here, total=of)


@click.command("apply")
@config_option
def apply(config_file: Path) -> int:
    """Put the staged model on trial: the next drive is by it.  Not while the robot drives.

    Exit code 0: done; 2: nothing is staged, or the robot drives.
    """
    from edge_wm.update.robot_updater import robot_updater

    with robot_updater(config_file, load_config(config_file)) as updater:
        click.echo(f"{updater.apply()} is on trial from the next drive on")
    return 0


@click.command("rollback")
@config_option
def rollback(config_file: Path) -> int:
    """End a trial, or give up the model that drives for the one before.  It is not taken again by itself.

    Exit code 0: done; 2: there is nothing to go back to, or the robot drives.
    """
    from edge_wm.update.robot_updater import robot_updater

    with robot_updater(config_file, load_config(config_file)) as updater:
        given_up = updater.roll_back()
    click.echo(f"{given_up} is given up; to take it again: edge-wm update fetch --again")
    return 0


@click.command("status")
@click.argument("repository", metavar="[REPO]", required=False)
@config_option
@json_option
def status(repository: str | None, config_file: Path, json_file: Path | None) -> int:
    """What drives this robot, and how far an update is.  Changes nothing.

    With REPO, on the workstation: the same as ``repo-status REPO``.

    Exit code 0: the newest model drives or is on its way; 1: the newest update failed, or a model is in quarantine.
    """
    if repository is not None:
        from edge_wm.commands.update_publish import status as repository_status

        words = [repository, *(["--json", str(json_file)] if json_file is not None else [])]
        code: int = repository_status.main(words, prog_name="edge-wm update status", standalone_mode=False)
        return code
    from edge_wm.update.status import status_of

    config = load_config(config_file)
    facts = status_of(folders_of(config, config_file))
    for line in facts.lines():
        click.echo(line)
    if json_file is not None:
        write_json(json_file, facts)
    return 0 if facts.well else 1


@click.command("history")
@config_option
@click.option("-n", "newest", type=click.IntRange(1, 1000), default=20, show_default=True, help="Lines.")
@json_option
def history(config_file: Path, newest: int, json_file: Path | None) -> int:
    """What happened, the newest last."""
    from edge_wm.update.boot import open_store

    with open_store(folders_of(load_config(config_file), config_file)) as (store, _):
        events = store.history(newest)
    for event in events:
        at = datetime.fromtimestamp(event.at).astimezone().isoformat(" ", "seconds")
        model = f"{event.version} ({event.model[:12]})" if event.model else ""
        click.echo(f"{at}  {event.event:12} {model} {event.detail}".rstrip())
    if json_file is not None:
        write_json(json_file, events)
    return 0


@click.command("pin")
@click.argument("model", required=False)
@click.option("--none", "unpin", is_flag=True, help="Follow the channel again.")
@config_option
def pin(model: str | None, unpin: bool, config_file: Path) -> int:
    """Stay with MODEL of the channel, a version or the beginning of a hash, whatever else is released.

    Exit code 0: done; 2: neither MODEL nor --none.
    """
    from edge_wm.update.robot_updater import robot_updater
    from edge_wm.update.store import PIN

    if (model is None) == (not unpin):
        raise BadInput("name a version or the beginning of a model's hash, or --none")
    with robot_updater(config_file, load_config(config_file)) as updater:
        updater.store.set(PIN, model)
    click.echo(f"pinned to {model}: edge-wm update fetch brings it" if model else "follows the channel")
    return 0


@click.command("repair")
@config_option
def repair_store(config_file: Path) -> int:
    """Put a damaged store aside and start a new one.  Until the next update the factory's model drives.

    Exit code 0: done, or nothing to do.
    """
    from edge_wm.update.updater import repair

    aside = repair(folders_of(load_config(config_file), config_file))
    click.echo(f"a new one is started, the damaged one is {aside}" if aside else "it is sound")
    return 0


@click.command("serve")
@config_option
@click.option("--once", is_flag=True, help="One look, then end: for a systemd timer.")
def serve(config_file: Path, once: bool) -> int:
    """Look, fetch, prove and put on trial, every so many hours, until it is stopped."""
    from edge_wm.update.service import serve as run

    return run(config_file, once=once, say=click.echo)
