"""`edge-wm drive` with a robot that is not simulated: its own firmware at the end of a line, chips on a bus, pictures as a camera.

What is fake sits at the hardware's edge: the chips, the camera's pictures, and the motors behind the firmware.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_wm.cli import run
from edge_wm.clock import SimulatedClock
from edge_wm.control import loop
from edge_wm.drive import real
from edge_wm.paths import shipped
from firmware_bridge.link import TRIES, Link
from tests.blind_model import write_blind
from tests.firmware_bridge.boards import Board
from tests.firmware_bridge.conftest import host_program  # noqa: F401 - a fixture
from tests.sensors.chips import Bus, FakeMpu6050, FakeVl53l0x, Tca9548a

serial = pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")

FPS = 20
DECEL = 2.0
TICK_S = 0.1
SLOWNESS = 5
"""The firmware's clock, and with it the wheels, run so many times as slowly: this machine may have other work."""

ANSWER_S = 0.2
STILL_S = 3.0
"""From when on the camera is frozen, counted from its own start, a little before the drive."""

SENSORS = """\
[sensors]
kind = "real"
wheels = true

[sensors.camera]
kind = "files"
path = "pictures"
height = 48
width = 64
fps = 20
frozen_frames = 5

[sensors.range]
kind = "vl53l0x"
bus = 1
channels = [0, 1, 2, 3, 4, 5, 6, 7]
reach_m = 1.2
max_age_s = 2.0

[sensors.imu]
kind = "mpu6050"
bus = 1
max_age_s = 2.0
"""


