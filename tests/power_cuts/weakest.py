"""The least that a file system may do: POSIX's promise, and nothing more.

What ext4, btrfs and XFS do besides (a new file's name is on disk with its content, one fsync takes along what was changed
before) hides a forgotten fsync of a folder.  Here a file's content lasts after its own fsync only, and a folder's names after
the folder's.  Until then any of it may be lost, and the rest not.  A rename within a folder is one step.

Files and folders are objects of a log, see ``block_log.py``:

    Write(offset, data, 12)                 content of file 12
    Write(size, b"", 12, "size")            truncated, or made longer
    Write(0, b"12", 3, "state.db")          in folder 3 this name is file 12; without data, it is nothing
    Write(0, b"4/", 3, "slots")             … it is folder 4
    Write(0, b"12", 3, "old/new")           … file 12 is renamed
"""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.power_cuts.block_log import Image, Write

WEAKEST = "weakest"
"""Its name among the file systems."""
ROOT = 0
PAGE = 4096
"""Content is lost in pieces of so many bytes."""


class Tree:
    """Files and folders by number."""

    def __init__(self, image: Image) -> None:
        self.folders: dict[int, dict[str, bytes]] = {ROOT: {}}
        self.files: dict[int, bytearray] = {}
        for write in image.content:
            self.apply(write)

    def apply(self, write: Write) -> None:
        if write.name == "size":
            resize(self.files.setdefault(write.object, bytearray()), write.offset)
        elif write.name:
            folder = self.folders.setdefault(write.object, {})
            old, _, new = write.name.rpartition("/")
            folder.pop(old, None)
            folder.pop(new, None)
            if write.data:
                folder[new] = write.data
        else:
            content = self.files.setdefault(write.object, bytearray())
            resize(content, max(write.offset, len(content)))
            content[write.offset : write.offset + len(write.data)] = write.data

    def paths(self) -> dict[str, int | None]:
        """The file at every path, None where a folder is; a folder comes before what is in it."""
        found: dict[str, int | None] = {}
        left = [("", ROOT)]
        while left:
            where, folder = left.pop()
            for name, what in self.folders.get(folder, {}).items():
                number = int(what.rstrip(b"/"))
                is_folder = what.endswith(b"/")
                found[f"{where}/{name}"] = None if is_folder else number
                if is_folder:
                    left.append((f"{where}/{name}", number))
        return found

    def contents(self) -> dict[str, bytes | None]:
        """The content of the file at every path, None where a folder is."""
        return {
            path: None if number is None else bytes(self.files.get(number, b""))
            for path, number in self.paths().items()
        }

    def write(self, folder: Path) -> None:
        """Make all this in a folder."""
        for path, content in self.contents().items():
            where = folder / path[1:]
            if content is None:
                where.mkdir()
            else:
                where.write_bytes(content)


def resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def read_tree(folder: Path) -> Image:
    """What is in a folder."""
    numbers = itertools.count(ROOT + 1)
    found = {folder: ROOT}
    content: list[Write] = []
    for path in sorted(folder.rglob("*")):
        found[path] = number = next(numbers)
        content.append(named(found[path.parent], path.name, number, path.is_dir()))
        if path.is_file():
            content.append(Write(0, path.read_bytes(), number))
    return Image(0, tuple(content))


def named(folder: int, name: str, number: int, is_folder: bool) -> Write:
    """From now on a name in a folder is this object."""
    return Write(0, b"%d/" % number if is_folder else b"%d" % number, folder, name)
