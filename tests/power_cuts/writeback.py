"""What the kernel writes by itself, at moments that nobody can foretell: here at the worst ones.

Changes of names and sizes reach the disk some seconds after they were made, or when some other program has its own file
written; content only later.  A flow of a few milliseconds would be over before; so its process makes it happen itself,
before each step that changes something: opening a file to write, fsync, rename, remove.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any, Literal

from tests.power_cuts.file_systems import FILE_SYSTEMS
from tests.power_cuts.weakest import WEAKEST

Writeback = Literal["late", "names"]
"""Nothing while the flow runs; or names and sizes before each step, but no content."""

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
"""Audit events of Python that tell of a change to come."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# <linux/btrfs.h>: commits names and sizes, and leaves content that nobody asked for unwritten.
BTRFS_IOC_START_SYNC = 0x80089418
BTRFS_IOC_WAIT_SYNC = 0x40089416


def write_back(where: Path, file_system: str, what: Writeback) -> None:
    """From now on, in this process: before each of its steps.  There is no way back: for a process that ends soon."""
    if what == "late" or file_system == WEAKEST:  # of which any name may be there early
        return
    kernel = _Kernel(where, FILE_SYSTEMS[file_system].type)
    fsync = os.fsync

    def fsync_and_more(descriptor: int) -> None:
        kernel.acts()
        fsync(descriptor)

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and arguments[2] & WRITING):
            kernel.acts()

    os.fsync = fsync_and_more
    sys.addaudithook(step)


class _Kernel:
    def __init__(self, where: Path, type_: str) -> None:
        self.folder = os.open(where, os.O_RDONLY)
        self.other = os.open(where / "other", os.O_RDWR | os.O_CREAT)
        self.type = type_
        self.times = 0
        self.fsync = os.fsync

    def acts(self) -> None:
        if self.type == "btrfs":
            fcntl.ioctl(self.folder, BTRFS_IOC_START_SYNC, bytes(8))
            fcntl.ioctl(self.folder, BTRFS_IOC_WAIT_SYNC, bytes(8))
        else:
            # Another program's file: its change is in the same journal as all others'.
            self.times += 1
            os.utime(self.other, ns=(self.times, self.times))
            self.fsync(self.other)
