"""Which model a robot starts with: there is always one that verifies.

In order: a model whose trial was paused, the active one, the one before it, the factory's.  Nothing here needs the network, the time, or
a disk that can be written.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, Installed, State, Store

Model = TypeVar("Model")

CRASHED = "the robot stopped in the middle of the trial: a crash, a reset by the watchdog, or no power"


@dataclass(frozen=True)
class Started(Generic[Model]):
    """What drives now.

    Attributes:
        slot: ``a``, ``b`` or ``factory``.
        installed: the model in it; None for the factory's.
        on_trial: whether it has yet to show that it drives well.
        model: what ``load`` made of it.
        notes: what was passed over and why, one line each.
    """

    slot: str
    installed: Installed | None
    on_trial: bool
    model: Model
    notes: tuple[str, ...]


def start(folders: Folders, load: Callable[[Path], Model]) -> Started[Model]:
    """Load the model that this robot should drive by.

    Called by the one process that holds the driving lock.  A trial that began and never ended counts as failed.

    Args:
        folders: of the robot.
        load: makes a model ready to drive of a bundle's folder; raises BadInput if it is not fit.

    Raises:
        BadInput: not even the factory's model can be used.
    """
    notes: list[str] = []
    try:
        if not folders.store.exists():
            return Started(FACTORY, None, False, load(folders.factory), ())
        with open_store(folders) as (store, writable):
            for slot, installed, on_trial in _order(store, writable, notes):
                if on_trial and not _begins(store, installed, notes):
                    continue
                try:
                    refuse_another(folders.slot(slot), installed)
                    model = load(folders.slot(slot))
                except BadInput as why:
                    notes.append(f"{installed} in slot {slot} is not used: {why}")
                    if on_trial:
                        _fail(store, installed, str(why), notes)
                except KeyboardInterrupt:
                    if on_trial:
                        store.trial_pauses(store.attempt.counts)
                    raise
                else:
                    return Started(slot, installed, on_trial, model, tuple(notes))
    except (BadInput, OSError) as why:
        notes.append(str(why))
    return Started(FACTORY, None, False, load(folders.factory), tuple(notes))


def _begins(store: Store, tried: Installed, notes: list[str]) -> bool:
    """Write down that a model on trial drives; what is not written down must not drive."""
    try:
        store.trial_drives()
    except BadInput as why:
        notes.append(f"{tried} does not go on with its trial: {why}")
        return False
    return True


def _order(store: Store, writable: bool, notes: list[str]) -> Iterator[tuple[str, Installed, bool]]:
    """The slots to try, best first."""
    attempt = store.attempt
    tried = store.coming if attempt.state is State.TRIAL and writable else None
    if tried is not None:
        revoked = store.why_quarantined(tried.model)  # since its trial began
        if attempt.begun:
            notes.append(f"{tried} is not used: {CRASHED}")
            _fail(store, tried, CRASHED, notes)
        elif revoked is not None:
            notes.append(f"{tried} is not used: it is in quarantine: {revoked}")
            _fail(store, tried, revoked, notes)
        elif attempt.shadowed:
            yield str(attempt.slot), tried, True
    for slot, installed in store.committed():
        why = store.why_quarantined(installed.model)
        if why is None:
            yield slot, installed, False
        else:
            notes.append(f"{installed} in slot {slot} is not used: it is in quarantine: {why}")


def _fail(store: Store, tried: Installed, reason: str, notes: list[str]) -> None:
    """Write down that a trial failed, if the disk takes it: the robot drives in any case."""
    try:
        store.fail(tried, reason)
    except BadInput as why:
        notes.append(str(why))


def refuse_another(bundle: Path, installed: Installed) -> None:
    """Raise BadInput if a slot does not hold the model that the store says, as on a disk that has lost what was written."""
    found = load_bundle(bundle, roles=(), golden=False, whole=False).sha256
    if found != installed.model:
        raise BadInput(f"{bundle}: holds model {found[:12]}")


@contextmanager
def open_store(folders: Folders) -> Iterator[tuple[Store, bool]]:
    """The store, and whether it can be written.  On a disk that cannot be written it is a copy in memory.

    A journal that a power cut left has to be played back before anything can be read.

    Raises:
        BadInput: it is damaged or missing, or cannot be read.
    """
    if not folders.store.is_file():
        raise BadInput(f"{folders.store}: there is none: no update has come yet")
    if _writable(folders.root):
        with Store(folders.store) as store:
            yield store, True
        return
    with tempfile.TemporaryDirectory(prefix="edge-wm-", dir=_memory()) as copy:
        for file in folders.root.glob(folders.store.name + "*"):
            shutil.copy(file, copy)
        with Store(Path(copy) / folders.store.name) as store:
            yield store, False


def _writable(folder: Path) -> bool:
    """Whether files can be made here; ``os.access`` answers for permissions only, not for a failing disk."""
    try:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".try-")
        os.close(descriptor)
        os.unlink(name)  # noqa: PTH108
    except OSError as error:
        return error.errno == errno.ENOSPC  # a full disk still takes back a journal
    return True


def _memory() -> str | None:
    """A folder that is no disk, so that it can be written when a disk cannot."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