class WallClock(SimulatedClock):
    """The machine's time; a transfer takes none."""

    def now(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        """It advances by itself."""


class Wires(Bus):
    """One transfer at a time, whichever thread asks for it."""

    def __init__(self, clock: SimulatedClock, *chips: Any) -> None:
        super().__init__(clock, *chips)
        self._turn = threading.RLock()

    def _addressed(self, address: int, count: int) -> Any:
        with self._turn:
            return super()._addressed(address, count)


def patient(line: Callable[..., Any]) -> Callable[..., Any]:
    """Lines that wait longer for who reads them."""
    return lambda *where, **settings: line(*where, **{**settings, "write_timeout": 1.0})


class Robot:
    """A robot on the bench.

    Attributes:
        file: its robot file.
        board: its firmware.
        bus: its chips.
    """

    def __init__(self, folder: Path, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.board = folder, board
        clock = WallClock()
        self.ring = [FakeVl53l0x(1.0, seed) for seed in range(8)]
        self.multiplexer = Tca9548a(dict(enumerate(self.ring)), clock)
        self.imu = FakeMpu6050()
        self.bus = Wires(clock, self.multiplexer, self.imu)
        monkeypatch.setattr(real, "LinuxBus", lambda number: self.bus)
        # The firmware's clock is slow, and it may have to wait for a processor.
        monkeypatch.setattr(Link.ask, "__defaults__", (ANSWER_S, TRIES))
        monkeypatch.setattr(serial, "Serial", patient(serial.Serial))
        text = shipped("boards", "robots", "sim-avr.toml").read_text()
        text, bridges = re.subn(
            r'kind = "simavr"\nfolder = .*', f'kind = "serial"\ndevice = "{board.device}"', text
        )
        text, sensors = re.subn(
            r'\[sensors\]\nkind = "sim".*?(?=\[bridge\])', SENSORS + "\n", text, flags=re.S
        )
        assert (bridges, sensors) == (1, 1)
        self.file = folder / "robot.toml"
        self.file.write_text(text)
        self.show(60)

    def show(self, moving: int, still: int = 0) -> None:
        """What the camera sees: so many pictures of noise, then so many times the same one."""
        pictures = self.folder / "pictures"
        pictures.mkdir(exist_ok=True)
        noise = np.random.default_rng(0)
        for old in pictures.iterdir():
            old.unlink()
        for number in range(moving):
            image = Image.fromarray(noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            image.save(pictures / f"{number:05d}.bmp")
        for number in range(moving, moving + still):
            os.link(pictures / f"{moving - 1:05d}.bmp", pictures / f"{number:05d}.bmp")

    def amend(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert text.count(old) == 1
        self.file.write_text(text.replace(old, new))

    def powers(self) -> list[tuple[int, int]]:
        """Permille of left and right motor, every time that they changed."""
        lines = [line.split() for line in list(self.board.said) if line.startswith("power")]
        return [(int(left), int(right)) for _, _, left, right in lines]


@pytest.fixture
def robot(tmp_path: Path, host_program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:  # noqa: F811
    board = Board(host_program, SLOWNESS)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):  # a robot's computer and its microcontroller wait for no other programs
        for process in (board.process.pid, 0):
            os.setpriority(os.PRIO_PROCESS, process, -10)
    yield Robot(tmp_path, board, monkeypatch)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before)
    board.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


@pytest.fixture
def drive(robot: Robot, model: Path, tmp_path: Path) -> Callable[..., int]:
    def driven(*words: str | Path) -> int:
        quiet = ["--no-view", "--no-pictures", "--runs", tmp_path / "runs", "--model", model]
        return run(["drive", "--robot", str(robot.file), *map(str, quiet), *map(str, words)])

    return driven


@pytest.fixture
def refused(tmp_path: Path, robot: Robot, capsys: pytest.CaptureFixture[str]) -> Callable[[int], str]:
    """Check that a command was refused in one line and nothing moved; return the line."""

    def check(exit_code: int) -> str:
        line = capsys.readouterr().err
        assert exit_code == 2, line
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert robot.powers() == []
        assert list((tmp_path / "runs").iterdir() if (tmp_path / "runs").exists() else ()) == []
        return line

    return check


def driven(tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The goal's result, and the rows of its ticks."""
    (folder,) = (tmp_path / "runs").iterdir()
    rows = [json.loads(line) for line in (folder / "ticks.jsonl").read_text().splitlines()]
    (result,) = json.loads((folder / "summary.json").read_text())["goal_results"]
    return result, rows


def stopped(robot: Robot, rows: list[dict[str, Any]], reasons: set[str]) -> dict[str, Any]:
    """Check that it drove, braked along its ramp for one of ``reasons`` and stood; return the tick at which it began to."""
    assert max(row["applied"][0] for row in rows) > 0.2  # control: it drove
    # The last time that it was stopped: a machine that stands still for a moment makes a frame stale, too.
    first = rows[max(n for n, row in enumerate(rows) if row["supervisor"] not in reasons) + 1]
    behind = rows[rows.index(first) :]
    assert all(
        later["applied"][0] <= max(0.0, earlier["applied"][0] - DECEL * TICK_S) + 1e-3
        for earlier, later in pairwise(behind)
    ), [row["applied"] for row in behind[:8]]
    assert behind[min(4, len(behind) - 1)]["applied"] == [0.0, 0.0]
    assert robot.powers()[-1] == (0, 0)  # the firmware's word
    return first


def test_it_drives_to_a_goal_ahead_of_it(robot: Robot, drive: Callable[..., int], tmp_path: Path) -> None:
    assert drive("--goal", "0.3,0") == 0
    result, rows = driven(tmp_path)
    assert (result["outcome"], result["reached"]) == ("reached", True)
    assert 0.1 < result["travelled_m"] < 0.3
    assert result["geodesic_m"] is result["min_clearance_m"] is result["collision"] is None
    assert all(row["true_pose"] is None for row in rows)
    assert max(left for left, _ in robot.powers()) > 100
    assert robot.powers()[-1] == (0, 0)
    ours = {"camera", "range ring", "gyroscope"}
    assert not [thread.name for thread in threading.enumerate() if thread.name in ours]


def test_nothing_of_the_simulator_is_loaded_for_it() -> None:
    program = "import sys, edge_wm.drive.run, edge_wm.drive.real, edge_wm.drive.pilot; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "edge_wm.drive.real" in loaded.split()
    assert not {"mujoco", "scipy", "PIL", "edge_wm.drive.simulated"} & set(loaded.split())


def test_a_camera_that_freezes_stops_it(
    robot: Robot, drive: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop, "GIVE_UP_S", 0.6
    )  # before the camera is opened again, from its first picture on
    robot.show(moving=round(STILL_S * FPS), still=60 * FPS)
    assert drive("--goal", "6,0") == 1
    result, rows = driven(tmp_path)
    assert result["outcome"] == "fault"
    assert "camera" in result["message"]
    assert "it is frozen" in result["message"]
    first = stopped(robot, rows, {"camera frame is stale", "camera is frozen"})
    # 5 frames until they count as frozen, then 0.25 s.
    assert first["time_s"] < STILL_S + 5 / FPS + 0.25 + 0.5


def test_a_frozen_camera_that_may_show_the_same_is_found_by_the_supervisor(
    robot: Robot, drive: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "GIVE_UP_S", 1.0)
    robot.amend("frozen_frames = 5", "frozen_frames = 0")
    robot.show(moving=round(STILL_S * FPS), still=60 * FPS)
    assert drive("--goal", "6,0") == 1
    first = stopped(robot, driven(tmp_path)[1], {"camera is frozen"})
    assert first["time_s"] < STILL_S + 0.4 + 0.5


def test_a_camera_that_recovers_lets_it_drive_on(
    robot: Robot, drive: Callable[..., int], tmp_path: Path
) -> None:
    robot.show(moving=2 * FPS, still=FPS)  # over and over
    assert drive("--goal", "0.6,0") == 0
    _, rows = driven(tmp_path)
    held = [row for row in rows if row["supervisor"] in ("camera frame is stale", "camera is frozen")]
    assert held
    assert max(row["applied"][0] for row in rows[rows.index(held[0]) :]) > 0.2


@pytest.mark.parametrize(
    ("part", "why"),
    [("multiplexer", "range ring: no reading"), ("imu", "gyroscope: no reading")],
)
def test_a_chip_that_dies_on_the_way_stops_it(
    part: str, why: str, robot: Robot, drive: Callable[..., int], tmp_path: Path
) -> None:
    def dies() -> None:
        getattr(robot, part).fault = errno.EREMOTEIO

    def when_it_drives() -> None:
        deadline = time.monotonic() + 30.0
        while not any(left > 100 for left, _ in robot.powers()) and time.monotonic() < deadline:
            time.sleep(0.01)
        dies()

    threading.Thread(target=when_it_drives, daemon=True).start()
    assert drive("--goal", "6,0") == 1
    result, _ = driven(tmp_path)
    assert result["outcome"] == "fault"
    assert why in result["message"]
    assert robot.powers()[-1] == (0, 0)


# --- what is refused before anything moves ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--goal", "1,0", "--fast"], "--fast is for the simulated robot"),
        (["--goal", "1,0", "--world", "room.xml"], "--world is for the simulated robot"),
        (["--goal", "1,0", "--start", "0,0,0"], "--start is for the simulated robot"),
        ([], "name the goal with --goal X,Y"),
    ],
)
def test_what_only_a_simulation_can_do_is_refused(
    words: list[str], why: str, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    assert why in refused(drive(*words))


def test_a_missing_camera_is_one_line(
    robot: Robot, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    robot.amend('kind = "files"\npath = "pictures"', 'kind = "v4l2"\ndevice = "/dev/video99"')
    line = refused(drive("--goal", "1,0"))
    assert "robot sim-avr: camera /dev/video99: there is no such device: is the camera plugged in?" in line


def test_a_missing_sensor_of_the_ring_is_one_line(
    robot: Robot, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    robot.ring[3].fault = errno.EREMOTEIO
    assert "beam 3 (channel 3)" in refused(drive("--goal", "1,0"))


def test_a_robot_that_is_carried_about_while_its_bias_is_measured_is_one_line(
    robot: Robot, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    robot.imu.shakes_dps = 20.0
    assert "let the robot stand" in refused(drive("--goal", "1,0"))


def test_no_board_at_the_port_is_one_line(
    robot: Robot, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    robot.amend(robot.board.device, "/dev/ttyNONE")
    assert "/dev/ttyNONE: no such port" in refused(drive("--goal", "1,0"))


@pytest.mark.parametrize(
    ("old", "new", "lacks"),
    [
        ("wheels = true", "wheels = false", "no wheel"),
        ('[sensors.imu]\nkind = "mpu6050"\nbus = 1\nmax_age_s = 2.0\n', "", "no gyro"),
        ("channels = [0, 1, 2, 3, 4, 5, 6, 7]", "channels = [0, 1, 2, 3]", "range"),
        ("height = 48", "height = 96", "camera"),
    ],
)
def test_a_model_that_needs_what_the_robot_has_not_is_refused(
    old: str, new: str, lacks: str, robot: Robot, drive: Callable[..., int], refused: Callable[[int], str]
) -> None:
    robot.amend(old, new)
    line = refused(drive("--goal", "1,0"))
    assert lacks in line
    assert "use a model made for these sensors" in line
