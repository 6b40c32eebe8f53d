"""What a robot believes of a repository: the client of The Update Framework, with what it leaves open closed.

``tuf`` keeps the metadata that it trusts in a folder, written without fsync, and believes the wall clock.  Here the folder is
a scratch copy: what is trusted is a :class:`TrustState`, which ``store.py`` keeps in one transaction, and the time is given.

**Floors.**  With its ``timestamp.json`` a client loses its memory of what is newer, and would believe an old repository
again.  So the newest version of each role is kept apart from the metadata, and none may fall below.  Only as long as the keys
that signed it would still do, though: whoever once stole them could have signed the highest number there is, and after they
were replaced no version of the publisher's would ever be believed.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Root, Snapshot, Targets, Timestamp

from edge_wm.errors import BadInput
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.release import MAX_CHANNEL_BYTES, Channel, channel_target, decode_channel
from edge_wm.update.tuf_client import KEEPS, explained, read_metadata, said, tuf_client

TOP_LEVEL = (Timestamp.type, Snapshot.type, Targets.type)
MAX_VERSION = 1 << 53
"""Of metadata: what the store, and JSON elsewhere, can hold.  No publisher comes near it."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The newest version of a role that was trusted.

    Attributes:
        version: of its metadata.
        keys: identifiers of the keys that signed it, with commas between them; empty for the root, whose floor never falls.
    """

    version: int
    keys: str


@dataclass(frozen=True)
class TrustState:
    """What is trusted of one repository; a new robot trusts nothing but the root that came with it.

    Attributes:
        root: the newest trusted root metadata.
        metadata: the other roles' metadata, by role.
        floors: by role.
        time_floor: the latest moment at which metadata was found to be valid.
    """

    root: bytes | None = None
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    floors: Mapping[str, Floor] = field(default_factory=dict)
    time_floor: datetime | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A file of the repository: where it is, and what it must be."""

    url: str
    size: int
    sha256: str


