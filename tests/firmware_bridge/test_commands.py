"""``edge-wm bridge``: what its commands find, turn, write and refuse."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm import cli
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from edge_wm.robot import amend_robot, chassis_of, load_robot
from edge_wm.robot_bridge import DifferentialTable
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import AvrBench, BenchLine
from tests.firmware_bridge.boards import Board


@pytest.fixture
def board(host_program: Path) -> Iterator[Board]:
    """The firmware, in real time."""
    board = Board(host_program, slowness=1)
    yield board
    board.close()


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    """Of a robot with a microcontroller."""
    text = shipped("boards", "robots", "sim-avr.toml").read_text()
    text, changed = re.subn(r'kind = "simavr"\nfolder = .*', 'kind = "serial" # over USB', text)
    assert changed == 1
    file = tmp_path / "robot.toml"
    file.write_text(text)
    return file


def test_info_says_who_is_there(
    host_program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(host_program)
    code = cli.run(["bridge", "info", "--device", board.device, "--json", str(tmp_path / "facts.json")])
    board.close()
    assert code == 0
    assert "track_um               150000" in capsys.readouterr().out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["state"], facts["faults"], facts["deadman_ms"]) == ("DISARMED", [], 200)


@pytest.mark.parametrize("words", [["info"], ["arm-test", "--wheels-up"]])
def test_a_port_that_is_not_there_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bridge", *words, "--device", "/dev/ttyNONE"]) == 2
    assert capsys.readouterr().err == "error: /dev/ttyNONE: no such port: is the board plugged in?\n"


def test_a_robot_file_without_a_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bridge", "info"]) == 2
    assert "bridge.device: none: name the port there, or with --device" in capsys.readouterr().err


def test_arm_test_turns_no_wheel_without_being_told_that_they_are_up(
    host_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(host_program)
    assert cli.run(["bridge", "arm-test", "--device", board.device]) == 2
    board.close()
    assert "lift the robot" in capsys.readouterr().err
    assert not board.said


def test_arm_test_fails_on_a_button_that_is_pressed(
    host_program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board(host_program)
    board.tell("button 1")
    board.wait_until_latched()
    assert cli.run(["bridge", "arm-test", "--device", board.device, "--wheels-up"]) == 1
    board.close()
    assert "forward        FAILED" in capsys.readouterr().out


def test_find_port_lists_known_boards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = pytest.importorskip("serial.tools.list_ports")
    common = pytest.importorskip("serial.tools.list_ports_common")

    def port(device: str, vid: int | None) -> object:
        found = common.ListPortInfo(device)
        found.vid = vid
        return found

    monkeypatch.setattr(ports, "comports", lambda: [port("/dev/ttyUSB0", 0x1A86), port("/dev/ttyS0", None)])
    assert cli.run(["bridge", "find-port"]) == 0
    assert capsys.readouterr().out == "/dev/ttyUSB0  CH340, as on many copies of the Nano\n"
    monkeypatch.setattr(ports, "comports", list)
    assert cli.run(["bridge", "find-port"]) == 1
    assert "with a cable that carries data" in capsys.readouterr().out


def test_monitor_shows_the_button_and_moves_nothing(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board.tell("button 1")
    board.wait_until_latched()
    facts = tmp_path / "reports.json"
    assert (
        cli.run(["bridge", "monitor", "--device", board.device, "--seconds", "0.5", "--json", str(facts)])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert "disarmed" in lines[-1]
    assert "faults: emergency stop" in lines[-1]
    reports = json.loads(facts.read_text())
    assert len({report["time"] for report in reports}) == len(lines)  # each was asked for anew
    assert not any(line.startswith(("power", "fed")) for line in board.said)


def test_monitor_says_when_the_board_falls_silent(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    board.close()
    assert cli.run(["bridge", "monitor", "--device", board.device, "--seconds", "0.5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {board.device}: ")
    assert error.count("\n") == 1


# --- calibrate -------------------------------------------------------------------------------------------------------


@pytest.fixture
def avr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AvrBench]:
    """The real firmware in its simulated processor, whose time is the command's; every port leads to it."""
    bench = AvrBench(folder)
    bench.run(100_000)
    line = BenchLine(bench)
    monkeypatch.setattr("time.sleep", line.sleep)
    monkeypatch.setattr(
        "edge_wm.commands.bridge_options.bridge_of",
        lambda robot, file, device: SerialBridge(
            str(device), chassis_of(robot), opened=lambda device, baud: line, clock=line.now
        ),
    )
    yield bench
    bench.close()


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_straight_drive_and_a_tape_measure_give_the_trims(
    avr: AvrBench, robot_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "0.53", "0.01", "y")
    words = ["bridge", "calibrate", "straight", "--robot", str(robot_file), "--device", "avr"]
    assert cli.run([*words, "--distance", "0.5", "--clear-floor"]) == 0
    drive = load_robot(robot_file).drive
    assert isinstance(drive, DifferentialTable)
    # It believes that it has come some 0.51 m; it has come 0.53 m on an arc to the left.
    assert 0.99 < drive.left.trim < drive.right.trim < 1.06
    assert drive.right.trim / drive.left.trim == pytest.approx(
        1.0 + 2.0 * 0.01 / 0.53 * 0.15 / 0.53, abs=0.002
    )
    assert "# over USB" in robot_file.read_text()  # what people wrote stays
    assert f"edge-wm bridge flash --robot {robot_file}" in capsys.readouterr().out
    assert avr.state().power == (0, 0)


