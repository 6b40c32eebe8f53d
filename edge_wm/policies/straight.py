"""Drive straight at the goal by odometry, blind: what a set of tasks is worth must be measured against this."""

from __future__ import annotations

from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.control.policy import ARRIVE_M, Decision
from edge_wm.robot import Limits
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import NEUTRAL, Command

TURN_GAIN = 3.0
TURN_ON_THE_SPOT_RAD = 0.6
"""With a larger bearing error it turns before it drives."""
SLOW_DOWN_GAIN = 1.5
"""Speed per metre left to the goal."""


class Straight:
    """Turns towards the goal and drives.

    Args:
        limits: of the robot.
        tick_s: seconds between observations.
        arrive_m: nearer to the goal than this it asks for rest.
    """

    def __init__(self, limits: Limits, tick_s: float = 0.1, arrive_m: float = ARRIVE_M) -> None:
        self._limits, self._tick_s, self._arrive_m = limits, tick_s, arrive_m
        self._odometry = DeadReckoning()
        self.reset((0.0, 0.0))

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """Begin a run to a goal in the odometry frame."""
        self._goal = goal_xy
        self._odometry.reset()

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """Turn towards the goal, then drive."""
        self._odometry.update(observation, applied, self._tick_s)
        distance, bearing = self._odometry.to_goal(self._goal)
        if distance <= self._arrive_m:
            return Decision(NEUTRAL, None, distance)
        max_w = self._limits.max_w
        w = min(max(TURN_GAIN * bearing, -max_w), max_w)
        ahead = max(0.0, 1.0 - abs(bearing) / TURN_ON_THE_SPOT_RAD)
        v = min(self._limits.max_v, SLOW_DOWN_GAIN * distance) * ahead
        return Decision(Command(v, w), None, distance)
