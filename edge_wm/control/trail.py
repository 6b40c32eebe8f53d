"""Where the robot has been: what lets the planner notice that it is going round in circles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PERIOD_S = 0.5
"""Time between two remembered places."""
AGE_S = 4.0
"""Younger places are not yet *visited*: the robot is still driving away from them."""
CAPACITY = 240


class Trail:
    """A ring of the places that the robot passed, one every ``PERIOD_S``."""

    def __init__(self) -> None:
        self._places = np.zeros((CAPACITY, 2), dtype=np.float32)
        self.forget()

    def forget(self) -> None:
        """Begin a new run."""
        self._count = 0
        self._next_time: float | None = None

    def note(self, time: float, x: float, y: float) -> None:
        """Tell where the robot is at ``time`` (monotonic seconds), in the odometry frame."""
        if self._next_time is None:
            self._next_time = time
        if time >= self._next_time:
            self._places[self._count % CAPACITY] = x, y
            self._count += 1
            self._next_time = max(self._next_time + PERIOD_S, time)

    @property
    def visited(self) -> Array:
        """Places float32[T, 2] that were passed more than ``AGE_S`` ago, in no order; T at most ``CAPACITY``."""
        young = round(AGE_S / PERIOD_S)
        if self._count <= CAPACITY:
            return self._places[: max(0, self._count - young)]
        keep = (np.arange(CAPACITY - young) + self._count) % CAPACITY
        visited: Array = self._places[keep]
        return visited
