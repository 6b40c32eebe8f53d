"""The newest frame of a camera, whichever its driver.

A thread of its own takes frames from the driver and keeps one: the newest that can be used.  Reading it waits for nothing.  What
cannot be used is no new frame: while the picture stands still, is all black or all white, or the camera is gone, the last good frame
stays, with its time.  The supervisor stops the robot for a frame that is too old, and lets it drive on when there are new ones.
"""

from __future__ import annotations

import logging
import threading
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock
from edge_wm.errors import BadInput, one_line
from edge_wm.sensors.frame import CameraError, Frame, FrameSource
from edge_wm.sensors.outage import RETRIES_S
from edge_wm.sensors.picture import MalformedPicture, fitted

WAIT_S = 0.1
"""For one frame; also the longest that the thread takes to notice that it shall end."""
FIRST_TRIES = 4
"""To open it, before it is said that it cannot be started."""
FIRST_S = 10.0
"""For the first frame of all."""
SILENT_S, OPENING_S = 1.0, 5.0
"""Without a frame that can be used for so long, not counting dark ones, it is closed and opened again; once it was opened it has longer."""
AHEAD_S = 0.01
"""A frame may seem to be from the future by so much, no more: every frame after it would seem to be older."""
END_S = 2.0
"""For the thread to end; a driver that hangs is left behind."""

log = logging.getLogger(__name__)


class Checks(NamedTuple):
    """When a frame cannot be used.

    Attributes:
        frozen_frames: so many in a row with the same bytes; 0 for never.
        black, white: a pixel is black if all of its colours are at most this, and white if all are at least this.
        blind_share: of all pixels; if so many are black, or so many are white, the camera sees nothing.
        blind_s: it may be so for so long, as when a lamp is passed.
    """

    frozen_frames: int = 5
    black: int = 8
    white: int = 247
    blind_share: float = 0.98
    blind_s: float = 0.2


class CameraReading(NamedTuple):
    """A frame that can be used.

    Attributes:
        time: monotonic seconds at which it was captured.
        sequence: counts from 1, through disconnects; the same number is the same frame.
        image: uint8[height, width, 3], RGB, read-only.
    """

    time: float
    sequence: int
    image: npt.NDArray[np.uint8]


