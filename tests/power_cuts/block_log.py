"""What a disk was told, in order: what was written, when it had to be made to last, and what was promised meanwhile.

A disk is one object; on the weakest file system (``weakest.py``) each file and each folder is one, and is flushed by itself.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct


class Write(Struct, frozen=True, tag=True, array_like=True):
    """Bytes written at an offset of an object; with a ``name``, see ``weakest.py``."""

    offset: int
    data: bytes
    object: int = 0
    name: str = ""


class Flush(Struct, frozen=True, tag=True, array_like=True):
    """All that was written to the object before lasts.

    A forced write to a disk (FUA) is a write and a flush: a loop device makes it so.
    """

    object: int = 0


class Mark(Struct, frozen=True, tag=True, array_like=True):
    """The flow said here what must hold from now on, whatever happens."""

    text: str


Entry = Write | Flush | Mark


class Image(Struct, frozen=True):
    """A disk of which only what is not zero is kept, so that it is small."""

    size: int
    content: tuple[Write, ...]


class Recording(Struct, frozen=True):
    """A flow on a file system, as its disk saw it.

    Attributes:
        file_system: one of ``file_systems.FILE_SYSTEMS``, or ``weakest.WEAKEST``.
        start: the disk before the flow.
        log: from the mount on; without the unmount.
        acknowledged: what was promised before.
    """

    file_system: str
    start: Image
    log: tuple[Entry, ...]
    acknowledged: tuple[str, ...] = ()

    def save(self, file: Path) -> None:
        file.write_bytes(msgspec.msgpack.encode(self))

    @classmethod
    def load(cls, file: Path) -> Recording:
        return msgspec.msgpack.decode(file.read_bytes(), type=cls)

    def marks(self, cut: int) -> tuple[str, ...]:
        """What was promised by the first ``cut`` entries, and before."""
        return (*self.acknowledged, *(entry.text for entry in self.log[:cut] if isinstance(entry, Mark)))
