"""``edge-wm doctor`` finds what is wrong with a bridge, says what mends it, and has nothing to say about a good one."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge_wm.doctor.bridge import last_pulse, link
from edge_wm.doctor.finding import Finding, Level, ok
from edge_wm.paths import shipped
from edge_wm.robot import DEFAULT_ROBOT, load_robot
from edge_wm.robot_sensors import FilesTable, RealSensors, Vl53l0xTable
from firmware_bridge.bridge import NEUTRAL, Telemetry
from firmware_bridge.link import open_line
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.wire import PROTOCOL
from tests.firmware_bridge.boards import Board

if TYPE_CHECKING:
    from tests.firmware_bridge.rover_peer import RoverPeer


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


def serial(board: Board) -> str:
    return (
        f'[bridge]\nkind = "serial"\ndevice = "{board.device}"\n[bridge.firmware]\ncounts_per_turn = 1440\n'
    )


def examined(file: Path) -> dict[str, Finding]:
    """What the doctor's checks of the bridge find."""
    robot = load_robot(file)
    return {finding.check: finding for finding in (link(robot, file), *last_pulse(robot))}


def test_a_simulated_robot_is_well() -> None:
    assert examined(DEFAULT_ROBOT) == {"bridge": ok("bridge", "the motors are simulated")}


@pytest.fixture
def board(host_program: Path) -> Iterator[Board]:
    board = Board(host_program)
    yield board
    board.close()


def test_a_microcontroller_that_answers_is_well_and_says_what_it_runs(board: Board, tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, serial(board)))
    assert found["bridge"] == ok(
        "bridge",
        "answers, disarmed, no fault, battery 7.4 V; "
        f"firmware of a program of this computer, protocol {PROTOCOL:08x}, deadman 200 ms",
    )


def test_a_firmware_of_another_protocol_is_found_with_the_command_that_flashes_it(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.serial_bridge.PROTOCOL", PROTOCOL ^ 1)
    file = robot_file(tmp_path, serial(board))
    found = examined(file)["bridge"]
    assert (found.level, found.remedy) == (Level.ERROR, f"edge-wm bridge flash --robot {file}")
    assert (
        f"its firmware speaks protocol {PROTOCOL:08x}, this edge-wm speaks {PROTOCOL ^ 1:08x}" in found.said
    )


def test_a_firmware_that_was_built_for_another_robot_is_found_with_the_command_that_flashes_it(
    board: Board, tmp_path: Path
) -> None:
    folder = tmp_path / "my robot"
    folder.mkdir()
    file = robot_file(folder, serial(board))
    file.write_text(file.read_text().replace("track_m = 0.15 ", "track_m = 0.16 "))
    found = examined(file)["bridge"]
    assert "built for a track of 0.15 m, the robot has 0.16 m" in found.said
    assert found.remedy == f"edge-wm bridge flash --robot '{file}'"


def test_a_pressed_button_is_found(board: Board, tmp_path: Path) -> None:
    board.tell("button 1")
    board.wait_until_latched()
    file = robot_file(tmp_path, serial(board))
    found = examined(file)
    assert found["bridge"].said == "latched: emergency stop"
    assert found["bridge"].remedy == f"edge-wm bridge clear-faults --robot {file}"


def test_of_a_firmware_that_cannot_calculate_with_its_robot_nothing_clears_the_fault(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbuilt = Telemetry(0.0, False, NEUTRAL, ("misbuilt",))
    monkeypatch.setattr(SerialBridge, "telemetry", lambda bridge: misbuilt)
    file = robot_file(tmp_path, serial(board))
    found = examined(file)["bridge"]
    assert (found.said, found.remedy) == ("latched: misbuilt", f"edge-wm bridge flash --robot {file}")


def test_a_port_that_is_another_program_s_has_the_command_that_ends_that(
    board: Board, tmp_path: Path
) -> None:
    line = open_line(board.device, 115200)
    try:
        found = examined(robot_file(tmp_path, serial(board)))["bridge"]
    finally:
        line.close()
    assert found.level is Level.ERROR
    assert found.remedy.startswith("sudo systemctl stop edge-wm")


@pytest.fixture
def rover() -> Iterator[RoverPeer]:
    """One that lives in a thread of its own."""
    pytest.importorskip("pymavlink", reason="pip install 'edge-wm[mavlink]'")
    from tests.firmware_bridge.rover_peer import RoverPeer, Udp

    peer, ending = RoverPeer(Udp()), threading.Event()

    def live() -> None:
        while not ending.wait(0.005):
            peer.step(time.monotonic())

    thread = threading.Thread(target=live)
    thread.start()
    yield peer
    ending.set()
    thread.join()
    peer.close()


@pytest.mark.parametrize(
    ("version", "said"),
    [((4, 5, 7, 255), "ArduPilot 4.5.7 official"), (None, "ArduPilot that does not say its version")],
)
def test_an_autopilot_that_answers_is_well_and_says_its_version(
    version: tuple[int, int, int, int] | None, said: str, rover: RoverPeer, tmp_path: Path
) -> None:
    rover.version = version
    found = examined(robot_file(tmp_path, f'[bridge]\nkind = "mavlink"\ndevice = "{rover.wire.device}"\n'))
    assert found["bridge"] == ok("bridge", f"answers, disarmed, no fault, battery 7.4 V; {said}")


def test_an_autopilot_that_does_not_count_wheels_which_the_model_needs_is_found(
    rover: RoverPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = robot_file(tmp_path, f'[bridge]\nkind = "mavlink"\ndevice = "{rover.wire.device}"\n')
    camera = FilesTable(height=48, width=64, path="nowhere")
    ring = Vl53l0xTable(1, tuple(range(8)), 1.2)
    robot = msgspec.structs.replace(load_robot(file), sensors=RealSensors(camera, ring, wheels=True))
    assert link(robot, file).level is Level.OK
    monkeypatch.setattr(rover, "_send_wheel_distance", lambda: None)
    found = link(robot, file)
    assert (found.level, found.remedy) == (Level.ERROR, f"{file}: sensors.wheels = false")


def test_a_port_that_is_not_there_is_found(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, '[bridge]\nkind = "serial"\ndevice = "/dev/ttyNONE"\n'))
    assert found["bridge"].level is Level.ERROR
    assert found["bridge"].said == "/dev/ttyNONE: no such port: is the board plugged in?"


def test_it_warns_that_a_pwm_chip_keeps_its_last_pulse(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, CHIP))["last pulse"]
    assert found.level is Level.WARNING
    assert "loses power or hangs, the robot drives on" in found.said
    assert "docs/pca9685.md" in found.remedy


def test_a_pwm_chip_whose_outputs_can_be_switched_off_is_well(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, CHIP + OE))["last pulse"]
    assert (found.level, found.remedy) == (Level.OK, "")
    assert "if its kernel hangs, only the watchdog does" in found.said


def test_and_of_nothing_else(tmp_path: Path) -> None:
    found = examined(robot_file(tmp_path, '[bridge]\nkind = "serial"\ndevice = "/dev/ttyNONE"\n'))
    assert "last pulse" not in found
