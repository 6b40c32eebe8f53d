"""The updates of a robot as its service does them, with a fleet around it: a broker, and a rollout server."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.fleet.collector import gather
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import Availability
from edge_wm.fleet.verdict import Outcome, outcome
from edge_wm.update.service import serve
from edge_wm.update.slots import Folders
from edge_wm.update.store import Installed, Store
from tests.fleet.mosquitto import Mosquitto, needs_mosquitto
from tests.fleet.robots import KIND, NEW

CONFIG = """
url = "{url}"
trusted_root = "root.json"
robot_kind = "{kind}"
robot_id = "r1"
root = "{root}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a robot whose repository is away."""
    path = tmp_path / "update.toml"
    url, root = (tmp_path / "nowhere").as_uri(), tmp_path / "robot"
    path.write_text(CONFIG.format(url=url, kind=KIND, root=root))
    (tmp_path / "root.json").write_bytes(b"{}")
    return path


@needs_mosquitto
def test_a_robot_that_looks_once_by_a_timer_is_not_lost_in_between(file: Path, tmp_path: Path) -> None:
    folders = Folders(tmp_path / "robot", tmp_path / "factory")
    folders.make()
    with Store(folders.store) as store:
        new = Installed(NEW.model, NEW.name, NEW.version, NEW.channel, NEW.sequence)
        store.begin_fetch(new)
        store.stage(new)
        store.begin_trial()
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        with file.open("a") as text:
            text.write(f'[mqtt]\nurl = "{url}"\n')
        for _ in range(2):
            assert serve(file, once=True, say=lambda line: None) == 1
            (robot,) = gather(BrokerConfig(url), tmp_path).robots
            assert robot.availability is Availability.ASLEEP
            assert robot.status.error is not None
            assert outcome(robot, NEW.model) is Outcome.TRYING
