"""The updates of a robot as its service does them, with a fleet around it: a broker, and a rollout server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.fleet.collector import gather
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import Availability
from edge_wm.fleet.verdict import Outcome, outcome
from edge_wm.update import robot_updater
from edge_wm.update.config import folders_of
from edge_wm.update.service import Service, serve
from edge_wm.update.slots import Folders
from edge_wm.update.status import status_of
from edge_wm.update.store import Installed, State, Store
from tests.fleet.ddi_server import TOKEN, DdiServer, chunk
from tests.fleet.mosquitto import Mosquitto, needs_mosquitto
from tests.fleet.robots import KIND, NEW
from tests.publish.repositories import Keeper, bundle
from tests.update.flows import Proven

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


# --- a rollout server --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DdiServer]:
    """The robot asks it when; the repository has 0.1.0 for it."""
    monkeypatch.setattr(robot_updater, "prove", lambda bundle, robot: Proven(None))
    keeper = Keeper(tmp_path / "fleet")
    keeper.init()
    keeper.publish(bundle(tmp_path / "new"), "stable")
    shutil.copy(tmp_path / "fleet" / "metadata" / "1.root.json", tmp_path / "root.json")
    (tmp_path / "token").write_text(TOKEN)
    with DdiServer() as running:
        file.write_text(
            CONFIG.format(url=(tmp_path / "fleet").as_uri(), kind=KIND, root=tmp_path / "robot")
            + f'[rollout]\nurl = "{running.url}"\ntoken_file = "token"\n'
        )
        yield running


def test_nothing_is_fetched_before_the_rollout_server_wants_it(file: Path, server: DdiServer) -> None:
    with Service(file, lambda line: None) as service:
        assert service.look()
        assert service.status().coming is None
        assert "/configData" in [path for path, _ in server.heard]
        server.assign(chunk("0.1.0"))
        assert service.look()
        status = service.status()
        assert status.coming is not None
        assert (status.coming.version, status.state) == ("0.1.0", State.TRIAL)
        assert (server.state, server.details()) == ("open", ["on trial"])


def test_the_rollout_server_hears_how_a_trial_went(file: Path, tmp_path: Path, server: DdiServer) -> None:
    with Service(file, lambda line: None) as service:
        server.assign(chunk("0.1.0"))
        assert service.look()
        with Store(tmp_path / "robot" / "state.db") as store:
            store.commit("well")
        assert service.look()
        assert server.state == "success"
        assert "drives" in server.details()[-1]


def test_the_rollout_server_hears_what_keeps_the_robot_from_it(
    file: Path, tmp_path: Path, server: DdiServer
) -> None:
    files = [
        path
        for path in (tmp_path / "fleet" / "targets" / KIND).iterdir()
        if not path.name.endswith(".stable.json")
    ]
    for path in files:
        path.rename(path.with_suffix(".away"))
    server.assign(chunk("0.1.0"))
    said: list[str] = []
    with Service(file, said.append) as service:
        assert not service.look()
        assert server.state == "open"
        failed = status_of(folders_of(service.config, file)).look_failed
        assert failed is not None and server.details()[-1] in failed
        assert [f"warning: {detail}" for detail in server.details()] == said[-1:]
        for path in files:
            path.with_suffix(".away").rename(path)
        assert service.look()
        assert server.details()[-1] == "on trial"
        assert status_of(folders_of(service.config, file)).look_failed is None


def test_it_looks_as_often_as_the_rollout_server_says(
    file: Path, server: DdiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 5 minutes, and not every 6 hours."""
    clock = SimulatedClock()
    looks: list[float] = []
    real = Service.look

    def look(self: Service) -> bool:
        looks.append(clock.now())
        if len(looks) == 4:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Service, "look", look)
    with pytest.raises(KeyboardInterrupt):
        serve(file, once=False, say=lambda line: None, clock=clock)
    assert looks == pytest.approx([0.0, 300.0, 600.0, 900.0])
