"""The disks of this machine, and what uses them: from sysfs and /proc, without asking any of them.

A disk is in use if anything on it is mounted, swapped to, or held by LVM, RAID or encryption, however many layers lie between.
The kernel has the last word: it opens no disk for us that anybody else holds.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_wm.errors import BadInput

SECTOR = 512
"""Bytes of a sector in sysfs, whatever the disk's own are."""

NO_CARDS = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|mtdblock)\d|mmcblk\d+(boot\d|rpmb)")
"""What lies below /sys/block, too."""


class Disk(NamedTuple):
    """A whole disk.

    Attributes:
        name: of the kernel.
        size: bytes; 0: a reader without a card.
        model: as it calls itself.
        external: a card or on USB: not built in.
        read_only: its lock is on.
        sector: bytes of its own sectors.
        uses: what it is used for, a line each.
    """

    name: str
    size: int
    model: str
    external: bool
    read_only: bool
    sector: int
    uses: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Its file."""
        return Path("/dev", self.name)

    def __str__(self) -> str:
        what = f"{self.path}  {self.size / 1e9:.1f} GB  {self.model or 'no name'}"
        notes = [
            *([] if self.external else ["built in"]),
            *(["read-only"] if self.read_only else []),
            *self.uses,
        ]
        return what + (f"  ({'; '.join(notes)})" if notes else "")


def disks(root: Path = Path("/")) -> list[Disk]:
    """All disks that have something to write to, by name."""
    names = sorted(path.name for path in (root / "sys/block").iterdir())
    found = [_disk(root, name) for name in names if not NO_CARDS.match(name)]
    return [disk for disk in found if disk.size > 0]


def disk_of(device: Path, root: Path = Path("/")) -> Disk:
    """The disk that ``device`` is the file of.

    Raises:
        BadInput: there is no such file, it is no whole disk, or there is no card in it.
    """
    try:
        facts = device.stat()
    except OSError as error:
        raise BadInput(f"{device}: {error.strerror}") from error
    if not stat.S_ISBLK(facts.st_mode):
        raise BadInput(f"{device}: is no disk")
    return disk_numbered(f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}", device, root)


def disk_numbered(number: str, device: Path, root: Path = Path("/")) -> Disk:
    """The disk with that ``major:minor``, called ``device`` in errors.  Raises BadInput like :func:`disk_of`."""
    for folder in (root / "sys/block").iterdir():
        if _text(folder / "dev") == number:
            if re.match(r"(dm-|md)\d", folder.name):
                raise BadInput(f"{device}: is made of other disks: name a card")
            disk = _disk(root, folder.name)
            if disk.size == 0:
                raise BadInput(f"{device}: there is no card in it")
            return disk
        for part in _partitions(folder):
            if _text(part / "dev") == number:
                raise BadInput(f"{device}: is a partition: name the whole disk, /dev/{folder.name}")
    raise BadInput(f"{device}: is no disk that this system knows")


def _disk(root: Path, name: str) -> Disk:
    folder = root / "sys/block" / name
    said = [_text(folder / "device" / part) or "" for part in ("vendor", "model", "name")]
    model = " ".join(text for text in said if text and not text.startswith("0x"))  # a number is no name
    connected = os.path.realpath(folder)
    external = (
        _text(folder / "removable") == "1"
        or "/usb" in connected
        or _text(folder / "device/type") == "SD"
        or name.startswith("loop")
    )
    return Disk(
        name,
        int(_text(folder / "size") or 0) * SECTOR,
        model,
        external,
        _text(folder / "ro") == "1",
        int(_text(folder / "queue/logical_block_size") or SECTOR),
        tuple(_uses(root, folder)),
    )


def _uses(root: Path, folder: Path) -> Iterator[str]:
    """What a disk and its partitions are used for."""
    mounts, swaps = _mounts(root), _swaps(root)
    for part in (folder, *_partitions(folder)):
        above = list(_above(root, part))
        places = [place for name in (part.name, *above) for place in mounts.get(name, ())]
        if "/" in places:
            yield "this system runs from it"
        elif places:
            yield f"{part.name} is mounted at {places[0]}"
        elif any(name in swaps for name in (part.name, *above)):
            yield f"this system swaps to {part.name}"
        elif above:
            yield f"{part.name} is a part of {above[0]}"


def _partitions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if (path / "partition").is_file())


def _above(root: Path, part: Path) -> Iterator[str]:
    """What LVM, RAID or encryption makes of it, layer by layer."""
    holders = part / "holders"
    for holder in sorted(holders.iterdir()) if holders.is_dir() else ():
        yield holder.name
        yield from _above(root, root / "sys/block" / holder.name)


def _mounts(root: Path) -> dict[str, list[str]]:
    """Where disks and partitions are mounted, by the kernel's name for them: proc_pid_mountinfo(5)."""
    names = _names(root)
    found: dict[str, list[str]] = {}
    for line in (_text(root / "proc/self/mountinfo") or "").splitlines():
        fields = line.split()
        source = fields[fields.index("-") + 2]
        # btrfs and others have a number of their own: their source says what they lie on.
        name = names.get(fields[2]) or _named(root, source)
        if name:
            found.setdefault(name, []).append(_unescaped(fields[4]))
    return found


def _swaps(root: Path) -> set[str]:
    lines = (_text(root / "proc/swaps") or "").splitlines()[1:]
    return {_named(root, line.split()[0]) for line in lines if line.startswith("/dev/")}


def _names(root: Path) -> dict[str, str]:
    """The kernel's names by ``major:minor``."""
    folders = list((root / "sys/block").iterdir())
    folders += [part for folder in folders for part in _partitions(folder)]
    return {number: folder.name for folder in folders if (number := _text(folder / "dev"))}


def _named(root: Path, source: str) -> str:
    """The kernel's name for a file below /dev, which may be a link such as /dev/mapper/home; "" for anything else."""
    if not source.startswith("/dev/"):
        return ""
    return Path(os.path.realpath(root / source.lstrip("/"))).name


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def files_of_loops(root: Path = Path("/")) -> set[str]:
    """Paths of files that loop devices make disks of."""
    found = (root / "sys/block").glob("loop*/loop/backing_file")
    return {text for file in found if (text := _text(file))}
