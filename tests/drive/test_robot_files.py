"""Which robot `doctor` and `profile` look at: that of an installed board, and what is named all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_wm import cli
from edge_wm.drive import robot_files as module
from edge_wm.drive.robot_files import RobotFiles, robot_files
from edge_wm.errors import BadInput
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.robot import DEFAULT_ROBOT
from edge_wm.update.store import Store
from tests.update.bundles import contents_of, installed, tiny_version

UPDATES = 'url = "https://example.org/"\ntrusted_root = "root.json"\nrobot_kind = "k"\nrobot_id = "r"\n'


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`/etc/edge-wm` of a board that nothing is installed on yet."""
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.setattr(module, "DEFAULT_FILE", folder / "drive.toml")
    return folder


def install(etc: Path, *lines: str) -> None:
    (etc / "robot.toml").write_bytes(DEFAULT_ROBOT.read_bytes())
    (etc / "drive.toml").write_text("\n".join(lines))


def test_without_an_installed_board_it_is_the_simulated_robot(etc: Path) -> None:
    found = robot_files(None, None)
    assert found[:4] == (DEFAULT_ROBOT, DEFAULT_MODEL, None, Path("runs"))
    assert found.because == f"simulated: there is no {etc}/drive.toml"


def test_on_an_installed_board_it_is_the_robot_that_the_service_drives(etc: Path) -> None:
    install(
        etc, 'robot = "robot.toml"', 'model = "/somewhere/model"', "[record]", 'folder = "/somewhere/runs"'
    )
    found = robot_files(None, None)
    assert found[:4] == (etc / "robot.toml", Path("/somewhere/model"), None, Path("/somewhere/runs"))
    assert found.because == f"as {etc}/drive.toml says"


def test_an_installed_board_may_drive_the_simulated_robot_by_the_shipped_model(etc: Path) -> None:
    install(etc)
    assert robot_files(None, None)[:2] == (DEFAULT_ROBOT, DEFAULT_MODEL)


def test_the_model_is_the_one_that_updates_chose(etc: Path, tmp_path: Path) -> None:
    factory, newer = tiny_version(tmp_path / "factory", "0.1.0"), tiny_version(tmp_path / "newer", "1.0.0")
    install(etc, 'robot = "robot.toml"', 'updates = "update.toml"')
    (etc / "update.toml").write_text(f'{UPDATES}root = "{tmp_path}/state"\nfactory = "{factory}"\n')
    before = robot_files(None, None)
    assert before.model == factory
    assert before.folders is not None
    before.folders.make()
    with Store(before.folders.store) as store:
        slot = store.begin_fetch(installed(newer, 1))
        before.folders.fill(slot, contents_of(newer))
        store.stage(installed(newer, 1))
        store.begin_trial()
        store.commit()
    assert robot_files(None, None).model == before.folders.slot(slot)


def test_what_is_named_counts_whatever_the_service_drives(etc: Path, tmp_path: Path) -> None:
    install(etc, 'robot = "robot.toml"', 'model = "/somewhere/model"')
    other = robot_files(tmp_path / "other.toml", None)
    assert other == RobotFiles(tmp_path / "other.toml", DEFAULT_MODEL, None, Path("runs"), "named")
    assert robot_files(None, tmp_path / "mine")[:2] == (etc / "robot.toml", tmp_path / "mine")
    (tmp_path / "update.toml").write_text(UPDATES)
    (etc / "drive.toml").write_text('updates = "update.toml"\n')  # one that is not there
    assert robot_files(None, None, tmp_path / "update.toml").folders is not None


def test_a_service_file_that_is_wrong_is_bad_input_unless_a_robot_is_named(etc: Path, tmp_path: Path) -> None:
    install(etc, "robots = 1")
    with pytest.raises(BadInput, match=r"drive\.toml: "):
        robot_files(None, None)
    assert robot_files(DEFAULT_ROBOT, None).robot == DEFAULT_ROBOT


def test_the_doctor_says_first_what_it_looks_at(
    etc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(etc, 'robot = "robot.toml"', f'[record]\nfolder = "{tmp_path}"')
    facts = tmp_path / "facts.json"
    assert cli.run(["doctor", "--json", str(facts)]) in (0, 1)
    first, second, *others = json.loads(facts.read_text())["findings"]
    assert first["said"] == f"{etc}/robot.toml (as {etc}/drive.toml says)"
    assert second["said"] == str(DEFAULT_MODEL)
    assert capsys.readouterr().out.startswith(f"robot        ok       {etc}/robot.toml (as ")
    assert any(
        finding["said"].endswith(f"free at {tmp_path}") for finding in others if finding["check"] == "disk"
    )


def test_profile_measures_for_the_robot_of_an_installed_board(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(etc, 'robot = "robot.toml"', 'model = "nowhere"')
    assert cli.run(["profile", "--quick", "--no-store"]) == 2
    assert f"{etc}/nowhere" in capsys.readouterr().err
    (etc / "robot.toml").unlink()
    assert cli.run(["profile", "--quick", "--no-store"]) == 2
    assert f"{etc}/robot.toml" in capsys.readouterr().err
