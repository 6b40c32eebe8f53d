"""A camera of a Raspberry Pi through picamera2, which is a package of Raspberry Pi OS.

What is used of it, as its source has it (raspberrypi/picamera2, ``picamera2/picamera2.py`` and ``request.py``):

- ``post_callback`` is called in its own thread for every frame.  ``capture_request`` is not used: after a time-out its job stays in a
  queue, and what that gets later is never given back to the camera.
- Its names of formats are those of the kernel's DRM, for which the first letter is the highest byte: "BGR888" is R, G, B in memory.
- Rows may be padded: what the stream really is, ``stream_configuration`` says after ``configure``.
"""

from __future__ import annotations

import importlib
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np

from edge_wm.errors import one_line
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import Layout, Picture

FORMAT = "BGR888"
LAYOUTS = {
    "BGR888": Layout.RGB,
    "RGB888": Layout.BGR,
    "XBGR8888": Layout.RGBX,
    "XRGB8888": Layout.BGRX,
}
BUFFERS = 4
STREAM = "main"


class Picamera2Camera:
    """See ``FrameSource``.

    Args:
        number: of the camera.
        width, height: that it is asked for; it may give others, which is as good.
        fps: that it is asked for.
        sensor: width and height of the sensor's mode; None for libcamera's own choice.
    """

    def __init__(
        self, number: int, width: int, height: int, fps: float, sensor: tuple[int, int] | None = None
    ) -> None:
        self._number, self._asked, self._fps, self._sensor = number, (width, height), fps, sensor
        self._camera: Any = None
        self._stream: dict[str, Any] = {}
        self._stamps = SensorClock()
        self._came = threading.Condition()
        self._frame: Frame | None = None
        self._problem = ""

    @property
    def name(self) -> str:
        """See ``FrameSource.name``."""
        return f"camera {self._number}"

    def open(self) -> None:
        """See ``FrameSource.open``."""
        try:
            library: Any = importlib.import_module("picamera2")
        except ImportError as error:
            raise CameraError(
                f"{self.name}: picamera2 cannot be imported ({error}): sudo apt install python3-picamera2, and make the"
                " virtual environment with --system-site-packages"
            ) from error
        self._frame, self._problem = None, ""
        try:
            self._start(library.Picamera2)
        except CameraError:
            self.close()
            raise
        except Exception as error:  # RuntimeError for most of what goes wrong, others for the rest
            self.close()
            raise CameraError(f"{self.name}: {one_line(str(error)) or type(error).__name__}") from error

    def newest(self, wait_s: float) -> Frame | None:
        """See ``FrameSource.newest``."""
        with self._came:
            self._came.wait_for(lambda: self._frame is not None or self._problem, wait_s)
            frame, self._frame = self._frame, None
            if self._problem:
                raise CameraError(f"{self.name}: {self._problem}")
        return frame

    def close(self) -> None:
        """See ``FrameSource.close``."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        camera.post_callback = None
        with suppress(Exception):
            camera.stop()
        with suppress(Exception):
            camera.close()

    def _start(self, library: Any) -> None:
        known = library.global_camera_info()
        if self._number >= len(known):
            models = ", ".join(str(camera.get("Model")) for camera in known) or "none"
            raise CameraError(
                f"{self.name}: not found; there is {models}: look at its ribbon cable, and at  rpicam-hello --list-cameras"
            )
        self._camera = camera = library(self._number)
        period_us = round(1e6 / self._fps)
        options = {} if self._sensor is None else {"sensor": {"output_size": self._sensor}}
        camera.configure(
            camera.create_video_configuration(
                main={"size": self._asked, "format": FORMAT},
                raw=None,
                buffer_count=BUFFERS,
                controls={"FrameDurationLimits": (period_us, period_us)},
                **options,
            )
        )
        self._stream = dict(camera.stream_configuration(STREAM))
        if self._stream["format"] not in LAYOUTS:
            raise CameraError(
                f"{self.name}: it gives {self._stream['format']}, and none of {', '.join(LAYOUTS)}"
            )
        camera.post_callback = self._take
        camera.start()

    def _take(self, request: Any) -> None:
        """In picamera2's thread, for every frame: keep it in place of the last one.  Whatever it raised would end that thread."""
        try:
            width, height = self._stream["size"]
            pixels = np.asarray(request.make_buffer(STREAM), dtype=np.uint8).reshape(-1)
            picture = Picture(pixels, LAYOUTS[self._stream["format"]], width, height, self._stream["stride"])
            frame = Frame(self._stamps.monotonic(request.get_metadata()["SensorTimestamp"]), picture)
            problem = ""
        except Exception as error:
            frame, problem = None, f"a frame cannot be read: {type(error).__name__}: {one_line(str(error))}"
        with self._came:
            self._frame, self._problem = frame, problem
            self._came.notify()


class SensorClock:
    """libcamera's ``SensorTimestamp`` on the monotonic clock.

    Its documentation says CLOCK_BOOTTIME, its drivers use CLOCK_MONOTONIC (bugs.libcamera.org 254).  The two differ by the time that the
    machine has slept.  A frame is from the past, and from the near past: of a machine that has slept, the first frame tells which clock it is.
    """

    def __init__(self) -> None:
        self._is_boottime: bool | None = None

    def monotonic(self, sensor_timestamp_ns: int) -> float:
        """Monotonic seconds of a time stamp that has come just now."""
        if self._is_boottime is None:
            self._is_boottime = sensor_timestamp_ns > time.monotonic_ns()
        return (sensor_timestamp_ns - (_slept_ns() if self._is_boottime else 0)) / 1e9


def _slept_ns() -> int:
    """How far CLOCK_BOOTTIME is ahead; of some readings the one in which least time passed, as this process may be kept waiting in any."""
    readings = []
    for _ in range(5):
        before, boottime, after = (
            time.monotonic_ns(),
            time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            time.monotonic_ns(),
        )
        readings.append((after - before, boottime - (before + after) // 2))
    return min(readings)[1]
