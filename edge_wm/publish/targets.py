"""The files that robots fetch: ``REPO/targets/KIND/HASH.NAME``, written once and never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from edge_wm.durable import replace_file
from edge_wm.errors import BadInput
from edge_wm.publish.folders import Folders
from edge_wm.publish.published import AnyMetadata
from edge_wm.update.forms import restore
from edge_wm.update.release import (
    Channel,
    ReleasedFile,
    channel_target,
    decode_channel,
    encode_channel,
    form_target,
)


class TargetFolder:
    """The files of one robot kind: those that its metadata lists, and those that are added for the next version.

    Args:
        folders: of the repository.
        kind: of robots.
        metadata: of the kind's role, verified.
    """

    def __init__(self, folders: Folders, kind: str, metadata: AnyMetadata) -> None:
        self._folders, self.kind = folders, kind
        self.listed: dict[str, TargetFile] = dict(metadata.signed.targets)

    def add(self, target: str, content: bytes) -> TargetFile:
        """Write a file and list it.  Until metadata says so, nobody looks for it."""
        entry = TargetFile.from_data(target, content, ["sha256"])
        path = self._folders.targets / entry.get_prefixed_paths()[0]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry.hashes["sha256"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        self.listed[target] = entry
        return entry

    def read(self, target: str) -> bytes:
        """The content of a listed file, verified.  Raises BadInput if it is missing or damaged."""
        entry = self.listed.get(target)
        if entry is None:
            raise BadInput(f"{target}: not in the repository")
        path = self._folders.targets / entry.get_prefixed_paths()[0]
        try:
            content = path.read_bytes()
            entry.verify_length_and_hashes(content)
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}: restore it from a backup") from None
        except LengthOrHashMismatchError:
            raise BadInput(f"{path}: damaged: restore it from a backup") from None
        return content

    def channels(self) -> dict[str, Channel]:
        """The kind's channels by name.  Raises BadInput if one cannot be read."""
        found = {}
        for target in sorted(self.listed):
            if target.endswith(".json") and target.count("/") == 1:
                channel = decode_channel(self.read(target), f"{self._folders.targets}: {target}")
                if channel_target(channel.robot_kind, channel.channel) != target:
                    raise BadInput(
                        f"{self._folders.targets}: {target} is another channel: restore it from a backup"
                    )
                found[channel.channel] = channel
        return found

    def put_channel(self, channel: Channel) -> None:
        """Write a channel."""
        content = encode_channel(channel)
        decode_channel(content, f"channel {channel.channel}")
        self.add(channel_target(self.kind, channel.channel), content)

    def content_of(self, file: ReleasedFile) -> bytes:
        """The content of a released file, from a form that needs no other file.  Raises BadInput."""
        whole = next((form for form in file.forms if form.base is None), None)
        if whole is None:
            raise BadInput(f"{file.path}: the repository has only deltas to it")
        return restore(file, whole, self.read(form_target(self.kind, file, whole)))

    def keep_only(self, channels: dict[str, Channel]) -> dict[str, TargetFile]:
        """The list for new metadata: the channels, and the forms of every file that a release of theirs has."""
        wanted = {channel_target(self.kind, name) for name in channels}
        for channel in channels.values():
            for release in channel.releases:
                for file in release.files:
                    wanted |= {form_target(self.kind, file, form) for form in file.forms}
        return {target: self.listed[target] for target in sorted(wanted)}


def old_channels(folders: Folders, kind: str) -> Iterator[tuple[Path, Channel]]:
    """Every channel file that there is, listed or not.  Nobody vouches for them: only good enough to refuse something."""
    for path in sorted((folders.targets / kind).glob("*.json")):
        try:
            yield path, decode_channel(path.read_bytes(), str(path))
        except (BadInput, OSError):
            continue


def missing_files(folders: Folders, listed: dict[str, TargetFile]) -> list[str]:
    """Of these targets the files that are not in the repository, or have another size."""
    found = []
    for entry in listed.values():
        path = folders.targets / entry.get_prefixed_paths()[0]
        if not path.is_file() or path.stat().st_size != entry.length:
            found.append(str(path))
    return found
