"""What the doctor finds of a camera, and of chips."""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_wm.clock import MonotonicClock, SimulatedClock
from edge_wm.doctor import sensors as module
from edge_wm.doctor.finding import Finding, Level, ok
from edge_wm.doctor.sensors import camera, chips, sensors
from edge_wm.drive import real
from edge_wm.robot import Robot, load_robot
from edge_wm.robot_sensors import FilesTable, Mpu6050Table, RealSensors, Vl53l0xTable
from edge_wm.sensors.camera import Camera
from edge_wm.sensors.cameras import camera_of
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import Layout, Picture
from firmware_bridge.i2c import I2cError
from tests.sensors.chips import Bus, FakeMpu6050, FakeVl53l0x, Tca9548a
from tests.sensors.fake_source import HEIGHT, WIDTH, FakeSource, picture_of

ROBOT = load_robot()
LOOK_S = 2.0


class Paced(FakeSource):
    """A camera that gives frames by itself.

    Args:
        every_s: from one to the next.
        age_s: of a frame when it is given.
        later: what it sees from a quarter of the look on; noise until then, and without it.
    """

    def __init__(
        self, every_s: float = 0.02, age_s: float = 0.0, later: Callable[[], np.ndarray] | None = None
    ) -> None:
        super().__init__()
        self._every_s, self._age_s = every_s, age_s
        self._later, self._moment = later, time.monotonic() + LOOK_S / 4

    def newest(self, wait_s: float) -> Frame:
        time.sleep(self._every_s)
        now = time.monotonic()
        seen = self._later if self._later is not None and now > self._moment else self.image
        return Frame(now - self._age_s, picture_of(seen()))


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", LOOK_S)


def examined(source: FakeSource, robot: Robot = ROBOT) -> Finding:
    clock = MonotonicClock()
    return camera(Camera(source, WIDTH, HEIGHT, clock), robot, clock)


def test_a_camera_that_is_quick_enough_is_well() -> None:
    source = Paced()
    patient = msgspec.structs.replace(ROBOT.supervisor, max_frame_age_s=5.0)  # this machine may stand still
    finding = examined(source, msgspec.structs.replace(ROBOT, supervisor=patient))
    assert finding.level is Level.OK, finding.said
    assert "the robot ticks 10 times" in finding.said
    assert source.closed >= 1, "it lets go of the camera"


def test_a_camera_that_is_not_there_is_found() -> None:
    source = FakeSource()
    source.plugged = False
    finding = examined(source)
    assert finding.level is Level.ERROR
    assert "plugged in" in finding.remedy


def test_a_camera_that_is_too_slow_is_found() -> None:
    finding = examined(Paced(every_s=0.19))
    assert finding.level is not Level.OK
    assert finding.remedy


def test_a_camera_that_sees_nothing_is_found() -> None:
    noise = FakeSource()
    finding = examined(Paced(later=lambda: noise.image(0, 5)))
    assert finding.level is Level.ERROR
    assert "sees nothing" in finding.said
    assert "look at what it sees" in finding.remedy


def test_a_camera_that_is_frozen_is_found() -> None:
    last = FakeSource().image()
    finding = examined(Paced(later=lambda: last))
    assert finding.level is Level.ERROR
    assert "it is frozen" in finding.said


def test_a_camera_whose_frames_are_too_old_is_found() -> None:
    """As behind a long queue: there are enough of them, and each is good."""
    finding = examined(Paced(age_s=2.0 * ROBOT.supervisor.max_frame_age_s))
    assert finding.level is Level.ERROR
    assert "the oldest " in finding.said
    assert "the supervisor would stop the robot" in finding.remedy


