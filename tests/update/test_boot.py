"""Whatever happened before, a robot starts with a model that verifies."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.boot import CRASHED, Started, start
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, MAX_FAILURES, State, Store
from tests.update.bundles import contents_of, installed, tiny_version


class Robot:
    """The folders of one robot, and three models: the factory's, 1.0.0 and 2.0.0."""

    def __init__(self, folder: Path) -> None:
        self.factory = tiny_version(folder / "factory", "0.1.0")
        self.one = tiny_version(folder / "one", "1.0.0")
        self.two = tiny_version(folder / "two", "2.0.0")
        self.folders = Folders(folder / "robot", self.factory)
        self.folders.make()

    def stage(self, bundle: Path, sequence: int) -> str:
        with Store(self.folders.store) as store:
            slot = store.begin_fetch(installed(bundle, sequence))
            self.folders.fill(slot, contents_of(bundle))
            store.stage(installed(bundle, sequence))
            store.begin_trial()
            store.shadow_passed()
        return slot

    def install(self, bundle: Path, sequence: int) -> str:
        slot = self.stage(bundle, sequence)
        with Store(self.folders.store) as store:
            store.commit()
        return slot

    def start(self, load: Callable[[Path], Bundle] = load_bundle) -> Started[Bundle]:
        return start(self.folders, load)

    def version(self) -> str:
        return self.start().model.manifest.version

    def state(self) -> State:
        with Store(self.folders.store) as store:
            return store.attempt.state


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


def damage(slot: Path) -> None:
    graph = slot / "observe.fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")


def test_without_any_update_it_is_the_factorys(robot: Robot) -> None:
    assert (robot.start().slot, robot.version()) == (FACTORY, "0.1.0")
    assert not robot.folders.store.exists()


def test_it_is_the_model_that_was_committed(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.install(robot.two, 2)
    started = robot.start()
    assert (started.slot, started.on_trial, started.notes) == ("b", False, ())
    assert started.model.manifest.version == "2.0.0"


def test_a_damaged_model_gives_way_to_the_one_before_and_that_to_the_factorys(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.install(robot.two, 2)
    damage(robot.folders.slot("b"))
    assert robot.version() == "1.0.0"
    assert "SHA-256 differs" in robot.start().notes[0]
    damage(robot.folders.slot("a"))
    assert robot.version() == "0.1.0"


def test_a_sound_model_that_is_not_the_committed_one_is_not_used(robot: Robot) -> None:
    slot = robot.install(robot.one, 1)
    shutil.rmtree(robot.folders.slot(slot))
    shutil.copytree(robot.two, robot.folders.slot(slot))
    assert robot.version() == "0.1.0"


def test_a_model_on_trial_drives_and_is_said_to(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)
    started = robot.start()
    assert (started.on_trial, started.model.manifest.version) == (True, "2.0.0")


def test_a_model_that_has_not_planned_beside_the_old_one_does_not_drive(robot: Robot) -> None:
    robot.install(robot.one, 1)
    with Store(robot.folders.store) as store:
        robot.folders.fill(store.begin_fetch(installed(robot.two, 2)), contents_of(robot.two))
        store.stage(installed(robot.two, 2))
        store.begin_trial()
    assert robot.version() == "1.0.0"


def test_a_trial_that_never_ended_was_a_crash(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)
    robot.start()  # and the process is gone
    started = robot.start()
    assert (started.on_trial, started.model.manifest.version) == (False, "1.0.0")
    assert CRASHED in started.notes[0]
    assert robot.state() is State.ROLLED_BACK


def test_a_trial_that_was_stopped_in_order_goes_on(robot: Robot) -> None:
    robot.stage(robot.two, 2)
    robot.start()
    with Store(robot.folders.store) as store:
        store.trial_pauses(b"{}")
    assert robot.start().on_trial


def test_a_model_that_cannot_be_loaded_fails_its_trial_at_once(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)

    def load(bundle: Path) -> Bundle:
        if bundle == robot.folders.slot("b"):
            raise BadInput("the engine refuses it")
        return load_bundle(bundle)

    assert robot.start(load).model.manifest.version == "1.0.0"
    assert robot.state() is State.ROLLED_BACK


def test_three_crashes_are_a_quarantine(robot: Robot) -> None:
    robot.install(robot.one, 1)
    for _ in range(MAX_FAILURES):
        robot.stage(robot.two, 2)
        robot.start()
        robot.start()
    with Store(robot.folders.store) as store:
        assert [failure.model for failure in store.quarantined()] == [load_bundle(robot.two).sha256]


def test_a_model_in_quarantine_is_passed_over(robot: Robot) -> None:
    robot.install(robot.one, 1)
    robot.install(robot.two, 2)
    with Store(robot.folders.store) as store:
        store.revoke({installed(robot.two, 2).model}, "revoked by its publisher")
    started = robot.start()
    assert started.model.manifest.version == "1.0.0"
    assert "quarantine" in started.notes[0]


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + bytes(4096)])
def test_without_a_sound_store_it_is_the_factorys(robot: Robot, content: bytes) -> None:
    robot.install(robot.one, 1)
    robot.folders.store.write_bytes(content)
    assert robot.version() == "0.1.0"


