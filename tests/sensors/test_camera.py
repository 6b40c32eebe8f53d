"""The newest frame: what counts as one, what does not, and what happens when the camera fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock
from edge_wm.sensors.camera import Camera, Checks
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import Layout, Picture
from tests.sensors.fake_source import HEIGHT, WIDTH, FakeSource

DARK_ROOM, LAMP = (4, 30), 90


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def started(source: FakeSource) -> Iterator[Callable[..., Camera]]:
    """Starts a camera that has one frame."""
    cameras: list[Camera] = []

    def start(**options: object) -> Camera:
        camera = Camera(source, WIDTH, HEIGHT, MonotonicClock(), **options)  # type: ignore[arg-type]
        cameras.append(camera)
        first = threading.Thread(target=source.give, daemon=True)
        first.start()
        camera.start()
        first.join()
        return camera

    yield start
    source.hangs.clear()
    for camera in cameras:
        camera.close()


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- the newest frame ------------------------------------------------------------------------------------------------


def test_it_gives_the_newest_frame_at_once_and_the_same_until_there_is_another(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    image, now = source.image(), time.monotonic()
    source.give(image, now)
    for _ in range(3):
        began = time.monotonic()
        reading = camera.read()
        assert time.monotonic() - began < 0.5
        assert (reading.time, reading.sequence) == (now, 2)
        assert (reading.image == image).all()
    source.give()
    assert camera.read().sequence == 3


def test_who_sleeps_sees_the_newest_of_what_came_meanwhile(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    for _ in range(20):
        source.give()
    last = source.image()
    source.give(last)
    assert (camera.read().image == last).all()
    assert camera.read().sequence == 22


def test_a_frame_is_not_written_to_once_it_was_given(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    reading = started().read()
    before = reading.image.copy()
    for _ in range(5):
        source.give()
    assert (reading.image == before).all()
    with pytest.raises(ValueError, match="read-only"):
        reading.image[0, 0] = 1


def test_upside_down_is_turned(source: FakeSource, started: Callable[..., Camera]) -> None:
    camera = started(upside_down=True)
    image = source.image()
    source.give(image)
    assert (camera.read().image == image[::-1, ::-1]).all()


# --- frames that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "why"), [(0.0, "stands still"), (-1.0, "goes back"), (0.5, "ahead of time")]
)
def test_a_frame_of_another_time_is_none(
    seconds: float, why: str, source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    last = camera.read()
    source.give(time_s=last.time + seconds if seconds <= 0.0 else time.monotonic() + seconds)
    assert camera.read() is last
    assert why in camera.problem
    source.give()  # control: the next one with a time that can be is one
    assert camera.read().sequence == last.sequence + 1
    assert camera.problem == ""


def test_the_same_bytes_again_and_again_are_no_new_frames(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started(checks=Checks(frozen_frames=3))
    still = source.image()
    source.give(still)
    source.give(still)
    last = camera.read()
    assert last.sequence == 3  # twice the same may happen
    for _ in range(5):
        source.give(still)
    assert camera.read() is last
    assert camera.problem == "it is frozen: 7 frames with the same bytes"
    moved = still.copy()
    moved[0, 0, 0] ^= 1  # control: a single bit of noise
    source.give(moved)
    assert camera.read().sequence == last.sequence + 1


def test_a_camera_without_noise_may_show_the_same(source: FakeSource, started: Callable[..., Camera]) -> None:
    camera = started(checks=Checks(frozen_frames=0))
    still = source.image()
    for _ in range(20):
        source.give(still)
    assert camera.read().sequence == 21


@pytest.mark.parametrize(("low", "high", "colour"), [(0, 6, "black"), (250, 256, "white")])
def test_a_picture_of_nothing_is_no_new_frame_once_it_lasts(
    low: int, high: int, colour: str, source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started(checks=Checks(blind_s=0.2))
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        source.give(source.image(low, high))
    last = camera.read()
    assert last.time - began < 0.2
    assert f"it sees nothing: 100% of its pixels are {colour}" in camera.problem
    source.give()
    assert camera.read().sequence == last.sequence + 1
    assert camera.problem == ""


def test_a_flash_is_endured(source: FakeSource, started: Callable[..., Camera]) -> None:
    camera = started(checks=Checks(blind_s=0.3))
    for _ in range(3):
        began = time.monotonic()
        while time.monotonic() - began < 0.15:
            source.give(source.image(250, 256))
            assert camera.problem == ""
        source.give()


def test_a_dark_room_with_a_lamp_in_it_is_something(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started(checks=Checks(blind_s=0.1))
    now = began = time.monotonic()
    while now - began < 0.4:
        image = source.image(*DARK_ROOM)
        image[20:24, 30:40] = LAMP
        now = time.monotonic()
        source.give(image, now)
        assert camera.problem == ""
    assert camera.read().time == now


@pytest.mark.parametrize(
    "picture",
    [
        Picture(np.zeros(7, dtype=np.uint8), Layout.RGB, WIDTH, HEIGHT, 3 * WIDTH),
        Picture(np.zeros(7, dtype=np.uint8), Layout.JPEG, WIDTH, HEIGHT, 0),
    ],
    ids=["of the wrong size", "no JPEG"],
)
def test_a_frame_that_is_no_picture_is_none(
    picture: Picture, source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    last = camera.read()
    source.give_raw(Frame(time.monotonic(), picture))
    assert camera.read() is last
    assert "malformed" in camera.problem
    source.give()
    assert camera.read().sequence == last.sequence + 1


# --- a camera that fails ---------------------------------------------------------------------------------------------


def test_unplugged_it_keeps_the_last_frame_and_plugged_in_it_goes_on(
    source: FakeSource, started: Callable[..., Camera], caplog: pytest.LogCaptureFixture
) -> None:
    camera = started()
    last = camera.read()
    with caplog.at_level(logging.WARNING):
        source.plugged = False
        time.sleep(1.0)
        assert camera.read() is last
        assert "no such device" in camera.problem
        tries = source.opened
        assert 3 <= tries <= 7  # at once, and then less and less often
        source.plugged = True
        until(lambda: source.opened > tries)
        source.give()
    assert camera.read().sequence == last.sequence + 1
    assert camera.problem == ""
    said = [record.getMessage() for record in caplog.records]
    assert said == ["camera fake: it is gone: was it unplugged?", "camera fake: gives frames again"]


@pytest.mark.parametrize(
    "error", [CameraError("camera fake: it failed"), RuntimeError("a bug"), OSError(5, "I/O")]
)
def test_whatever_a_driver_raises_it_is_opened_again(
    error: Exception, source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    source.give_raw(error)
    until(lambda: source.opened == 2)
    source.give()
    assert camera.read().sequence == 2


def test_a_camera_that_says_nothing_is_opened_again(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    until(lambda: source.opened == 2, 3.0)
    assert "no frames" in camera.problem


def test_a_camera_that_takes_seconds_to_start_is_given_them(source: FakeSource) -> None:
    camera = Camera(source, WIDTH, HEIGHT, MonotonicClock())
    late = threading.Timer(2.0, source.give)
    late.start()
    camera.start()
    camera.close()
    assert source.opened == 1


def test_a_driver_that_hangs_holds_up_neither_the_reader_nor_the_end(
    source: FakeSource, started: Callable[..., Camera]
) -> None:
    camera = started()
    source.hangs.set()
    time.sleep(0.2)
    began = time.monotonic()
    reading = camera.read()
    assert time.monotonic() - began < 0.5
    assert time.monotonic() - reading.time > 0.2  # its age shows
    camera.close()
    assert time.monotonic() - began < 4.0


def test_a_camera_that_is_not_there_is_refused_at_once(
    source: FakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.plugged = False
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"^camera fake: there is no such device$"):
        Camera(source, WIDTH, HEIGHT, MonotonicClock()).start()
    assert time.monotonic() - began < 0.5
    assert caplog.records == []  # one line, and that is the error


def test_a_camera_without_a_first_frame_is_refused_in_time(
    source: FakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with pytest.raises(CameraError, match=r"^camera fake: it gives no frames$"):
        Camera(source, WIDTH, HEIGHT, MonotonicClock()).start(within_s=0.5)
    assert time.monotonic() - began < 1.5
    assert source.closed
    assert caplog.records == []


def test_a_driver_that_hangs_when_it_is_closed_holds_up_nobody(
    source: FakeSource, started: Callable[..., Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = started()
    hangs = threading.Event()
    monkeypatch.setattr(source, "close", lambda: hangs.wait(30.0))
    began = time.monotonic()
    camera.close()
    assert time.monotonic() - began < 4.0
    hangs.set()


def test_before_its_first_frame_there_is_nothing_to_read(source: FakeSource) -> None:
    with pytest.raises(CameraError, match="not started"):
        Camera(source, WIDTH, HEIGHT, MonotonicClock()).read()


def test_it_is_closed_once_and_for_all(source: FakeSource, started: Callable[..., Camera]) -> None:
    camera = started()
    camera.close()
    camera.close()
    assert source.closed >= 1
    assert not any(thread.name == "camera" for thread in threading.enumerate())
