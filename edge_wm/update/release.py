"""What a publisher says and a robot reads: the channels of one robot kind, and the files that their models are made of.

Everything here is a target of a TUF repository, signed by the role of the robot kind:

    KIND/CHANNEL.json         which models robots of this kind on this channel should run
    KIND/SHA256               a file, by the hash of its content
    KIND/SHA256.zst           the same file, compressed
    KIND/SHA256.from.SHA256   what turns one file into another (bsdiff)

Files are named by their content, so that an update carries only what changed.  ``docs/updates.md`` describes all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edge_wm.bundle.load import check_path
from edge_wm.bundle.manifest import MANIFEST_NAME, FilePath, Fraction, ModelName, Sha256, Version
from edge_wm.errors import BadInput, one_line

MAX_CHANNEL_BYTES = 1 << 20

ChannelName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\Z")]
Bytes = Annotated[int, Meta(ge=0, le=1 << 40)]
Sequence = Annotated[int, Meta(ge=1, le=1 << 53)]

FormKind = Literal["plain", "zstd", "bsdiff"]


class Form(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to get a file: so many bytes to fetch; ``base`` is the file that a bsdiff starts from."""

    kind: FormKind
    size: Bytes
    base: Sha256 | None = None


class ReleasedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle, and the forms in which it can be fetched."""

    path: FilePath
    size: Bytes
    sha256: Sha256
    forms: Annotated[tuple[Form, ...], Meta(min_length=1, max_length=32)]


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """A model, and for which robots of the channel it is.

    Attributes:
        sequence: counts the decisions of a channel; a later one has a higher number, whatever the model's version.
        model: hash of the bundle's manifest, which names the model.
        fraction: of the robots, chosen by ``is_for``.
        requires: the oldest edge-wm that can run it.
        files: all of the bundle, its manifest among them.
    """

    sequence: Sequence
    model: Sha256
    name: ModelName
    version: Version
    fraction: Fraction
    requires: Version
    files: Annotated[tuple[ReleasedFile, ...], Meta(min_length=1, max_length=129)]

    @property
    def size(self) -> int:
        """Bytes of the whole bundle."""
        return sum(file.size for file in self.files)

    def is_for(self, robot_id: str) -> bool:
        """Whether this robot is among the release's fraction.  Another model falls to other robots first."""
        digest = hashlib.sha256(f"{self.model}:{robot_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.fraction * 2**64


class Channel(Struct, frozen=True, forbid_unknown_fields=True):
    """What the robots of one kind on one channel should run.

    Attributes:
        releases: with falling sequence.
        revoked: models that no robot may run any longer.
    """

    format_version: Literal[1]
    robot_kind: ModelName
    channel: ChannelName
    sequence: Annotated[int, Meta(ge=0, le=1 << 53)]
    releases: Annotated[tuple[Release, ...], Meta(max_length=64)] = ()
    revoked: Annotated[tuple[Sha256, ...], Meta(max_length=4096)] = ()

    def release_for(self, robot_id: str) -> Release | None:
        """The newest release that this robot is among."""
        return next((release for release in self.releases if release.is_for(robot_id)), None)

    def find(self, model_or_version: str) -> Release | None:
        """The newest release of this model, named by its version or its hash, or the beginning of that."""
        for release in self.releases:
            if model_or_version == release.version or (
                len(model_or_version) >= 8 and release.model.startswith(model_or_version)
            ):
                return release
        return None


def channel_target(robot_kind: str, channel: str) -> str:
    """The TUF target path of a channel."""
    return f"{robot_kind}/{channel}.json"


def form_target(robot_kind: str, file: ReleasedFile, form: Form) -> str:
    """The TUF target path of one form of a file."""
    suffix = {"plain": "", "zstd": ".zst", "bsdiff": f".from.{form.base}"}[form.kind]
    return f"{robot_kind}/{file.sha256}{suffix}"


def encode_channel(channel: Channel) -> bytes:
    """The bytes of the target: indented, stable, ending in a newline."""
    return msgspec.json.format(msgspec.json.encode(channel), indent=1) + b"\n"


def decode_channel(data: bytes, where: str) -> Channel:
    """Parse and check a channel.  Raises BadInput that begins with ``where``."""
    try:
        channel = msgspec.json.decode(data, type=Channel)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{where}: {one_line(str(error))}: this edge-wm may be too old for it: install a newer one"
        ) from None
    for fits, misfit in _statements(channel):
        if not fits:
            raise BadInput(f"{where}: {misfit}")
    return channel


def _statements(channel: Channel) -> Iterator[tuple[bool, str]]:
    """Every statement that must hold, with what to say when it does not."""
    sequences = [release.sequence for release in channel.releases]
    yield sequences == sorted(set(sequences), reverse=True), "releases: sequence must fall"
    yield all(number <= channel.sequence for number in sequences), "releases: sequence beyond the channel's"
    for release in channel.releases:
        what = f"release {release.sequence}"
        yield release.model not in channel.revoked, f"{what} is revoked"
        paths = [file.path for file in release.files]
        manifests = [file.sha256 for file in release.files if file.path == MANIFEST_NAME]
        yield manifests == [release.model], f"{what}: its model is not the hash of its {MANIFEST_NAME}"
        yield len(set(paths)) == len(paths), f"{what}: a file is listed twice"
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        yield folders.isdisjoint(paths), f"{what}: a file lies in the place of a folder"
        for file in release.files:
            check_path(file.path, what)
            for form in file.forms:
                yield (
                    (form.kind == "bsdiff") == (form.base is not None),
                    f"{what}: {file.path}: a base belongs to a bsdiff, and to nothing else",
                )
