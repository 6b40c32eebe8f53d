"""Metadata that is signed and not published: it waits for more signatures, or a command was interrupted.

What a command makes is put here first and taken away last, so that whatever stops it in between, the next one goes on.
A file is named as it will be in ``REPO/metadata``; other keepers sign a copy of it, see ``edge-wm update sign``.  Files
that belong together wait together or not at all: only what ``index.json`` names, which is written after them, waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from edge_wm.durable import replace_file
from edge_wm.errors import BadInput
from edge_wm.publish.draft import lack
from edge_wm.publish.folders import Folders
from edge_wm.publish.published import ROOT, TARGETS, AnyMetadata, kinds_of, parse

_INDEX = "index.json"


def file_name(role: str, metadata: AnyMetadata) -> str:
    """The name of versioned metadata."""
    return f"{metadata.signed.version}.{role}.json"


def read_pending(
    folders: Folders, base: Mapping[str, AnyMetadata], *, tidy: bool = False
) -> dict[str, AnyMetadata]:
    """What waits, by role.

    Args:
        folders: of the repository.
        base: what is published.
        tidy: take away what has been published meanwhile.

    Raises:
        BadInput: something waits that does not follow what is published.
    """
    waiting: dict[str, AnyMetadata] = {}
    published = set()
    for name in _names(folders):
        path = folders.pending / name
        role = name.partition(".")[2].removesuffix(".json")
        metadata = parse(_content(path), role, path)
        newest = base.get(role)
        if newest is not None and metadata.signed == newest.signed:
            published.add(role)
        elif metadata.signed.version != (newest.signed.version if newest is not None else 0) + 1:
            raise BadInput(f"{path}: does not follow what is published: {drop_line(folders, role)}")
        else:
            waiting[role] = metadata
    if tidy:
        drop_pending(folders, published)
    return waiting


def drop_line(folders: Folders, role: str) -> str:
    """What to do about something that waits in vain."""
    return f"drop it with  edge-wm update sign {folders.public} --role {role} --drop"


def save_pending(folders: Folders, waiting: Mapping[str, AnyMetadata]) -> None:
    """Let exactly these wait, durably, all of them or, if this is interrupted, what waited before."""
    for role, metadata in waiting.items():
        path = folders.pending / file_name(role, metadata)
        content = metadata.to_bytes()
        if not path.is_file() or path.read_bytes() != content:
            replace_file(path, content)
    _write_names(folders, [file_name(role, metadata) for role, metadata in waiting.items()])


def drop_pending(folders: Folders, roles: set[str]) -> list[Path]:
    """Forget what waits for these roles; returns what was taken away."""
    names = _names(folders)
    dropped = [name for name in names if name.partition(".")[2].removesuffix(".json") in roles]
    if dropped:
        _write_names(folders, [name for name in names if name not in dropped])
    paths = [folders.pending / name for name in dropped]
    for path in paths:
        path.unlink(missing_ok=True)
    return paths


def _names(folders: Folders) -> list[str]:
    path = folders.pending / _INDEX
    try:
        return msgspec.json.decode(_content(path), type=list[str]) if path.exists() else []
    except msgspec.DecodeError as error:
        raise BadInput(f"{path}: {error}: restore it from a backup") from None


def _write_names(folders: Folders, names: Sequence[str]) -> None:
    if sorted(names) != sorted(_names(folders)):
        replace_file(folders.pending / _INDEX, msgspec.json.encode(sorted(names)))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}: restore it from a backup") from None


def ready(base: Mapping[str, AnyMetadata], waiting: Mapping[str, AnyMetadata]) -> dict[str, AnyMetadata]:
    """Those of ``waiting`` that can be published together now: with them every role has the signatures that it needs.

    New keys and what they sign come together or not at all: a root with a new targets key waits for targets that this
    key has signed.
    """
    taken = dict(waiting)
    while (misfit := _misfit(base, taken)) is not None:
        del taken[misfit]
    return taken


def _misfit(base: Mapping[str, AnyMetadata], taken: Mapping[str, AnyMetadata]) -> str | None:
    """One role whose new metadata must wait; None if they all fit."""
    roles = {**base, **taken}
    if not taken:
        return None
    for role, delegator in ((ROOT, ROOT), (TARGETS, ROOT), *((kind, TARGETS) for kind in kinds_of(roles))):
        if role in roles and lack(role, base, roles) is None:
            continue
        # Too few signatures: its own are missing, or whoever asks for others is too early; before the first
        # publication nothing goes without the rest.
        return next((early for early in (role, delegator) if early in taken), next(iter(taken)))
    return next((role for role in taken if role not in (ROOT, TARGETS, *kinds_of(roles))), None)
