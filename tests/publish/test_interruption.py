"""Whatever stops a command, at whatever write: readers see the repository before or after, and the command can be run again."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, RepositoryError

from edge_wm.errors import BadInput
from edge_wm.publish import folders, publisher, targets
from edge_wm.publish.pending import read_pending
from edge_wm.publish.publisher import open_publisher
from edge_wm.update.locks import held
from tests.publish.repositories import KIND, Keeper, Robot, bundle


class Killed(BaseException):
    """Nothing cleans up after it."""


class Writes:
    """Counts writes, and stops at one of them: in the middle of it, after it, or because the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number, self.stop_at, self.how, self.error = 0, -1, "after", BaseException()
        self._write = publisher.replace_file
        monkeypatch.setattr(
            os, "fsync", lambda descriptor: None
        )  # this is about processes, and has many writes
        for module in (publisher, targets, folders):
            monkeypatch.setattr(module, "replace_file", self.write)

    def stop(self, at: int, how: str, error: BaseException) -> None:
        self.number, self.stop_at, self.how, self.error = 0, at, how, error

    def write(self, path: Path, content: bytes) -> None:
        self.number += 1
        if self.number == self.stop_at and self.how == "within":
            path.with_name(path.name + ".unfinished").write_bytes(content[: len(content) // 2])
        if self.number == self.stop_at and self.how != "after":
            raise self.error
        self._write(path, content)
        if self.number == self.stop_at:
            raise self.error


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


def stops(writes: Writes, how: str) -> Iterator[tuple[int, BaseException]]:
    """Stop at the first write, the second one …, until a command has fewer."""
    for at in range(1, 100):
        error = OSError(errno.ENOSPC, "No space left on device") if how == "full" else Killed()
        writes.stop(at, how, error)
        yield at, error
        if writes.number < at:
            assert at > 3
            return


COMMANDS: dict[str, Callable[[Keeper, Path], object]] = {
    "publish": lambda keeper, tmp: keeper.publish(tmp / "two"),
    "revoke": lambda keeper, tmp: keeper.revoke("0.0.9"),
    "refresh": lambda keeper, tmp: keeper.refresh("targets", KIND, "snapshot"),
    "rotate root": lambda keeper, tmp: keeper.rotate("root"),
    "rotate targets": lambda keeper, tmp: keeper.rotate("targets"),
    "rotate kind": lambda keeper, tmp: keeper.rotate(KIND),
    "another kind": lambda keeper, tmp: keeper.init("rover"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two models, to be copied, and two more bundles."""
    folder = tmp_path_factory.mktemp("begun")
    keeper = Keeper(folder / "repo")
    keeper.init()
    keeper.publish(bundle(folder / "zero", "0.0.9", card="zeroth"))
    keeper.publish(bundle(folder / "one", "0.1.0", card="first"))
    bundle(folder / "two", "0.2.0", card="second")
    bundle(folder / "three", "0.3.0", card="third")
    return folder


STOPS = [*((name, how) for name in COMMANDS for how in ("within", "after")), ("publish", "full")]


@pytest.mark.parametrize(("name", "how"), STOPS)
def test_a_command_that_is_stopped_at_any_write_leaves_a_whole_repository_and_can_be_run_again(
    tmp_path: Path, begun: Path, writes: Writes, name: str, how: str
) -> None:
    for at, error in stops(writes, how):
        folder = tmp_path / str(at)
        for part in ("repo", "repo.keys"):
            shutil.copytree(begun / part, folder / part)
        keeper = Keeper(folder / "repo")
        robot = Robot(keeper.folders.public, folder / "robot")
        before = robot.channel()
        with contextlib.suppress(type(error)):
            COMMANDS[name](keeper, begun)
        writes.stop_at = -1
        number = writes.number
        for reader in (robot, Robot(keeper.folders.public, folder / "new")):
            assert reader.channel().sequence >= before.sequence
            reader.install(reader.channel().releases[0])
        COMMANDS[name](keeper, begun)
        keeper.publish(begun / "three")
        for reader in (robot, Robot(keeper.folders.public, folder / "newer")):
            versions = [release.version for release in reader.channel().releases]
            assert versions[0] == "0.3.0"
            assert ("0.2.0" in versions) == (name == "publish")
            assert ("0.0.9" in versions) == (name != "revoke")
        assert not read_pending(keeper.folders, {})
        writes.number = number


def test_in_another_order_readers_would_be_refused(
    tmp_path: Path, begun: Path, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "sorted", lambda *a, **k: sorted(*a, **k)[::-1], raising=False)
    refused = []
    for at, error in stops(writes, "after"):
        folder = tmp_path / str(at)
        for part in ("repo", "repo.keys"):
            shutil.copytree(begun / part, folder / part)
        with contextlib.suppress(type(error)):
            Keeper(folder / "repo").refresh("targets", KIND, "snapshot")
        try:
            Robot(folder / "repo", folder / "robot").look()
        except (DownloadError, RepositoryError):
            refused.append(at)
    assert refused


@pytest.mark.parametrize("how", ["within", "after"])
def test_a_new_repository_that_was_interrupted_is_finished_by_the_same_command(
    tmp_path: Path, writes: Writes, how: str
) -> None:
    for at, error in stops(writes, how):
        keeper = Keeper(tmp_path / f"repo{at}")
        with contextlib.suppress(type(error)):
            keeper.init()
        writes.stop_at, number = -1, writes.number
        keeper.init()
        keeper.publish(bundle(tmp_path / f"one{at}"))
        robot = Robot(keeper.folders.public, tmp_path / f"robot{at}")
        assert len(robot.channel().releases) == 1
        writes.number = number


def test_two_publishers_at_once_are_one_line(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    with open_publisher(keeper.access), pytest.raises(BadInput, match="another edge-wm update is at work"):
        keeper.refresh()
    with (
        held(keeper.folders.lock, "busy"),
        pytest.raises(BadInput, match="another edge-wm update is at work"),
    ):
        keeper.init("rover")
    keeper.refresh()
