"""Robots and a fleet keeper on a real MQTT broker."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_wm.errors import BadInput
from edge_wm.fleet.broker import BrokerConnection, availability_topic, status_topic
from edge_wm.fleet.collector import Fleet, gather
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.publisher import StatusPublisher
from edge_wm.fleet.status import Availability, decode_status, encode_status
from edge_wm.fleet.verdict import Outcome, outcome
from tests.fleet.certificates import Authority
from tests.fleet.mosquitto import Mosquitto, needs_mosquitto, password_file
from tests.fleet.robots import KIND, NEW, failed, passed, robot, trying
from tests.fleet.slow_link import SlowLink

pytestmark = needs_mosquitto

SOON_S = 20.0
QUIET_S = 0.3
ONLINE, OFFLINE, ASLEEP = Availability


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "fleet")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def folder(authority: Authority) -> Path:
    return authority.ca.parent


@pytest.fixture(scope="module")
def broker(authority: Authority, folder: Path) -> Iterator[Mosquitto]:
    """TLS with certificates on both sides; a robot may only write what it is named for."""
    certificate, key = authority.certificate("broker")
    rights = folder / "rights"
    rights.write_text(
        "pattern write edge-wm/+/%u/status\npattern write edge-wm/+/%u/availability\n"
        "user keeper\ntopic read edge-wm/#\n"
    )
    settings = (
        f"cafile {authority.ca}",
        f"certfile {certificate}",
        f"keyfile {key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {rights}",
    )
    with Mosquitto(folder, *settings) as running:
        yield running


def config_of(broker: Mosquitto, authority: Authority, name: str) -> BrokerConfig:
    certificate, key = authority.certificate(name)
    return BrokerConfig(
        f"mqtts://localhost:{broker.port}", authority.ca.name, certificate.name, key.name, keepalive_s=5
    )


def open_config(broker: Mosquitto) -> BrokerConfig:
    return BrokerConfig(f"mqtt://127.0.0.1:{broker.port}")


@contextmanager
def publishing(config: BrokerConfig, folder: Path, robot_id: str) -> Iterator[StatusPublisher]:
    publisher = StatusPublisher(config, folder, KIND, robot_id, first_retry_s=0.05)
    publisher.start()
    yield publisher
    publisher.close()


def heard(config: BrokerConfig, folder: Path) -> Fleet:
    return gather(config, folder, quiet_s=QUIET_S)


def problem_of(publisher: StatusPublisher) -> str:
    """Wait until there is one: it is set before each wait for the next try."""
    end = time.monotonic() + SOON_S
    while publisher.problem is None:
        assert time.monotonic() < end, "no problem"
        time.sleep(0.01)
    return publisher.problem


# --- TLS, and rights ---------------------------------------------------------------------------------------------------


def test_a_keeper_hears_what_a_robot_says(broker: Mosquitto, authority: Authority, folder: Path) -> None:
    keeper = config_of(broker, authority, "keeper")
    with publishing(config_of(broker, authority, "r1"), folder, "r1") as publisher:
        publisher.publish(passed("r1"))
        assert publisher.wait_delivered(SOON_S), publisher.problem
        fleet = heard(keeper, folder)
        assert [(robot.status, robot.availability) for robot in fleet.robots] == [(passed("r1"), ONLINE)]
        assert (fleet.complete, fleet.refused_count) == (True, 0)
        publisher.publish(failed("r1"))
        assert publisher.wait_delivered(SOON_S)
        assert heard(keeper, folder).robots[0].status == failed("r1")
    left = heard(keeper, folder).robots[0]
    assert (left.status, left.availability) == (failed("r1"), OFFLINE), (
        "a robot that leaves says so, and its word stays"
    )


ROBOT_THAT_DIES = """
import os, signal, sys
from pathlib import Path
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.publisher import StatusPublisher
from tests.fleet.robots import KIND, trying
url, ca, certificate, key = sys.argv[1:]
publisher = StatusPublisher(BrokerConfig(url, ca, certificate, key), Path("/"), KIND, "r2")
publisher.start()
publisher.publish(trying("r2"))
if publisher.wait_delivered(20.0):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_broker_says_that_a_robot_which_died_is_offline(
    broker: Mosquitto, authority: Authority, folder: Path
) -> None:
    certificate, key = authority.certificate("r2")
    words = (f"mqtts://localhost:{broker.port}", authority.ca, certificate, key)
    died = subprocess.run([sys.executable, "-c", ROBOT_THAT_DIES, *map(str, words)], check=False)
    assert died.returncode == -signal.SIGKILL
    (robot,) = (
        robot
        for robot in heard(config_of(broker, authority, "keeper"), folder).robots
        if robot.status.robot_id == "r2"
    )
    assert robot.availability is OFFLINE


