"""Updates with one step left out: each fsync by where it is called, and what else keeps a robot whole.

A control is a flow that has to be found out.  It changes the process that it runs in, which ends with it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from edge_wm.update.database import Database
from edge_wm.update.slots import Folders
from edge_wm.update.store import Store
from edge_wm.update.updater import Updater
from tests.power_cuts.own_process import call_in_own_process
from tests.power_cuts.recorder import Flow, Marker
from tests.update import flows
from tests.update.flows import CASES, Scenario

PACKAGE = "edge_wm"
FSYNC_CASE = "first install"
"""Makes all folders, and fills a slot."""
STEP_CASE = "delta"
"""Writes over a slot that held a model."""


def controls() -> dict[str, tuple[str, Flow]]:
    """The case and the flow of each control, by what is left out.  Runs a case, in a process of its own."""
    sites = call_in_own_process(fsyncs, FSYNC_CASE, timeout_s=60.0, method="spawn")
    return {
        **{site: (FSYNC_CASE, partial(without_fsync, FSYNC_CASE, site)) for site in sorted(sites)},
        **{step: (case, partial(without_step, case, step)) for step, (case, _) in STEPS.items()},
    }


def fsyncs(name: str) -> set[str]:
    """Where the flow of a case calls fsync, and for what.  For a process of its own."""
    found: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        robot = Path(folder, "robot")
        shutil.copytree(Scenario.of_environment().robot(CASES[name].begins), robot)
        _watch_fsync(robot, lambda site: bool(found.add(site)))
        CASES[name].flow(robot, flows.nothing)
    return found


def without_fsync(name: str, site: str, robot: Path, mark: Marker) -> None:
    """The flow of a case without the fsync of one place."""
    _watch_fsync(robot, lambda called: called == site)
    CASES[name].flow(robot, mark)


def _watch_fsync(robot: Path, skip: Callable[[str], bool]) -> None:
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        if not skip(_site(robot, descriptor)):
            fsync(descriptor)

    os.fsync = watched


def _site(robot: Path, descriptor: int) -> str:
    """Such as ``write_file of a slot in fill``."""
    calls: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals["__name__"].startswith(PACKAGE) and len(calls) < 2:
        calls.insert(0, frame.f_code.co_name)
        frame = frame.f_back
    path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(robot)
    slot = path.parts[:2] == ("edge-wm", "slots") and len(path.parts) > 2
    what = "a slot" if slot else f"/{path}" if path.parts else "/"
    return f"{calls[-1]} of {what} in {calls[0]}"


# --- what else is left out -------------------------------------------------------------------------------------------


def _synchronous(level: str) -> None:
    prepare = Database._prepare

    def prepare_and_relax(self: Database, *arguments: Any) -> None:
        self._db.execute("PRAGMA synchronous = EXTRA")
        prepare(self, *arguments)
        self._db.execute(f"PRAGMA synchronous = {level}")

    Database._prepare = prepare_and_relax  # type: ignore[method-assign]


def _slot_keeps_its_name() -> None:
    Store._empty = lambda self, slot: None  # type: ignore[method-assign]


def _staged_before_it_is_there() -> None:
    fill, stage = Folders.fill, Store.stage
    left: list[tuple[Any, ...]] = []
    Folders.fill = (
        lambda *arguments: left.append(  # type: ignore[method-assign,assignment]
            (*arguments[:2], list(arguments[2]))
        )
    )
    flows.prove = lambda bundle: flows.Proven(None)
    Updater._misfit = lambda self, slot, release: None  # type: ignore[method-assign]

    def stage_and_fill(self: Store, new: Any) -> None:
        stage(self, new)
        fill(*left.pop())

    Store.stage = stage_and_fill  # type: ignore[method-assign]


def _written_into_the_slot_that_drives() -> None:
    """One slot instead of two."""
    begin, fill = Store.begin_fetch, Folders.fill

    def begin_in_place(self: Store, *arguments: Any) -> str:
        slot = begin(self, *arguments)
        active = self.active
        if active != flows.FACTORY:
            with self.transaction() as db:
                db.execute("UPDATE attempt SET slot = ?", (active,))
            return active
        return slot

    Store.begin_fetch = begin_in_place  # type: ignore[method-assign]
    Folders.fill = lambda self, slot, files: fill(self, slot, list(files))  # type: ignore[method-assign]


def _floors_in_a_second_transaction() -> None:
    keep = Store.keep_trust

    def keep_in_two(self: Store, state: Any) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM floor")
        keep(self, state)

    Store.keep_trust = keep_in_two  # type: ignore[method-assign]


def _trial_drives_unnoticed() -> None:
    Store.trial_drives = lambda self: None  # type: ignore[method-assign]


STEPS: dict[str, tuple[str, Callable[[], None]]] = {
    "the folder's sync after each transaction (FULL)": (STEP_CASE, partial(_synchronous, "FULL")),
    "a transaction's order of syncs (NORMAL)": (STEP_CASE, partial(_synchronous, "NORMAL")),
    "all syncs of transactions (OFF)": (STEP_CASE, partial(_synchronous, "OFF")),
    "taking a slot's name off before it is written": (STEP_CASE, _slot_keeps_its_name),
    "staging only what is there": (STEP_CASE, _staged_before_it_is_there),
    "a second slot": (STEP_CASE, _written_into_the_slot_that_drives),
    "metadata and floors in one transaction": (STEP_CASE, _floors_in_a_second_transaction),
    "the note that a model on trial drives": ("crashes in trials", _trial_drives_unnoticed),
}
"""What is left out, of which case, and how."""


def without_step(name: str, step: str, robot: Path, mark: Marker) -> None:
    """The flow of a case without one of ``STEPS``."""
    _, leave_out = STEPS[step]
    leave_out()
    CASES[name].flow(robot, mark)
