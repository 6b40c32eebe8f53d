"""The updater of a robot, as its ``update.toml`` and the board say: for which robot it proves models."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_wm.drive import robot_files
from edge_wm.robot import DEFAULT_ROBOT, Robot
from edge_wm.update import robot_updater
from edge_wm.update.config import load_config
from edge_wm.update.updater import Updater

CONFIG = """
url = "https://models.example.org/"
trusted_root = "root.json"
robot_kind = "differential-drive"
robot_id = "rover"
root = "{root}"
"""


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`/etc/edge-wm` of a board that nothing is installed on yet."""
    monkeypatch.setattr(robot_files, "DEFAULT_FILE", tmp_path / "drive.toml")
    (tmp_path / "root.json").write_bytes(b"{}")
    (tmp_path / "update.toml").write_text(CONFIG.format(root=tmp_path / "state"))
    return tmp_path


def robot_file(path: Path, name: str) -> None:
    path.write_text(DEFAULT_ROBOT.read_text().replace('name = "', f'name = "{name}-', 1))


def proven_for(etc: Path, monkeypatch: pytest.MonkeyPatch, **changed: str) -> str:
    """The name of the robot that a model is proven for."""
    proven: list[Robot] = []
    monkeypatch.setattr(robot_updater, "prove", lambda bundle, robot: proven.append(robot))
    config = msgspec.structs.replace(load_config(etc / "update.toml"), **changed)
    with robot_updater.robot_updater(etc / "update.toml", config) as updater:
        assert isinstance(updater, Updater)
        updater._prove(etc)
    return proven[0].name


def test_a_model_is_proven_for_the_robot_that_the_board_drives(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = proven_for(etc, monkeypatch)
    robot_file(etc / "robot.toml", "rover")
    (etc / "drive.toml").write_text('robot = "robot.toml"\nupdates = "update.toml"\n')
    assert proven_for(etc, monkeypatch) == f"rover-{simulated}"


def test_a_robot_that_is_named_counts_whatever_the_board_drives(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot_file(etc / "robot.toml", "rover")
    robot_file(etc / "other.toml", "other")
    (etc / "drive.toml").write_text('robot = "robot.toml"\n')
    assert proven_for(etc, monkeypatch, robot="other.toml").startswith("other-")
