"""Where a robot's models lie: two slots that are written in turn, and the factory's model, which nothing writes.

A slot holds the files of one bundle, each a copy of its own: damage to one slot never reaches the other.  Whether a slot
counts is for ``store.py`` to say, and whether its files are what they should be for ``load_bundle``.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge_wm.durable import sync_folder, write_file
from edge_wm.errors import BadInput
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.update.store import FACTORY, SLOTS


@dataclass(frozen=True)
class Folders:
    """Everything that updates keep on one robot, below one folder.

    Attributes:
        root: the folder, such as ``/var/lib/edge-wm``.
        factory: bundle of the factory slot.
    """

    root: Path
    factory: Path = DEFAULT_MODEL

    @property
    def store(self) -> Path:
        """See ``store.py``."""
        return self.root / "state.db"

    @property
    def incoming(self) -> Path:
        """Downloads that may be unfinished, named by the hash that they should have."""
        return self.root / "incoming"

    @property
    def updating_lock(self) -> Path:
        """Locked by the one process that updates."""
        return self.root / "update.lock"

    @property
    def driving_lock(self) -> Path:
        """Locked by the one process that drives, which alone says which model does."""
        return self.root / "driving.lock"

    def slot(self, name: str) -> Path:
        """The folder of a slot's bundle."""
        return self.factory if name == FACTORY else self.root / "slots" / name

    def make(self) -> None:
        """Make what is not there yet.

        Raises:
            BadInput: root asks, and the folder is somebody else's: he could not write what root makes there.
            OSError: such as a full disk.
        """
        if os.geteuid() == 0 and self.root.exists() and (owner := self.root.stat().st_uid) != 0:
            name = _user(owner)
            raise BadInput(
                f"{self.root}: is {name}'s, who could not write what root makes there: sudo -u {name} edge-wm …"
            )
        for folder in (self.incoming, *(self.slot(name) for name in SLOTS)):
            folder.mkdir(parents=True, exist_ok=True)
        for lock in (self.updating_lock, self.driving_lock):
            if not lock.exists():
                lock.touch()  # now, so that a disk that turns read-only later keeps no robot from driving
        # The names in the root itself are on disk with the first transaction: see ``synchronous`` in database.py.
        for folder in (self.root / "slots", self.root.parent):
            sync_folder(folder)

    def fill(self, slot: str, files: Iterable[tuple[str, bytes]]) -> None:
        """Make a slot hold these files and nothing else; all of it is on disk when this returns.

        Args:
            slot: ``a`` or ``b``; nothing drives by it.
            files: path within the bundle and content of each.

        Raises:
            OSError: such as a full disk; the slot then holds anything.
        """
        folder = self.slot(slot)
        for old in folder.iterdir():
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink()
        folders = {folder}
        for path, content in files:
            where = folder / path
            where.parent.mkdir(parents=True, exist_ok=True)
            write_file(where, content)
            folders.update(parent for parent in where.parents if parent.is_relative_to(folder))
        for written in folders:
            sync_folder(written)


def _user(number: int) -> str:
    """A user's name, or as sudo takes the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"
