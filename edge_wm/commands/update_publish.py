"""``edge-wm update`` on the workstation: a repository of models, its keys, and who gets what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wm import __version__
from edge_wm.commands.output_option import json_option
from edge_wm.commands.publish_options import (
    check_version,
    days,
    encrypt_option,
    key_source,
    of_repository,
    pairs,
    tell,
)
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json

if TYPE_CHECKING:
    from edge_wm.publish.publisher import Access
    from edge_wm.publish.releases import Decided

_kind = click.option("--robot-kind", metavar="KIND", help="Of robots; needed if there are several.")
_fraction = click.FloatRange(0.0, 1.0)


@click.command("init-repo")
@of_repository
@click.option("--robot-kind", "kinds", metavar="KIND", multiple=True, help="As in the manifests of bundles.")
@click.option("--channel", "channels", metavar="NAME", multiple=True, help="Default: stable and beta.")
@click.option(
    "--threshold", "thresholds", metavar="ROLE=K/N", multiple=True, help="K of N keys must sign; root=2/3."
)
@click.option(
    "--key",
    "keys",
    metavar="ROLE=URI[,PUBLIC.pem]",
    multiple=True,
    help="A key that is there; others are made.",
)
@click.option("--expires", "expiries", metavar="ROLE=DAYS", multiple=True, help="ROLE may be `kinds`.")
@encrypt_option
def init_repo(
    access: Access,
    kinds: tuple[str, ...],
    channels: tuple[str, ...],
    thresholds: tuple[str, ...],
    keys: tuple[str, ...],
    expiries: tuple[str, ...],
    encrypt: bool,
) -> int:
    """Make a repository at REPO with its keys and empty channels; or add robot kinds and channels to one.

    The roles are root, targets, snapshot, timestamp, and one for each robot kind.  Any static web server can carry REPO;
    nobody else may see REPO.keys.

    Exit code 0: robots can read it; 1: it waits for signatures; 2: bad input.
    """
    from edge_wm.publish.folders import DEFAULT_EXPIRES_DAYS
    from edge_wm.publish.published import ONLINE
    from edge_wm.publish.setup import DEFAULT_CHANNELS, init_repository

    expires = {role: days(role, text) for role, text in pairs(expiries, "--expires")}
    for role in expires:
        if role not in DEFAULT_EXPIRES_DAYS:
            raise BadInput(f"--expires {role}: it is one of {', '.join(DEFAULT_EXPIRES_DAYS)}")
    is_new = not access.folders.settings.is_file()
    source = key_source(access, thresholds, keys, encrypt)
    outcome = init_repository(source, kinds, channels or DEFAULT_CHANNELS, expires)
    code = tell(outcome, access)
    if not outcome.published and not outcome.waiting:
        click.echo(f"{access.folders.public}: has all of that already")
    if is_new:
        click.echo(
            f"give every robot  {access.folders.metadata / '1.root.json'}  as trusted_root of its update.toml, or in its offline bundle"
        )
        offline = sorted(
            path.name
            for path in access.folders.private.glob("*.pem")
            if path.name.rpartition("-")[0] not in ONLINE
        )
        if offline:
            click.echo(f"take offline, each root key to another place: {', '.join(offline)}")
            click.echo(f"they are in {access.folders.private}; keep copies: nobody can make them again")
    return code


@click.command("publish")
@of_repository
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--channel", metavar="NAME", required=True, help="Whose robots are to have it.")
@click.option("--fraction", type=_fraction, default=1.0, show_default=True, help="Of the channel's robots.")
@click.option(
    "--requires",
    metavar="VERSION",
    default=__version__,
    show_default=True,
    help="The oldest edge-wm that can run it.",
)
@click.option(
    "--deltas",
    "delta_models",
    type=click.IntRange(0, 8),
    default=3,
    show_default=True,
    help="To so many newest models of each channel.",
)
@json_option
def publish(
    access: Access,
    bundle: Path,
    channel: str,
    fraction: float,
    requires: str,
    delta_models: int,
    json_file: Path | None,
) -> int:
    """Put BUNDLE on a channel: robots fetch what of it they do not have.

    Exit code 0: robots can fetch it; 1: it waits for signatures; 2: bad input.
    """
    from edge_wm.publish import releases
    from edge_wm.publish.publisher import open_publisher

    check_version(requires)
    with open_publisher(access) as publisher:
        decided = releases.publish(
            publisher,
            bundle,
            channel,
            fraction=fraction,
            requires=requires,
            delta_models=delta_models,
            told=_say,
        )
    return _tell_decided(decided, access, json_file)


@click.command("promote")
@of_repository
@click.argument("model", metavar="MODEL")
@click.option("--channel", metavar="NAME", required=True, help="Whose robots are to have it.")
@click.option("--from", "source", metavar="NAME", help="The channel it was released on; default: the same.")
@click.option("--fraction", type=_fraction, required=True, help="Of the channel's robots.")
@_kind
@json_option
def promote(
    access: Access,
    model: str,
    channel: str,
    source: str | None,
    fraction: float,
    robot_kind: str | None,
    json_file: Path | None,
) -> int:
    """Give MODEL, a version or the beginning of a hash, to more of a channel's robots, or to another channel.

    The channel's newest model for more or fewer robots stays the same decision: fewer only keeps further robots from
    taking it, `revoke` takes it back.  Any other model, an older one too, is a new decision that robots follow.

    Exit code 0: robots see it; 1: it waits for signatures; 2: bad input.
    """
    from edge_wm.publish import releases
    from edge_wm.publish.publisher import open_publisher

    with open_publisher(access) as publisher:
        decided = releases.promote(
            publisher, model, channel, fraction=fraction, source=source, kind=robot_kind, told=_say
        )
    return _tell_decided(decided, access, json_file)


@click.command("revoke")
@of_repository
@click.argument("model", metavar="MODEL")
@click.option("--channel", metavar="NAME", help="On this channel.")
@click.option("--all", "everywhere", is_flag=True, help="On all channels.")
@_kind
def revoke(
    access: Access,
    model: str,
    channel: str | None,
    everywhere: bool,
    robot_kind: str | None,
) -> int:
    """Take MODEL back: robots that hear of it go to the release below it, or to the one they had before.

    Exit code 0: robots see it; 1: it waits for signatures; 2: bad input.
    """
    from edge_wm.publish import releases
    from edge_wm.publish.publisher import open_publisher

    if (channel is None) == (not everywhere):
        raise BadInput("say where: --channel NAME, or --all")
    with open_publisher(access) as publisher:
        sha256, outcome = releases.revoke(publisher, model, channel, kind=robot_kind)
    click.echo(f"revoked {sha256} on {channel or 'all channels'}")
    return tell(outcome, access)


@click.command("refresh")
@of_repository
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="Also sign this role anew: root, targets, a kind."
)
def refresh(access: Access, roles: tuple[str, ...]) -> int:
    """Sign anew before it expires: the timestamp, and the snapshot once half of its days are over.

    For cron, where the online keys are.  It also publishes what waited only for them.

    Exit code 0: done; 1: something waits for signatures; 2: bad input.
    """
    from edge_wm.publish.publisher import open_publisher
    from edge_wm.publish.rotate import refresh as renew

    with open_publisher(access) as publisher:
        return tell(renew(publisher, roles), access)


@click.command("sign")
@of_repository
@click.option("--role", metavar="ROLE", required=True, help="Whose metadata waits.")
@click.option(
    "--from",
    "copy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A copy of the waiting file that somebody else signed.",
)
@click.option("--drop", is_flag=True, help="Give up what waits.")
def sign(
    access: Access,
    role: str,
    copy: Path | None,
    drop: bool,
) -> int:
    """Add this machine's signatures to metadata that waits in REPO.keys/pending, and publish it if that are enough.

    Look at the file before you sign it.  To sign on another machine, bring REPO/metadata, repository.toml and root.json
    of REPO.keys, and the waiting file there; sign it with --from, and bring what then waits there back with --from.

    Exit code 0: published; 1: it still waits; 2: bad input.
    """
    from edge_wm.publish.publisher import open_publisher
    from edge_wm.publish.rotate import drop_waiting, sign_waiting

    if drop:
        for path in drop_waiting(access, role):
            click.echo(f"dropped {path}")
        return 0
    with open_publisher(access, resume=copy is None) as publisher:
        added, outcome = sign_waiting(publisher, role, copy)
    click.echo(f"{role}: {added} signature{'' if added == 1 else 's'} added")
    return tell(outcome, access)


@click.command("rotate-keys")
@of_repository
@click.option("--role", metavar="ROLE", required=True, help="Whose keys.")
@click.option("--replace", metavar="KEYID", multiple=True, help="Only this key, by the beginning of its id.")
@click.option(
    "--key", "keys", metavar="URI[,PUBLIC.pem]", multiple=True, help="A key that is there; else one is made."
)
@click.option(
    "--threshold", type=click.IntRange(1, 100), help="How many must sign; default: as many as before."
)
@encrypt_option
def rotate_keys(
    access: Access,
    role: str,
    replace: tuple[str, ...],
    keys: tuple[str, ...],
    threshold: int | None,
    encrypt: bool,
) -> int:
    """Give a role other keys.  Root's keys sign for root, targets, snapshot and timestamp, those of targets for a robot kind.

    Exit code 0: robots see it; 1: it waits for signatures; 2: bad input.
    """
    from edge_wm.publish.keys import SHOWN
    from edge_wm.publish.publisher import open_publisher
    from edge_wm.publish.rotate import rotate_keys as rotate

    source = key_source(access, (), tuple(f"{role}={key}" for key in keys), encrypt)
    with open_publisher(access) as publisher:
        rotated = rotate(publisher, role, source, replace=replace, threshold=threshold)
    code = tell(rotated.outcome, access)
    gone = ", ".join(keyid[:SHOWN] for keyid in rotated.gone)
    click.echo(f"no longer sign for {role}{' once that is published' if code else ''}: {gone}")
    return code


@click.command("prune")
@of_repository
def prune(access: Access) -> int:
    """Delete files that neither today's metadata nor the version before it refers to."""
    from edge_wm.publish.publisher import open_publisher
    from edge_wm.publish.status import prune as delete

    with open_publisher(access) as publisher:
        files, size = delete(publisher)
    click.echo(f"deleted {files} files, {size / 1e6:.2f} MB")
    return 0


