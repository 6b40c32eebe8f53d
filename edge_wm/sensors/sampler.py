"""The newest reading of a chip, from a thread of its own: a bus that hangs holds up nobody who reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from edge_wm.clock import Clock

END_S = 1.0


class Timed(Protocol):
    """A reading that knows when it was taken."""

    @property
    def time(self) -> float:
        """Monotonic seconds."""


Reading = TypeVar("Reading", bound=Timed)


class TooOld(Exception):
    """There is no reading that is new enough; one line that says why."""


class Sampler(Generic[Reading]):
    """Reads again and again.

    Args:
        name: of the chip, in messages.
        read: takes one reading; whatever it raises is no reading.
        period_s: from one reading to the next.
        max_age_s: an older reading is none.
        clock: the loop's, which must be the machine's monotonic clock.
    """

    def __init__(
        self, name: str, read: Callable[[], Reading], period_s: float, max_age_s: float, clock: Clock
    ) -> None:
        self._name, self._read, self._period_s, self._max_age_s = name, read, period_s, max_age_s
        self._clock = clock
        self._newest: Reading | None = None
        self._error: Exception | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the first reading, and go on.  Raises what that raises."""
        self._newest = self._read()
        self._thread.start()

    def newest(self) -> Reading:
        """The newest reading, at once.

        Raises:
            TooOld: it is older than it may be.
        """
        newest, error = self._newest, self._error
        if newest is None:
            raise TooOld(f"{self._name}: not started")
        age_s = self._clock.now() - newest.time
        if age_s > self._max_age_s:
            why = f": {error}" if error is not None else ""
            raise TooOld(f"{self._name}: no reading for {age_s:.2f} s{why}")
        return newest

    def close(self) -> None:
        """End the thread; one that hangs is left behind.  Never raises; safe to call twice."""
        self._ending.set()
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._thread.join(END_S)

    def _run(self) -> None:
        due = self._clock.now() + self._period_s
        while not self._ending.wait(max(0.0, due - self._clock.now())):
            due = max(due + self._period_s, self._clock.now())
            try:
                self._newest = self._read()
                self._error = None
            except Exception as error:  # the thread must live on: the chip may come back
                self._error = error
