"""Who updates and who drives: one process each.  A lock is gone when its process is, however that ended."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wm.errors import BadInput

UPDATING = (
    "another edge-wm update is at work on this robot: let it end, or stop it: a fetch goes on where it was"
)
DRIVING = "the robot is driving: stop it first"


@contextmanager
def held(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock for the block.

    Args:
        lock: the file; made if it is not there.
        refusal: what to say if somebody else holds it.

    Raises:
        BadInput: somebody else does, or the file cannot be opened.
    """
    try:
        # For reading, so that a disk that cannot be written keeps no robot from driving.
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | (0 if lock.exists() else os.O_CREAT), 0o644)
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
