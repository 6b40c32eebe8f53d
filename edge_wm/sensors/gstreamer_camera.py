"""Whatever GStreamer can read, such as a CSI camera of a Jetson, from a process of its own: ``gstreamer_process.py``."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from edge_wm.errors import one_line
from edge_wm.sensors import gstreamer_process
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.gstreamer_process import ENDED, HEADER, MAGIC
from edge_wm.sensors.picture import Layout, Picture

PROGRAM = Path(gstreamer_process.__file__)
MOST_BYTES = 4096 * 4096 * 4
"""Of one frame."""
AT_ONCE = 1 << 20
LAST_WORDS = 1 << 14
"""Bytes that are kept of what the process writes to standard error."""
END_S = 1.0
"""For the process to let go of the camera; it is killed then."""


class GstreamerCamera:
    """See ``FrameSource``.

    Args:
        source: the beginning of a pipeline, in the words of ``gst-launch-1.0``.
        width, height: of the pictures, which GStreamer scales.
        python: that has GStreamer's bindings.
    """

    def __init__(self, source: str, width: int, height: int, python: str) -> None:
        self._command = [python, "-I", str(PROGRAM), source, str(width), str(height)]
        self._process: subprocess.Popen[bytes] | None = None
        self._received = bytearray()
        self._said = bytearray()

    @property
    def name(self) -> str:
        """See ``FrameSource.name``."""
        return "camera (GStreamer)"

    def open(self) -> None:
        """See ``FrameSource.open``.  What is wrong with the pipeline shows only when a frame is waited for."""
        self.close()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C at the keyboard is for us: the camera is needed while the robot brakes
            )
        except OSError as error:
            raise CameraError(
                f"{self.name}: {shlex.quote(self._command[0])} cannot be started: {error.strerror}"
            ) from error
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    def newest(self, wait_s: float) -> Frame | None:
        """See ``FrameSource.newest``."""
        process = self._process
        if process is None or process.stdout is None or process.stderr is None:
            raise CameraError(f"{self.name}: not open")
        until = time.monotonic() + wait_s
        newest: Frame | None = None
        while newest is None and (rest := until - time.monotonic()) > 0.0:
            select.select([process.stdout, process.stderr], [], [], rest)
            ended = _receive(process.stdout, self._received)
            ended |= self._listen(process.stderr)
            while (frame := self._next()) is not None:
                newest = frame
            if ended and newest is None:
                raise CameraError(f"{self.name}: {self._last_words(process)}")
        return newest

    def close(self) -> None:
        """See ``FrameSource.close``."""
        process, self._process = self._process, None
        self._received.clear()
        self._said.clear()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _listen(self, pipe: IO[bytes]) -> bool:
        """As ``_receive``, from standard error: a process that nobody listens to hangs when that pipe is full."""
        ended = _receive(pipe, self._said)
        del self._said[:-LAST_WORDS]
        return ended

    def _next(self) -> Frame | None:
        """The next frame of what was received; None if it is not complete."""
        if len(self._received) < HEADER.size:
            return None
        magic, time_ns, width, height, stride, size = HEADER.unpack_from(self._received)
        if magic != MAGIC or size > MOST_BYTES:
            raise CameraError(f"{self.name}: its process writes something else than frames")
        if len(self._received) < HEADER.size + size:
            return None
        pixels = np.frombuffer(self._received, dtype=np.uint8, count=size, offset=HEADER.size).copy()
        del self._received[: HEADER.size + size]
        return Frame(time_ns / 1e9, Picture(pixels, Layout.RGBX, width, height, stride))

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        """Why the process has ended."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        assert process.stderr is not None
        self._listen(process.stderr)
        said = self._said.decode(errors="replace").strip()
        _, has_reason, reason = said.rpartition(ENDED)
        line = reason.partition("\n")[0] if has_reason else said.rpartition("\n")[2]
        return one_line(line) or f"its process has ended, exit code {process.returncode}"


def _receive(pipe: IO[bytes], into: bytearray) -> bool:
    """Take all that has come.  Returns whether nothing will come any more."""
    while True:
        try:
            data = os.read(pipe.fileno(), AT_ONCE)
        except BlockingIOError:
            return False
        if not data:
            return True
        into += data
