"""What a robot must fetch for a release, and how the new bundle is put together from that and from what it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_wm.bundle.load import Bundle
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.errors import BadInput
from edge_wm.update.forms import restore
from edge_wm.update.release import Form, Release, ReleasedFile


@dataclass(frozen=True)
class Piece:
    """One file of the new bundle: the file on this robot that it can be copied from, or the form to fetch.

    Attributes:
        file: what the release says of it.
        copied: the same file, here; None if there is none.
        form: what to fetch; None if nothing is.
        base: for a bsdiff, the file here that it starts from.
    """

    file: ReleasedFile
    copied: Path | None = None
    form: Form | None = None
    base: Path | None = None


@dataclass(frozen=True)
class Plan:
    """How one release gets onto this robot.

    Attributes:
        release: which.
        pieces: one for each file.
    """

    release: Release
    pieces: tuple[Piece, ...]

    @property
    def to_fetch(self) -> tuple[Piece, ...]:
        """Those that must be fetched; two files with the same content are fetched once."""
        fetched = {(p.file.sha256, p.form): p for p in self.pieces if p.form is not None}
        return tuple(fetched.values())

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes over the air, without metadata."""
        return sum(piece.form.size for piece in self.to_fetch if piece.form is not None)


class BrokenForm(BadInput):
    """What was fetched of a file is what was signed, and does not give the file.

    Attributes:
        piece: of the plan.
    """

    def __init__(self, piece: Piece, why: str) -> None:
        super().__init__(why)
        self.piece = piece


def files_of(bundle: Bundle) -> dict[str, Path]:
    """The files of a checked bundle, by the hash of their content."""
    files = {entry.sha256: bundle.directory / entry.path for entry in bundle.manifest.files}
    return {**files, bundle.sha256: bundle.directory / MANIFEST_NAME}


def plan(release: Release, here: Mapping[str, Path]) -> Plan:
    """Choose for every file of a release what costs the least to fetch.

    Args:
        release: what is to come.
        here: files on this robot, by the hash of their content.
    """
    return Plan(release, tuple(_piece(file, here) for file in release.files))


def without(release: Release, broken: Piece) -> Release:
    """The release without the form of a piece: what ``plan`` then makes of it goes another way, or refuses."""
    files = (
        msgspec.structs.replace(file, forms=tuple(form for form in file.forms if form != broken.form))
        if file.sha256 == broken.file.sha256
        else file
        for file in release.files
    )
    return msgspec.structs.replace(release, files=tuple(files))


def _piece(file: ReleasedFile, here: Mapping[str, Path]) -> Piece:
    if file.sha256 in here:
        return Piece(file, copied=here[file.sha256])
    usable = [form for form in file.forms if form.base is None or form.base in here]
    if not usable:
        raise BadInput(f"{file.path}: the release has only deltas to files that this robot does not have")
    form = min(usable, key=lambda form: form.size)
    return Piece(file, form=form, base=here[form.base] if form.base else None)


def contents(plan: Plan, fetched: Callable[[Piece], bytes]) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file of the new bundle, each checked against the release.

    Args:
        plan: everything of it has been fetched.
        fetched: gives what was fetched for a piece, as it was signed.

    Raises:
        BrokenForm: what was fetched does not give a file of the release.
        BadInput: a file to copy, or to start from, is not what it was when the plan was made.
        OSError: one cannot be read.
    """
    for piece in plan.pieces:
        if piece.copied is not None:
            content = read_unchanged(piece.copied, piece.file.sha256)
        else:
            assert piece.form is not None
            base = None
            if piece.base is not None and piece.form.base is not None:
                base = read_unchanged(piece.base, piece.form.base)
            signed = fetched(piece)
            try:
                content = restore(piece.file, piece.form, signed, base)
            except BadInput as why:
                raise BrokenForm(piece, str(why)) from None
        yield piece.file.path, content


def read_unchanged(path: Path, sha256: str) -> bytes:
    """The content of a file that had this hash a moment ago.  A disk that damages it is no reason to blame a model.

    Raises:
        BadInput: it has another one now.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadInput(f"{path}: it changed while it was copied: start the update again")
    return content
