"""The simulated robot with the real firmware in it: what the firmware does to the wheels is what happens in the world."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm import cli
from edge_wm.clock import SimulatedClock
from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.sim.board_in_the_loop import BoardInTheLoop
from edge_wm.sim.robot_model import Imperfections
from edge_wm.sim.simulation import Simulation
from firmware_bridge import BridgeError, Command

pytestmark = pytest.mark.sim

FLOOR = """<mujoco><worldbody><geom type="plane" size="5 5 0.1"/></worldbody></mujoco>"""
IDEAL = Imperfections(wheel_gain=(0.9, 1.1))  # which the encoders tell the firmware of


@pytest.fixture
def parts(folder: Path) -> Iterator[tuple[Simulation, BoardInTheLoop]]:
    simulation = Simulation(FLOOR, (0.0, 0.0, 0.0), imperfections=IDEAL, render=False)
    board = BoardInTheLoop(simulation, load_robot(), folder, SimulatedClock())
    board.bridge.connect()
    yield simulation, board
    board.bridge.close()
    board.close()


def test_the_robot_drives_where_it_is_told(parts: tuple[Simulation, BoardInTheLoop]) -> None:
    simulation, board = parts
    board.read()
    assert simulation.pose == pytest.approx((0.0, 0.0, 0.0), abs=1e-3)
    board.bridge.arm()
    for _ in range(30):
        board.bridge.apply(Command(0.3, 0.0))
        board.read()
    x, _, yaw = simulation.pose
    assert x == pytest.approx(0.85, abs=0.1)
    assert abs(yaw) < 0.4  # 1.2 if the firmware did not see that one wheel is the stronger
    board.bridge.apply(Command(0.3, 0.0))
    wheels = board.bridge.telemetry().wheels_m
    assert wheels is not None
    assert wheels == pytest.approx([angle * 0.033 for angle in simulation.wheel_angles], abs=0.01)


def test_what_the_sensors_say_is_what_the_wheels_did(parts: tuple[Simulation, BoardInTheLoop]) -> None:
    simulation, board = parts
    board.bridge.arm()
    for _ in range(20):
        board.bridge.apply(Command(0.0, 1.0))
        observation = board.read()
    left, right = observation.arrays["wheel"]
    assert left == pytest.approx(-0.075, abs=0.03)
    assert right == pytest.approx(0.075, abs=0.03)
    assert observation.arrays["gyro"][0] == pytest.approx(1.0, abs=0.3)
    assert simulation.time == pytest.approx(2.0, abs=0.15)


def test_a_computer_that_falls_silent_stands_half_a_second_later(
    parts: tuple[Simulation, BoardInTheLoop],
) -> None:
    simulation, board = parts
    board.bridge.arm()
    for _ in range(10):
        board.bridge.apply(Command(0.5, 0.0))
        board.read()
    for _ in range(5):
        board.read()
    before = simulation.pose
    board.read()
    assert math.dist(before[:2], simulation.pose[:2]) < 0.005
    with pytest.raises(BridgeError, match="latched: deadman"):
        board.bridge.apply(Command(0.5, 0.0))


def test_without_a_firmware_there_is_no_board(tmp_path: Path) -> None:
    simulation = Simulation(FLOOR, (0.0, 0.0, 0.0), render=False)
    with pytest.raises(BadInput, match="no simulated board: run  make -C firmware_bridge/firmware bench"):
        BoardInTheLoop(simulation, load_robot(), tmp_path, SimulatedClock())


def test_the_world_model_crosses_a_room_through_the_firmware(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = tmp_path / "robot.toml"
    file = Path(__file__).parents[2] / "boards" / "robots" / "sim-avr.toml"
    robot.write_text(file.read_text().replace("build/firmware", str(folder)))
    words = ["drive", "--robot", str(robot), "--fast", "--no-view", "--no-pictures", "--seed", "1"]
    assert cli.run([*words, "--runs", str(tmp_path / "runs")]) == 0
    assert "reached after" in capsys.readouterr().out


def test_a_robot_of_another_size_does_not_drive_with_this_firmware(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = tmp_path / "robot.toml"
    file = Path(__file__).parents[2] / "boards" / "robots" / "sim-avr.toml"
    text = file.read_text().replace("build/firmware", str(folder))
    robot.write_text(text.replace("track_m = 0.15", "track_m = 0.20"))
    words = [
        "drive",
        "--robot",
        str(robot),
        "--fast",
        "--no-view",
        "--no-pictures",
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert cli.run(words) == 2
    assert "its firmware was built for a track of 0.15 m, the robot has 0.2 m" in capsys.readouterr().err
