"""Keeps a loop at its rate with absolute deadlines.

Deadline ``n`` is ``start + n * tick_s``, multiplied and never summed, so the loop does not drift however uneven
its ticks are.
"""

from __future__ import annotations

import math

from edge_wm.clock import Clock

LEAST_SHARE = 0.5
"""A tick that would begin with less than this share of its time left takes the next deadline instead."""


class Rate:
    """Absolute deadlines, one a tick.

    Attributes:
        ticks: ticks kept since ``start``.
        missed: how many of them ended after their deadline.
        worst_late_s: the most that one of them was late.
        skipped: deadlines that were given up after stalls, so that they are not made up for in a burst.
    """

    def __init__(self, tick_s: float, clock: Clock) -> None:
        if not tick_s > 0.0:
            raise ValueError("tick_s must be positive")
        self.tick_s = tick_s
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin the first tick now and forget what was counted."""
        self._start = self._clock.now()
        self._index = 1
        self.ticks = self.missed = self.skipped = 0
        self.worst_late_s = 0.0

    @property
    def deadline(self) -> float:
        """When the present tick must have ended, on the clock."""
        return self._start + self._index * self.tick_s

    def keep(self) -> float:
        """End the present tick: wait for its deadline if that is still to come, and begin the next tick.

        Returns:
            Seconds by which the tick was late, 0.0 if it was not.
        """
        late_s = self._clock.now() - self.deadline
        self.ticks += 1
        if late_s <= 0.0:
            self._clock.sleep_until(self.deadline)
            self._index += 1
            return 0.0
        self.missed += 1
        self.worst_late_s = max(self.worst_late_s, late_s)
        passed = math.ceil(late_s / self.tick_s - 1.0 + LEAST_SHARE)
        self.skipped += max(passed, 0)
        self._index += 1 + max(passed, 0)
        return late_s
