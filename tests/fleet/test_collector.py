"""What is made of a broker's messages, of whatever topic and content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.fleet import collector as collector_module
from edge_wm.fleet.collector import MAX_REFUSED, Collector
from edge_wm.fleet.status import Availability, encode_status
from tests.fleet.robots import KIND, failed, passed


def topic(robot_id: str, what: str = "status") -> str:
    return f"edge-wm/{KIND}/{robot_id}/{what}"


def test_the_newest_word_of_a_robot_counts() -> None:
    collector = Collector()
    collector.take(topic("r1"), encode_status(passed("r1")))
    collector.take(topic("r1"), encode_status(failed("r1")))
    (robot,) = collector.fleet(True).robots
    assert robot.status == failed("r1")


def test_availability_is_of_the_robot_whose_topic_it_is() -> None:
    collector = Collector()
    for robot_id, content in (
        ("r1", b"online"),
        ("r2", b"offline"),
        ("r3", b"asleep"),
        ("r4", b""),
        ("r5", b"away"),
    ):
        collector.take(topic(robot_id), encode_status(passed(robot_id)))
        collector.take(topic(robot_id, "availability"), content)
    fleet = collector.fleet(True)
    assert [robot.availability for robot in fleet.robots] == [*Availability, None, None]
    assert fleet.refused == (f"{topic('r5', 'availability')}: none of online, offline, asleep",)


def test_a_robot_that_left_the_fleet_is_forgotten() -> None:
    collector = Collector()
    collector.take(topic("r1"), encode_status(passed("r1")))
    collector.take(topic("r1"), b"")
    assert collector.fleet(True) == Collector().fleet(True)


def test_a_robot_cannot_speak_for_another() -> None:
    collector = Collector()
    collector.take(topic("r1"), encode_status(failed("r1")))
    collector.take(topic("r2"), encode_status(passed("r1")))
    fleet = collector.fleet(True)
    assert [robot.status for robot in fleet.robots] == [failed("r1")]
    assert fleet.refused == (f"{KIND}/r2: speaks for {KIND}/r1",)


def test_a_refused_message_leaves_what_was_said_before() -> None:
    collector = Collector()
    collector.take(topic("r1"), encode_status(failed("r1")))
    collector.take(topic("r1"), b"{}")
    assert [robot.status for robot in collector.fleet(True).robots] == [failed("r1")]
    assert collector.fleet(True).refused_count == 1


def test_many_refused_messages_are_counted_and_few_are_kept() -> None:
    collector = Collector()
    for number in range(1000):
        collector.take(topic(f"r{number}"), b"\xff" * 1000)
    fleet = collector.fleet(True)
    assert (fleet.refused_count, len(fleet.refused)) == (1000, MAX_REFUSED)


def test_a_crowd_of_made_up_robots_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "MAX_ROBOTS", 5)
    collector = Collector()
    for number in range(9):
        collector.take(topic(f"r{number}"), encode_status(passed(f"r{number}")))
        collector.take(topic(f"r{number}", "availability"), b"online")
    collector.take(topic("r1"), encode_status(failed("r1")))
    fleet = collector.fleet(True)
    assert (len(fleet.robots), fleet.refused_count) == (5, 8)
    assert fleet.robots[1].status == failed("r1"), "a robot that is known still counts"


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_topic_and_no_content_does_more_than_be_refused(named: str, content: bytes) -> None:
    collector = Collector()
    for of in (named, topic(named), topic("r1", named), f"edge-wm/{named}/r1/status"):
        collector.take(of, content)
        assert collector.fleet(True).robots == ()
    assert all(line.isprintable() for line in collector.fleet(True).refused)


def test_a_robot_whose_status_is_missing_is_told() -> None:
    collector = Collector()
    for robot_id in ("r1", "r2"):
        collector.take(topic(robot_id, "availability"), b"online")
    collector.take(topic("r1"), encode_status(passed("r1")))
    assert collector.fleet(True).silent == (f"{KIND}/r2",)
