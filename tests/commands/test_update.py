"""``edge-wm update`` on a robot, from the command line: the whole way, and one line for everything that can be wrong."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.cli import run
from edge_wm.paths import shipped
from edge_wm.update import robot_updater
from edge_wm.update.database import DamagedStore
from edge_wm.update.store import State, Store
from tests.publish.repositories import Keeper
from tests.update.bundles import tiny_version
from tests.update.flows import Proven

SHIPPED = shipped("models", "rooms-student")
KIND = "diff-drive-12cm"

CONFIG = """
url = "{url}"
robot_kind = "{kind}"
robot_id = "rover-17"
root = "{root}"
factory = "factory"
"""


class Robot:
    """A robot with an ``update.toml``, and the repository that it names."""

    def __init__(self, folder: Path, kind: str, new: Path) -> None:
        self.folder = folder
        self.keeper = Keeper(folder / "fleet")
        self.keeper.init(kind)
        self.keeper.publish(new, "stable")
        shutil.copy(folder / "fleet" / "metadata" / "1.root.json", folder / "root.json")
        self.root = folder / "robot"
        self.file = folder / "update.toml"
        self.configure((folder / "fleet").as_uri(), kind)

    def configure(self, url: str, kind: str, more: str = "") -> None:
        self.file.write_text(CONFIG.format(url=url, kind=kind, root=self.root) + more)

    def update(self, *words: str) -> int:
        return run(["update", words[0], "--config", str(self.file), *words[1:]])


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    """Of a kind whose models are tiny: quick to fetch, and none passes a proof for the simulated robot."""
    tiny_version(tmp_path / "factory", "0.1.0")
    return Robot(tmp_path, "differential-drive", tiny_version(tmp_path / "new", "1.0.0"))


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)  # a proof stands back for everybody else
def test_from_the_repository_to_a_committed_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SHIPPED, tmp_path / "factory")
    manifest = tmp_path / "factory" / MANIFEST_NAME
    manifest.write_bytes(
        msgspec.json.encode(msgspec.json.decode(manifest.read_bytes()) | {"version": "0.0.1"})
    )
    robot = Robot(tmp_path, KIND, SHIPPED)
    facts = tmp_path / "facts.json"
    assert robot.update("check", "--json", str(facts)) == 0
    size = (SHIPPED / MANIFEST_NAME).stat().st_size
    assert 0 < msgspec.json.decode(facts.read_bytes())["bytes_to_fetch"] < size, "only the manifest is new"
    assert robot.update("fetch") == 0
    assert robot.update("status") == 0
    assert "staged: rooms-student" in capsys.readouterr().out
    assert robot.update("apply") == 0
    assert robot.update("check") == 0
    assert "is on trial" in capsys.readouterr().out
    with Store(robot.root / "state.db") as store:
        assert (store.attempt.state, store.active) == (State.TRIAL, "factory")
        store.commit()
    assert robot.update("rollback") == 0
    assert robot.update("status") == 1
    assert "given up by hand" in capsys.readouterr().out
    assert robot.update("check") == 0
    assert "is in quarantine" in capsys.readouterr().out
    assert robot.update("fetch", "--again") == 0
    assert robot.update("history") == 0
    assert capsys.readouterr().out.count("staged") == 3


def test_a_model_that_does_not_fit_the_robot_is_fetched_and_refused(
    robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    assert robot.update("fetch") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is refused, the robot keeps its model" in said
    assert "the model takes" in said
    assert robot.update("status") == 1


# --- what can be wrong -----------------------------------------------------------------------------------------------


def no_network(robot: Robot) -> None:
    robot.configure("http://127.0.0.1:9/", "differential-drive")


def wrong_url(robot: Robot) -> None:
    robot.configure((robot.folder / "elsewhere").as_uri(), "differential-drive")


def no_url(robot: Robot) -> None:
    robot.configure("models.example.org", "differential-drive")


def other_kind(robot: Robot) -> None:
    robot.configure((robot.folder / "fleet").as_uri(), "ackermann")


def no_channel(robot: Robot) -> None:
    robot.configure((robot.folder / "fleet").as_uri(), "differential-drive", 'channel = "nightly"')


def no_root(robot: Robot) -> None:
    (robot.folder / "root.json").unlink()


def root_of_others(robot: Robot) -> None:
    Keeper(robot.folder / "other").init("differential-drive")
    shutil.copy(robot.folder / "other" / "metadata" / "1.root.json", robot.folder / "root.json")


def root_is_rubbish(robot: Robot) -> None:
    (robot.folder / "root.json").write_text("{}")


def expired(robot: Robot) -> None:
    Keeper(robot.folder / "fleet", days=-30.0).refresh()


def unknown_key(robot: Robot) -> None:
    robot.configure((robot.folder / "fleet").as_uri(), "differential-drive", "colour = 3")


def damaged_store(robot: Robot) -> None:
    robot.root.mkdir()
    (robot.root / "state.db").write_bytes(b"rubbish" * 999)


def newer_edge_wm(robot: Robot) -> None:
    robot.keeper.revoke("1.0.0")
    bundle = tiny_version(robot.folder / "newer", "2.0.0")
    assert (
        run(
            [
                "update",
                "publish",
                str(robot.folder / "fleet"),
                str(bundle),
                "--channel",
                "stable",
                "--requires",
                "99.0.0",
            ]
        )
        == 0
    )


def folder_is_a_file(robot: Robot) -> None:
    robot.root.write_text("")


WRONG: dict[str, tuple[Callable[[Robot], None], str]] = {
    "no network": (no_network, "is there a network"),
    "wrong address": (wrong_url, "is the address right"),
    "no address": (no_url, "url: .* begins with none of"),
    "another kind": (other_kind, "ackermann"),
    "no such channel": (no_channel, "no channel nightly"),
    "no root": (no_root, "put the repository's metadata/1.root.json there"),
    "the root of others": (root_of_others, "trusts|signed"),
    "a root that is rubbish": (root_is_rubbish, "trusted root"),
    "expired": (expired, "edge-wm update refresh"),
    "a key that nobody knows": (unknown_key, "colour"),
    "a damaged store": (damaged_store, "edge-wm update repair"),
    "a bundle for a newer edge-wm": (newer_edge_wm, "needs edge-wm 99.0.0.*install a newer edge-wm"),
    "a file in place of the folder": (folder_is_a_file, "robot"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_in_one_line(
    robot: Robot, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    spoil, says = WRONG[what]
    spoil(robot)
    capsys.readouterr()
    assert robot.update("fetch") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert re.search(says, said), said


def test_a_config_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["update", "check", "--config", str(tmp_path / "update.toml")]) == 2
    assert "cannot read the update file" in capsys.readouterr().err


def test_two_updaters_at_once(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.root.mkdir()
    with (robot.root / "update.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert robot.update("check") == 2
    assert "another edge-wm update is at work" in capsys.readouterr().err
    assert robot.update("check") == 0


def test_nothing_is_applied_while_the_robot_drives(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.root.mkdir()
    for command in ("apply", "rollback", "repair"):
        with (robot.root / "driving.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert robot.update(command) == 2
        assert "the robot is driving: stop it first" in capsys.readouterr().err


def test_nothing_to_apply_and_nothing_to_go_back_to(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert robot.update("apply") == 2
    assert "no update is staged" in capsys.readouterr().err
    assert robot.update("rollback") == 2
    assert "nothing to go back to" in capsys.readouterr().err


def test_a_stick_that_holds_no_repository(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert robot.update("from-usb", str(robot.folder)) == 2
    assert "holds no repository" in capsys.readouterr().err


def test_a_stick_is_believed_as_a_server_is(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    stick = robot.folder / "stick"
    shutil.copytree(robot.folder / "fleet", stick)
    no_network(robot)
    assert robot.update("from-usb", str(stick)) == 2
    assert "the model takes" in capsys.readouterr().err, (
        "it is fetched, and fails in its proof as over the air"
    )
    (stick / "metadata" / "timestamp.json").write_text("{}")
    assert robot.update("from-usb", str(stick)) == 2
    assert "the robot keeps its model" in capsys.readouterr().err


def test_a_metered_link_brings_no_large_update(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.configure(
        (robot.folder / "fleet").as_uri(),
        "differential-drive",
        '[network]\nmetered = "yes"\nmetered_bytes = 10',
    )
    assert robot.update("fetch") == 2
    assert "the link is metered" in capsys.readouterr().err
    assert robot.update("fetch", "--metered-ok") == 2
    assert "the model takes" in capsys.readouterr().err


def test_a_pin_is_kept_and_taken_away(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    assert robot.update("pin") == 2
    assert robot.update("pin", "9.9.9") == 0
    capsys.readouterr()
    assert robot.update("check") == 2
    assert "pinned, and not on channel stable" in capsys.readouterr().err
    assert robot.update("pin", "--none") == 0
    assert robot.update("check") == 0


def test_a_pin_leads_back_to_an_older_model_and_nothing_else_does(
    robot: Robot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(robot_updater, "prove", lambda bundle, robot: Proven(None))

    def fetch() -> str:
        assert robot.update("fetch") == 0
        with Store(robot.root / "state.db") as store:
            if store.attempt.state is State.STAGED:
                store.begin_trial()
                store.commit()
            drives = store.installed(store.active)
        assert drives is not None
        return drives.version

    robot.keeper.publish(tiny_version(robot.folder / "newer", "1.1.0"), "stable")
    assert fetch() == "1.1.0"
    robot.keeper.promote("1.1.0", "stable", fraction=1e-9, source="stable")  # not for this robot any longer
    assert fetch() == "1.1.0"
    assert (
        "tiny 1.1.0" in (said := capsys.readouterr().out) and "is newer than what the channel offers" in said
    )
    assert robot.update("pin", "1.0.0") == 0
    assert fetch() == "1.0.0"
    robot.keeper.promote("1.1.0", "stable", fraction=1.0, source="stable")
    assert fetch() == "1.0.0"
    assert robot.update("pin", "--none") == 0
    assert fetch() == "1.1.0"


def test_a_damaged_store_is_put_aside(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    damaged_store(robot)
    with pytest.raises(DamagedStore):
        Store(robot.root / "state.db")
    assert robot.update("status") == 1
    assert robot.update("repair") == 0
    assert len(list(robot.root.glob("state.db.damaged-*"))) == 1
    assert robot.update("check") == 0
    assert robot.update("repair") == 0
    assert "it is sound" in capsys.readouterr().out


def test_a_disk_that_is_full_or_read_only(robot: Robot, capsys: pytest.CaptureFixture[str]) -> None:
    robot.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(robot.root)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here: needs root")
    try:
        assert robot.update("fetch") == 2
        assert "make room" in capsys.readouterr().err
        subprocess.run(["mount", "-o", "remount,ro", str(robot.root)], check=True)
        assert robot.update("fetch") == 2
        assert "the disk cannot be written" in capsys.readouterr().err
        assert robot.update("status") == 0
    finally:
        subprocess.run(["umount", str(robot.root)], check=True)
