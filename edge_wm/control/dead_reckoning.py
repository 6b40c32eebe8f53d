"""Where the robot believes it is, from wheels and gyro alone."""

from __future__ import annotations

import math

from edge_wm.sensors.observation import Observation


class DeadReckoning:
    """Pose in the odometry frame: the start of the run is (0, 0, 0).

    The gyro gives the turning, the wheels the way: wheel slip spoils a yaw from wheel speeds within metres.

    Args:
        tick_s: seconds that one observation's ``wheel`` and ``gyro`` are means over.
    """

    def __init__(self, tick_s: float = 0.1) -> None:
        self._tick_s = tick_s
        self.reset()

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y (m) and yaw (rad, not wrapped)."""
        return self._x, self._y, self._yaw

    def reset(self) -> None:
        """Take where the robot is now as the origin."""
        self._x = self._y = self._yaw = 0.0

    def update(self, observation: Observation) -> tuple[float, float, float]:
        """Add one tick's motion and return the new pose."""
        left, right = observation.arrays["wheel"].tolist()
        turn = float(observation.arrays["gyro"][0]) * self._tick_s
        way = (left + right) / 2 * self._tick_s
        middle = self._yaw + turn / 2
        self._x += way * math.cos(middle)
        self._y += way * math.sin(middle)
        self._yaw += turn
        return self.pose

    def to_goal(self, goal: tuple[float, float]) -> tuple[float, float]:
        """Distance (m) and bearing (rad in [-pi, pi], from straight ahead) of a point of the odometry frame."""
        dx, dy = goal[0] - self._x, goal[1] - self._y
        return math.hypot(dx, dy), math.remainder(math.atan2(dy, dx) - self._yaw, math.tau)
