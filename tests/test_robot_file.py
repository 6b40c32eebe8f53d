"""What a robot file may say, and how a wrong one is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.drive.bridges import bridge_of
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from edge_wm.robot import DEFAULT_ROBOT, load_board, load_robot
from firmware_bridge.bridge import Command


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    """A copy of the simulated robot's file, to be spoilt."""
    file = tmp_path / "robot.toml"
    file.write_text(DEFAULT_ROBOT.read_text())
    return file


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"the robot file no longer has {old!r}"
    file.write_text(text.replace(old, new))


def test_the_simulated_robot_is_the_default_and_has_its_known_size() -> None:
    robot = load_robot()
    assert robot.name == "sim"
    assert (robot.geometry.radius_m, robot.geometry.track_m, robot.geometry.wheel_radius_m) == (
        0.12,
        0.15,
        0.033,
    )
    assert (robot.limits.max_v, robot.limits.max_reverse_v, robot.limits.max_w) == (0.5, 0.15, 2.5)
    assert (robot.sensors.camera.height, robot.sensors.camera.width) == (48, 64)
    assert (robot.sensors.range.beams, robot.sensors.range.reach_m) == (8, 4.0)
    assert robot.rates.tick_s == 0.1


def test_the_robot_carries_the_description_of_the_board_it_names() -> None:
    assert load_robot().board == load_board(shipped("boards", "sim.toml"))


@pytest.mark.parametrize("file", sorted(shipped("boards").glob("*.toml")), ids=lambda file: file.stem)
def test_every_shipped_board_file_loads_under_its_own_name(file: Path) -> None:
    assert load_board(file).name == file.stem


@pytest.mark.parametrize(
    "file", sorted(shipped("boards", "robots").glob("*.toml")), ids=lambda file: file.stem
)
def test_every_shipped_robot_file_loads_under_its_own_name(file: Path) -> None:
    assert load_robot(file).name == file.stem


def test_a_board_file_may_stand_beside_the_robot_file(robot_file: Path) -> None:
    board = 'name = "mine"\ndescription = "on my bench"\n'
    (robot_file.parent / "mine.toml").write_text(board)
    spoil(robot_file, 'board = "sim"', 'board = "mine.toml"')
    assert load_robot(robot_file).board.name == "mine"


WRONG = [
    # what stands in the file, what is put there, the key that the refusal names
    ("radius_m = 0.12 ", "radius_m = 0.0 ", "geometry.radius_m"),
    ("radius_m = 0.12 ", "radius_m = -0.12 ", "geometry.radius_m"),
    ("radius_m = 0.12 ", "radius_m = 120 ", "geometry.radius_m"),
    ("radius_m = 0.12 ", "radius_m = nan ", "geometry.radius_m"),
    ("radius_m = 0.12 ", 'radius_m = "12 cm" ', "geometry.radius_m"),
    ("track_m = 0.15", "width_m = 0.15", "geometry"),
    ("decel = 2.0", "decel = 0.0", "limits.decel"),
    ("decel = 2.0", "decel = -2.0", "limits.decel"),
    ("max_v = 0.5", "max_v = inf", "limits.max_v"),
    ("max_reverse_v = 0.15", "max_reverse_v = -0.15", "limits.max_reverse_v"),
    ("tick_s = 0.1", "tick_s = 0.0", "rates.tick_s"),
    ("tick_s = 0.1", "tick_s = 100", "rates.tick_s"),
    ("beams = 8", "beams = 8.5", "sensors.range.beams"),
    ("max_late_ticks = 3", "max_late_ticks = 0", "supervisor.max_late_ticks"),
    ("[rates]", "[rate]", "rate"),
    ('board = "sim"', 'board = "abacus"', "board"),
    ('board = "sim"', "board = 4", "board"),
    ('board = "sim"', "", "board"),
    ('name = "sim"', 'name = "../sim"', "name"),
]

CONTRADICTORY = [
    ("track_m = 0.15", "track_m = 0.5", "geometry.track_m"),
    ("wheel_radius_m = 0.033", "wheel_radius_m = 0.2", "geometry.wheel_radius_m"),
    ("max_reverse_v = 0.15", "max_reverse_v = 0.6", "limits.max_reverse_v"),
    ("decel = 2.0", "decel = 0.03", "limits.max_v"),
    ("tick_s = 0.1", "tick_s = 0.3", "supervisor.max_frame_age_s"),
    ("max_frozen_s = 0.35", "max_frozen_s = 0.05", "supervisor.max_frozen_s"),
    ("# geofence = [-5.0,", "geofence = [5.0,", "supervisor.geofence"),
]