def test_a_robot_that_took_leave_until_its_next_look_sleeps_until_that_is_overdue(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        publisher = StatusPublisher(open_config(broker), tmp_path, KIND, "r1")
        publisher.start()
        publisher.publish(trying("r1"))
        assert publisher.wait_delivered(SOON_S)
        publisher.close(asleep_s=2.0)
        (robot,) = heard(open_config(broker), tmp_path).robots
        assert (robot.availability, outcome(robot, NEW.model)) == (ASLEEP, Outcome.TRYING)
        end = time.monotonic() + SOON_S
        while robot.availability is ASLEEP:
            assert time.monotonic() < end, "the broker does not forget it"
            time.sleep(0.1)
            (robot,) = heard(open_config(broker), tmp_path).robots
    assert (robot.availability, outcome(robot, NEW.model)) == (None, Outcome.LOST)


def test_a_broker_whose_certificate_is_not_believed_hears_nothing(
    broker: Mosquitto, authority: Authority, stranger: Authority, folder: Path
) -> None:
    config = config_of(broker, authority, "r1")
    wrong = BrokerConfig(config.url, str(stranger.ca), config.certificate, config.key)
    with publishing(wrong, folder, "r1") as publisher:
        publisher.publish(passed("r1"))
        assert "certificate is not believed" in problem_of(publisher)
    with pytest.raises(BadInput, match="certificate is not believed"):
        heard(wrong, folder)


def test_a_certificate_of_another_host_is_not_believed(authority: Authority, folder: Path) -> None:
    certificate, key = authority.certificate("elsewhere", ("elsewhere.example",))
    settings = (f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true")
    with Mosquitto(folder, *settings) as other:
        config = BrokerConfig(f"mqtts://localhost:{other.port}", authority.ca.name)
        with pytest.raises(BadInput, match="certificate is not believed"):
            heard(config, folder)


def test_a_robot_without_a_certificate_is_told_so(
    broker: Mosquitto, authority: Authority, folder: Path
) -> None:
    without = BrokerConfig(f"mqtts://localhost:{broker.port}", authority.ca.name)
    with publishing(without, folder, "r1") as publisher:
        publisher.publish(passed("r1"))
        assert without.url in problem_of(publisher)
        assert not publisher.wait_delivered(0.0)


def test_a_robot_cannot_write_for_another(broker: Mosquitto, authority: Authority, folder: Path) -> None:
    with publishing(config_of(broker, authority, "thief"), folder, "r3") as publisher:
        publisher.publish(failed("r3"))
        assert "Not authorized" in problem_of(publisher)
    robots = heard(config_of(broker, authority, "keeper"), folder).robots
    assert "r3" not in {robot.status.robot_id for robot in robots}


def test_a_user_and_a_password_open_a_broker_that_asks_for_them(folder: Path) -> None:
    (folder / "right").write_text("correct horse\n")
    (folder / "wrong").write_text("battery staple\n")
    with Mosquitto(folder, f"password_file {password_file(folder, 'r1', 'correct horse')}") as guarded:
        url = f"mqtt://127.0.0.1:{guarded.port}"
        assert heard(BrokerConfig(url, user="r1", password_file="right"), folder).robots == ()
        for refused in (BrokerConfig(url, user="r1", password_file="wrong"), BrokerConfig(url)):
            with pytest.raises(BadInput, match=r"refuses the connection: Not authorized"):
                heard(refused, folder)


# --- brokers that come and go --------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_one_line_and_gets_the_newest_word_when_it_is_back(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    with publishing(open_config(broker), tmp_path, "r1") as publisher:
        publisher.publish(robot("r1"))
        assert problem_of(publisher) == f"mqtt://127.0.0.1:{broker.port}: Connection refused"
        publisher.publish(passed("r1"))
        with broker:
            assert publisher.wait_delivered(SOON_S)
            assert publisher.problem is None
            (told,) = heard(open_config(broker), tmp_path).robots
            assert (told.status, told.availability) == (passed("r1"), ONLINE)


def test_a_broker_that_lost_everything_is_told_again(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    with publishing(open_config(broker), tmp_path, "r1") as publisher:
        publisher.publish(passed("r1"))
        for _ in range(2):
            with broker:
                assert publisher.wait_delivered(SOON_S)
                assert len(heard(open_config(broker), tmp_path).robots) == 1
            assert problem_of(publisher)
            assert not publisher.wait_delivered(0.0), "what a broker had it may have lost"


def test_what_says_nothing_new_is_published_now_and_then(tmp_path: Path) -> None:
    """A service asks to tell every half minute; each message has its time."""
    publisher = StatusPublisher(BrokerConfig("mqtt://127.0.0.1:1"), tmp_path, KIND, "r1")
    told = []
    for uptime_s in (0.0, 30.0, 60.0, 1000.0, 1030.0, 5.0):
        publisher.publish(robot("r1", at=1e9 + uptime_s, uptime_s=uptime_s))
        told.append(decode_status(publisher._newest or b"", KIND, "r1").uptime_s)
    assert told == [0.0, 0.0, 0.0, 1000.0, 1000.0, 5.0], "the last one after a boot"
    publisher.publish(passed("r1"))
    assert decode_status(publisher._newest or b"", KIND, "r1") == passed("r1"), "what is new at once"


def test_a_robot_that_never_reached_its_broker_leaves_at_once(tmp_path: Path) -> None:
    publisher = StatusPublisher(
        BrokerConfig("mqtt://127.0.0.1:1"), tmp_path, KIND, "r1", first_retry_s=1000.0
    )
    publisher.start()
    publisher.publish(passed("r1"))
    problem_of(publisher)
    publisher.close(limit_s=SOON_S)
    assert not publisher._thread.is_alive()


def test_a_connection_that_ends_badly_keeps_no_socket(tmp_path: Path) -> None:
    """Not even until the next collection: a broker that is away for long is tried again and again."""
    gc.disable()
    try:
        with Mosquitto(
            tmp_path, f"password_file {password_file(tmp_path, 'r1', 'correct horse')}"
        ) as guarded:
            publisher = StatusPublisher(open_config(guarded), tmp_path, KIND, "r1")
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(5):
                publisher._session_or_problem()
            assert "Not authorized" in str(publisher.problem)
            assert len(list(Path("/proc/self/fd").iterdir())) <= before
    finally:
        gc.enable()


# --- a whole fleet -------------------------------------------------------------------------------------------------------


def test_a_keeper_hears_all_of_a_large_fleet(tmp_path: Path) -> None:
    """So large that the broker has more to send than fits into a socket."""
    count = 6000
    with Mosquitto(tmp_path, "allow_anonymous true", "max_queued_messages 100000") as broker:
        tell_of(broker, count)
        fleet = heard(open_config(broker), tmp_path)
    assert fleet.complete
    assert [robot.status.robot_id for robot in fleet.robots] == [f"r{number:04}" for number in range(count)]
    assert all(robot.availability is ONLINE for robot in fleet.robots)


def test_a_link_that_stands_still_hides_no_robot(tmp_path: Path) -> None:
    count = 200
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        tell_of(broker, count)
        with SlowLink(broker.port, after_bytes=20_000, pause_s=5 * QUIET_S) as link:
            fleet = heard(BrokerConfig(f"mqtt://127.0.0.1:{link.port}"), tmp_path)
    assert (len(fleet.robots), fleet.complete) == (count, True)


def test_what_a_link_holds_back_for_longer_than_the_keeper_waits_is_not_taken_for_nothing(
    tmp_path: Path,
) -> None:
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        tell_of(broker, 200)
        with SlowLink(broker.port, after_bytes=20_000, pause_s=SOON_S) as link:
            config = BrokerConfig(f"mqtt://127.0.0.1:{link.port}")
            fleet = gather(config, tmp_path, quiet_s=0.1, total_s=1.0)
    assert 0 < len(fleet.robots) < 200 and not fleet.complete


def tell_of(broker: Mosquitto, count: int) -> None:
    """So many robots on the new model."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for number in range(count):
        name = f"r{number:04}"
        client.publish(availability_topic(KIND, name), b"online", retain=True)
        last = client.publish(status_topic(KIND, name), encode_status(passed(name)), 1, retain=True)
    last.wait_for_publish(60.0)
    client.disconnect()
    client.loop_stop()


def test_of_a_fleet_only_one_kind_is_asked_for(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        with BrokerConnection(open_config(broker), tmp_path, "test") as connection:
            for kind in (KIND, "car"):
                connection.publish(status_topic(kind, "r1"), encode_status(passed("r1")))
            while not connection.delivered:
                connection.turn()
        every, own = (
            gather(open_config(broker), tmp_path, robot_kind=kind, quiet_s=QUIET_S) for kind in ("+", KIND)
        )
    assert (len(every.robots), every.refused_count) == (1, 1), "the car's message speaks for another kind"
    assert (len(own.robots), own.refused_count) == (1, 0)