def test_turns_and_a_mark_on_the_floor_give_the_track(
    avr: AvrBench, robot_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "1050", "y")
    words = ["bridge", "calibrate", "turn", "--robot", str(robot_file), "--device", "avr"]
    assert cli.run([*words, "--clear-floor"]) == 0
    assert (
        0.152 < load_robot(robot_file).geometry.track_m < 0.158
    )  # 0.15 * 1080 / 1050, and it stops a little late


def test_who_says_no_keeps_the_robot_file(
    avr: AvrBench, robot_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = robot_file.read_text()
    answer(monkeypatch, "0.5", "0", "n")
    words = ["bridge", "calibrate", "straight", "--robot", str(robot_file), "--device", "avr"]
    assert cli.run([*words, "--distance", "0.5", "--clear-floor"]) == 0
    assert robot_file.read_text() == before


def test_a_measurement_that_cannot_be_is_one_line_and_writes_nothing(
    avr: AvrBench, robot_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = robot_file.read_text()
    answer(monkeypatch, "50", "0")
    words = ["bridge", "calibrate", "straight", "--robot", str(robot_file), "--device", "avr", "--write"]
    assert cli.run([*words, "--distance", "0.5", "--clear-floor"]) == 2
    assert re.search(r"error: left trim would change by \+\d{4}%: measure again", capsys.readouterr().err)
    assert robot_file.read_text() == before


def test_a_number_that_the_robot_file_cannot_take_is_refused_and_it_stays_as_it_was(robot_file: Path) -> None:
    before = robot_file.read_text()
    with pytest.raises(BadInput, match="track_m"):
        amend_robot(robot_file, {"geometry.track_m": 0.3})  # wheels outside the robot
    assert robot_file.read_text() == before
    assert list(robot_file.parent.iterdir()) == [robot_file]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["straight"], "clear the floor, and add --clear-floor"),
        (["turn", "--wheels-up"], "clear the floor"),
        (["dead-zone", "--clear-floor"], "lift the robot, and add --wheels-up"),
        (["dead-zone", "--wheels-up"], "the firmware closes its loop over the encoders"),
    ],
)
def test_nothing_moves_before_somebody_has_said_that_it_may(
    board: Board, robot_file: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bridge", "calibrate", *words, "--robot", str(robot_file), "--device", board.device]
    assert cli.run(arguments) == 2
    assert why in capsys.readouterr().err
    assert not board.said


def test_a_robot_without_motors_in_its_file_is_not_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bridge", "calibrate", "straight", "--clear-floor", "--device", "/dev/ttyNONE"]) == 2
    assert "describe their motors there" in capsys.readouterr().err


# --- a command for a bridge that cannot do it ------------------------------------------------------------------------

OTHERS = {
    "pca9685": '[bridge]\nkind = "pca9685"\nbus = 99\npwm_hz = 1000\nleft = { forward = 1, backward = 0 }\nright = { forward = 2, backward = 3 }\n',
    "mavlink": '[bridge]\nkind = "mavlink"\ndevice = "/dev/ttyNONE"\n',
    "recorded": '[bridge]\nkind = "recorded"\nfile = "ticks.jsonl"\n',
}


@pytest.mark.parametrize(
    ("kind", "words", "why"),
    [
        ("mavlink", ["info"], "only a microcontroller, kind 'serial', can be asked this"),
        ("pca9685", ["clear-faults"], "only a microcontroller"),
        ("pca9685", ["monitor"], "nothing there reports anything of itself"),
        ("recorded", ["monitor"], "nothing there reports anything of itself"),
        ("recorded", ["arm-test", "--wheels-up"], "a recording turns no wheels"),
        (
            "pca9685",
            ["arm-test", "--wheels-up", "--device", "/dev/ttyUSB0"],
            "--device names a port, and this robot has none",
        ),
        (
            "mavlink",
            ["calibrate", "turn", "--clear-floor"],
            "an autopilot is calibrated by its own parameters",
        ),
        ("recorded", ["calibrate", "turn", "--clear-floor"], "a recording not at all"),
        ("mavlink", ["flash"], "bridge.kind must be 'serial'"),
    ],
)
def test_it_is_refused_in_a_line(
    robot_file: Path, kind: str, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = robot_file.read_text()
    robot_file.write_text(re.sub(r"\[bridge\].*?(?=\[drive\])", OTHERS[kind] + "\n", text, flags=re.S))
    assert cli.run(["bridge", *words, "--robot", str(robot_file)]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1


def test_amending_keeps_line_ends_and_mode(robot_file: Path) -> None:
    robot_file.write_bytes(robot_file.read_bytes().replace(b"\n", b"\r\n"))
    robot_file.chmod(0o640)
    before = robot_file.read_bytes()
    amend_robot(robot_file, {"geometry.track_m": 0.16})
    assert robot_file.read_bytes() == before.replace(b"track_m = 0.15 ", b"track_m = 0.16 ")
    assert robot_file.stat().st_mode & 0o777 == 0o640
