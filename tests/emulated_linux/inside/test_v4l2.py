"""Cameras at ``/dev/video*`` of a real kernel: ``vivid``, its virtual webcam, gives test pictures, and breaks when it is told to."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock
from edge_wm.sensors import v4l2_interface as v4l2
from edge_wm.sensors.camera import Camera, Checks
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import fitted
from edge_wm.sensors.v4l2_camera import BUFFERS, LAYOUTS, V4l2Camera

DEVICE = "/dev/video0"
FPS = 25.0
BARS = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (0, 0, 0),
)
"""The colours of vivid's "75% Colorbar" from left to right."""
START_OF_EXPOSURE = 1


class QueryControl(ctypes.Structure):
    """``struct v4l2_queryctrl``."""

    _fields_ = (
        ("id", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
        ("limits", ctypes.c_int32 * 4),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


class Control(ctypes.Structure):
    """``struct v4l2_control``."""

    _fields_ = (("id", ctypes.c_uint32), ("value", ctypes.c_int32))


QUERYCTRL = 3 << 30 | ctypes.sizeof(QueryControl) << 16 | ord("V") << 8 | 36
S_CTRL = 3 << 30 | ctypes.sizeof(Control) << 16 | ord("V") << 8 | 28
NEXT = 0x80000000


class Vivid:
    """The controls of the virtual webcam, by their names."""

    def __init__(self) -> None:
        self.fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
        self.controls: dict[str, int] = {}
        query = QueryControl(id=NEXT)
        while True:
            try:
                v4l2.control(self.fd, QUERYCTRL, query)
            except OSError:
                break
            self.controls[query.name.decode()] = query.id
            query.id |= NEXT

    def set(self, name: str, value: int) -> None:
        v4l2.control(self.fd, S_CTRL, Control(self.controls[name], value))

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def vivid() -> Iterator[Vivid]:
    made = Vivid()
    made.set("Test Pattern", 0)
    made.set("OSD Text Mode", 2)
    made.set("Horizontal Movement", 3)  # it stands
    # Otherwise a frame is stamped with the moment at which it will have ended, and is given before that: from the future.
    made.set("Timestamp Source", START_OF_EXPOSURE)
    try:
        yield made
    finally:
        made.set("Percentage of Dropped Buffers", 0)
        made.close()


@pytest.fixture
def moving(vivid: Vivid) -> Vivid:
    """No two frames are the same."""
    vivid.set("Horizontal Movement", 4)
    return vivid


def driver(formats: tuple[int, ...] = tuple(LAYOUTS), device: str = DEVICE) -> V4l2Camera:
    return V4l2Camera(device, 640, 360, FPS, MonotonicClock(), formats)


@pytest.fixture
def source() -> Iterator[V4l2Camera]:
    source = driver()
    source.open()
    yield source
    source.close()


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera(driver(), 64, 36, MonotonicClock())
    yield camera
    camera.close()


def a_frame(source: V4l2Camera) -> Frame:
    for _ in range(50):
        frame = source.newest(0.2)
        if frame is not None:
            return frame
    raise AssertionError("no frame within 10 s")


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- what a frame is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RGB3", "BGR3", "YUYV", "NV12"])
def test_colours_are_the_same_in_every_format(vivid: Vivid, name: str) -> None:
    source = driver((v4l2.fourcc(name),))
    source.open()
    picture = a_frame(source).picture
    source.close()
    assert picture.layout is LAYOUTS[v4l2.fourcc(name)]
    row = fitted(picture, 64, 36)[18, 4::8]
    assert np.abs(row.astype(int) - BARS).max() <= 3, row.tolist()


def test_grey_is_the_brightness(vivid: Vivid) -> None:
    source = driver((v4l2.fourcc("GREY"),))
    source.open()
    row = fitted(a_frame(source).picture, 64, 36)[18, 4::8, 0]
    source.close()
    assert (np.diff(row.astype(int)) < 0).all()  # the bars get darker from left to right


def test_a_frame_has_the_moment_of_its_capture(moving: Vivid, source: V4l2Camera) -> None:
    ages = []
    for _ in range(10):
        frame = a_frame(source)
        ages.append(time.monotonic() - frame.time)
    assert min(ages) >= 0.0
    assert max(ages) < 2.0 / FPS


def test_who_comes_late_gets_the_newest_frame_and_none_twice(moving: Vivid, source: V4l2Camera) -> None:
    times = []
    for pause_s in (0.0, 0.5, 0.0, 0.2, 0.0):
        time.sleep(pause_s)
        times.append(a_frame(source).time)
        assert (
            time.monotonic() - times[-1] < pause_s + 2.0 / FPS
        )  # it may have waited in its buffer, and says so
    for _ in range(5):
        times.append(a_frame(source).time)
    assert time.monotonic() - times[-1] < 2.0 / FPS
    assert (np.diff(times) > 0.0).all()


def test_a_frame_that_waited_for_its_reader_shows_its_age(moving: Vivid, source: V4l2Camera) -> None:
    a_frame(source)
    time.sleep((BUFFERS + 2) / FPS)  # all buffers are full
    moving.set("Percentage of Dropped Buffers", 100)
    time.sleep(0.5)
    assert time.monotonic() - a_frame(source).time > 0.5


def test_a_camera_gives_a_slow_consumer_nothing_old(moving: Vivid, camera: Camera) -> None:
    camera.start()
    for pause_s in (0.0, 0.3, 1.0, 0.1):
        time.sleep(pause_s)
        assert time.monotonic() - camera.read().time < 3.0 / FPS


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("/dev/video99", "there is no such device: is the camera plugged in?"),
        ("/dev/null", "it is no video device"),
    ],
)
def test_what_is_no_camera_is_one_line(device: str, why: str) -> None:
    with pytest.raises(CameraError) as refused:
        driver(device=device).open()
    assert str(refused.value).startswith(f"camera {device}: {why}")
    assert "\n" not in str(refused.value)


