"""``edge-wm doctor`` finds what is wrong with a bridge, says what mends it, and has nothing to say about a good one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_wm.doctor.bridge import last_pulse, link
from edge_wm.doctor.finding import Finding, Level, ok
from edge_wm.paths import shipped
from edge_wm.robot import DEFAULT_ROBOT, load_robot
from tests.firmware_bridge.boards import Board


def robot_file(folder: Path, bridge: str) -> Path:
    """The board in the loop's, with another bridge."""
    text = shipped("boards", "robots", "sim-avr.toml").read_text()
    text, changed = re.subn(r"\[bridge\].*?(?=\[drive\])", bridge + "\n", text, flags=re.S)
    assert changed == 1
    file = folder / "robot.toml"
    file.write_text(text)
    return file


CHIP = '[bridge]\nkind = "pca9685"\nbus = 99\npwm_hz = 1000\nleft = { forward = 1, backward = 0 }\nright = { forward = 2, backward = 3 }\n'
OE = 'output_enable = { chip = "/dev/gpiochip0", line = 17 }\n'


def examined(file: Path) -> dict[str, Finding]:
    """What the doctor's checks of the bridge find."""
    robot = load_robot(file)
    return {finding.check: finding for finding in (link(robot, file), *last_pulse(robot))}


def test_a_simulated_robot_is_well() -> None:
    assert examined(DEFAULT_ROBOT) == {"bridge": ok("bridge", "the motors are simulated")}


def test_a_microcontroller_that_answers_is_well(host_program: Path, tmp_path: Path) -> None:
    board = Board(host_program)
    try:
        found = examined(
            robot_file(
                tmp_path,
                f'[bridge]\nkind = "serial"\ndevice = "{board.device}"\n[bridge.firmware]\ncounts_per_turn = 1440\n',
            )
        )
    finally:
        board.close()
    assert found["bridge"].said == "answers, disarmed, no fault, battery 7.4 V"


def test_a_pressed_button_is_found(host_program: Path, tmp_path: Path) -> None:
    board = Board(host_program)
    try:
        board.tell("button 1")
        board.wait_until_latched()
        file = robot_file(
            tmp_path,
            f'[bridge]\nkind = "serial"\ndevice = "{board.device}"\n[bridge.firmware]\ncounts_per_turn = 1440\n',
        )
        found = examined(file)
    finally:
        board.close()
    assert found["bridge"].said == "latched: emergency stop"
    assert found["bridge"].remedy == f"edge-wm bridge clear-faults --robot {file}"


def test_a_port_that_is_not_there_is_found(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, '[bridge]\nkind = "serial"\ndevice = "/dev/ttyNONE"\n'))
    assert found["bridge"].level is Level.ERROR
    assert found["bridge"].said == "/dev/ttyNONE: no such port: is the board plugged in?"


@pytest.mark.parametrize(
    ("enable", "said"), [("", "loses power or hangs, the robot drives on"), (OE, "if its kernel hangs")]
)
def test_it_warns_that_a_pwm_chip_keeps_its_last_pulse(tmp_path: Path, enable: str, said: str) -> None:
    found = examined(robot_file(tmp_path, CHIP + enable))
    assert found["last pulse"].level is Level.WARNING
    assert said in found["last pulse"].said
    assert "docs/pca9685.md" in found["last pulse"].remedy


def test_and_of_nothing_else(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, '[bridge]\nkind = "serial"\ndevice = "/dev/ttyNONE"\n'))
    assert "last pulse" not in found
