"""Cameras through GStreamer: its real pipelines, with test pictures in place of a Jetson's camera."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_wm.clock import MonotonicClock
from edge_wm.sensors.camera import Camera
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.gstreamer_camera import LAST_WORDS, GstreamerCamera
from edge_wm.sensors.gstreamer_process import HEADER, MAGIC
from edge_wm.sensors.picture import fitted

PYTHON = "/usr/bin/python3"
BINDINGS = "import gi; gi.require_version('GstVideo', '1.0'); from gi.repository import GstVideo"
LIVE = "videotestsrc is-live=true pattern={} ! video/x-raw,width=640,height=480,framerate=50/1 ! videoconvert ! videoscale"
A_FRAME = HEADER.pack(MAGIC, 1_000_000_000, 1, 1, 4, 4) + bytes(4)
NOISE, COLOURS = LIVE.format("snow"), LIVE.format("smpte75")


def has_gstreamer() -> bool:
    if not Path(PYTHON).is_file():
        return False
    return subprocess.run([PYTHON, "-c", BINDINGS], capture_output=True).returncode == 0


real = pytest.mark.skipif(
    not has_gstreamer(),
    reason="no GStreamer: run  sudo apt install python3-gst-1.0 gstreamer1.0-plugins-base",
)


@pytest.fixture
def opened() -> Iterator[Callable[..., GstreamerCamera]]:
    sources: list[GstreamerCamera] = []

    def open_camera(
        source: str, width: int = 320, height: int = 240, python: str = PYTHON
    ) -> GstreamerCamera:
        sources.append(GstreamerCamera(source, width, height, python))
        sources[-1].open()
        return sources[-1]

    yield open_camera
    for source in sources:
        source.close()


def a_frame(source: GstreamerCamera, seconds: float = 20.0) -> Frame:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = source.newest(0.1)
        if frame is not None:
            return frame
    raise AssertionError("no frame")


def program(tmp_path: Path, text: str) -> str:
    """An executable in place of Python, which GStreamer's process is started with."""
    file = tmp_path / "python"
    file.write_text(f"#!{sys.executable}\n{text}\n")
    file.chmod(0o755)
    return str(file)


@real
def test_colours_and_time_are_those_of_the_frame(opened: Callable[..., GstreamerCamera]) -> None:
    source = opened(COLOURS)
    a_frame(source)
    for _ in range(5):
        frame = a_frame(source)
        assert 0.0 <= time.monotonic() - frame.time < 0.3
    row = fitted(frame.picture, 64, 48)[16, 5::9].astype(int)
    bars = [
        (191, 191, 191),
        (191, 191, 0),
        (0, 191, 191),
        (0, 191, 0),
        (191, 0, 191),
        (191, 0, 0),
        (0, 0, 191),
    ]
    assert np.abs(row - bars).max() < 20, row.tolist()


@real
def test_who_comes_late_gets_the_newest_frame(opened: Callable[..., GstreamerCamera]) -> None:
    source = opened(NOISE, 64, 48)
    last = a_frame(source)
    time.sleep(3.0)
    frames = [a_frame(source) for _ in range(4)]
    times = [last.time, *(frame.time for frame in frames)]
    assert (np.diff(times) > 0.0).all()
    assert time.monotonic() - times[-1] < 1.5  # of a queue it would be one of three seconds ago


@real
def test_a_plugin_that_prints_spoils_no_frame(opened: Callable[..., GstreamerCamera]) -> None:
    """As nvarguscamerasrc does.  This one prints every byte of a frame, which is more than a pipe holds."""
    chatting = COLOURS.replace("! videoconvert", "! identity dump=true ! videoconvert")
    chatting = chatting.replace("width=640,height=480", "width=160,height=120")
    source = opened(chatting, 160, 120)
    for _ in range(5):
        assert fitted(a_frame(source).picture, 64, 48)[16, 5].tolist() == pytest.approx([191] * 3, abs=20)


