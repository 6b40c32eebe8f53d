"""A camera's driver in a test's hands."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import Layout, Picture

WIDTH, HEIGHT = 64, 48


def picture_of(image: np.ndarray) -> Picture:
    height, width, _ = image.shape
    return Picture(image.reshape(-1), Layout.RGB, width, height, 3 * width)


class FakeSource:
    """See ``FrameSource``.  It gives what the test gives it, or noise by itself.

    Attributes:
        plugged: without it, opening and reading fail.
        hangs: reading does not return until it is cleared.
        opened, closed: how often.
    """

    name = "camera fake"

    def __init__(self) -> None:
        self.plugged, self.opened, self.closed = True, 0, 0
        self.hangs = threading.Event()
        self.frames: deque[Frame | Exception] = deque()
        self._noise = np.random.default_rng(0)
        self._came = threading.Condition()
        self._asked = 0

    def image(self, low: int = 0, high: int = 256) -> np.ndarray:
        return self._noise.integers(low, high, (HEIGHT, WIDTH, 3), dtype=np.uint8)

    def give(self, image: np.ndarray | None = None, time_s: float | None = None) -> None:
        """One frame, and wait until it was looked at."""
        frame = Frame(
            time.monotonic() if time_s is None else time_s,
            picture_of(self.image() if image is None else image),
        )
        self.give_raw(frame)

    def give_raw(self, frame: Frame | Exception) -> None:
        with self._came:
            self.frames.append(frame)
            self._came.notify_all()
            assert self._came.wait_for(lambda: not self.frames, 10.0)
            asked = self._asked
            assert self._came.wait_for(
                lambda: self._asked > asked, 10.0
            )  # done with it, it asks for the next

    def open(self) -> None:
        self.opened += 1
        if not self.plugged:
            raise CameraError(f"{self.name}: there is no such device")

    def newest(self, wait_s: float) -> Frame | None:
        while self.hangs.is_set():
            time.sleep(0.01)
        with self._came:
            self._asked += 1
            self._came.notify_all()
        if not self.plugged:
            raise CameraError(f"{self.name}: it is gone: was it unplugged?")
        with self._came:
            self._came.wait_for(lambda: bool(self.frames), wait_s)
            if not self.frames:
                return None
            frame = self.frames.popleft()
            self._came.notify_all()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def close(self) -> None:
        self.closed += 1
