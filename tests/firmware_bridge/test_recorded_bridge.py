"""A replay answers as the recorded robot did, and says where another command would have been given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command
from firmware_bridge.recorded_bridge import Difference, RecordedBridge

TICKS = [([0.1, 0.0], [0.1, 0.0]), ([0.5, 1.0], [0.3, 0.6]), ([0.0, 0.0], [0.0, 0.0])]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    file = tmp_path / "ticks.jsonl"
    file.write_text(
        "".join(
            json.dumps({"tick": i, "command": command, "applied": applied}) + "\n"
            for i, (command, applied) in enumerate(TICKS)
        )
    )
    return file


@pytest.fixture
def bridge(recording: Path) -> RecordedBridge:
    found = RecordedBridge(recording, clock=lambda: 7.0)
    found.connect()
    found.arm()
    return found


def test_it_answers_as_was_recorded(bridge: RecordedBridge) -> None:
    assert [bridge.apply(Command(*command)) for command, _ in TICKS] == [
        Command(*applied) for _, applied in TICKS
    ]
    assert bridge.differences == []


def test_other_commands_are_answered_likewise_and_listed(bridge: RecordedBridge) -> None:
    bridge.apply(Command(0.1004, 0.0))  # rounded when it was recorded
    assert bridge.apply(Command(0.2, 1.0)) == Command(0.3, 0.6)
    assert bridge.differences == [Difference(1, Command(0.2, 1.0), Command(0.5, 1.0))]


def test_it_reports_what_is_in_force(bridge: RecordedBridge) -> None:
    bridge.apply(Command(0.1, 0.0))
    report = bridge.telemetry()
    assert (report.time, report.armed, report.applied) == (7.0, True, Command(0.1, 0.0))
    bridge.stop()
    report = bridge.telemetry()
    assert (report.armed, report.applied) == (False, NEUTRAL)


def test_it_ends_with_the_recording_and_begins_anew_with_the_next_connection(bridge: RecordedBridge) -> None:
    for command, _ in TICKS:
        bridge.apply(Command(*command))
    with pytest.raises(BridgeError, match="ends after 3 ticks"):
        bridge.apply(NEUTRAL)
    bridge.connect()
    assert bridge.apply(Command(0.1, 0.0)) == Command(0.1, 0.0)


def test_between_two_goals_it_goes_on_where_it_was(bridge: RecordedBridge) -> None:
    bridge.apply(Command(0.1, 0.0))
    bridge.stop()
    with pytest.raises(BridgeError, match="disarmed"):
        bridge.apply(NEUTRAL)
    bridge.arm()
    assert bridge.apply(Command(0.5, 1.0)) == Command(0.3, 0.6)


def test_of_a_run_to_several_goals_it_plays_the_drive_to_one(tmp_path: Path) -> None:
    file = tmp_path / "ticks.jsonl"
    file.write_text(
        "".join(
            json.dumps({"goal": goal, "command": [v, 0.0], "applied": [v, 0.0]}) + "\n"
            for goal, v in ((1, 0.1), (1, 0.2), (2, 0.3))
        )
    )
    for goal, speeds in ((None, [0.1, 0.2, 0.3]), (1, [0.1, 0.2]), (2, [0.3])):
        bridge = RecordedBridge(file, goal=goal)
        bridge.connect()
        bridge.arm()
        assert (bridge.ticks, bridge.asked) == (len(speeds), 0)
        assert [bridge.apply(Command(v, 0.0)).v for v in speeds] == speeds
        assert bridge.asked == len(speeds)
    with pytest.raises(BridgeError, match="has no tick of goal 3"):
        RecordedBridge(file, goal=3).connect()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty recording"),
        ("{}\n", "line 1: no tick"),
        ('{"command": [0, 0], "applied": [0, 0]}\nnonsense\n', "line 2: no tick"),
        ('{"command": [0, 0, 0], "applied": [0, 0]}\n', "line 1: no tick"),
        ('{"command": [null, 0], "applied": [0, 0]}\n', "line 1: no tick"),
        ("[1]\n", "line 1: no tick"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_line(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "ticks.jsonl"
    file.write_text(text)
    bridge = RecordedBridge(file)
    with pytest.raises(BridgeError, match=why) as refused:
        bridge.connect()
    assert "\n" not in str(refused.value)
    with pytest.raises(BridgeError, match="not connected"):
        bridge.arm()


def test_a_missing_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="cannot be read as a recording"):
        RecordedBridge(tmp_path / "none").connect()