@real
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nvarguscamerasrc sensor-id=0", 'no element "nvarguscamerasrc"'),
        ("v4l2src device=/dev/video99 ! videoconvert ! videoscale", "Cannot identify device '/dev/video99'."),
        ("videotestsrc num-buffers=1 ! videoconvert", "the stream has ended"),
        ("videotestsrc ! ! videoconvert", ""),
    ],
)
def test_a_pipeline_that_cannot_be_is_one_line(
    source: str, why: str, opened: Callable[..., GstreamerCamera]
) -> None:
    camera = opened(source)
    with pytest.raises(CameraError) as refused:
        while True:
            a_frame(camera)
    assert str(refused.value).startswith("camera (GStreamer): ")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@real
def test_a_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    source = GstreamerCamera(NOISE, 64, 48, PYTHON)
    camera = Camera(source, 64, 48, MonotonicClock())
    camera.start(within_s=20.0)
    assert source._process is not None
    last, killed = camera.read(), source._process.pid
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 20.0
    while camera.read().time < last.time + 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert camera.read().sequence > last.sequence
    assert source._process.pid != killed
    camera.close()


def test_without_gstreamer_it_says_how_to_get_it(
    opened: Callable[..., GstreamerCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    # This Python has no bindings: they are the system's.
    with pytest.raises(CameraError, match=r"sudo apt install python3-gst-1\.0"):
        a_frame(opened(NOISE, python=sys.executable))


def test_without_that_python_it_is_one_line() -> None:
    with pytest.raises(CameraError, match="/nowhere/python3 cannot be started: No such file"):
        GstreamerCamera(NOISE, 64, 48, "/nowhere/python3").open()


def test_a_process_that_hangs_takes_no_longer_than_the_wait_and_is_ended(
    tmp_path: Path, opened: Callable[..., GstreamerCamera]
) -> None:
    hangs = program(tmp_path, "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)")
    source = opened(NOISE, python=hangs)
    began = time.monotonic()
    assert source.newest(0.3) is None
    assert 0.3 <= time.monotonic() - began < 0.6
    process = source._process
    assert process is not None
    time.sleep(0.5)  # until it no longer hears SIGTERM
    source.close()
    assert process.poll() == -signal.SIGKILL


def test_what_a_process_says_beside_its_frames_never_makes_it_wait(
    tmp_path: Path, opened: Callable[..., GstreamerCamera]
) -> None:
    says = f"import sys, time; sys.stderr.write('a warning\\n' * 100_000); sys.stdout.buffer.write({A_FRAME!r}); sys.stdout.flush(); time.sleep(60)"
    source = opened(NOISE, python=program(tmp_path, says))
    assert a_frame(source).time == 1.0
    assert 0 < len(source._said) <= LAST_WORDS


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("CONSUMER: runs\nedge-wm: the stream has ended\nCONSUMER: Done Success\n", "the stream has ended"),
        ("CONSUMER: ruedge-wm: the stream has ended\nns\n", "the stream has ended"),
        ("Traceback:\nIndexError: what\n", "IndexError: what"),
        ("", "its process has ended, exit code 3"),
    ],
)
def test_why_a_process_has_ended_is_found_among_what_plugins_say(
    said: str, why: str, tmp_path: Path, opened: Callable[..., GstreamerCamera]
) -> None:
    ends = program(tmp_path, f"import sys; sys.stderr.write({said!r}); sys.exit(3)")
    with pytest.raises(CameraError) as ended:
        a_frame(opened(NOISE, python=ends))
    assert str(ended.value) == f"camera (GStreamer): {why}"


def test_a_process_that_writes_something_else_is_not_believed(
    tmp_path: Path, opened: Callable[..., GstreamerCamera]
) -> None:
    writes = program(
        tmp_path, "import sys, time; sys.stdout.write('x' * 1000); sys.stdout.flush(); time.sleep(60)"
    )
    with pytest.raises(CameraError, match="something else than frames"):
        a_frame(opened(NOISE, python=writes))