@pytest.mark.parametrize("pip", [True, False])
@pytest.mark.parametrize(
    ("module_name", "file", "library"),
    [
        ("PIL", "picture.png", "Pillow"),
        ("imageio_ffmpeg", "video.mp4", "imageio-ffmpeg"),
        ("PIL", "", "Pillow"),
    ],
)
def test_a_camera_that_needs_a_library_has_the_command_that_installs_it_here(
    module_name: str, file: str, library: str, pip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder of pictures, of a video, and of a camera that gives JPEGs."""
    clock = MonotonicClock()
    monkeypatch.setitem(sys.modules, module_name, None)
    if not pip:  # as in an environment that uv has made
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if file:
        (tmp_path / "seen").mkdir()
        (tmp_path / "seen" / file).touch()
        path = "seen" if library == "Pillow" else f"seen/{file}"
        of = camera_of(FilesTable(height=HEIGHT, width=WIDTH, path=path), tmp_path, clock)
    else:
        of = Camera(Jpegs(), WIDTH, HEIGHT, clock)
    finding = camera(of, ROBOT, clock)
    assert finding.level is Level.ERROR
    assert f"{library} is not installed" in finding.said
    installer = f"{sys.executable} -m pip install" if pip else f"uv pip install --python {sys.executable}"
    assert finding.remedy == f"{installer} 'edge-wm[camera]'"


class Jpegs(FakeSource):
    """A camera whose frames come compressed, as of many USB cameras."""

    def newest(self, wait_s: float) -> Frame:
        return Frame(time.monotonic(), Picture(self.image().reshape(-1), Layout.JPEG, WIDTH, HEIGHT, 0))


def test_a_camera_that_is_another_program_s_has_the_command_that_ends_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = FakeSource()
    monkeypatch.setattr(source, "open", refuses)
    assert examined(source).remedy.startswith("sudo systemctl stop edge-wm")


def refuses() -> None:
    raise CameraError("camera fake: busy: another program has it")


# --- chips -----------------------------------------------------------------------------------------------------------

SENSORS = RealSensors(
    FilesTable(height=HEIGHT, width=WIDTH, path="nowhere"),
    Vl53l0xTable(1, tuple(range(8)), 1.2),
    Mpu6050Table(1),
)


class Chips:
    """A ring and a gyroscope on one bus."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.ring = [FakeVl53l0x(1.0, seed) for seed in range(8)]
        self.multiplexer = Tca9548a(dict(enumerate(self.ring)), self.clock)
        self.imu = FakeMpu6050()
        self.bus = Bus(self.clock, self.multiplexer, self.imu)

    def examined(self, of: RealSensors = SENSORS) -> Finding:
        return chips(of, ROBOT.rates.tick_s, self.clock)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Chips:
    bench = Chips()
    monkeypatch.setattr(real, "LinuxBus", lambda number: bench.bus)
    return bench


def test_chips_that_answer_are_well(bench: Chips) -> None:
    finding = bench.examined()
    assert (finding.level, finding.remedy) == (Level.OK, "")
    assert re.fullmatch(r"8 of 8 distances, turning at -?0\.\d{3} rad/s", finding.said)


def test_a_robot_without_a_gyroscope_needs_none(bench: Chips) -> None:
    bench.imu.fault = errno.EREMOTEIO
    assert bench.examined(RealSensors(SENSORS.camera, SENSORS.range)) == ok("sensors", "8 of 8 distances")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda bench: bench.ring[3], ["range ring, beam 3 (channel 3)"]),
        (lambda bench: bench.multiplexer, ["range ring, multiplexer"]),
        (lambda bench: bench.imu, ["MPU-6050 0x68"]),
    ],
)
def test_a_chip_that_does_not_answer_is_found(
    spoil: Callable[[Chips], FakeMpu6050], said: list[str], bench: Chips
) -> None:
    spoil(bench).fault = errno.EREMOTEIO
    finding = bench.examined()
    assert (finding.check, finding.level) == ("sensors", Level.ERROR)
    assert [problem.split(": ")[0] for problem in finding.said.split("; ")] == said
    assert "nothing answers there" in finding.said


def test_of_two_chips_that_do_not_answer_both_are_named(bench: Chips) -> None:
    bench.ring[3].fault = bench.imu.fault = errno.EREMOTEIO
    said = bench.examined().said
    assert "beam 3 (channel 3)" in said
    assert "MPU-6050 0x68" in said


def test_a_robot_that_is_carried_about_is_found(bench: Chips) -> None:
    bench.imu.shakes_dps = 20.0
    assert "let the robot stand" in bench.examined().said


def test_a_bus_that_cannot_be_opened_is_said_once(bench: Chips, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(number: int) -> Bus:
        raise I2cError("no I2C without smbus2: run  pip install 'edge-wm[i2c]'")

    monkeypatch.setattr(real, "LinuxBus", refused)
    finding = bench.examined()
    assert finding.said.count("smbus2") == 1
    assert finding.remedy == f"{sys.executable} -m pip install 'edge-wm[i2c]'"


def test_chips_are_looked_at_also_where_there_is_no_camera(bench: Chips, tmp_path: Path) -> None:
    robot = msgspec.structs.replace(ROBOT, sensors=SENSORS)
    seen, found = sensors(robot, tmp_path / "robot.toml")
    assert (seen.check, seen.level) == ("camera", Level.ERROR)
    assert (found.check, found.level) == ("sensors", Level.OK)


def test_simulated_sensors_are_not_looked_at(tmp_path: Path) -> None:
    assert list(sensors(ROBOT, tmp_path / "robot.toml")) == []
