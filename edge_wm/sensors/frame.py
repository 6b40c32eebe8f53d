"""What a camera's driver gives, whichever it is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from edge_wm.sensors.picture import Picture


class CameraError(Exception):
    """The camera is not there, or does not do what it should; one line that says why."""


class Frame(NamedTuple):
    """One frame.

    Attributes:
        time: monotonic seconds at which it was captured, as the driver says.
        picture: what was captured.
    """

    time: float
    picture: Picture


class FrameSource(Protocol):
    """The driver of one camera.  Used by one thread alone."""

    @property
    def name(self) -> str:
        """Of the camera, in messages."""

    def open(self) -> None:
        """Make it deliver frames.

        Raises:
            CameraError: it is not there, or cannot do what is asked of it.
        """

    def newest(self, wait_s: float) -> Frame | None:
        """The newest frame that was not given yet; those before it are dropped.  None if none comes within ``wait_s``.

        Raises:
            CameraError: it is gone; it has to be closed and opened again.
        """

    def close(self) -> None:
        """Let go of it.  Never raises; safe to call twice."""
