"""What is published, read back and verified before anything is built on it.

``REPO`` lies where others may write, or comes back from a server: whoever changed it there must not get the change signed
with the next command.  So the publisher believes its own repository no more than a robot does: signatures from the root
that the private folder holds, and no version below those that it has published.  What has expired is still believed, or it
could not be signed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge_wm.errors import BadInput, one_line
from edge_wm.publish.folders import Folders, read_seen

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type
TOP_LEVEL = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
ONLINE = (SNAPSHOT, TIMESTAMP)
"""Signed by a machine, and made anew by every command; all other roles are signed by people."""

TYPES: Mapping[str, type[Signed]] = {ROOT: Root, TARGETS: Targets, SNAPSHOT: Snapshot, TIMESTAMP: Timestamp}
AnyMetadata = Metadata[Any]
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class Published:
    """The metadata that readers see now, by role.  Empty before the first publication."""

    roles: Mapping[str, AnyMetadata]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The robot kinds that there are models for."""
        return kinds_of(self.roles)


def kinds_of(roles: Mapping[str, AnyMetadata]) -> tuple[str, ...]:
    """The robot kinds that the targets role delegates to."""
    delegations = roles[TARGETS].signed.delegations if TARGETS in roles else None
    return tuple(delegations.roles) if delegations is not None else ()


def delegator_of(role: str, roles: Mapping[str, AnyMetadata]) -> Root | Targets | None:
    """Who says which keys sign for ``role``; None if nobody does."""
    found = roles.get(ROOT if role in TOP_LEVEL else TARGETS)
    if found is None or (role not in TOP_LEVEL and role not in kinds_of(roles)):
        return None
    signed: Root | Targets = found.signed
    return signed


def read_published(folders: Folders) -> Published:
    """Read and verify the repository.

    Raises:
        BadInput: a file of it is missing, damaged, or not what its keys signed.
    """
    if not (folders.metadata / f"{TIMESTAMP}.json").is_file():
        if read_seen(folders):
            raise BadInput(f"{folders.metadata}: {TIMESTAMP}.json is missing: restore it from a backup")
        return Published({})
    if not folders.trusted_root.is_file():
        raise BadInput(
            f"{folders.trusted_root}: missing: put the newest root of the repository there,"
            " from a keeper whom you trust and not from the server"
        )
    seen = read_seen(folders)
    root = _newest_root(folders)
    roles: dict[str, AnyMetadata] = {ROOT: root}
    timestamp = _read(folders, f"{TIMESTAMP}.json", TIMESTAMP, roles, seen)
    snapshot = _read_listed(folders, SNAPSHOT, timestamp.signed.snapshot_meta, roles, seen)
    meta = snapshot.signed.meta
    for role in (TARGETS, *sorted(name.removesuffix(".json") for name in meta if name != "targets.json")):
        _read_listed(folders, role, meta[f"{role}.json"], roles, seen)
    return Published(roles)


def parse(data: bytes, role: str, where: Path) -> AnyMetadata:
    """Metadata of ``role`` from its bytes.  Raises BadInput."""
    try:
        metadata = Metadata[Any].from_bytes(data)
    except DeserializationError as error:
        raise BadInput(
            f"{where}: not TUF metadata: {one_line(str(error))}: restore it from a backup"
        ) from None
    if not isinstance(metadata.signed, TYPES.get(role, Targets)):
        raise BadInput(f"{where}: metadata of type {metadata.signed.type}, not of {role}")
    return metadata


def _newest_root(folders: Folders) -> AnyMetadata:
    root = parse(_bytes(folders.trusted_root), ROOT, folders.trusted_root)
    if not (folders.metadata / f"{root.signed.version}.root.json").is_file():
        raise BadInput(
            f"{folders.metadata}: {root.signed.version}.root.json is missing: restore it from a backup"
        )
    while (path := folders.metadata / f"{root.signed.version + 1}.root.json").is_file():
        newer = parse(_bytes(path), ROOT, path)
        if not newer.signed.get_root_verification_result(root.signed, newer.signed_bytes, newer.signatures):
            raise BadInput(f"{path}: not signed as the root before it asks: {_FORGED}")
        root = newer
    return root


_FORGED = "somebody changed the repository: restore it from a backup"


def _read_listed(
    folders: Folders, role: str, listed: MetaFile, roles: dict[str, AnyMetadata], seen: Mapping[str, int]
) -> AnyMetadata:
    name = f"{listed.version}.{role}.json"
    try:
        listed.verify_length_and_hashes(_bytes(folders.metadata / name))
    except LengthOrHashMismatchError as error:
        raise BadInput(f"{folders.metadata / name}: {one_line(str(error))}: {_FORGED}") from None
    metadata = _read(folders, name, role, roles, seen)
    if metadata.signed.version != listed.version:
        raise BadInput(f"{folders.metadata / name}: is version {metadata.signed.version}: {_FORGED}")
    return metadata


def _read(
    folders: Folders, name: str, role: str, roles: dict[str, AnyMetadata], seen: Mapping[str, int]
) -> AnyMetadata:
    """Read one file, verify it, and add it to ``roles``."""
    path = folders.metadata / name
    metadata = parse(_bytes(path), role, path)
    delegator = delegator_of(role, roles)
    if delegator is None:
        raise BadInput(f"{path}: a role that nobody delegates to: {_FORGED}")
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise BadInput(f"{path}: {one_line(str(error))}: {_FORGED}") from None
    if metadata.signed.version < seen.get(role, 1):
        raise BadInput(f"{path}: is version {metadata.signed.version}, {seen[role]} was published: {_FORGED}")
    roles[role] = metadata
    return metadata


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}: restore it from a backup") from None
