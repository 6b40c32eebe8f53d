"""The weakest file system while a flow runs on it: a FUSE file system that remembers every change of a file or a folder.

MOUNTPOINT/files   the files
MOUNTPOINT/mark, MOUNTPOINT/save   as in ``logging_disk.py``
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

from tests.power_cuts.block_log import Entry, Flush, Image, Mark, Write
from tests.power_cuts.weakest import ROOT, Tree, named

CONTROL = {"/mark": 1 << 40, "/save": 1 << 41}
"""Numbers that no file will have."""
FREE_BLOCKS = 1 << 18


class LoggingFiles(mfusepy.Operations):
    use_ns = True

    def __init__(self, start: Image) -> None:
        self.tree = Tree(start)
        self.log: list[Entry] = []
        self.newest = max((number or 0 for number in self._numbers()), default=ROOT)

    def _numbers(self) -> Iterable[int]:
        return (int(what.rstrip(b"/")) for folder in self.tree.folders.values() for what in folder.values())

    # --- what is there -----------------------------------------------------------------------------------------------

    def _find(self, path: str) -> tuple[int, bool]:
        """Number of the object at a path, and whether it is a folder."""
        if path in CONTROL:
            return CONTROL[path], False
        _, top, *names = path.split("/")
        if top != "files":
            raise mfusepy.FuseOSError(errno.ENOENT)
        number, is_folder = ROOT, True
        for name in names:
            what = self.tree.folders.get(number, {}).get(name)
            if what is None:
                raise mfusepy.FuseOSError(errno.ENOENT)
            number, is_folder = int(what.rstrip(b"/")), what.endswith(b"/")
        return number, is_folder

    def _folder(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._find(parent)[0], name

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        number, is_folder = (fh, False) if fh is not None else self._find(path)
        if is_folder:
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_ino": number + 2}
        size = len(self.tree.files.get(number, b""))
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": size, "st_ino": number + 2}

    def readdir(self, path: str, fh: int) -> Iterable[str]:
        names = ["files", "mark", "save"] if path == "/" else self.tree.folders.get(self._find(path)[0], {})
        return [".", "..", *names]

    def opendir(self, path: str) -> int:
        return 0 if path == "/" else self._find(path)[0]

    def open(self, path: str, flags: int) -> int:
        number, _ = self._find(path)
        if flags & os.O_TRUNC and path not in CONTROL:
            self._change(Write(0, b"", number, "size"))
        return number

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.tree.files.get(fh, b"")[offset : offset + size])

    def statfs(self, path: str) -> dict[str, int]:
        return {
            "f_bsize": 4096,
            "f_frsize": 4096,
            "f_blocks": FREE_BLOCKS,
            "f_bavail": FREE_BLOCKS,
            "f_namemax": 255,
        }

    # --- what changes ------------------------------------------------------------------------------------------------

    def _change(self, write: Write) -> None:
        self.log.append(write)
        self.tree.apply(write)

    def _new(self, path: str, is_folder: bool) -> int:
        folder, name = self._folder(path)
        self.newest += 1
        self._change(named(folder, name, self.newest, is_folder))
        return self.newest

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self._new(path, False)

    def mkdir(self, path: str, mode: int) -> int:
        self._new(path, True)
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if fh == CONTROL["/mark"]:
            self.log.append(Mark(data.decode()))
        elif fh == CONTROL["/save"]:
            Path(data.decode()).write_bytes(msgspec.msgpack.encode(self.log))
        else:
            self._change(Write(offset, data, fh))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._change(Write(length, b"", fh if fh is not None else self._find(path)[0], "size"))
        return 0

    def unlink(self, path: str) -> int:
        folder, name = self._folder(path)
        self._change(Write(0, b"", folder, name))
        return 0

    def rmdir(self, path: str) -> int:
        if self.tree.folders.get(self._find(path)[0]):
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        return self.unlink(path)

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        (folder, name), (number, is_folder) = self._folder(old), self._find(old)
        to, new_name = self._folder(new)
        if folder == to:
            self._change(named(folder, f"{name}/{new_name}", number, is_folder))
        else:
            self._change(named(to, new_name, number, is_folder))
            self._change(Write(0, b"", folder, name))
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self.log.append(Flush(fh))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self.log.append(Flush(fh))
        return 0

    # Nothing here depends on these, but programs ask for them.
    def chmod(self, path: str, mode: int) -> int:
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        return 0
