"""A video, or a folder of pictures, in place of a camera: over and over again, at a camera's rate.

A frame is stamped with the moment at which it is due.  Who comes late gets the newest that is due, as from a camera.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from edge_wm.clock import Clock
from edge_wm.errors import MissingExtra, one_line
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import Layout, Picture

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")


class FilesCamera:
    """See ``FrameSource``.

    Args:
        path: of a video, or of a folder of pictures, which come in the order of their names.
        fps: frames a second; a video of another rate is played faster or slower.
        clock: the loop's.
    """

    def __init__(self, path: Path, fps: float, clock: Clock) -> None:
        self._path, self._period_s, self._clock = path, 1.0 / fps, clock
        self._pictures: Generator[Picture, None, None] | None = None
        self._began, self._given = 0.0, 0

    @property
    def name(self) -> str:
        """See ``FrameSource.name``."""
        return f"camera {self._path}"

    def open(self) -> None:
        """See ``FrameSource.open``."""
        self.close()
        if not self._path.exists():
            raise CameraError(f"{self.name}: there is no such file or folder")
        if self._path.is_dir() and not _pictures_in(self._path):
            raise CameraError(f"{self.name}: no pictures in this folder; they are {', '.join(PICTURES)}")
        self._pictures = self._over_and_over()
        self._began, self._given = self._clock.now(), 0

    def newest(self, wait_s: float) -> Frame | None:
        """See ``FrameSource.newest``."""
        if self._pictures is None:
            raise CameraError(f"{self.name}: not open")
        now = self._clock.now()
        due = self._due(self._given)
        if due > now:
            self._clock.sleep_until(min(due, now + wait_s))
            if due > self._clock.now():
                return None
        newest = max(self._given, math.floor((self._clock.now() - self._began) / self._period_s))
        picture = next(self._pictures)
        for _ in range(newest - self._given):
            picture = next(self._pictures)
        self._given = newest + 1
        return Frame(self._due(newest), picture)

    def close(self) -> None:
        """See ``FrameSource.close``."""
        pictures, self._pictures = self._pictures, None
        if pictures is not None:
            with suppress(Exception):
                pictures.close()  # a video's process ends with it

    def _due(self, number: int) -> float:
        return self._began + number * self._period_s

    def _over_and_over(self) -> Generator[Picture, None, None]:
        try:
            while True:
                yield from (_of_folder if self._path.is_dir() else _of_video)(self._path)
        except (
            OSError,
            RuntimeError,
            SyntaxError,
            ValueError,
        ) as error:  # what Pillow and ffmpeg's wrapper raise
            raise CameraError(f"{self.name}: cannot be read: {one_line(str(error))}") from error


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def _of_folder(folder: Path) -> Generator[Picture, None, None]:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("Pillow", "camera") from None
    files = _pictures_in(folder)
    if not files:
        raise ValueError("no pictures any more")
    for file in files:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        rows, columns, _ = pixels.shape
        yield Picture(pixels.reshape(-1), Layout.RGB, columns, rows, 3 * columns)


def _of_video(file: Path) -> Generator[Picture, None, None]:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise MissingExtra("imageio-ffmpeg", "camera") from None
    frames: Any = imageio_ffmpeg.read_frames(str(file), pix_fmt="rgb24")
    width, height = next(frames)["size"]
    count = 0
    for frame in frames:
        count += 1
        yield Picture(np.frombuffer(frame, dtype=np.uint8), Layout.RGB, width, height, 3 * width)
    if count == 0:
        raise ValueError("no frames in this video")