class TrustedRepository:
    """One look at a repository.

    Args:
        url: of the folder that holds ``metadata/`` and ``targets/``.
        shipped_root: the root metadata that this robot was given.
        state: what it trusted before.
        fetcher: asks the server.
        now: the time, which counts for what has expired.

    Attributes:
        state: what is trusted now.  Nothing may be done with what this object says before that is kept; of a look that
            failed, too.
    """

    def __init__(
        self, url: str, shipped_root: bytes, state: TrustState, fetcher: RobotFetcher, *, now: datetime
    ) -> None:
        self._url = url.rstrip("/")
        self._shipped_root, self._fetcher, self._now = shipped_root, fetcher, now
        self._targets: dict[str, Targets] = {}
        self._consistent = True
        self.state = state

    def refresh(self, robot_kind: str) -> None:
        """Fetch the metadata that is new, and believe it or not.

        If not, ``state`` is what it was, but for a newer root: keys that it has replaced are not to be believed again,
        whatever failed after it (section 5.3.8 of the specification).

        Args:
            robot_kind: whose role is fetched with the top-level ones.

        Raises:
            BadInput: it cannot be fetched, has expired, is not signed as it should be, or is older than what was seen.
        """
        if robot_kind in TOP_LEVEL_ROLE_NAMES:
            raise BadInput(
                f"robot_kind: {robot_kind} is the name of a role of every repository: name it otherwise"
            )
        anchor = self._anchor()
        try:
            with tempfile.TemporaryDirectory(prefix="edge-wm-") as scratch, explained(self._url, self._now):
                folder = Path(scratch)
                updater = tuf_client(
                    folder, f"{self._url}/metadata/", anchor, self.state.metadata, self._fetcher, self._now
                )
                try:
                    updater.refresh()
                    updater.get_targetinfo(channel_target(robot_kind, "any"))  # fetches the kind's role
                finally:
                    self._believe_root(read_metadata(folder, [Root.type])[Root.type], anchor)
                self._believe(read_metadata(folder, (Root.type, *TOP_LEVEL, robot_kind)), robot_kind)
        except OSError as error:
            where = error.filename or tempfile.gettempdir()
            raise BadInput(
                f"{where}: {error.strerror or error}: make room for temporary files; {KEEPS}"
            ) from None

    def _anchor(self) -> bytes:
        """The newer of the root that was trusted last and the one that came with the software."""
        roots = [self._shipped_root] if self.state.root is None else [self._shipped_root, self.state.root]
        return max(roots, key=_root_version)

    def _believe_root(self, root: bytes, anchor: bytes) -> None:
        """Trust the root that ``tuf`` came to from the anchor, if that is not the anchor itself."""
        floor = self._floor(Root.type, Floor(_version(Metadata[Root].from_bytes(root)), ""), True)
        if root != anchor:
            self.state = replace(self.state, root=root, floors={**self.state.floors, Root.type: floor})

    def _believe(self, metadata: dict[str, bytes], robot_kind: str) -> None:
        """Check what ``tuf`` leaves open of what it accepted, and trust it."""
        root = metadata.pop(Root.type)
        top = Metadata[Root].from_bytes(root).signed
        targets = Metadata[Targets].from_bytes(metadata[Targets.type]).signed
        snapshot = Metadata[Snapshot].from_bytes(metadata[Snapshot.type]).signed
        kind = self._kind(targets, snapshot, metadata.get(robot_kind), robot_kind)
        floors = {Root.type: Floor(top.version, "")}
        for role, content in metadata.items():
            delegator: Root | Targets = targets if role == robot_kind else top
            signed = Metadata[Any].from_bytes(content)
            result = delegator.get_verification_result(role, signed.signed_bytes, signed.signatures)
            old = self.state.floors.get(role)
            still = len(set(old.keys.split(",")).intersection(result.signed | result.unsigned)) if old else 0
            floor = Floor(_version(signed), ",".join(sorted(result.signed)))
            floors[role] = self._floor(role, floor, still >= result.threshold)
        # Other kinds' floors stay: a robot file may be changed and changed back.
        before = self.state
        time_floor = max(self._now, before.time_floor) if before.time_floor is not None else self._now
        self._consistent = bool(top.consistent_snapshot)
        self._targets = {robot_kind: kind}
        self.state = TrustState(root, metadata, {**before.floors, **floors}, time_floor)

    def _floor(self, role: str, new: Floor, holds: bool) -> Floor:
        """The floor of a role from now on; the old one holds if the keys that signed it would still do."""
        old = self.state.floors.get(role)
        if old is not None and holds and new.version < old.version:
            raise BadInput(
                f"{self._url}: version {new.version} of {role}, and this robot has seen {old.version}: somebody shows"
                f" it an old repository; {KEEPS}"
            )
        return new

    def _kind(self, targets: Targets, snapshot: Snapshot, content: bytes | None, robot_kind: str) -> Targets:
        """The role of the kind, if all of the chain leads to it: what lay in the scratch folder is not believed for that."""
        roles = targets.delegations.roles if targets.delegations is not None else None
        role = roles.get(robot_kind) if roles is not None else None
        if role is None or content is None or not role.is_delegated_path(channel_target(robot_kind, "any")):
            raise BadInput(
                f"{self._url}: has nothing for robots of kind {robot_kind}: is robot_kind right? {KEEPS}"
            )
        found = Metadata[Targets].from_bytes(content)
        targets.verify_delegate(robot_kind, found.signed_bytes, found.signatures)
        listed = snapshot.meta.get(f"{robot_kind}.json")
        if listed is None or listed.version != found.signed.version:
            raise exceptions.BadVersionNumberError(
                f"{robot_kind}.json is not the one that snapshot.json lists"
            )
        if found.signed.is_expired(self._now):
            raise exceptions.ExpiredMetadataError(f"{robot_kind}.json is expired")
        return found.signed

    def channel(self, robot_kind: str, channel: str) -> Channel:
        """Fetch a channel.

        Raises:
            BadInput: there is none of that name, or it is not what was signed.
        """
        path = channel_target(robot_kind, channel)
        if path not in self._targets[robot_kind].targets:
            raise BadInput(f"{self._url}: robots of kind {robot_kind} have no channel {channel}: {KEEPS}")
        target = self.target(path)
        if target.size > MAX_CHANNEL_BYTES:
            raise BadInput(f"{target.url}: larger than {MAX_CHANNEL_BYTES >> 20} MiB")
        with explained(self._url, self._now):
            data = self._fetcher.download_bytes(target.url, target.size)
        if hashlib.sha256(data).hexdigest() != target.sha256:
            raise BadInput(f"{target.url}: is not the file that was signed: {KEEPS}")
        found = decode_channel(data, target.url)
        if (found.robot_kind, found.channel) != (robot_kind, channel):
            raise BadInput(
                f"{target.url}: is channel {found.channel} of {found.robot_kind}, not {channel} of {robot_kind}"
            )
        return found

    def target(self, path: str) -> Target:
        """Where a file is and what it must be, as the role of its robot kind has signed it.

        Raises:
            BadInput: nobody has signed it.
        """
        robot_kind, _, name = path.rpartition("/")
        signed = self._targets[robot_kind].targets.get(path)
        sha256 = signed.hashes.get("sha256") if signed is not None else None
        if signed is None or sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256) is None:
            raise BadInput(f"{self._url}: {path}: nobody has signed it: publish it again; {KEEPS}")
        where = f"{robot_kind}/{sha256}.{name}" if self._consistent else path
        return Target(f"{self._url}/targets/{where}", signed.length, sha256)


def _version(metadata: Metadata[Any]) -> int:
    version = int(metadata.signed.version)
    if version > MAX_VERSION:
        raise exceptions.RepositoryError(f"a {metadata.signed.type} version beyond {MAX_VERSION}")
    return version


def _root_version(root: bytes) -> int:
    try:
        metadata = Metadata[Root].from_bytes(root)
        if not isinstance(metadata.signed, Root):
            raise exceptions.RepositoryError("it is the metadata of another role")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (exceptions.RepositoryError, ValueError) as error:
        raise BadInput(
            f"the trusted root of this robot cannot be used: {said(error)}: put the repository's metadata/1.root.json"
            f" there again; {KEEPS}"
        ) from None
    return metadata.signed.version
