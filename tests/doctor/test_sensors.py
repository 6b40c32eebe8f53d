"""What the doctor finds of a camera, and of chips that do not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock
from edge_wm.doctor import sensors as module
from edge_wm.doctor.finding import Finding, Level
from edge_wm.doctor.sensors import camera, sensors
from edge_wm.paths import shipped
from edge_wm.robot import load_robot
from edge_wm.sensors.camera import Camera
from tests.sensors.fake_source import HEIGHT, WIDTH, FakeSource

ROBOT = load_robot()
LOOK_S = 0.6


@contextmanager
def giving(source: FakeSource, every_s: float, low: int = 0, high: int = 256) -> Iterator[None]:
    """Frames of noise, until the block ends or nobody takes them."""
    ending = threading.Event()

    def give() -> None:
        while not ending.wait(every_s):
            try:
                source.give(source.image(low, high))
            except AssertionError:
                return

    thread = threading.Thread(target=give, daemon=True)
    thread.start()
    yield
    ending.set()


def examined(source: FakeSource, monkeypatch: pytest.MonkeyPatch, look_s: float = LOOK_S) -> Finding:
    monkeypatch.setattr(module, "LOOK_S", look_s)
    clock = MonotonicClock()
    return camera(Camera(source, WIDTH, HEIGHT, clock), ROBOT, clock)


def test_a_camera_that_is_quick_enough_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    with giving(source, 0.02):
        finding = examined(source, monkeypatch, look_s=3.0)  # a machine may stand still for a moment
    assert finding.level is Level.OK, finding.said
    assert "the robot ticks 10 times" in finding.said
    assert source.closed >= 1, "it lets go of the camera"


def test_a_camera_that_is_not_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    source.plugged = False
    finding = examined(source, monkeypatch)
    assert finding.level is Level.ERROR
    assert "plugged in" in finding.remedy


def test_a_camera_that_is_too_slow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    with giving(source, 0.19):
        finding = examined(source, monkeypatch)
    assert finding.level is not Level.OK
    assert finding.remedy


def test_a_camera_that_sees_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FakeSource()
    with giving(source, 0.02):
        monkeypatch.setattr(source, "image", dark_after(source, time.monotonic() + 0.25))
        finding = examined(source, monkeypatch)
    assert finding.level is Level.ERROR
    assert "sees nothing" in finding.said


def dark_after(source: FakeSource, moment: float) -> Callable[[int, int], np.ndarray]:
    image = source.image

    def images(low: int = 0, high: int = 256) -> np.ndarray:
        return image(0, 5) if time.monotonic() > moment else image(low, high)

    return images


def test_a_robot_whose_camera_is_not_there_has_that_finding_and_no_other() -> None:
    file = shipped("boards", "robots", "rpi-picamera2.toml")
    (finding,) = sensors(load_robot(file), file)
    assert (finding.check, finding.level) == ("camera", Level.ERROR)


def test_simulated_sensors_are_not_looked_at(tmp_path: Path) -> None:
    assert list(sensors(ROBOT, tmp_path / "robot.toml")) == []
