"""The robot that a firmware is built for is made of the robot file, and of nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.paths import shipped
from edge_wm.robot import chassis_of, load_robot
from edge_wm.robot_bridge import DifferentialTable, SimavrTable
from firmware_bridge.bridge import BridgeError
from firmware_bridge.drivetrain import Differential, Motor
from firmware_bridge.robot_source import Build, robot_source
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS, FIRMWARE
from tests.firmware_bridge.boards import Board
from tests.firmware_bridge.conftest import CORE, TRAP, compiled

MOTOR = Motor(full_speed=0.7, dead_zone=0.06)
WHEELS = Differential(CHASSIS.track_m, MOTOR, MOTOR)


def number(source: str, name: str) -> list[int]:
    return [int(found) for found in re.findall(rf"\.{name} = (-?\d+)U?", source)]


def test_the_robot_in_the_core_is_that_of_the_simulated_board() -> None:
    robot = load_robot(shipped("boards", "robots", "sim-avr.toml"))
    assert isinstance(robot.drive, DifferentialTable)
    assert isinstance(robot.bridge, SimavrTable)
    made = robot_source(
        chassis_of(robot), robot.drive.drivetrain(robot.geometry.track_m), robot.bridge.firmware.build()
    )
    assert (FIRMWARE / "core" / "robot.c").read_text() == made
    assert chassis_of(robot) == replace(CHASSIS, deadman_s=0.2, counts_per_turn=1440)


def test_each_number_of_the_robot_file_arrives() -> None:
    left = Motor(full_speed=0.71, dead_zone=0.05, reversed=True)
    right = Motor(full_speed=0.72, dead_zone=0.07)
    chassis = replace(CHASSIS, trims=(1.01, 0.99))
    build = Build(
        counts_per_turn=360, reversed_encoders=(False, True), deadman_s=0.25, gain_p=0.3, gain_i=1.5
    )
    source = robot_source(chassis, Differential(0.15, left, right), build)
    assert number(source, "radius_um") == [33_330, 32_670]
    assert number(source, "full_speed_mmps") == [747, 774]  # with full power beyond the dead zone
    assert number(source, "dead_zone_permille") == [50, 70]
    assert re.findall(r"motor_reversed = (\w+)", source) == ["true", "false"]
    assert re.findall(r"encoder_reversed = (\w+)", source) == ["false", "true"]
    assert (number(source, "counts_per_turn"), number(source, "deadman_ms")) == ([360], [250])
    assert (number(source, "gain_p"), number(source, "gain_i")) == ([300], [1500])
    assert number(source, "max_wheel_mmps") == [609]  # six sevenths of the slower


def test_a_firmware_that_was_made_so_is_accepted_by_the_computer_that_made_it(tmp_path: Path) -> None:
    """And by no computer with another robot file."""
    chassis = replace(
        CHASSIS,
        track_m=0.2113,
        wheel_radius_m=0.0415,
        max_v=0.41,
        max_w=1.7,
        accel=0.83,
        trims=(1.0123, 0.9876),
    )
    robot = tmp_path / "robot.c"
    robot.write_text(robot_source(chassis, Differential(0.2113, MOTOR, MOTOR), Build(1200)))
    core = [file for file in CORE if file.name != "robot.c"]
    program = compiled(tmp_path / "host", *TRAP, *core, robot, FIRMWARE / "ports" / "host" / "main.c")
    board = Board(program)
    try:
        bridge = SerialBridge(board.device, chassis)
        bridge.connect()
        bridge.arm()
        bridge.close()
        with pytest.raises(
            BridgeError, match=r"left wheel radius of 0\.04201 m, the robot has 0\.0415 m: reflash"
        ):
            SerialBridge(board.device, replace(chassis, trims=(1.0, 0.9876))).connect()
    finally:
        board.close()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"max_v": 0.61}, "max_v 0.61 m/s is beyond 0.6 m/s"),
        ({"max_w": 33.0, "track_m": 0.1}, r"max_w: 33 is more than the firmware can hold, 32\.767"),
        ({"accel": 66.0}, "accel: 66 is more than the firmware can hold"),
        ({"angular_accel": 66.0}, "angular_accel: 66 is more"),
        ({"track_m": 5000.0}, "on a track of 5000 m is more than the firmware can calculate with"),
    ],
)
def test_what_the_firmware_cannot_hold_is_refused(change: dict[str, float], why: str) -> None:
    with pytest.raises(BridgeError, match=why):
        robot_source(replace(CHASSIS, **change), WHEELS, Build(1440))


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.6])
def test_a_deadman_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(BridgeError, match="deadman_s"):
        Build(deadman_s=seconds)


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="no cppcheck: run  sudo apt install cppcheck")
def test_what_was_made_keeps_the_rules_of_the_rest(tmp_path: Path) -> None:
    robot = tmp_path / "robot.c"
    robot.write_text(robot_source(CHASSIS, WHEELS, Build(1440, (True, True))))
    command = [
        "cppcheck",
        "--quiet",
        "--std=c11",
        "--enable=warning,style",
        "--addon=misra",
        "--suppress=missingIncludeSystem",
        f"--suppressions-list={FIRMWARE / 'misra-suppressions.txt'}",
        "--error-exitcode=1",
        f"-I{FIRMWARE / 'core'}",
        str(robot),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FIRMWARE, check=False)
    assert done.returncode == 0, done.stderr


@given(
    max_v=st.floats(0.05, 0.5),
    max_w=st.floats(0.1, 20.0),
    reverse=st.just(0.0) | st.floats(0.001, 0.05),
    track=st.floats(0.05, 0.2),
)
def test_no_limit_of_the_robot_file_is_beyond_the_firmware_that_is_made_of_it(
    max_v: float, max_w: float, reverse: float, track: float
) -> None:
    chassis = replace(CHASSIS, max_v=max_v, max_w=max_w, max_reverse_v=reverse, track_m=track)
    source = robot_source(chassis, replace(WHEELS, track_m=track), Build(1440))
    assert number(source, "max_v_mmps")[0] / 1000.0 * (1.0 + 1e-6) >= max_v
    assert number(source, "max_w_mradps")[0] / 1000.0 * (1.0 + 1e-6) >= max_w
    assert number(source, "max_reverse_mmps")[0] / 1000.0 * (1.0 + 1e-6) >= reverse


@pytest.mark.parametrize("change", [{"track_m": 1.0, "max_w": 4.5}, {"wheel_radius_m": 0.342}])
def test_what_the_firmware_cannot_calculate_with_is_refused_before_it_is_built(
    change: dict[str, float],
) -> None:
    with pytest.raises(BridgeError, match="can calculate with"):
        robot_source(replace(CHASSIS, **change), WHEELS, Build(1440))


def test_without_encoders_the_trim_is_one_of_the_speed() -> None:
    left, right = Motor(0.7, trim=1.1), Motor(0.7, trim=0.9)
    chassis = replace(CHASSIS, max_v=0.4, trims=(1.1, 0.9))
    assert number(robot_source(chassis, Differential(0.15, left, right), Build(0)), "full_speed_mmps") == [
        770,
        630,
    ]
    assert number(robot_source(chassis, Differential(0.15, left, right), Build(1440)), "full_speed_mmps") == [
        700,
        700,
    ]


def test_a_ramp_that_cannot_be_steeper_is_as_steep_as_the_firmware_can_hold_it() -> None:
    source = robot_source(replace(CHASSIS, angular_accel=60.0), WHEELS, Build(1440))
    assert number(source, "angular_accel_mradps2") == number(source, "angular_decel_mradps2") == [65_535]
