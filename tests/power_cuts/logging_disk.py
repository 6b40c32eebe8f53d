"""A disk that remembers everything it is told: a FUSE file system of one file, for a loop device to stand on.

    MOUNTPOINT/disk   the disk: a copy of an image
    MOUNTPOINT/mark   a text written here goes into the log, behind all that was written to the disk before
    MOUNTPOINT/save   a path written here: the log so far goes there

A process of its own that touches no file on the file system under test: it could wait for itself.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mfusepy
import msgspec

from tests.power_cuts import private
from tests.power_cuts.block_log import Entry, Flush, Image, Mark, Write
from tests.power_cuts.file_systems import write_image
from tests.power_cuts.logging_files import LoggingFiles
from tests.power_cuts.weakest import WEAKEST


class LoggingDisk(mfusepy.Operations):
    use_ns = True

    def __init__(self, image: Path) -> None:
        self.image = os.open(image, os.O_RDWR)
        self.log: list[Entry] = []

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path not in ("/disk", "/mark", "/save"):
            raise mfusepy.FuseOSError(errno.ENOENT)
        size = os.fstat(self.image).st_size if path == "/disk" else 0
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": size}

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        return [".", "..", "disk", "mark", "save"]

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(self.image, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == "/disk":
            self.log.append(Write(offset, data))
            return os.pwrite(self.image, data, offset)
        if path == "/mark":
            self.log.append(Mark(data.decode()))
        else:
            Path(data.decode()).write_bytes(msgspec.msgpack.encode(self.log))
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        if path == "/disk":
            self.log.append(Flush())
        return 0


def serve(file_system: str, start: Image, where: Path) -> None:
    """Be the disk of a file system, or the weakest one, until nobody needs it."""
    private.die_with_parent()
    private.allocate_without_writeback()
    if file_system == WEAKEST:
        served: mfusepy.Operations = LoggingFiles(start)
    else:
        image = private.SCRATCH / "start"
        write_image(start, image)
        served = LoggingDisk(image)
    # One thread: what it is told comes in the order in which it is said.
    mfusepy.FUSE(served, str(where), foreground=True, nothreads=True, hard_remove=True)
