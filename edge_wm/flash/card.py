"""Writes a card, or a file that stands for one, so that nothing half-written is ever taken for done.

The first megabyte, with the partition table, comes last.  Until everything behind it was written and read back, a mark lies
there: no board boots from that, and :func:`is_unfinished` knows it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edge_wm.errors import BadInput
from edge_wm.flash.image import CHUNK

FIRST = 1 << 20
"""Bytes that come last."""

MARK = b"unfinished: edge-wm flash was interrupted, run it again\n"
SYNC_BYTES = 64 << 20
"""So often is what was written waited for: the progress shown is the card's, and a fault is seen soon."""

GONE = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ENOMEDIUM, errno.EREMOTEIO, errno.ESHUTDOWN)
"""What writing to a card says that is no longer there, or that fails."""

Progress = Callable[[int], None]
"""Is told how many bytes more are done."""


def is_unfinished(path: Path) -> bool:
    """Whether an interrupted :func:`write_card` left this.  Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


def write_card(path: Path, chunks: Iterable[bytes], size: int, written: Progress, read_back: Progress) -> str:
    """Write a card, read it back, and only then make it one that boots.

    Args:
        path: a disk that nobody uses, or a file, which is made if there is none and becomes as long as its content.
        chunks: the content, ``CHUNK`` bytes each but for the last.
        size: of all of it; bytes.
        written: is told of bytes that were written.
        read_back: is told of bytes that were read back.

    Returns:
        The SHA-256 of the content.

    Raises:
        BadInput: it is in use, locked, too small, gone, or does not keep what is written to it; one line.  Once writing has
            begun, the mark is there.
    """
    is_disk = path.is_block_device()
    with _opened(path, is_disk) as descriptor, _faults_in_a_line(path, is_disk):
        if is_disk:
            room = os.lseek(descriptor, 0, os.SEEK_END)
            if room < size:
                raise BadInput(
                    f"{path}: is too small: it has {room / 1e9:.2f} GB, the image {size / 1e9:.2f} GB"
                )
            # The second table of an earlier GPT lies at the end, and some programs believe it.
            _write_all(descriptor, bytes(FIRST), room - FIRST)
        else:
            os.ftruncate(descriptor, 0)
        _write_all(descriptor, MARK.ljust(FIRST, b"\0"), 0)
        os.fsync(descriptor)
        first, there, sha256 = _write_behind_mark(descriptor, chunks, written, leave_holes=not is_disk)
        os.fsync(descriptor)
        with _uncached(path) as read:
            place = _first_difference(read, there, read_back)
            if place is not None:
                raise BadInput(
                    f"{path}: gives back something else than was written, at {place / 1e6:.0f} MB: take another card"
                )
            _write_all(descriptor, first, 0)
            os.fsync(descriptor)
            if read(0, len(first)) != first:
                raise BadInput(f"{path}: does not keep its partition table: take another card")
    return sha256


class _Written(NamedTuple):
    """One chunk as it lies there: bytes, and their SHA-256."""

    size: int
    sha256: bytes


def _write_behind_mark(
    descriptor: int, chunks: Iterable[bytes], written: Progress, leave_holes: bool
) -> tuple[bytes, list[_Written], str]:
    """Write all but the first megabyte.

    Returns:
        The first megabyte; the chunks as they lie there, with the mark in its place; the hash of the whole content.
    """
    whole, there, first, place, unsynced = hashlib.sha256(), [], b"", 0, 0
    for chunk in chunks:
        whole.update(chunk)
        if place == 0:
            first, chunk = chunk[:FIRST], MARK.ljust(len(chunk[:FIRST]), b"\0") + chunk[FIRST:]
        there.append(_Written(len(chunk), hashlib.sha256(chunk).digest()))
        if leave_holes and chunk == bytes(len(chunk)):
            os.ftruncate(descriptor, place + len(chunk))
        else:
            _write_all(descriptor, chunk, place)
        place += len(chunk)
        unsynced += len(chunk)
        if unsynced >= SYNC_BYTES:
            os.fdatasync(descriptor)
            unsynced = 0
        written(len(chunk))
    return first, there, whole.hexdigest()


def _write_all(descriptor: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, place)
        view, place = view[count:], place + count


def _first_difference(
    read: Callable[[int, int], bytes], there: list[_Written], read_back: Progress
) -> int | None:
    """The byte where the first chunk begins that is not as it was written; None if all are."""
    place = 0
    for chunk in there:
        if hashlib.sha256(read(place, chunk.size)).digest() != chunk.sha256:
            return place
        place += chunk.size
        read_back(chunk.size)
    return None


@contextmanager
def _uncached(path: Path) -> Iterator[Callable[[int, int], bytes]]:
    """Gives a function of place and size that reads what lies there, not what memory remembers of it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC
        )  # a file system in memory: there is nothing else
    with mmap.mmap(-1, CHUNK) as pages, memoryview(pages) as buffer:  # O_DIRECT wants whole pages

        def read(place: int, size: int) -> bytes:
            got = 0
            while got < size and (count := os.preadv(descriptor, [buffer[got:]], place + got)) > 0:
                got += count
            return bytes(buffer[: min(got, size)])

        try:
            yield read
        finally:
            os.close(descriptor)


@contextmanager
def _opened(path: Path, is_disk: bool) -> Iterator[int]:
    """Have it for ourselves: the kernel gives nobody a disk that is mounted or held otherwise."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if is_disk else os.O_CREAT)
    try:
        # 0600: what a new file will hold, keys and hashes of passwords, is for nobody else.
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        why = {
            errno.EBUSY: "is in use: unmount it first",
            errno.EACCES: "only root may write to it: run this with sudo" if is_disk else "permission denied",
            errno.EPERM: "is read-only: look at its lock",
            errno.EROFS: "is read-only: look at its lock",
            errno.ENOMEDIUM: "there is no card in it",
        }.get(error.errno or 0, f"cannot be opened: {error.strerror}")
        raise BadInput(f"{path}: {why}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _faults_in_a_line(path: Path, is_disk: bool) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPERM:  # some kernels open a locked disk for writing, and then take nothing
            raise BadInput(f"{path}: is read-only: look at its lock") from error
        if error.errno == errno.ENOSPC:
            why = "has less room than it says: take another card" if is_disk else "no room is left for it"
        elif error.errno in GONE:
            why = "was pulled out, or fails: put it in, or take another one, and run this again"
        else:
            why = f"{error.strerror}: run this again"
        raise BadInput(f"{path}: {why}; nothing boots from it as it is") from error
