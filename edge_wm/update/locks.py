"""Who updates and who drives: one process each.  A lock is gone when its process is, however that ended."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wm.errors import BadInput

UPDATING = (
    "another edge-wm update is at work on this robot: let it end, or stop it: a fetch goes on where it was"
)
DRIVING = "the robot is driving: stop it first"

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors of a disk that takes nothing more."""


@contextmanager
def held(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock for the block.

    Args:
        lock: the file; made if it is not there.  On a disk that cannot take it, the innermost folder that is there stands for
            it: such a disk keeps no robot from driving.
        refusal: what to say if somebody else holds it.

    Raises:
        BadInput: somebody else does, or the file cannot be opened.
    """
    try:
        descriptor = _open(lock)
    except OSError as error:
        raise BadInput(f"{lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{lock}: {refusal}") from None
        yield
    finally:
        os.close(descriptor)


def _open(lock: Path) -> int:
    """For reading, as it may be there already, on a disk that has turned read-only.  Raises OSError."""
    how = os.O_RDONLY | os.O_CLOEXEC
    if lock.exists():
        return os.open(lock, how)
    try:
        return os.open(lock, how | os.O_CREAT, 0o644)
    except OSError:
        folder = next(folder for folder in lock.parents if folder.is_dir())
        if not _is_unwritable(folder):
            raise
    return os.open(folder, how | os.O_DIRECTORY)


def _is_unwritable(folder: Path) -> bool:
    """Whether the disk takes nothing here, not even a folder, which needs more than an empty file."""
    try:
        Path(tempfile.mkdtemp(dir=folder, prefix=".try-")).rmdir()
    except OSError as error:
        return error.errno in UNWRITABLE
    return False
