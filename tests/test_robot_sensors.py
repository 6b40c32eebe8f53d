"""``[sensors]`` of a robot that is there: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from edge_wm.robot import load_robot
from edge_wm.robot_sensors import GstreamerTable, Picamera2Table, RealSensors, SimSensors, V4l2Table

EXAMPLE = shipped("boards", "robots", "rpi-picamera2.toml")


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    file = tmp_path / "robot.toml"
    file.write_text(EXAMPLE.read_text())
    return file


def amend(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"the robot file no longer has {old!r}"
    file.write_text(text.replace(old, new))


def test_the_example_has_a_sensor_of_each_kind() -> None:
    sensors = load_robot(EXAMPLE).sensors
    assert isinstance(sensors, RealSensors)
    assert isinstance(sensors.camera, Picamera2Table)
    assert sensors.range.beams == 8
    assert sensors.imu is not None
    assert sensors.wheels


def test_the_simulated_robot_keeps_its_sensors() -> None:
    assert isinstance(load_robot().sensors, SimSensors)


@pytest.mark.parametrize("kind", [V4l2Table, GstreamerTable])
def test_the_cameras_that_the_example_names_can_be_put_in_place_of_its_own(
    kind: type, robot_file: Path
) -> None:
    name = kind.__struct_config__.tag  # type: ignore[attr-defined]
    text = robot_file.read_text()
    lines = [line.removeprefix("# ").partition("  #")[0].rstrip() for line in text.splitlines()]
    chosen = lines[lines.index(f'kind = "{name}"') : lines.index(f'kind = "{name}"') + 2]
    amend(robot_file, 'kind = "picamera2"\nnumber = 0 ', "\n".join(chosen) + "\n")
    assert isinstance(load_robot(robot_file).sensors.camera, kind)


WRONG = [
    ('kind = "real"', 'kind = "imaginary"', "sensors.kind: no driver for 'imaginary'; there is sim, real"),
    (
        'kind = "picamera2"',
        'kind = "webcam"',
        "sensors.camera.kind: no driver for 'webcam'; there is picamera2,",
    ),
    *(
        (
            'kind = "picamera2"\nnumber = 0 ',
            f'kind = "v4l2"\ndevice = "{device}" ',
            "sensors.camera.device: expected `str` matching regex '^/",
        )
        for device in ("video0", "//dev/video0", "/", "")
    ),
    ('kind = "vl53l0x"', 'kind = "sonar"', "sensors.range"),
    ('kind = "mpu6050"', 'kind = "bno055"', "sensors.imu"),
    ("height = 48 ", "height = 0 ", "sensors.camera.height"),
    ("capture = [320, 240]", "capture = [320]", "sensors.camera.capture"),
    ("fps = 30", "fps = 0", "sensors.camera.fps"),
    ("fps = 30", "exposure = 1", "sensors.camera"),
    ("channels = [0, 1, 2, 3, 4, 5, 6, 7]", "channels = []", "sensors.range.channels"),
    ("channels = [0, 1, 2, 3, 4, 5, 6, 7]", "channels = [8]", "sensors.range.channels"),
    ("channels = [0, 1, 2, 3, 4, 5, 6, 7]", "channels = [0, 0]", "sensors.range.channels"),
    ("reach_m = 0.7 ", "reach_m = 4.0 ", "sensors.range.reach_m"),
    ('mounting = ["x", "y", "z"]', 'mounting = ["x", "up", "z"]', "sensors.imu.mounting"),
    ("fps = 30", "fps = 15", "sensors.camera.fps: 15 is too few for a tick of 0.1 s: 20 at least"),
    ("counts_per_turn = 1440", "counts_per_turn = 0", "sensors.wheels: this bridge measures no wheels"),
    ("reach_m = 0.7 ", "reach_m = 0.2 ", "limits.max_v"),
]


@pytest.mark.parametrize(("old", "new", "why"), WRONG)
def test_what_cannot_be_is_refused_in_one_line(robot_file: Path, old: str, new: str, why: str) -> None:
    load_robot(robot_file)  # control
    amend(robot_file, old, new)
    with pytest.raises(BadInput) as refused:
        load_robot(robot_file)
    line = str(refused.value)
    assert line.startswith(f"{robot_file}: {why}"), line
    assert "\n" not in line


def test_real_sensors_need_real_motors(robot_file: Path) -> None:
    text = robot_file.read_text()
    begin, end = text.index("[bridge]"), text.index("[drive]")
    robot_file.write_text(f'{text[:begin]}[bridge]\nkind = "sim"\n\n{text[end:]}')
    with pytest.raises(BadInput, match=r"bridge\.kind: simulated motors move only the simulated robot"):
        load_robot(robot_file)
