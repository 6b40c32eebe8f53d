"""The steps of an update on a robot, where something comes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.publish import packing
from edge_wm.update import updater as updater_module
from edge_wm.update.assemble import Piece, Plan, contents
from edge_wm.update.boot import start
from edge_wm.update.config import UpdateConfig
from edge_wm.update.fetcher import Limits, RobotFetcher
from edge_wm.update.release import Form, Release, ReleasedFile
from edge_wm.update.slots import Folders
from edge_wm.update.store import MAX_FAILURES, State, Store
from edge_wm.update.updater import Updater, open_updater
from tests.publish.repositories import KIND, Keeper
from tests.update.bundles import tiny_version
from tests.update.flows import prove, run_once


class Robot:
    """A robot, and the repository that it looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keeper = Keeper(folder / "fleet")
        self.keeper.init()
        self.folders = Folders(folder / "robot", tiny_version(folder / "0.1.0", "0.1.0"))

    def publish(self, version: str) -> None:
        self.keeper.publish(tiny_version(self.folder / version, version), "stable")

    @contextmanager
    def updater(self, fetcher: RobotFetcher | None = None) -> Iterator[Updater]:
        config = UpdateConfig(
            url=(self.folder / "fleet").as_uri(),
            robot_kind=KIND,
            robot_id="rover",
            root=str(self.folders.root),
        )
        root = (self.folder / "fleet" / "metadata" / "1.root.json").read_bytes()
        with open_updater(config, self.folders, root, prove, fetcher or RobotFetcher()) as updater:
            yield updater

    @contextmanager
    def due(self, fetcher: RobotFetcher | None = None) -> Iterator[tuple[Updater, Release]]:
        """An updater that has looked, and the release that is to come."""
        with self.updater(fetcher) as updater:
            release = updater.check().release
            assert release is not None
            yield updater, release

    def stage(self, version: str) -> None:
        self.publish(version)
        self.fetch()

    def fetch(self, *arguments: object, fetcher: RobotFetcher | None = None) -> None:
        with self.due(fetcher) as (updater, release):
            updater.fetch(release, *arguments)  # type: ignore[arg-type]

    def try_out(self) -> None:
        """What the driving process does with a staged model."""
        with Store(self.folders.store) as store:
            store.begin_trial()
            store.shadow_passed()
            store.trial_drives()

    def commit(self) -> None:
        with Store(self.folders.store) as store:
            store.commit()

    def state(self) -> State:
        with Store(self.folders.store) as store:
            return store.attempt.state

    def version(self) -> str:
        """Of the model that drives at the next start."""
        started = start(self.folders, run_once)
        return started.installed.version if started.installed is not None else "0.1.0"


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


@pytest.mark.parametrize("when", ["after the look", "while it is looked which model drives"])
def test_a_model_that_is_committed_while_a_newer_one_is_to_come_is_kept(
    robot: Robot, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.stage("1.0.0")
    robot.try_out()
    robot.commit()
    robot.stage("2.0.0")
    robot.try_out()
    robot.publish("3.0.0")
    with robot.due() as (updater, release):
        if when == "after the look":
            robot.commit()
        else:
            begin_fetch = Store.begin_fetch

            def late(self: Store, *arguments: object) -> str:
                robot.commit()
                return begin_fetch(self, *arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(Store, "begin_fetch", late)
        with pytest.raises(BadInput, match="a trial has ended meanwhile"):
            updater.fetch(release)
    monkeypatch.undo()
    assert robot.version() == "2.0.0"
    robot.fetch()  # asked again, it comes
    assert (robot.version(), robot.state()) == ("2.0.0", State.STAGED)


def test_a_model_on_trial_is_not_written_over(robot: Robot) -> None:
    robot.stage("1.0.0")
    robot.try_out()
    robot.publish("2.0.0")
    with robot.due() as (updater, release), pytest.raises(BadInput, match="is on trial: wait"):
        updater.fetch(release)
    robot.commit()
    assert robot.version() == "1.0.0"


# --- what is signed and broken ---------------------------------------------------------------------------------------


def publisher_breaks(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """What its publisher packs in these ways cannot be unpacked."""

    def unverified(
        file: ReleasedFile, form: Form, packed: bytes, base: bytes | None = None
    ) -> tuple[Form, bytes]:
        return form, bytes(len(packed)) if form.kind in kinds else packed

    monkeypatch.setattr(packing, "_verified", unverified)


def test_in_place_of_a_broken_delta_the_whole_file_is_fetched(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.stage("1.0.0")
    robot.try_out()
    robot.commit()
    publisher_breaks(monkeypatch, "bsdiff")
    robot.stage("2.0.0")
    assert robot.state() is State.STAGED
    assert list(robot.folders.incoming.iterdir()) == []


def test_a_file_that_no_form_gives_fails_its_model_and_is_not_kept(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher_breaks(monkeypatch, "bsdiff", "zstd")
    robot.publish("1.0.0")
    for _ in range(MAX_FAILURES):
        with pytest.raises(BadInput, match=r"is refused, the robot keeps its model: .* cannot be unpacked"):
            robot.fetch()
        assert robot.state() is State.ROLLED_BACK
        assert not [
            piece for piece in robot.folders.incoming.iterdir() if not piece.read_bytes().strip(b"\0")
        ]
    with robot.updater() as updater:
        assert "is in quarantine" in updater.check().why
    assert robot.version() == "0.1.0"


def test_a_disk_that_damages_what_was_downloaded_fails_no_model(
    robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash was right, and then it is read."""
    robot.stage("1.0.0")
    robot.try_out()
    robot.commit()
    robot.publish("2.0.0")
    damaged: list[str] = []

    def late(to_do: Plan, fetched: Callable[[Piece], bytes]) -> Iterator[tuple[str, bytes]]:
        for file in robot.folders.incoming.iterdir():
            file.write_bytes(bytes(file.stat().st_size))
            damaged.append(file.name)
        return contents(to_do, fetched)

    monkeypatch.setattr(updater_module, "contents", late)
    with pytest.raises(BadInput, match="changed while it was copied: start the update again"):
        robot.fetch()
    assert damaged
    monkeypatch.undo()
    with Store(robot.folders.store) as store:
        assert store.failure(load_bundle(robot.folder / "2.0.0").sha256) is None
    assert robot.version() == "1.0.0"
    robot.fetch()
    assert robot.state() is State.STAGED


# --- slow ------------------------------------------------------------------------------------------------------------


def test_an_update_has_one_deadline_however_many_files_it_is_of(robot: Robot) -> None:
    robot.publish("1.0.0")
    now = [0.0]

    def slowly(here: int, of: int) -> None:
        now[0] += 40.0  # two files of 80 s

    fetcher = RobotFetcher(Limits(total_s=100.0), lambda: now[0])
    with pytest.raises(BadInput, match="took longer than 100 s"):
        robot.fetch(slowly, fetcher=fetcher)
    robot.fetch(fetcher=fetcher)  # and goes on where it was
    assert robot.state() is State.STAGED
