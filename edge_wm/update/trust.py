"""What a robot believes of a repository: the client of The Update Framework, with what it leaves open closed.

``tuf`` keeps the metadata that it trusts in a folder, written without fsync, and believes the wall clock.  Here the folder is
a scratch copy: what is trusted is a :class:`TrustState`, which ``store.py`` keeps in one transaction, and the time is given.

**Floors.**  With its ``timestamp.json`` a client loses its memory of what is newer, and would believe an old repository
again.  So the highest version of each role is kept apart from the metadata, and none may fall below.  Only as long as the
role has the same keys, though: whoever once had them could sign the highest number there is, and after a rotation no version
of the publisher's would ever be believed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater

from edge_wm.errors import BadInput, one_line
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.release import MAX_CHANNEL_BYTES, Channel, channel_target, decode_channel

TOP_LEVEL = (Timestamp.type, Snapshot.type, Targets.type)
KEEPS = "the robot keeps its model"


@dataclass(frozen=True, slots=True)
class Floor:
    """The highest version of a role that was trusted, and a name for the keys that signed it."""

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
        state: what is trusted now.  Nothing may be done with what this object says before that is kept.
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

        Args:
            robot_kind: whose role is fetched with the top-level ones.

        Raises:
            BadInput: it cannot be fetched, has expired, is not signed as it should be, or is older than what was seen.
        """
        with tempfile.TemporaryDirectory(prefix="edge-wm-") as scratch, self._explained():
            folder = Path(scratch)
            for role, content in self.state.metadata.items():
                (folder / f"{quote(role, '')}.json").write_bytes(content)
            updater = Updater(
                str(folder), f"{self._url}/metadata/", fetcher=self._fetcher, bootstrap=self._anchor()
            )
            # tuf asks the wall clock when an Updater is made.  Whether that can be right was decided before.
            updater._trusted_set.reference_time = self._now
            updater.refresh()
            updater.get_targetinfo(channel_target(robot_kind, "any"))  # fetches the kind's role
            root = (folder / "root.json").read_bytes()
            metadata = {
                role: (folder / f"{quote(role, '')}.json").read_bytes()
                for role in (*TOP_LEVEL, robot_kind)
                if (folder / f"{quote(role, '')}.json").is_file()
            }
        self._believe(root, metadata, robot_kind)

    def _anchor(self) -> bytes:
        """The newer of the root that was trusted last and the one that came with the software."""
        if self.state.root is None:
            return self._shipped_root
        return max(self._shipped_root, self.state.root, key=_root_version)

    def _believe(self, root: bytes, metadata: Mapping[str, bytes], robot_kind: str) -> None:
        top = Metadata[Root].from_bytes(root).signed
        targets = Metadata[Targets].from_bytes(metadata[Targets.type]).signed
        floors = {Root.type: Floor(top.version, "")}
        for role, content in metadata.items():
            signed = Metadata[Any].from_bytes(content).signed
            if role in TOP_LEVEL:
                keys = _named(top.roles[role].keyids, top.roles[role].threshold)
            else:
                delegated = (
                    targets.delegations.roles[role]
                    if targets.delegations and targets.delegations.roles
                    else None
                )
                if delegated is None:
                    raise BadInput(f"{self._url}: nobody signs for robots of kind {role}: {KEEPS}")
                keys = _named(delegated.keyids, delegated.threshold)
            floors[role] = Floor(signed.version, keys)
            if isinstance(signed, Targets):
                self._targets[role] = signed
        if robot_kind not in self._targets:
            raise BadInput(f"{self._url}: has nothing for robots of kind {robot_kind}: {KEEPS}")
        for role, floor in self.state.floors.items():
            new = floors.get(role)
            if new is not None and new.keys == floor.keys and new.version < floor.version:
                raise BadInput(
                    f"{self._url}: version {new.version} of {role}, this robot has seen {floor.version}: somebody"
                    f" shows it an old repository; {KEEPS}"
                )
        # Other kinds' floors stay: a robot file may be changed and changed back.
        self._consistent = bool(top.consistent_snapshot)
        self.state = TrustState(root, metadata, {**self.state.floors, **floors}, self._now)

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
        with self._explained():
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
        if signed is None or sha256 is None:
            raise BadInput(f"{self._url}: {path}: nobody has signed it: publish it again; {KEEPS}")
        where = f"{robot_kind}/{sha256}.{name}" if self._consistent else path
        return Target(f"{self._url}/targets/{where}", signed.length, sha256)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one line what an error of ``tuf`` means for the robot."""
        try:
            yield
        except exceptions.ExpiredMetadataError as error:
            raise BadInput(
                f"{self._url}: {_said(error)}: the publisher must run  edge-wm update refresh,  or somebody holds the"
                f" news back; {KEEPS}"
            ) from None
        except exceptions.UnsignedMetadataError as error:
            raise BadInput(
                f"{self._url}: {_said(error)}: not signed by whom this robot trusts: is it the right address, and the"
                f" right root? {KEEPS}"
            ) from None
        except exceptions.BadVersionNumberError as error:
            raise BadInput(
                f"{self._url}: {_said(error)}: somebody shows it an old repository; {KEEPS}"
            ) from None
        except exceptions.SlowRetrievalError as error:
            raise BadInput(f"{_said(error)}: somebody holds it up; try again later; {KEEPS}") from None
        except exceptions.DownloadHTTPError as error:
            raise BadInput(f"{_said(error)}: is {self._url} the right address? {KEEPS}") from None
        except exceptions.DownloadError as error:
            raise BadInput(f"{_said(error)}: is there a network? {KEEPS}") from None
        except exceptions.RepositoryError as error:
            raise BadInput(
                f"{self._url}: {_said(error)}: the repository is broken or forged; {KEEPS}"
            ) from None


def _root_version(root: bytes) -> int:
    try:
        return Metadata[Root].from_bytes(root).signed.version
    except exceptions.RepositoryError as error:
        raise BadInput(f"the trusted root of this robot cannot be read: {_said(error)}") from None


def _named(keyids: list[str], threshold: int) -> str:
    """A name for a set of keys of which so many must sign."""
    return hashlib.sha256(f"{threshold}:{','.join(sorted(keyids))}".encode()).hexdigest()


def _said(error: Exception) -> str:
    cause = error.__cause__
    return one_line(f"{error}: {cause}" if cause is not None else str(error))[:400]