def test_a_camera_without_a_format_that_can_be_read_is_refused(vivid: Vivid) -> None:
    with pytest.raises(CameraError, match=r"and none of MJPG, which can be read"):
        driver((v4l2.fourcc("MJPG"),)).open()


def test_a_camera_that_another_program_has_is_one_line(vivid: Vivid, source: V4l2Camera) -> None:
    with pytest.raises(CameraError, match="busy: another program has it"):
        driver().open()
    a_frame(source)  # who has it keeps it


@pytest.mark.parametrize("call", ["REQBUFS", "QBUF", "STREAMON"])
def test_a_driver_that_refuses_to_start_is_an_error_and_can_be_opened_again(vivid: Vivid, call: str) -> None:
    vivid.set(f"Inject VIDIOC_{call} Error", 1)
    source = driver()
    with pytest.raises(CameraError):
        source.open()
    source.open()  # it refuses once
    a_frame(source)
    source.close()


# --- what breaks while it runs ---------------------------------------------------------------------------------------


def test_a_frame_that_the_driver_calls_wrong_is_left_out(moving: Vivid, source: V4l2Camera) -> None:
    control = [a_frame(source).time for _ in range(4)]
    assert np.diff(control).max() < 1.5 / FPS
    before = a_frame(source).time
    moving.set("Inject V4L2_BUF_FLAG_ERROR", 1)
    times = [before, *(a_frame(source).time for _ in range(4))]
    assert 1.5 / FPS < np.diff(times).max() < 2.5 / FPS


def test_no_frames_take_no_longer_than_the_wait(moving: Vivid, source: V4l2Camera) -> None:
    moving.set("Percentage of Dropped Buffers", 100)
    while source.newest(0.2) is not None:
        pass  # those that were on their way
    began = time.monotonic()
    assert source.newest(0.1) is None
    assert 0.1 <= time.monotonic() - began < 0.2


def test_a_camera_that_goes_silent_keeps_its_last_frame_and_comes_back(moving: Vivid, camera: Camera) -> None:
    camera.start()
    moving.set("Percentage of Dropped Buffers", 100)
    time.sleep(0.3)
    last = camera.read()
    until(lambda: "no frames" in camera.problem)
    assert camera.read() is last
    moving.set("Percentage of Dropped Buffers", 0)
    until(lambda: camera.read() is not last)
    assert camera.read().sequence > last.sequence
    assert camera.problem == ""


def test_a_picture_that_stands_still_is_no_new_frame(vivid: Vivid, camera: Camera) -> None:
    camera.start()
    until(lambda: "frozen" in camera.problem)
    last = camera.read()
    time.sleep(0.3)
    assert camera.read() is last
    vivid.set("Horizontal Movement", 4)  # control: the same camera, and something moves
    until(lambda: camera.read() is not last)
    assert camera.problem == ""


def test_a_picture_may_stand_still_where_the_robot_file_says_so(vivid: Vivid) -> None:
    camera = Camera(driver(), 64, 36, MonotonicClock(), checks=Checks(frozen_frames=0))
    camera.start()
    time.sleep(1.0)
    assert time.monotonic() - camera.read().time < 3.0 / FPS
    camera.close()


def test_a_driver_that_stops_in_the_middle_is_started_again(moving: Vivid, camera: Camera) -> None:
    camera.start()
    last = camera.read()
    moving.set("Inject Fatal Streaming Error", 1)
    until(lambda: camera.problem != "" or camera.read().time > last.time + 1.0)
    until(lambda: camera.read().time > last.time + 1.0)
    assert camera.problem == ""


def test_unplugged_it_keeps_its_last_frame_and_plugged_in_it_goes_on(moving: Vivid, camera: Camera) -> None:
    camera.start()
    first = camera.read()
    moving.set("Disconnect", 1)
    until(lambda: camera.problem != "")
    assert "gone" in camera.problem or "no such device" in camera.problem, camera.problem
    last = camera.read()
    assert last.sequence >= first.sequence
    time.sleep(0.3)
    assert camera.read() is last
    moving.close()  # vivid is plugged in again when nobody has it open any more
    try:
        until(lambda: camera.read() is not last)
        assert camera.read().sequence == last.sequence + 1 or camera.read().time > last.time
        assert camera.problem == ""
    finally:
        moving.fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK)
