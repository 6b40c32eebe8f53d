"""Image files as they are published: raw, or compressed by xz, gzip, zstd or zip, and their checksums."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from edge_wm.errors import BadInput

CHUNK = 4 << 20
"""Bytes that are read, written and compared at once."""

MAGIC = {
    b"\xfd7zXZ\x00": "xz",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"QFI\xfb": "qcow2",
}
DAMAGED = (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


class Reader(Protocol):
    """What decompressors have in common."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


class Stream(NamedTuple):
    """An image that is being read from its beginning on.

    Attributes:
        file: whose name errors give.
        reader: of the bytes that belong on the card.
        size: of these, where the format says so.
    """

    file: Path
    reader: Reader
    size: int | None

    def chunks(self) -> Iterator[bytes]:
        """All bytes, ``CHUNK`` at a time; only the last may be shorter.  Raises BadInput if the file is damaged."""
        while chunk := self.read(CHUNK):
            yield chunk

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end.  Raises BadInput if the file is damaged."""
        parts = []
        try:
            while count > 0 and (part := self.reader.read(count)):
                parts.append(part)
                count -= len(part)
        except DAMAGED as error:
            raise BadInput(f"{self.file}: damaged, or not all of it: download it again") from error
        except OSError as error:
            raise BadInput(f"{self.file}: cannot be read: {error.strerror}") from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":  # optional, and imported only where it is needed
                raise
            raise BadInput(f"{self.file}: damaged, or not all of it: download it again") from error
        return b"".join(parts)


@contextmanager
def opened(image: Path) -> Iterator[Stream]:
    """Read an image from its beginning on; what it is compressed by is in its first bytes, not in its name.

    Raises:
        BadInput: it cannot be read, is of another format, or a zip file with anything but one image.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(image.open("rb"))
            begin = file.read(8)
            file.seek(0)
        except OSError as error:
            raise BadInput(f"{image}: cannot be read: {error.strerror}") from error
        kind = next((kind for magic, kind in MAGIC.items() if begin.startswith(magic)), "raw")
        reader: Reader = file
        size = None
        if kind == "qcow2":
            raise BadInput(
                f"{image}: is a qcow2 image: run  qemu-img convert -O raw {image.name} {image.stem}.img"
            )
        if kind == "xz":
            reader = stack.enter_context(lzma.open(file))
        elif kind == "gzip":
            reader = stack.enter_context(gzip.GzipFile(fileobj=file))
        elif kind == "zstd":
            import zstandard

            reader = stack.enter_context(
                zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            )
        elif kind == "zip":
            reader, size = _only_member(image, file, stack)
        else:
            size = image.stat().st_size
        yield Stream(image, reader, size)


def _only_member(image: Path, file: IO[bytes], stack: ExitStack) -> tuple[Reader, int]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
        members = [member for member in archive.infolist() if member.filename.endswith(".img")]
        if len(members) != 1:
            raise BadInput(f"{image}: holds {len(members)} files that end in .img: unpack it and name one")
        return stack.enter_context(archive.open(members[0])), members[0].file_size
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{image}: cannot be unpacked: {error}") from error


def check_sha256(image: Path, given: str | None) -> bool:
    """Compare the file as it was downloaded with ``given``, or else with what lies beside it as ``NAME.sha256``.

    Returns:
        Whether there was anything to compare it with.

    Raises:
        BadInput: it is another one, or that is no SHA-256.
    """
    source = "--sha256"
    if given is None:
        beside = image.with_name(image.name + ".sha256")
        if not beside.is_file():
            return False
        source = str(beside)
        words = beside.read_text(encoding="utf-8", errors="replace").split()
        given = words[0] if words else ""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", given):
        raise BadInput(f"{source}: is no SHA-256, which has 64 hexadecimal digits")
    digest = hashlib.sha256()
    try:
        with image.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise BadInput(f"{image}: cannot be read: {error.strerror}") from error
    if digest.hexdigest() != given.lower():
        raise BadInput(f"{image}: its SHA-256 is not that of {source}: download it again")
    return True
