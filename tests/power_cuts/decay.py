"""Disks that lose more than a power cut may: a sector of any file is gone, a file is shorter, or an old one is there again.

Cards that lie about a flush do that, and old ones.  No promise can be kept then, but one: the robot starts with a model that
is whole, and updates go on; if its store is damaged, after a repair by hand.  And no model is blamed for what the disk did while
a newer one was made of its files.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update import updater
from edge_wm.update.assemble import Piece, Plan, contents
from edge_wm.update.boot import CRASHED, start
from edge_wm.update.database import DamagedStore
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, Store
from edge_wm.update.updater import repair
from tests.power_cuts.robots import drive_on
from tests.update import flows
from tests.update.flows import VERSIONS, Scenario

SECTOR = 512


def check(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """Damage something, and see that the robot starts and can be updated after the flow of this name.

    Raises:
        AssertionError: something does not hold.
    """
    folders = Scenario.of_environment().folders(robot)
    files = _files(folders)
    random = _chance(robot, files)
    damaged = damage(folders, files, random) if files else None
    _check_damaged(name, robot, damaged)


def check_store(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """:func:`check` with damage to the store; if SQLite finds it, nothing of the store is believed.

    Raises:
        AssertionError: something does not hold.
    """
    folders = Scenario.of_environment().folders(robot)
    stores = [file for file in _files(folders) if file == folders.store]
    for store in stores:
        damage_file(store, _chance(robot, _files(folders)))
        if not _is_sound(store):
            assert start(folders, flows.run_once).slot == FACTORY, "a damaged store is believed"
    _check_damaged(name, robot, folders.store if stores else None)


def _check_damaged(name: str, robot: Path, damaged: Path | None) -> None:
    scenario = Scenario.of_environment()
    folders = scenario.folders(robot)
    _check_start(scenario, folders)
    try:
        drive_on(name, robot)
    except DamagedStore:
        repair(folders)
        drive_on(name, robot)
    except BadInput:
        if damaged is None or not damaged.name.startswith(folders.store.name):
            raise  # what is wrong in the store or its journal, somebody must look at
    _check_start(scenario, folders)


def check_meanwhile(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """Damage a file of the robot's, or all downloads, as often as a new model is made of them.

    No model is blamed for that, and once it is over the update goes on.

    Raises:
        AssertionError: something does not hold.
    """
    scenario = Scenario.of_environment()
    folders = scenario.folders(robot)
    random = _chance(robot, _files(folders))
    coming: list[str] = []

    def damaged_contents(plan: Plan, fetched: Callable[[Piece], bytes]) -> Iterator[tuple[str, bytes]]:
        coming.append(plan.release.model)
        named = {path for piece in plan.pieces for path in (piece.copied, piece.base) if path is not None}
        here = sorted(path for path in named if path.is_relative_to(robot))
        if here and random.random() < 0.5:
            damage_file(random.choice(here), random)
        else:
            for file in sorted(folders.incoming.iterdir()):
                damage_file(file, random)
        return contents(plan, fetched)

    updater.contents = damaged_contents
    try:
        drive_on(name, robot)
    except BadInput:
        with Store(folders.store) as store:
            for model in coming:
                failure = store.failure(model)  # a cut in the middle of its trial counts, as a crash would
                assert failure is None or failure.reason == CRASHED, "a model is blamed for the disk"
    updater.contents = contents
    drive_on(name, robot)
    _check_start(scenario, folders)


def check_downloads(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """Damage everything that was downloaded: what is there already is not believed, and the update goes on.

    Raises:
        AssertionError: something does not hold.
        BadInput: the update does not go on.
    """
    scenario = Scenario.of_environment()
    folders = scenario.folders(robot)
    files = _files(folders)
    random = _chance(robot, files)
    for file in files:
        if file.parent == folders.incoming:
            damage_file(file, random)
    drive_on(name, robot)
    _check_start(scenario, folders)


def _is_sound(store: Path) -> bool:
    """What SQLite says of it, asked of a copy: what a journal takes back changes the file."""
    with tempfile.TemporaryDirectory() as folder:
        for file in store.parent.glob(f"{store.name}*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / store.name)) as database:
            try:
                return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            except sqlite3.DatabaseError:
                return False


def _files(folders: Folders) -> list[Path]:
    """Those with something in them."""
    return sorted(path for path in folders.root.rglob("*") if path.is_file() and path.stat().st_size)


def _chance(robot: Path, files: list[Path]) -> Random:
    """The same for the same files."""
    return Random(str([(path.relative_to(robot), path.read_bytes()) for path in files]))


def damage(folders: Folders, files: list[Path], random: Random) -> Path:
    """Returns what was damaged."""
    slots = [folder for folder in map(folders.slot, "ab") if any(folder.glob("*"))]
    if len(slots) == 2 and random.random() < 0.2:  # its old content is there again
        random.shuffle(slots)
        shutil.rmtree(slots[0])
        shutil.copytree(slots[1], slots[0])
        return slots[0]
    kinds = {path.parent for path in files}
    where = random.choice(sorted(kinds))
    path = random.choice([path for path in files if path.parent == where])
    damage_file(path, random)
    return path


def damage_file(path: Path, random: Random) -> None:
    """A sector of it is gone, or it ends there."""
    content = path.read_bytes()
    at = random.randrange(max(1, -(-len(content) // SECTOR))) * SECTOR
    if random.random() < 0.3:
        path.write_bytes(content[:at])
    else:
        gone = len(content[at : at + SECTOR])
        path.write_bytes(content[:at] + bytes(gone) + content[at + SECTOR :])


def _check_start(scenario: Scenario, folders: Folders) -> None:
    started = start(folders, flows.run_once)
    models = {version: scenario.folder / "bundles" / version for version in VERSIONS}
    whole = {load_bundle(bundle).sha256: bundle for bundle in models.values()}
    assert started.model in whole, "drives by a model that nobody published"
    for file in whole[started.model].rglob("*"):
        here = folders.slot(started.slot) / file.relative_to(whole[started.model])
        assert here.read_bytes() == file.read_bytes(), "drives by a damaged model"
    if started.installed is not None:
        assert started.model == started.installed.model, "drives by another model than was committed"
