"""Disks that lose more than a power cut may: a sector of any file is gone, a file is shorter, or an old one is there again.

Cards that lie about a flush do that, and old ones.  No promise can be kept then, but one: the robot starts with a model that
is whole, and updates go on; if its store is damaged, after a repair by hand.  This is what the checks are for that a robot makes when it starts; each has a control here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from edge_wm.bundle import load
from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update import boot, download, updater
from edge_wm.update.boot import start
from edge_wm.update.database import DamagedStore
from edge_wm.update.slots import Folders
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
    scenario = Scenario.of_environment()
    folders = scenario.folders(robot)
    files = (
        sorted(path for path in folders.root.rglob("*") if path.is_file()) if folders.root.exists() else []
    )
    random = Random(str([(path.relative_to(robot), path.read_bytes()) for path in files]))
    damaged = damage(folders, files, random) if files else None
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
    content = path.read_bytes()
    at = random.randrange(max(1, -(-len(content) // SECTOR))) * SECTOR
    if random.random() < 0.3:
        path.write_bytes(content[:at])
    else:
        gone = len(content[at : at + SECTOR])
        path.write_bytes(content[:at] + bytes(gone) + content[at + SECTOR :])
    return path


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


def _no_hashes_of_files() -> None:
    load._read_checked = lambda directory, entry: load._read(directory, entry.path, load.MAX_FILE_BYTES)


def _no_look_at_the_model() -> None:
    boot.refuse_another = lambda bundle, installed: None


def _no_doubt_of_downloads() -> None:
    """Neither the hash, nor another form of a file where that gives the wrong one: each of them would do."""

    class Never(BadInput):
        """Nobody raises it."""

    class Anything(str):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    download._sha256 = lambda file: Anything()
    updater.BrokenForm = Never  # type: ignore[misc,assignment]


CHECKS: dict[str, Callable[[], Any]] = {
    "the hash of each file of a bundle": _no_hashes_of_files,
    "that a slot holds the model that was committed": _no_look_at_the_model,
    "the hash of what was downloaded, and another form in its place": _no_doubt_of_downloads,
}
"""What a robot looks at, and how it is made not to."""


def check_without(left_out: str, name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """:func:`check` of a robot that leaves out one of ``CHECKS``."""
    CHECKS[left_out]()
    check(name, robot, promises)
