"""What a robot looks at when it starts and when it puts a model together, each left out once.

Unlike the steps of ``controls.py`` it is left out after the power cut: by the robot that has to make do with what is on the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edge_wm.bundle import load
from edge_wm.update import assemble, boot, database, download, updater
from edge_wm.update.slots import Folders
from edge_wm.update.store import Installed, Store
from tests.power_cuts import decay, read_only
from tests.update import flows

WITHOUT = "tests.power_cuts.checks:check_without"
"""With one of ``CHECKS`` and the name of a case; see ``campaign.Case``."""


class Control(NamedTuple):
    """A check that is left out.

    Attributes:
        leave_out: makes this process do without; it ends soon.
        case: of ``CASES``, after which that shows.
        check: that has to notice.
    """

    leave_out: Callable[[], Any]
    case: str
    check: Callable[[str, Path, tuple[str, ...]], None]


class Anything(str):
    """A hash like any other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


def _no_hashes_of_files() -> None:
    load._read_checked = lambda directory, entry: load._read(directory, entry.path, load.MAX_FILE_BYTES)


def _no_look_at_the_model() -> None:
    boot.refuse_another = lambda bundle, installed: None


def _no_doubt_of_downloads() -> None:
    download._sha256 = lambda file: Anything()


def _no_second_doubt_of_downloads() -> None:
    updater.read_unchanged = _read


def _no_doubt_of_what_is_copied() -> None:
    assemble.read_unchanged = _read


def _read(path: Path, sha256: str) -> bytes:
    return path.read_bytes()


class _Believed(sqlite3.Connection):
    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        return super().execute("SELECT 'ok'" if "quick_check" in query else query, *values)


def _no_quick_check() -> None:
    connect = sqlite3.connect
    database.sqlite3.connect = lambda *what, **how: connect(*what, **how, factory=_Believed)  # type: ignore[assignment]


def _no_count_of_crashes() -> None:
    fail = boot._fail

    def fail_unless_crashed(store: Store, tried: Installed, reason: str, notes: list[str]) -> None:
        if reason != boot.CRASHED:
            fail(store, tried, reason, notes)

    boot._fail = fail_unless_crashed


def _no_quarantine() -> None:
    opened = boot.open_store

    @contextmanager
    def open_forgiving(folders: Folders) -> Iterator[tuple[Store, bool]]:
        with opened(folders) as (store, writable):
            store.why_quarantined = lambda model: None  # type: ignore[method-assign]
            yield store, writable

    boot.open_store = open_forgiving


def _no_copy() -> None:
    @contextmanager
    def open_in_place(folders: Folders) -> Iterator[tuple[Store, bool]]:
        with Store(folders.store) as store:
            yield store, boot._writable(folders.root)

    boot.open_store = open_in_place


CHECKS = {
    "the hash of each file of a bundle": Control(_no_hashes_of_files, "delta", decay.check),
    "that a slot holds the model that was committed": Control(_no_look_at_the_model, "delta", decay.check),
    "the hash of what was downloaded": Control(_no_doubt_of_downloads, "delta", decay.check_downloads),
    "the hash of a download when it is read": Control(
        _no_second_doubt_of_downloads, "delta", decay.check_meanwhile
    ),
    "the hash of what is copied": Control(_no_doubt_of_what_is_copied, "delta", decay.check_meanwhile),
    "the quick check of the store": Control(_no_quick_check, "delta", decay.check_store),
    "counting a trial that never ended": Control(_no_count_of_crashes, "crashes in trials", flows.check),
    "the quarantine at the start": Control(_no_quarantine, "revocation", flows.check),
    "the copy of a store that cannot be written": Control(_no_copy, "delta", read_only.check),
}
"""By what is left out."""


def check_without(left_out: str, name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """A robot's check after the flow of this name, by a robot that leaves out one of ``CHECKS``."""
    control = CHECKS[left_out]
    control.leave_out()
    control.check(name, robot, promises)
