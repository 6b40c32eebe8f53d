"""A video or a folder of pictures in place of a camera."""

from __future__ import annotations

import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from edge_wm.clock import MonotonicClock, SimulatedClock
from edge_wm.sensors.camera import Camera, Checks
from edge_wm.sensors.files_camera import FilesCamera
from edge_wm.sensors.frame import CameraError, Frame

COUNT = 5


def shade(frame: Frame | None) -> int:
    """Which picture it is."""
    assert frame is not None
    return round(float(np.median(frame.picture.pixels)) / 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(COUNT):
        Image.new("RGB", (80, 60), (40 * number,) * 3).save(pictures / f"{number:03d}.png")
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


@pytest.fixture
def video(tmp_path: Path) -> Path:
    file = tmp_path / "drive.mp4"
    writer = imageio_ffmpeg.write_frames(str(file), (80, 64), fps=10, macro_block_size=16)
    writer.send(None)
    for number in range(COUNT):
        writer.send(np.full((64, 80, 3), 40 * number, dtype=np.uint8))
    writer.close()
    return file


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_its_pictures_come_in_order_at_their_rate_over_and_over(
    kind: str, request: pytest.FixtureRequest
) -> None:
    clock = SimulatedClock(100.0)
    source = FilesCamera(request.getfixturevalue(kind), 10.0, clock)
    source.open()
    frames = [source.newest(1.0) for _ in range(2 * COUNT + 1)]
    assert [shade(frame) for frame in frames] == [*range(COUNT), *range(COUNT), 0]
    times = [frame.time for frame in frames if frame is not None]
    assert times == pytest.approx([100.0 + 0.1 * number for number in range(2 * COUNT + 1)])
    source.close()


def test_who_comes_late_gets_the_newest_that_is_due(folder: Path) -> None:
    clock = SimulatedClock()
    source = FilesCamera(folder, 10.0, clock)
    source.open()
    assert shade(source.newest(0.0)) == 0
    clock.advance(0.35)
    frame = source.newest(0.0)
    assert frame is not None
    assert shade(frame) == 3
    assert frame.time == pytest.approx(0.3)
    assert source.newest(0.01) is None  # the next is due later
    assert clock.now() == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing.mp4", "there is no such file or folder"),
        ("empty", "no pictures in this folder"),
        ("text.mp4", "cannot be read"),
        ("broken", "cannot be read"),
    ],
)
def test_what_is_no_video_and_no_folder_of_pictures_is_one_line(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    camera = Camera(FilesCamera(tmp_path / name, 10.0, MonotonicClock()), 64, 48, MonotonicClock())
    began = time.monotonic()
    with pytest.raises(CameraError) as refused:
        camera.start()
    camera.close()
    assert time.monotonic() - began < 5.0
    assert str(refused.value).startswith(f"camera {tmp_path / name}: {why}")
    assert "\n" not in str(refused.value)


def test_a_camera_shows_it(folder: Path) -> None:
    camera = Camera(
        FilesCamera(folder, 50.0, MonotonicClock()), 64, 48, MonotonicClock(), checks=Checks(frozen_frames=0)
    )
    camera.start()
    first = camera.read()
    time.sleep(0.3)
    later = camera.read()
    camera.close()
    assert later.sequence > first.sequence + 5
    assert later.image.shape == (48, 64, 3)
