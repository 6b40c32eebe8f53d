"""`edge-wm fleet`: the table, the gate, and what they exit with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_wm.cli import run
from edge_wm.commands.fleet import command
from edge_wm.fleet import collector as collector_module
from edge_wm.fleet.broker import BrokerConnection, availability_topic, status_topic
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import LastTrial, RobotStatus, encode_status
from tests.fleet.mosquitto import Mosquitto, needs_mosquitto
from tests.fleet.robots import KIND, NEW, OLD, failed, passed, robot, trying

pytestmark = needs_mosquitto


class FleetOfRobots:
    """A broker, and what robots have told it."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        self.url, self._folder = f"mqtt://127.0.0.1:{broker.port}", folder

    def tell(self, *robots: RobotStatus, availability: bytes | None = b"online") -> None:
        messages = [(status_topic(r.robot_kind, r.robot_id), encode_status(r)) for r in robots]
        if availability is not None:
            messages += [(availability_topic(r.robot_kind, r.robot_id), availability) for r in robots]
        self.tell_raw(*messages)

    def tell_raw(self, *messages: tuple[str, bytes]) -> None:
        with BrokerConnection(BrokerConfig(self.url), self._folder, "robots") as connection:
            for topic, content in messages:
                connection.publish(topic, content)
            while not connection.delivered:
                connection.turn()

    def run(self, *words: str) -> int:
        return run([words[0], "--broker", self.url, *words[1:]], command, "edge-wm fleet")

    def gate(self, model: str = NEW.model, min_passed: int = 1, *words: str) -> int:
        return self.run("gate", "--model", model, "--min-passed", str(min_passed), *words)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetOfRobots]:
    monkeypatch.setattr(collector_module, "QUIET_S", 0.3)
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        yield FleetOfRobots(broker, tmp_path)


def test_one_line_a_robot_and_totals(fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.tell(passed("r1"), trying("r2"))
    fleet.tell(robot("r3", error="mqtts://b: Connection refused"), availability=b"offline")
    assert fleet.run("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["robot", "kind", "drives", "update", "newest", "trial", "seen"]
    assert [line.split()[0] for line in lines[1:4]] == ["r1", "r2", "r3"]
    assert "rooms 1.1.0 (bbbbbbbbbbbb)  committed  1.1.0 passed" in lines[1]
    assert "rooms 1.0.0 (aaaaaaaaaaaa)  trial      1.0.0 passed" in lines[2]
    assert "offline, " in lines[3] and lines[3].endswith(" d ago")
    assert lines[4:] == [
        "2 of 3 drive by rooms 1.0.0 (aaaaaaaaaaaa)",
        "1 of 3 drive by rooms 1.1.0 (bbbbbbbbbbbb)",
        "newest trial: 3 passed, 0 failed",
        "r3: mqtts://b: Connection refused",
    ]


def test_a_failed_trial_is_exit_code_1_and_the_facts_are_in_a_file(
    fleet: FleetOfRobots, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.tell(passed("r1"), failed("r2"))
    assert fleet.run("status", "--json", str(tmp_path / "facts.json")) == 1
    assert "1.1.0 failed: ticks were late" in capsys.readouterr().out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert [one["status"]["trial"]["result"] for one in facts["robots"]] == ["passed", "failed"]


def test_no_robots_are_no_failure(fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet.run("status") == 0
    assert "newest trial: 0 passed, 0 failed" in capsys.readouterr().out
    assert fleet.gate() == 1, "and no reason to go on"


def test_what_a_robot_says_moves_no_cursor_and_is_no_markup(
    fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "[red]\x1b[2J\r\n\u202eevil"
    bad = LastTrial(NEW.model, NEW.version, "failed", said, 1e9)
    fleet.tell(robot("r1", trial=bad, error=said))
    assert fleet.run("status") == 1
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert "[red]" in out and "evil" in out


def test_a_kind_is_asked_for_alone(fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.tell(passed("r1"), msgspec.structs.replace(failed("r2"), robot_kind="car"))
    assert fleet.run("status", "--kind", KIND) == 0
    assert fleet.run("status", "--kind", "car") == 1
    assert fleet.run("status", "--kind", "a/#") == 2
    assert "a/#: is no kind of robot" in capsys.readouterr().err


def test_the_gate_opens_when_enough_have_passed(
    fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.tell(passed("r1"), trying("r2"))
    assert fleet.gate(min_passed=2) == 1
    fleet.tell(passed("r2"))
    assert fleet.gate(NEW.model[:8], 2) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "wait: 1 passed, 0 failed, 1 trying; at least 2 must pass",
        "go: 2 passed, 0 failed, 0 trying",
    ]
    assert fleet.gate(OLD.model) == 1, "of another model it says nothing"


def test_the_gate_closes_after_a_failure(fleet: FleetOfRobots, tmp_path: Path) -> None:
    fleet.tell(passed("r1"), passed("r2"), failed("r3"))
    assert fleet.gate() == 1
    assert fleet.gate(NEW.model, 1, "--max-failed", "1", "--json", str(tmp_path / "verdict.json")) == 0
    facts = json.loads((tmp_path / "verdict.json").read_text())
    assert (facts["go"], facts["outcomes"]["passed"], facts["outcomes"]["failed"]) == (True, 2, 1)


def test_a_robot_that_went_away_on_its_trial_closes_the_gate(fleet: FleetOfRobots) -> None:
    fleet.tell(passed("r1"))
    fleet.tell(trying("r2"), availability=b"offline")
    assert fleet.gate() == 1


@pytest.mark.parametrize(
    "message",
    [
        (status_topic(KIND, "r2"), b'{"active": "hacked"}'),
        (status_topic(KIND, "r2"), encode_status(passed("r1"))),
        (availability_topic(KIND, "r2"), b"online"),
    ],
    ids=["noise", "the word of another", "nothing but that it is there"],
)
def test_a_robot_that_is_not_understood_closes_the_gate(
    fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str], message: tuple[str, bytes]
) -> None:
    fleet.tell(passed("r1"))
    assert fleet.gate() == 0
    fleet.tell_raw(message)
    assert fleet.gate() == 1
    assert "warning: 1 " in capsys.readouterr().out


@pytest.mark.parametrize("model", ["", "bbbb", "b" * 65, "BBBBBBBB", "1.1.0", "rooms-bbbbbbbb"])
def test_a_gate_needs_a_models_hash(
    fleet: FleetOfRobots, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    fleet.tell(passed("r1"))
    assert fleet.gate(model) == 2
    assert "name a model by its hash" in capsys.readouterr().err


def test_a_broker_that_had_more_to_say_opens_no_gate(
    fleet: FleetOfRobots, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.tell(passed("r1"))
    monkeypatch.setattr(collector_module, "TOTAL_S", 0.0)
    assert fleet.gate() == 2
    assert "had more to say" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["status", "gate"])
def test_a_broker_that_is_away_is_one_line_and_exit_code_2(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", NEW.model, "--min-passed", "1"] if what == "gate" else []
    code = run([what, "--broker", "mqtt://127.0.0.1:1", *words], command, "edge-wm fleet")
    assert code == 2
    assert capsys.readouterr().err == "error: mqtt://127.0.0.1:1: Connection refused\n"


def test_files_that_are_missing_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "ca.pem")
    assert run(["status", "--broker", "mqtts://127.0.0.1:1", "--ca", missing], command, "edge-wm fleet") == 2
    assert capsys.readouterr().err == f"error: {missing}: No such file or directory\n"
