"""A robot on a disk whose power is cut: the flows and promises of ``tests/update/flows.py``, and the start after the cut."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from edge_wm.update.boot import start
from edge_wm.update.database import DamagedStore
from edge_wm.update.store import State, Store
from edge_wm.update.updater import repair
from tests.power_cuts.block_log import Image, Recording
from tests.power_cuts.crash_states import CrashState, crash_states, crashed
from tests.power_cuts.recorder import Flow, Marker, prepare, record
from tests.power_cuts.writeback import Writeback
from tests.update import flows
from tests.update.flows import CASES, Scenario

CHECK = "tests.update.flows:check"
"""With the name of a case; see ``campaign.Case``."""
MAX_STARTS = 4


def robot_at(begins: str, file_system: str) -> Image:
    """The disk of a robot that was shut down in order."""
    return prepare(file_system, partial(_copy, Scenario.of_environment().robot(begins)))


def _copy(robot: Path, where: Path, mark: Marker) -> None:
    shutil.copytree(robot, where, dirs_exist_ok=True)


def record_case(
    name: str, file_system: str, writeback: Writeback, start: Image, without: Flow | None = None
) -> Recording:
    """One case of ``CASES``; ``without`` is its flow with something left out."""
    case = CASES[name]
    return record(file_system, without or case.flow, start, _trusted(case.begins), writeback)


def _trusted(begins: str) -> tuple[str, ...]:
    """What the robot was promised before the flow: what it has seen is not forgotten."""
    scenario = Scenario.of_environment()
    store_file = scenario.folders(scenario.robot(begins)).store
    if not store_file.exists():
        return ()
    try:
        with Store(store_file) as store:
            return (f"trusts {store.trust().floors['timestamp'].version}",)
    except DamagedStore:
        return ()


def drive_on(name: str, robot: Path, mark: Marker | None = None) -> None:
    """What a robot does when its power is back: it starts, and takes the update to its end; a damaged store somebody repairs.

    Raises:
        BadInput: it cannot.
    """
    scenario, case = Scenario.of_environment(), CASES[name]
    folders = scenario.folders(robot)
    start(folders, flows.run_once)
    if case.store_damaged:
        repair(folders)
    for _ in range(MAX_STARTS):
        flows.fetch(scenario, robot, case.repository, flows.nothing)
        with Store(folders.store) as store:
            if store.attempt.state is State.STAGED:
                store.begin_trial()
            if store.attempt.state is State.TRIAL:
                store.shadow_passed()
        if not start(folders, flows.run_once).on_trial:
            return
        with Store(folders.store) as store:
            store.commit()
            installed = store.installed(store.active)
        if mark is not None and installed is not None:
            mark(f"committed {installed.sequence} {installed.model}")


def _recover(name: str, robot: Path, mark: Marker) -> None:
    drive_on(name, robot, mark)


def record_recovery(name: str, recording: Recording, cut: CrashState, writeback: Writeback) -> Recording:
    """The recovery from a state of a recording, to be cut off in its turn."""
    return record(
        recording.file_system,
        partial(_recover, name),
        crashed(recording, cut),
        acknowledged=recording.marks(cut.cut),
        writeback=writeback,
    )


def spread_cuts(recording: Recording, count: int, seed: int) -> list[CrashState]:
    """States to recover from, from the beginning of the log to its end."""
    states = crash_states(recording, 20 * count, seed)
    return states[:: max(1, len(states) // count)][:count]