@pytest.mark.parametrize(("old", "new", "key"), WRONG + CONTRADICTORY)
def test_a_wrong_value_is_refused_in_one_line_with_file_and_key(
    robot_file: Path, old: str, new: str, key: str
) -> None:
    load_robot(robot_file)  # control: before it is spoilt the file is good
    spoil(robot_file, old, new)
    with pytest.raises(BadInput) as refusal:
        load_robot(robot_file)
    line = str(refusal.value)
    assert line.startswith(f"{robot_file}: ")
    assert key in line.removeprefix(f"{robot_file}: ").partition(" (")[0]
    assert "\n" not in line


def test_a_mistake_in_the_board_file_names_the_board_file(robot_file: Path) -> None:
    board = robot_file.parent / "mine.toml"
    board.write_text('name = "mine"\ndescription = ""\n[engine]\nthreads = 0\n')
    spoil(robot_file, 'board = "sim"', 'board = "mine.toml"')
    with pytest.raises(BadInput, match=r"engine\.threads") as refusal:
        load_robot(robot_file)
    assert str(refusal.value).startswith(f"{board}: ")


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ('accelerator = "tpu"', "engine.accelerator: invalid enum value 'tpu'"),
        ('accelerator = "delegate"', "engine: accelerator 'delegate' does not run onnx graphs"),
        ('format = "tflite"\naccelerator = "delegate"', "engine: accelerator 'delegate' needs delegate ="),
        ('delegate = "libedgetpu.so.1"', "engine: delegate is only for accelerator 'delegate'"),
    ],
)
def test_an_accelerator_that_cannot_be_is_refused_in_one_line(tmp_path: Path, engine: str, says: str) -> None:
    board = tmp_path / "mine.toml"
    possible = 'format = "tflite"\naccelerator = "delegate"\ndelegate = "libedgetpu.so.1"'
    board.write_text(f'name = "mine"\ndescription = ""\n[engine]\n{possible}\n')
    assert load_board(board).engine.accelerated_by == "libedgetpu.so.1"  # the control
    board.write_text(f'name = "mine"\ndescription = ""\n[engine]\n{engine}\n')
    with pytest.raises(BadInput) as refusal:
        load_board(board)
    assert str(refusal.value).startswith(f"{board}: {says}")
    assert "\n" not in str(refusal.value)


def test_a_missing_file_a_folder_and_a_file_that_is_not_toml_are_refused(tmp_path: Path) -> None:
    prose = tmp_path / "prose.toml"
    prose.write_text("a robot with two wheels")
    noise = tmp_path / "noise.toml"
    noise.write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "missing.toml", tmp_path, prose, noise):
        with pytest.raises(BadInput, match="robot file") as refusal:
            load_robot(file)
        assert str(file) in str(refusal.value)


@given(st.text(max_size=200))
def test_any_text_is_refused_with_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("robot") / "robot.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refusal:
        load_robot(file)
    assert "\n" not in str(refusal.value)


def test_the_stopping_distance_is_reaction_plus_braking() -> None:
    robot = load_robot()
    assert robot.stopping_distance_m == pytest.approx(0.5 * 0.15 + 0.5**2 / (2 * 2.0))


# --- [bridge] and [drive] --------------------------------------------------------------------------------------------


def tables_in_docs() -> list[tuple[str, str]]:
    found = []
    for page in ("bridges.md", "pca9685.md", "mavlink.md"):
        text = (Path(__file__).parents[1] / "docs" / page).read_text()
        found += [
            (f"{page}-{i}", block) for i, block in enumerate(re.findall(r"```toml\n(.*?)```", text, re.S))
        ]
    return found


@pytest.mark.parametrize(("name", "block"), tables_in_docs(), ids=lambda value: value if "-" in value else "")
def test_what_the_pages_show_is_a_robot_file(robot_file: Path, name: str, block: str) -> None:
    text = robot_file.read_text()
    if "[bridge]" in block:
        text = text.replace('[bridge]\nkind = "sim"\n', "")
    if "backward_us" not in block and "esc" in block:
        text = text.replace("max_reverse_v = 0.15", "max_reverse_v = 0.0")
    robot_file.write_text(text + "\n" + block)
    robot = load_robot(robot_file)
    if "[bridge]" in block:
        bridge_of(robot, robot_file)  # can be made, and is not connected
    if "[drive]" in block:
        assert robot.drive is not None


