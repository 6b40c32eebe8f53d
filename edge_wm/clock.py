"""Time, as the control loop sees it: monotonic seconds that a test can replace."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock and the way to wait on it."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def sleep_until(self, moment: float) -> None:
        """Return when ``now() >= moment``; at once if that has passed."""


class MonotonicClock:
    """The clock of the machine."""

    def now(self) -> float:
        """See ``Clock.now``."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """See ``Clock.sleep_until``."""
        remaining = moment - time.monotonic()
        if remaining > 0.0:
            time.sleep(remaining)


class SimulatedClock:
    """A clock that moves only when it is told to; waiting on it takes no time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """See ``Clock.now``."""
        return self._now

    def sleep_until(self, moment: float) -> None:
        """See ``Clock.sleep_until``."""
        self._now = max(self._now, moment)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` (not negative) pass."""
        if seconds < 0.0:
            raise ValueError("a monotonic clock cannot go back")
        self._now += seconds
