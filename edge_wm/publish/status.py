"""What a repository holds, who can sign for it here, and what expires; and files that nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from edge_wm.publish.draft import lack
from edge_wm.publish.folders import Folders, Settings, read_settings
from edge_wm.publish.keys import SHOWN, Keyring
from edge_wm.publish.pending import file_name, read_pending
from edge_wm.publish.published import (
    ONLINE,
    ROOT,
    TARGETS,
    TIMESTAMP,
    TOP_LEVEL,
    AnyMetadata,
    delegator_of,
    parse,
    read_published,
)
from edge_wm.publish.publisher import Access, Publisher
from edge_wm.publish.targets import TargetFolder, missing_files, old_channels
from edge_wm.update.release import Channel

SOON = 0.2
"""A role expires soon when this part of its days is left."""


class KeyState(Struct, frozen=True):
    """A key of a role: the beginning of its id, where its private half should be, and whether it is there.

    Of a token or a key service that shows when it is to sign: None.
    """

    key: str
    uri: str | None
    here: bool | None


class RoleState(Struct, frozen=True):
    """One role, as readers see it.

    Attributes:
        role: its name.
        version: of its metadata.
        expires: when.
        days_left: until then; below 0 it has expired.
        expires_soon: whether it must be signed anew.
        threshold: how many keys must sign.
        keys: that may.
    """

    role: str
    version: int
    expires: datetime
    days_left: float
    expires_soon: bool
    threshold: int
    keys: tuple[KeyState, ...]


class Waiting(Struct, frozen=True):
    """Metadata in ``pending/``: how many signatures it lacks."""

    role: str
    version: int
    file: str
    lacks: int


class KindState(Struct, frozen=True):
    """The models for one kind of robots.

    Attributes:
        kind: of robots.
        channels: by name.
        files: how many there are to fetch.
        size: bytes of them.
        missing: those that are not there or cut off.
    """

    kind: str
    channels: dict[str, Channel]
    files: int
    size: int
    missing: tuple[str, ...]


class RepositoryState(Struct, frozen=True):
    """All of it."""

    repository: str
    private: str
    roles: tuple[RoleState, ...]
    kinds: tuple[KindState, ...]
    waiting: tuple[Waiting, ...]

    @property
    def is_well(self) -> bool:
        """Whether readers see it, nothing expires soon and no file is missing."""
        troubled = any(role.expires_soon for role in self.roles) or any(kind.missing for kind in self.kinds)
        return bool(self.roles) and not troubled


def read_status(access: Access, within_days: float | None = None) -> RepositoryState:
    """Look at a repository; nothing is written.

    Args:
        access: how to get at it.
        within_days: what expires within so many days expires soon; None for a fifth of each role's days.

    Raises:
        BadInput: there is none, or it has been tampered with.
    """
    folders = access.folders
    settings = read_settings(folders)
    keyring = access.keyring(settings)
    published = read_published(folders)
    base = published.roles
    waiting = read_pending(folders, base)
    order = [role for role in (*TOP_LEVEL, *published.kinds) if role in base]
    return RepositoryState(
        str(folders.public),
        str(folders.private),
        tuple(_role(role, base, settings, keyring, access.now, within_days) for role in order),
        tuple(_kind(folders, kind, base[kind]) for kind in published.kinds),
        tuple(_waiting(folders, role, base, waiting) for role in waiting),
    )


def _role(
    role: str,
    base: Mapping[str, AnyMetadata],
    settings: Settings,
    keyring: Keyring,
    now: datetime,
    within_days: float | None,
) -> RoleState:
    delegator = delegator_of(role, base)
    assert delegator is not None
    delegated = delegator.get_delegated_role(role)
    keys = [delegator.get_key(keyid) for keyid in delegated.keyids]
    signed = base[role].signed
    days_left = (signed.expires - now) / timedelta(days=1)
    limit = SOON * settings.days(role) if within_days is None else within_days
    return RoleState(
        role,
        signed.version,
        signed.expires,
        round(days_left, 3),
        days_left <= limit,
        delegated.threshold,
        tuple(KeyState(key.keyid[:SHOWN], keyring.uris.get(key.keyid), keyring.is_here(key)) for key in keys),
    )


def _kind(folders: Folders, kind: str, metadata: AnyMetadata) -> KindState:
    folder = TargetFolder(folders, kind, metadata)
    listed = folder.listed
    missing = missing_files(folders, listed)
    return KindState(
        kind,
        {} if missing else folder.channels(),
        len(listed),
        sum(entry.length for entry in listed.values()),
        tuple(missing),
    )


def _waiting(
    folders: Folders, role: str, base: Mapping[str, AnyMetadata], waiting: Mapping[str, AnyMetadata]
) -> Waiting:
    missing = lack(role, base, {**base, **waiting})
    where = folders.pending / file_name(role, waiting[role])
    return Waiting(role, waiting[role].signed.version, str(where), missing.signatures if missing else 0)


def prune(publisher: Publisher) -> tuple[int, int]:
    """Delete what neither today's metadata nor the version before it refers to.

    A reader who came just before the last publication can still fetch everything.  All roots stay: robots follow them
    one by one.  So do the channels that alone tell of a release: its version is never given to another model.

    Returns:
        How many files were deleted, and their bytes.

    Raises:
        BadInput: nothing is published yet.
    """
    publisher.require_published()
    folders = publisher.folders
    keep = {folders.lock, folders.metadata / f"{TIMESTAMP}.json"}
    lists = [publisher.waiting[kind] for kind in publisher.published.kinds if kind in publisher.waiting]
    for role, metadata in publisher.published.roles.items():
        for version in (metadata.signed.version, metadata.signed.version - 1):
            path = folders.metadata / f"{version}.{role}.json"
            keep.add(path)
            if role not in (ROOT, TARGETS, *ONLINE) and path.is_file():
                lists.append(parse(path.read_bytes(), role, path))
    for metadata in lists:
        keep |= {
            folders.targets / entry.get_prefixed_paths()[0] for entry in metadata.signed.targets.values()
        }
    for kind in publisher.published.kinds:
        keep |= _telling(folders, kind, keep)
    files = [
        path for folder in (folders.metadata, folders.targets) for path in folder.rglob("*") if path.is_file()
    ]
    gone = [path for path in files if path not in keep and not path.name.endswith(f".{ROOT}.json")]
    size = sum(path.stat().st_size for path in gone)
    for path in gone:
        path.unlink()
    return len(gone), size


def _telling(folders: Folders, kind: str, keep: set[Path]) -> set[Path]:
    """Channel files, as few as need be, that tell of the releases that those of ``keep`` do not tell of."""
    told = [
        (path, {(one.name, one.version, one.model) for one in channel.releases})
        for path, channel in old_channels(folders, kind)
    ]
    known = {release for path, releases in told if path in keep for release in releases}
    telling = set()
    for path, releases in sorted(told, key=lambda each: -len(each[1])):
        if releases - known:
            telling.add(path)
            known |= releases
    return telling
