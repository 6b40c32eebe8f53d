"""What people are shown of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from edge_wm.publish.channels import title
from edge_wm.publish.releases import Decided
from edge_wm.publish.status import RepositoryState
from edge_wm.update.assemble import Piece, plan
from edge_wm.update.release import Form, Release, ReleasedFile


def update_facts(decided: Decided) -> dict[str, Any]:
    """What a release weighs: whole, compressed, and for a robot that has the channel's previous model."""
    release, previous = decided.release, decided.previous
    pieces = _pieces(release, previous)
    return {
        "robot_kind": decided.kind,
        "channel": decided.channel.channel,
        "model_sha256": release.model,
        "name": release.name,
        "version": release.version,
        "sequence": release.sequence,
        "fraction": release.fraction,
        "requires": release.requires,
        "published": dict(decided.outcome.published),
        "waiting": list(decided.outcome.waiting),
        "size": release.size,
        "whole_bytes": plan(release, {}).bytes_to_fetch,
        "previous_model_sha256": previous.model if previous else None,
        "update_bytes": plan(release, _files(previous)).bytes_to_fetch,
        "files": [
            {
                "path": piece.file.path,
                "size": piece.file.size,
                "whole": _whole(piece.file).kind,
                "whole_bytes": _whole(piece.file).size,
                "update": piece.form.kind if piece.form else "unchanged",
                "update_bytes": piece.form.size if piece.form else 0,
            }
            for piece in pieces
        ],
    }


def show_update(facts: dict[str, Any]) -> None:
    """Print ``update_facts`` as a table."""
    has_previous = facts["previous_model_sha256"] is not None
    table = Table("file", "bytes", "compressed", *(("from the previous model", "") if has_previous else ()))
    for file in facts["files"]:
        from_previous = (f"{file['update_bytes']:,}", file["update"]) if has_previous else ()
        compressed = f"{file['whole_bytes']:,}" if file["whole"] == "zstd" else "-"
        table.add_row(file["path"], f"{file['size']:,}", compressed, *from_previous)
    update = (f"{facts['update_bytes']:,}", "") if has_previous else ()
    table.add_section()
    table.add_row("all", f"{facts['size']:,}", f"{facts['whole_bytes']:,}", *update)
    for column in table.columns[1:4]:
        column.justify = "right"
    Console().print(table)


def _pieces(release: Release, previous: Release | None) -> tuple[Piece, ...]:
    return plan(release, _files(previous)).pieces


def _files(release: Release | None) -> dict[str, Path]:
    """What a robot with this model has."""
    return {file.sha256: Path(file.path) for file in release.files} if release else {}


def _whole(file: ReleasedFile) -> Form:
    return next(form for form in file.forms if form.base is None)


def show_state(state: RepositoryState) -> None:
    """Print the whole state of a repository."""
    console = Console()
    console.print(f"{state.repository}, private folder {state.private}", highlight=False)
    roles = Table(
        Column("role", overflow="fold"), "version", "expires", "days left", "must sign", "keys here"
    )
    for role in state.roles:
        left = f"{role.days_left:.1f}"
        if role.expires_soon:
            left += " EXPIRED" if role.days_left <= 0.0 else " sign soon"
        here = sum(key.here is True for key in role.keys)
        need = f"{role.threshold} of {len(role.keys)}"
        roles.add_row(role.role, str(role.version), f"{role.expires:%Y-%m-%d}", left, need, f"{here}")
    console.print(roles)
    for role in state.roles:
        for key in role.keys:
            if key.here is None:
                console.print(f"{role.role}: key {key.key} is here if it signs: {key.uri}", highlight=False)
            elif not key.here:
                console.print(f"{role.role}: key {key.key} is not here: {key.uri}", highlight=False)
    for kind in state.kinds:
        console.print(
            f"{kind.kind}: {kind.files} files, {kind.size / 1e6:.2f} MB to fetch from", highlight=False
        )
        releases = Table("channel", "sequence", "model", "robots", "needs", "bytes")
        for name, channel in kind.channels.items():
            for release in channel.releases:
                releases.add_row(
                    name,
                    str(release.sequence),
                    title(release),
                    f"{release.fraction:.0%}",
                    f"edge-wm {release.requires}",
                    f"{release.size:,}",
                )
            if not channel.releases:
                releases.add_row(name, "", "nothing")
            if channel.revoked:
                releases.add_row(name, "", f"{len(channel.revoked)} revoked")
        console.print(releases)
        for path in kind.missing:
            console.print(f"missing or cut off: {path}", highlight=False)
    for waiting in state.waiting:
        what = f"lacks {waiting.lacks} signatures" if waiting.lacks else "is signed and waits for others"
        console.print(f"{waiting.role} {waiting.version} {what}: {waiting.file}", highlight=False)