DRIVE = """
[drive]
kind = "differential"
left = { full_speed = 0.7 }
right = { full_speed = 0.7 }
"""
CAR = """
[drive]
kind = "ackermann"
wheelbase_m = 0.2
max_angle = 0.4
motor = { full_speed = 2.0 }
"""
CHIP = """
[bridge]
kind = "pca9685"
bus = 1
"""
MOTORS = "pwm_hz = 1000\nleft = { forward = 1, backward = 0 }\nright = { forward = 2, backward = 3 }\n"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ('[bridge]\nkind = "canbus"\n', "bridge.kind: no driver for 'canbus'; there is sim, simavr, serial"),
        ('[bridge]\nkind = "sim"\n[drive]\nkind = "tracked"\n', "drive.kind: no driver for 'tracked'"),
        ('[bridge]\nkind = "serial"\nbuad = 9600\n', "bridge: object contains unknown field `buad`"),
        ('[bridge]\nkind = "mavlink"\n', "bridge: object missing required field `device`"),
        (
            '[bridge]\nkind = "serial"\ndevice = "ttyACM0"\n',
            "bridge.device: expected `str` matching regex '^/",
        ),
        (
            CHIP + 'output_enable = { chip = "gpiochip0", line = 17 }\n' + MOTORS + DRIVE,
            "bridge.output_enable.chip: expected `str` matching regex '^/",
        ),
        ('[bridge]\nkind = "serial"\n' + CAR, "drive.kind: the firmware drives two wheels side by side"),
        (
            '[bridge]\nkind = "serial"\n' + DRIVE.replace("0.7", "0.5"),
            "bridge: max_v 0.5 m/s is beyond 0.428571 m/s, six sevenths of the slower motor's full_speed",
        ),
        (
            '[bridge]\nkind = "serial"\n[bridge.firmware]\ndeadman_s = 0.6\n' + DRIVE,
            "bridge.firmware.deadman_s: expected `float` <= 0.5",
        ),
        (CHIP + MOTORS, "bridge: a PCA9685 needs left and right with a [drive] of kind 'differential'"),
        (CHIP + MOTORS + CAR, "bridge: a PCA9685 needs left and right"),
        (CHIP + MOTORS.replace("backward = 3", "backward = 1") + DRIVE, "bridge: channel 1 is used twice"),
        (
            CHIP + MOTORS.replace("backward = 3", "backward = 16") + DRIVE,
            "bridge.right.backward: expected `int` <= 15",
        ),
        (CHIP + MOTORS.replace("1000", "2000") + DRIVE, "bridge: pwm_hz is 2000"),
        (CHIP + "address = 0x70\n" + MOTORS + DRIVE, "bridge: address is 0x70"),
        (CHIP + "deadman_s = 0.1\n" + MOTORS + DRIVE, "bridge: deadman_s is 0.1: it must be"),
        (DRIVE.replace("0.7 }", "0.7, trim = 3.0 }"), "drive.left.trim: expected `float` <= 2.0"),
        (DRIVE.replace("0.7 }", "0.7, dead_zone = 1.0 }"), "drive.left.dead_zone: expected `float` < 1.0"),
    ],
)
def test_a_bridge_or_a_drive_that_cannot_be_is_refused(robot_file: Path, tables: str, said: str) -> None:
    text = robot_file.read_text()
    if "[bridge]" in tables:
        text = text.replace('[bridge]\nkind = "sim"\n', "")
    robot_file.write_text(text + tables)
    with pytest.raises(BadInput) as refused:
        load_robot(robot_file)
    assert f"{robot_file}: {said}" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["sim", "simavr"])
def test_a_simulated_robot_has_no_real_bridge(kind: str) -> None:
    file = shipped("boards", "robots", "sim.toml" if kind == "sim" else "sim-avr.toml")
    with pytest.raises(BadInput, match="the motors are simulated"):
        bridge_of(load_robot(file), file)


def test_a_recording_lies_beside_the_robot_file(robot_file: Path) -> None:
    spoil(robot_file, '[bridge]\nkind = "sim"', '[bridge]\nkind = "recorded"\nfile = "ticks.jsonl"')
    (robot_file.parent / "ticks.jsonl").write_text('{"command": [0.1, 0.0], "applied": [0.05, 0.0]}\n')
    bridge = bridge_of(load_robot(robot_file), robot_file)
    bridge.connect()
    bridge.arm()
    assert bridge.apply(Command(0.1, 0.0)) == Command(0.05, 0.0)
