"""Updates on a schedule."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import RobotStatus
from edge_wm.update import service
from edge_wm.update.config import load_config
from edge_wm.update.service import FIRST_RETRY_S, SPREAD, Schedule, Service, serve
from edge_wm.update.slots import Folders
from edge_wm.update.store import Store
from tests.publish.repositories import Keeper
from tests.update.bundles import contents_of, installed, tiny_version

CONFIG = """
url = "{url}"
trusted_root = "root.json"
robot_kind = "differential-drive"
robot_id = "rover"
root = "{root}"
every_h = 2.0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "update.toml"
    path.write_text(CONFIG.format(url=(tmp_path / "nowhere").as_uri(), root=tmp_path / "robot"))
    (tmp_path / "root.json").write_bytes(b"{}")
    return path


def test_after_failures_it_waits_ever_longer_but_no_longer_than_usual() -> None:
    schedule = Schedule(random.Random(1))
    waits = [schedule.after(False, 3600.0) for _ in range(8)]
    for number, wait in enumerate(waits):
        usual = min(FIRST_RETRY_S * 2**number, 3600.0)
        assert usual * (1 - SPREAD) <= wait <= usual * (1 + SPREAD)
    assert schedule.after(True, 3600.0) > 3600.0 * (1 - SPREAD)
    assert schedule.after(False, 3600.0) < FIRST_RETRY_S * (1 + SPREAD)


def test_two_robots_do_not_look_at_the_same_time() -> None:
    one, other = (Schedule(random.Random(seed)).after(True, 3600.0) for seed in (1, 2))
    assert one != other


def test_a_look_that_fails_is_one_line_and_exit_code_1(file: Path) -> None:
    said: list[str] = []
    assert serve(file, once=True, say=said.append) == 1
    assert len(said) == 1
    assert said[0].startswith("warning: ")


def test_it_goes_on_after_failures_and_reads_its_file_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    clock = SimulatedClock()
    urls: list[str] = []

    def look(self: Service) -> bool:
        urls.append(self.config.url)
        if len(urls) == 2:
            file.write_text("url = ")
        if len(urls) == 3:
            file.write_text(CONFIG.format(url="https://elsewhere.example/", root=file.parent / "robot"))
        if len(urls) == 5:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(service.Service, "look", look)
    with pytest.raises(KeyboardInterrupt):
        serve(file, once=False, say=said.append, clock=clock, chance=random.Random(1))
    assert urls[3:] == ["https://elsewhere.example/"] * 2
    assert any("what it said before still holds" in line for line in said)
    assert clock.now() > 4 * FIRST_RETRY_S


def test_what_it_tells_the_fleet_has_the_newest_problem(file: Path) -> None:
    served = Service(file, lambda line: None)
    assert served.status().error is None
    served.look()
    status = served.status()
    assert status.error is not None
    assert (status.robot_id, status.slot) == (load_config(file).robot_id, "factory")


def test_what_is_revoked_is_heard_of_without_the_rollout_servers_token_and_nothing_is_fetched(
    tmp_path: Path,
) -> None:
    keeper, bundles = Keeper(tmp_path / "fleet"), [tiny_version(tmp_path / v, v) for v in ("1.0.0", "2.0.0")]
    keeper.init()
    for bundle in bundles:
        keeper.publish(bundle, "stable")
    keeper.revoke("1.0.0")
    (tmp_path / "root.json").write_bytes((tmp_path / "fleet" / "metadata" / "1.root.json").read_bytes())
    folders = Folders(tmp_path / "robot")
    folders.make()
    with Store(folders.store) as store:
        folders.fill(store.begin_fetch(installed(bundles[0])), contents_of(bundles[0]))
        store.stage(installed(bundles[0]))
        store.begin_trial()
        store.commit()
    file = tmp_path / "update.toml"
    rollout = '[rollout]\nurl = "https://rollouts.example.org/"\ntoken_file = "not-there.token"\n'
    file.write_text(CONFIG.format(url=(tmp_path / "fleet").as_uri(), root=folders.root) + rollout)
    said: list[str] = []
    assert not Service(file, said.append).look()
    assert len(said) == 1
    assert "not-there.token" in said[0]
    with Store(folders.store) as store:
        assert store.why_quarantined(load_bundle(bundles[0]).sha256) == "revoked by its publisher"
        assert store.coming is None, "nobody has said that it is due"


def test_a_broker_that_the_file_names_later_is_told_and_one_no_more_named_is_left(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = file.read_text()
    brokers: list[str] = []

    class Publisher:
        def __init__(self, config: BrokerConfig, folder: Path, kind: str, robot_id: str) -> None:
            self.url = config.url

        def start(self) -> None:
            brokers.append(f"meet {self.url}")

        def publish(self, status: RobotStatus) -> None:
            brokers.append(f"tell {self.url}")

        def close(self, *, asleep_s: float | None = None) -> None:
            brokers.append(f"leave {self.url}")

    monkeypatch.setattr(service, "StatusPublisher", Publisher)
    with Service(file, lambda line: None) as served:
        served.tell()
        assert brokers == []
        for broker in ("one.example", "other.example"):
            file.write_text(f'{text}\n[mqtt]\nurl = "mqtts://{broker}"\n')
            served.reload()
            served.reload()  # the same once more: it stays
            served.tell()
    one, other = "mqtts://one.example", "mqtts://other.example"
    assert brokers == [
        f"meet {one}",
        f"tell {one}",
        f"leave {one}",
        f"meet {other}",
        f"tell {other}",
        f"leave {other}",
    ]