@click.command("repo-status")
@of_repository
@click.option(
    "--within",
    "within_days",
    metavar="DAYS",
    type=click.FloatRange(0.0),
    help="Default: a fifth of each role's days.",
)
@json_option
def status(
    access: Access,
    within_days: float | None,
    json_file: Path | None,
) -> int:
    """Show roles, keys, channels, and what waits for signatures.

    Exit code 0: all is well; 1: something expires within DAYS, or a file is missing; 2: it is no repository, or forged.
    """
    from edge_wm.publish.status import read_status
    from edge_wm.publish.tables import show_state

    state = read_status(access, within_days)
    show_state(state)
    if json_file is not None:
        write_json(json_file, state)
    return 0 if state.is_well else 1


def _tell_decided(decided: Decided, access: Access, json_file: Path | None) -> int:
    """Say who gets what, and what a robot fetches for it; returns the exit code."""
    from edge_wm.publish.channels import is_newest, title
    from edge_wm.publish.tables import show_update, update_facts

    facts = update_facts(decided)
    show_update(facts)
    release, before = decided.release, decided.before
    robots = f"{release.fraction:.0%} of the robots of {decided.kind} on {decided.channel.channel}"
    if not is_newest(before, release.model):
        said = f"{title(release)}: a new decision, number {release.sequence}: for {robots}"
    elif before == decided.channel:
        said = f"{title(release)}: for {robots} already"
    elif release.fraction < before.releases[0].fraction:
        said = (
            f"{title(release)}: for {robots} from now on; robots that have it keep it, `revoke` takes it back"
        )
    else:
        said = f"{title(release)}: for {robots} from now on"
    click.echo(said)
    if json_file is not None:
        write_json(json_file, facts)
    return tell(decided.outcome, access)


def _say(path: str) -> None:
    click.echo(f"packing {path}", err=True)
