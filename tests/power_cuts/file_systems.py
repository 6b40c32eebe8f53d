"""The file systems that robots have, how one is made small, and how one is mounted as after a power cut."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.power_cuts.block_log import Image, Write
from tests.power_cuts.private import SCRATCH, run
from tests.power_cuts.weakest import WEAKEST, Tree

MIB = 1 << 20
PIECE = 64 * 1024
"""An image is kept in pieces of so many bytes; those of zeros only are not."""


class FileSystem(NamedTuple):
    """One way to have files on a disk.

    Attributes:
        make: the command that makes one; the image is its last argument.
        options: of its mount.
        size: of its disk, in bytes: as small as it likes to be.
        sector: bytes that it takes a disk to write as a whole or not at all.
        package: of Debian, that has the command.
    """

    make: tuple[str, ...]
    options: str
    size: int
    sector: int
    package: str

    @property
    def type(self) -> str:
        return self.make[0].removeprefix("mkfs.")


FILE_SYSTEMS = {
    # Nothing is left to be written later by a thread of the kernel: it would be in every log at another place.
    "ext4": FileSystem(
        ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"),
        "nodiscard",
        64 * MIB,
        1024,
        "e2fsprogs",
    ),
    "btrfs": FileSystem(("mkfs.btrfs", "-q", "-f", "-K"), "nodiscard", 128 * MIB, 4096, "btrfs-progs"),
    "xfs": FileSystem(("mkfs.xfs", "-q", "-f", "-K"), "nodiscard,nouuid", 300 * MIB, 512, "xfsprogs"),
}


def missing(file_system: str) -> str | None:
    """Why this file system cannot be tested here, in one line; None if it can."""
    return _missing_server() or (_missing_disk(FILE_SYSTEMS[file_system]) if file_system != WEAKEST else None)


def _missing_server() -> str | None:
    if os.geteuid() != 0:
        return "power cuts need root: they mount file systems"
    if not Path("/dev/fuse").exists():
        return "power cuts need /dev/fuse"
    if importlib.util.find_spec("mfusepy") is None:
        return "power cuts need mfusepy: run  pip install mfusepy"
    try:
        importlib.import_module("mfusepy")
    except OSError as error:
        return f"power cuts need libfuse ({error}): run  sudo apt install libfuse3-3"
    mount = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(SCRATCH)], capture_output=True, check=False
    )
    return "power cuts need the right to mount: not in this container" if mount.returncode else None


def _missing_disk(tried: FileSystem) -> str | None:
    if not Path("/dev/loop-control").exists():
        return "power cuts need /dev/loop-control"
    if shutil.which(tried.make[0]) is None:
        return f"no {tried.make[0]}: run  sudo apt install {tried.package}"
    if not any(line.split()[-1] == tried.type for line in Path("/proc/filesystems").read_text().splitlines()):
        return f"this kernel has no {tried.type}"
    if tried.type == "btrfs" and tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 7):
        return "power cuts on btrfs need Linux 6.7: older ones take two copies of a disk for one"
    return None


def new_image(file_system: str) -> Image:
    """A freshly made file system.  Within ``private.enter``."""
    if file_system == WEAKEST:
        return Image(0, ())
    made = FILE_SYSTEMS[file_system]
    file = SCRATCH / "new"
    with file.open("wb") as empty:
        empty.truncate(made.size)
    run(*made.make, str(file))
    image = read_image(file)
    file.unlink()
    return image


def read_image(file: Path) -> Image:
    """What is on a disk."""
    content: list[Write] = []
    size = file.stat().st_size
    with file.open("rb", buffering=0) as disk:
        while True:
            try:
                at = os.lseek(disk.fileno(), disk.tell(), os.SEEK_DATA)
            except OSError:  # holes to the end
                return Image(size, tuple(content))
            disk.seek(at)
            piece = disk.read(PIECE)
            if not piece:
                return Image(size, tuple(content))
            if piece.strip(b"\0"):
                content.append(Write(at, piece))


def write_image(image: Image, file: Path) -> None:
    """The disk as a sparse file."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.truncate(descriptor, image.size)
        for piece in image.content:
            os.pwrite(descriptor, piece.data, piece.offset)
    finally:
        os.close(descriptor)


@contextmanager
def restored(file_system: str, image: Image) -> Iterator[Path]:
    """What a disk holds, mounted as by :func:`mounted`."""
    if file_system == WEAKEST:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            Tree(image).write(Path(folder))
            yield Path(folder)
    else:
        disk = SCRATCH / "disk"
        write_image(image, disk)
        with mounted(file_system, disk) as where:
            yield where


@contextmanager
def mounted(file_system: str, disk: Path) -> Iterator[Path]:
    """Mount a disk, with whatever the file system does after a power cut, for writing.  Within ``private.enter``.

    Raises:
        OSError: it cannot be mounted.
    """
    tried = FILE_SYSTEMS[file_system]
    where = SCRATCH / "mounted"
    where.mkdir(exist_ok=True)
    run("mount", "-t", tried.type, "-o", f"loop,{tried.options}", str(disk), str(where))
    try:
        yield where
    finally:
        _unmount(where)


def _unmount(where: Path) -> None:
    for _ in range(50):
        try:
            run("umount", str(where))
            return
        except OSError as error:
            if "busy" not in str(error):
                raise
            time.sleep(0.1)  # a process that was killed lets go of its files
    run("umount", "--lazy", str(where))
