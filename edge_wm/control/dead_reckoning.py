"""Where the robot believes it is, from wheels and gyro or, where it has none, from what was sent."""

from __future__ import annotations

import math

import numpy as np

from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import Command


class DeadReckoning:
    """Pose in the odometry frame: the start of the run is (0, 0, 0).

    The gyro gives the turning, the wheels the way: wheel slip spoils a yaw from wheel speeds within metres.
    """

    def __init__(self) -> None:
        self.reset()

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y (m) and yaw (rad, not wrapped)."""
        return self._x, self._y, self._yaw

    def reset(self) -> None:
        """Take where the robot is now as the origin."""
        self._x = self._y = self._yaw = 0.0

    def update(
        self, observation: Observation | None, applied: Command, seconds: float
    ) -> tuple[float, float, float]:
        """Add one tick's motion and return the new pose.

        Args:
            observation: of arrays that are well-formed and finite; None if there is no such one.  ``wheel`` and ``gyro``, if
                it has them, are means over the tick.
            applied: what was really sent in the tick before: it stands in for what is missing.
            seconds: that the tick took.
        """
        arrays = observation.arrays if observation is not None else {}
        v = float(np.mean(arrays["wheel"], dtype=np.float64)) if "wheel" in arrays else applied.v
        w = float(arrays["gyro"][0]) if "gyro" in arrays else applied.w
        way, turn = v * seconds, w * seconds
        middle = self._yaw + turn / 2
        self._x += way * math.cos(middle)
        self._y += way * math.sin(middle)
        self._yaw += turn
        return self.pose

    def to_goal(self, goal: tuple[float, float]) -> tuple[float, float]:
        """Distance (m) and bearing (rad in [-pi, pi], from straight ahead) of a point of the odometry frame."""
        dx, dy = goal[0] - self._x, goal[1] - self._y
        return math.hypot(dx, dy), math.remainder(math.atan2(dy, dx) - self._yaw, math.tau)