def test_not_even_a_factory_model_is_told(robot: Robot) -> None:
    damage(robot.factory)
    with pytest.raises(BadInput, match="SHA-256 differs"):
        robot.start()


def test_what_the_disk_says_keeps_no_robot_from_driving(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.install(robot.one, 1)

    def broken(*arguments: object, **more: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("edge_wm.update.boot.open_store", broken)
    assert robot.version() == "0.1.0"


def test_a_trial_that_cannot_be_written_down_is_put_off_and_did_not_fail(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)
    with monkeypatch.context() as locked:

        def refuse(store: Store) -> None:
            raise BadInput("database is locked")

        locked.setattr(Store, "trial_drives", refuse)
        assert robot.version() == "1.0.0"
    assert robot.version() == "2.0.0"


# --- a disk that cannot be written -----------------------------------------------------------------------------------


@pytest.fixture
def read_only(robot: Robot) -> Iterator[Callable[[], None]]:
    """Makes the disk below the robot's folder read-only, as Linux does with one that fails."""
    root = robot.folders.root
    mounted = False

    def turn() -> None:
        nonlocal mounted
        for command in (["mount", "--bind", root, root], ["mount", "-o", "remount,ro,bind", root]):
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode != 0:
                pytest.skip("nothing can be mounted here: needs root")
            mounted = True
        with pytest.raises(OSError, match="Read-only"):
            (root / "x").touch()

    yield turn
    if mounted:
        subprocess.run(["umount", root], check=True)


def test_a_disk_that_cannot_be_written_keeps_the_committed_model(
    robot: Robot, read_only: Callable[[], None]
) -> None:
    robot.install(robot.one, 1)
    read_only()
    assert robot.version() == "1.0.0"


def test_and_so_it_does_with_a_journal_that_a_crash_left(
    robot: Robot, read_only: Callable[[], None], tmp_path: Path
) -> None:
    robot.install(robot.one, 1)
    with Store(robot.folders.store) as store:
        store._db.execute("PRAGMA cache_size = 1")
        store._db.execute("BEGIN IMMEDIATE")
        store._db.execute("UPDATE choice SET active = 'nonsense'")
        store._db.executemany("INSERT INTO setting VALUES (?, ?)", ((str(n), "x" * 4000) for n in range(99)))
        for file in robot.folders.root.glob("state.db*"):
            shutil.copy(file, tmp_path / file.name)
    for file in tmp_path.glob("state.db*"):
        shutil.copy(file, robot.folders.root / file.name)
    assert (robot.folders.root / "state.db-journal").exists()
    read_only()
    in_place = sqlite3.connect(f"{robot.folders.store.as_uri()}?mode=ro", uri=True)
    with closing(in_place), pytest.raises(sqlite3.Error):
        in_place.execute("SELECT * FROM choice").fetchone()
    assert robot.version() == "1.0.0"


def test_nothing_goes_on_trial_that_could_not_be_written_down(
    robot: Robot, read_only: Callable[[], None]
) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)
    read_only()
    assert robot.version() == "1.0.0"


def test_a_full_disk_keeps_the_committed_model(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.install(robot.one, 1)
    robot.stage(robot.two, 2)

    def full(*arguments: object) -> None:
        raise BadInput(os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "trial_drives", full)
    monkeypatch.setattr(Store, "fail", full)
    assert robot.version() == "1.0.0"
