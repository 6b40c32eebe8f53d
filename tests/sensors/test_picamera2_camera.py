"""Raspberry Pi cameras: bytes, strides, time stamps and faults, over a fake of picamera2's surface."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock
from edge_wm.sensors.camera import Camera
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picamera2_camera import Picamera2Camera, SensorClock
from edge_wm.sensors.picture import Layout, fitted
from tests.sensors.fake_picamera2 import Bench

RED, GREEN, BLUE = (250, 10, 20), (10, 240, 20), (30, 20, 230)


def stripes(number: int, width: int, height: int) -> np.ndarray:
    """Red, green and blue from left to right, with a little that differs from frame to frame."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    for part, colour in enumerate((RED, GREEN, BLUE)):
        image[:, part * width // 3 : (part + 1) * width // 3] = colour
    image[0, 0] = number % 256
    return image


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setitem(sys.modules, "picamera2", bench.module())
    return bench


@pytest.fixture
def source(bench: Bench) -> Iterator[Picamera2Camera]:
    source = Picamera2Camera(0, 300, 240, 100.0)  # 900 bytes a row, which is not a multiple of 64
    yield source
    source.close()


def a_frame(source: Picamera2Camera) -> Frame:
    frame = source.newest(2.0)
    assert frame is not None
    return frame


def test_colours_and_rows_arrive_as_they_are(bench: Bench, source: Picamera2Camera) -> None:
    bench.scene = stripes
    source.open()
    picture = a_frame(source).picture
    assert (picture.width, picture.height, picture.stride) == (300, 240, 960)
    small = fitted(picture, 30, 24)
    assert small[12, (4, 14, 24)].tolist() == [list(RED), list(GREEN), list(BLUE)]


def test_a_stream_in_another_order_of_bytes_has_the_same_colours(
    bench: Bench, source: Picamera2Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.scene = stripes
    for name, layout in (
        ("RGB888", Layout.BGR),
        ("XRGB8888", Layout.BGRX),
        ("XBGR8888", Layout.RGBX),
    ):
        monkeypatch.setattr("edge_wm.sensors.picamera2_camera.FORMAT", name)
        source.open()
        picture = a_frame(source).picture
        source.close()
        assert picture.layout is layout
        assert fitted(picture, 30, 24)[12, 4].tolist() == list(RED)
        # control: read in the wrong order, red is blue
        wrong = Layout.RGB if layout is Layout.BGR else Layout.RGBX if layout is Layout.BGRX else Layout.BGRX
        assert fitted(picture._replace(layout=wrong), 30, 24)[12, 4].tolist() == list(RED[::-1])


def test_a_frame_has_the_moment_of_its_capture(bench: Bench, source: Picamera2Camera) -> None:
    bench.age_s = 0.07
    source.open()
    frame = a_frame(source)
    assert 0.07 <= time.monotonic() - frame.time < 0.07 + 0.2


@pytest.mark.parametrize("of_boottime", [False, True])
def test_a_machine_that_has_slept_gives_the_same_moment(
    of_boottime: bool, bench: Bench, source: Picamera2Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_ns = 3_600_000_000_000
    real = time.clock_gettime_ns
    monkeypatch.setattr(
        time, "clock_gettime_ns", lambda c: real(time.CLOCK_MONOTONIC) + slept_ns * (c == time.CLOCK_BOOTTIME)
    )
    bench.timestamp_ns = lambda: time.clock_gettime_ns(
        time.CLOCK_BOOTTIME if of_boottime else time.CLOCK_MONOTONIC
    )
    source.open()
    assert 0.0 < time.monotonic() - a_frame(source).time < 1.0


def test_it_stays_with_the_clock_that_the_first_frame_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: time.monotonic_ns() + 10**12)
    clock = SensorClock()
    now = time.monotonic_ns()
    assert clock.monotonic(now) == now / 1e9
    # A frame of the future is of the future then, and not taken for one of the past by the other clock.
    assert clock.monotonic(now + 5 * 10**11) == (now + 5 * 10**11) / 1e9


def test_who_comes_late_gets_the_newest_frame(bench: Bench, source: Picamera2Camera) -> None:
    source.open()
    a_frame(source)
    time.sleep(0.3)  # thirty frames
    assert time.monotonic() - a_frame(source).time < 0.02 + 0.2
    control = a_frame(source)  # and none twice
    assert a_frame(source).time > control.time


def test_no_camera_is_one_line(bench: Bench, source: Picamera2Camera) -> None:
    bench.plugged = False
    with pytest.raises(CameraError, match=r"^camera 0: not found; there is none: look at its ribbon cable"):
        source.open()


def test_a_camera_that_another_program_has_is_one_line(bench: Bench, source: Picamera2Camera) -> None:
    other = Picamera2Camera(0, 320, 240, 30.0)
    other.open()
    with pytest.raises(CameraError, match=r"^camera 0: Camera __init__ sequence did not complete\.$"):
        source.open()
    other.close()
    source.open()  # control: it was the other's


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="sudo apt install python3-picamera2"):
        Picamera2Camera(0, 320, 240, 30.0).open()


def test_a_frame_without_a_time_stamp_is_a_fault_and_does_not_end_its_thread(
    bench: Bench, source: Picamera2Camera
) -> None:
    bench.metadata = {"SensorTimestamp": None}
    source.open()
    with pytest.raises(CameraError, match="a frame cannot be read: KeyError"):
        source.newest(2.0)
    bench.metadata = {}
    time.sleep(0.1)
    assert source.newest(2.0) is not None


def test_a_loose_cable_leaves_the_last_frame_and_the_camera_comes_back(bench: Bench) -> None:
    camera = Camera(Picamera2Camera(0, 320, 240, 100.0), 64, 48, MonotonicClock())
    camera.start()
    try:
        bench.silent = True
        time.sleep(0.5)  # what was on its way has come
        last = camera.read()
        until = time.monotonic() + 10.0
        while len(bench.made) < 2 and time.monotonic() < until:  # it is closed and opened again
            time.sleep(0.01)
        assert len(bench.made) >= 2
        assert camera.read() is last
        assert "no frames" in camera.problem
        bench.silent = False
        until = time.monotonic() + 5.0
        while camera.read() is last and time.monotonic() < until:
            time.sleep(0.01)
        assert camera.read().sequence > last.sequence
        assert camera.read().time > last.time
        assert camera.problem == ""
    finally:
        camera.close()
    assert not any(made.is_open for made in bench.made)