class Camera:
    """Start it, read it, close it.

    Args:
        source: its driver; closed with this.
        width, height: of the pictures that are given.
        checks: see there.
        upside_down: how it is mounted.
        clock: the loop's, which must be the machine's monotonic clock.

    Attributes:
        problem: why there is no newer frame, one line; empty while there are.
    """

    def __init__(
        self,
        source: FrameSource,
        width: int,
        height: int,
        clock: Clock,
        *,
        checks: Checks = Checks(),  # noqa: B008 - a tuple does not change
        upside_down: bool = False,
    ) -> None:
        self._source, self._size, self._clock = source, (width, height), clock
        self._checks, self._upside_down = checks, upside_down
        self._reading: CameraReading | None = None
        self._first, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self.problem = ""
        # Of the thread alone:
        self._failures = 0
        self._patient_until = 0.0
        self._checksum, self._repeats = 0, 0
        self._blind_since: float | None = None

    def start(self, within_s: float = FIRST_S) -> None:
        """Open it, and wait for the first frame.

        Raises:
            CameraError: it cannot be opened, or gives nothing that can be used.
        """
        self._source.open()  # here first, so that a camera that is not there is said at once
        self._patient_until = self._clock.now() + OPENING_S
        self._thread.start()
        until = self._clock.now() + within_s
        while not self._first.wait(WAIT_S):
            if self._failures >= FIRST_TRIES or self._clock.now() >= until:
                why = self.problem or "it gives no frames"
                self.close()
                raise CameraError(_named(self._source, why))

    def read(self) -> CameraReading:
        """The newest frame, at once; the last one again while there is none that can be used.

        Raises:
            CameraError: there never was one.
        """
        reading = self._reading
        if reading is None:
            raise CameraError(_named(self._source, self.problem or "not started"))
        return reading

    def close(self) -> None:
        """End the thread and let go of the camera.  Never raises; safe to call twice."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(END_S)  # closing is the thread's, too: a driver may hang in that as well
        if self._thread.is_alive():
            log.warning("%s: its driver hangs and is left behind", self._source.name)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_open = True
        while not self._ending.is_set():
            try:
                if not is_open:
                    self._source.open()
                    is_open, self._patient_until = True, self._clock.now() + OPENING_S
                self._take(self._source.newest(WAIT_S))
            except (CameraError, BadInput) as error:
                is_open = self._reopen_after(str(error))
            except Exception as error:  # a driver may raise anything, and the thread must live on
                is_open = self._reopen_after(f"{type(error).__name__}: {error}")
        self._source.close()

    def _reopen_after(self, why: str) -> bool:
        """Close it, and rest a while.  Returns whether it is open, which it is not."""
        self._trouble(why)
        self._source.close()
        self._ending.wait(RETRIES_S[min(self._failures, len(RETRIES_S) - 1)])
        self._failures += 1
        return False

    def _take(self, frame: Frame | None) -> None:
        """Keep the frame if it can be used.

        Raises:
            CameraError: there was none for too long.
        """
        problem = "it gives no frames" if frame is None else self._kept(frame)
        if problem and self._clock.now() > self._patient_until:
            raise CameraError(problem)
        if problem and frame is not None:
            self._trouble(problem)

    def _kept(self, frame: Frame) -> str:
        """Why it is no new frame; empty if it is one, and is kept."""
        now, last = self._clock.now(), self._reading
        if frame.time > now + AHEAD_S:
            return f"its frames are stamped {frame.time - now:.2f} s ahead of time"
        if last is not None and frame.time <= last.time:
            return "the time of its frames stands still or goes back"
        if self._stands_still(frame):
            return f"it is frozen: {self._repeats + 1} frames with the same bytes"
        try:
            image = fitted(frame.picture, *self._size)
        except MalformedPicture as error:
            return f"a frame is malformed: {error}"
        self._patient_until = now + SILENT_S  # whatever it sees, it works
        if blind := self._blind(image, frame.time):
            return blind
        if self._upside_down:
            image = image[::-1, ::-1].copy()
        image.flags.writeable = False
        if self.problem and last is not None:
            log.warning("%s: gives frames again", self._source.name)
        self.problem, self._failures = "", 0  # before the frame, which is then never seen with it
        self._reading = CameraReading(frame.time, 1 if last is None else last.sequence + 1, image)
        self._first.set()
        return ""

    def _stands_still(self, frame: Frame) -> bool:
        """A camera with noise in its pictures does not give the same one twice."""
        checksum = zlib.crc32(frame.picture.pixels.data)
        self._repeats = self._repeats + 1 if checksum == self._checksum else 0
        self._checksum = checksum
        most = self._checks.frozen_frames
        return most > 0 and self._repeats + 1 >= most

    def _blind(self, image: npt.NDArray[np.uint8], time: float) -> str:
        """Why it sees nothing, if it has not for a while; else empty."""
        checks = self._checks
        shares = (
            ("black", float((image.max(axis=2) <= checks.black).mean())),
            ("white", float((image.min(axis=2) >= checks.white).mean())),
        )
        colour, share = max(shares, key=lambda pair: pair[1])
        if share < checks.blind_share:
            self._blind_since = None
            return ""
        if self._blind_since is None:
            self._blind_since = time
        if time - self._blind_since < checks.blind_s:
            return ""
        return f"it sees nothing: {share:.0%} of its pixels are {colour}"

    def _trouble(self, why: str) -> None:
        why = one_line(why)
        if not self.problem and self._first.is_set():  # before, ``start`` says it
            log.warning("%s", _named(self._source, why))
        self.problem = why


def _named(source: FrameSource, why: str) -> str:
    """With the camera's name before it; its driver's own errors have it already."""
    return why if why.startswith(source.name) else f"{source.name}: {why}"
