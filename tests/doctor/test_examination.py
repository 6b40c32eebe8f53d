"""The whole examination: a good robot on a good machine is well, and which board it is is found."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_wm import cli
from edge_wm.board import load_board
from edge_wm.doctor.finding import Level
from edge_wm.doctor.system import board
from edge_wm.paths import shipped
from tests.doctor.machines import ARM, good_machine, having, program

PI_5 = load_board(shipped("boards", "rpi5.toml"))


def test_a_board_that_is_what_the_robot_file_says_is_well(tmp_path: Path) -> None:
    finding = board(PI_5, good_machine(tmp_path))
    assert finding.level is Level.OK
    assert finding.said.startswith("rpi5 (")


def test_another_board_than_the_robot_file_says_is_found(tmp_path: Path) -> None:
    finding = board(load_board(shipped("boards", "rpi4.toml")), good_machine(tmp_path))
    assert finding.level is Level.WARNING
    assert finding.remedy == 'board = "rpi5"'


def test_a_32_bit_system_is_found(tmp_path: Path) -> None:
    program(good_machine(tmp_path), ARM, bits=32)
    finding = board(PI_5, tmp_path)
    assert finding.level is Level.ERROR
    assert "64-bit" in finding.said


def test_a_computer_that_no_board_file_describes_is_no_pi(tmp_path: Path) -> None:
    having("proc/device-tree/compatible", "acme,board\0")(good_machine(tmp_path))
    having("proc/device-tree/model", "Acme Board\0")(tmp_path)
    finding = board(PI_5, tmp_path)
    assert finding.level is Level.WARNING
    assert "generic-aarch64" in finding.said


def test_the_simulated_robot_is_well_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the demo runs: whatever is said of this machine, no check raises an alarm, or only one of the machine's own."""
    facts = tmp_path / "facts.json"
    code = cli.run(["doctor", "--json", str(facts)])
    printed = capsys.readouterr().out
    told = json.loads(facts.read_text())
    found = {finding["check"]: finding for finding in told["findings"]}
    own = {"disk", "memory", "speed", "disk errors"}  # of a machine that is full or busy
    alarms = {check for check, finding in found.items() if finding["level"] != "ok"}
    assert alarms <= own
    assert code == (1 if alarms else 0)
    assert printed.splitlines()[-1].startswith(f"worst: {told['worst']} ({len(found) - len(alarms)} ok")
    for check in found:
        assert re.search(rf"^{check} +(ok|note|warning|ERROR) ", printed, flags=re.M)


def test_a_robot_file_that_is_not_there_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--robot", "nowhere.toml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
