"""A plan is made every tick, and an imagined step may last longer than that: the last plan, shifted by a part of a step."""

from __future__ import annotations

import math

import numpy as np

from edge_wm.planner.costs import Array


class HorizonShift:
    """Shifts a sequence towards the present by a part of a step.

    Step ``h`` of the shifted sequence covers the time of the old steps ``h + steps`` to ``h + steps + 1``, so
    it takes from the two old steps their shares of that time; the last old step is held.

    Attributes:
        beyond: float32[H, 1], how much of each step lies beyond the end of the old sequence.
    """

    def __init__(self, horizon: int, steps: float) -> None:
        whole = math.floor(steps)
        last = horizon - 1
        self._from = np.minimum(np.arange(horizon) + whole, last)
        self._to = np.minimum(self._from + 1, last)
        self._share = np.float32(steps - whole)
        self.beyond = np.clip(np.arange(horizon)[:, None] + steps - last, 0.0, 1.0).astype(np.float32)

    def apply(self, sequences: Array) -> None:
        """Shift float32[..., H, A] in place."""
        later = sequences.take(self._to, axis=-2)
        later *= self._share
        earlier = sequences.take(self._from, axis=-2)
        earlier *= 1 - self._share
        np.add(earlier, later, out=sequences)
