"""The oracle: it knows the true map, its true pose and the moving obstacles.  The bar no honest policy passes."""

from __future__ import annotations

import math

from edge_wm.control.policy import Decision
from edge_wm.policies.path_tracker import PathTracker
from edge_wm.sensors.observation import Observation
from edge_wm.sim.frames import to_world_frame
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import TrueMap
from firmware_bridge import Command


class Oracle:
    """Follows the comfortable shortest path of the true map.

    Args:
        simulation: where the true pose and the moving obstacles are read.
        true_map: the map of the simulation's world.
        start: pose (x, y, yaw) in the world frame that is the origin of the odometry frame.
    """

    def __init__(self, simulation: Simulation, true_map: TrueMap, start: tuple[float, float, float]) -> None:
        self._simulation = simulation
        self._map = true_map
        self._start = start

    def reset(self, goal: tuple[float, float]) -> None:
        """Take a new goal (x, y), in the odometry frame."""
        self._goal = to_world_frame(self._start, goal)
        self._tracker = PathTracker(self._map, self._goal)

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """Decide from the truth; the observation is not looked at."""
        pose = self._simulation.pose
        command = self._tracker.command(pose, self._simulation.mover_discs)
        return Decision(command, None, math.dist(pose[:2], self._goal))
