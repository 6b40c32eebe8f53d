"""Drive along the comfortable shortest path of a true map: the teacher of data collection and the oracle's hands."""

from __future__ import annotations

import math

import numpy as np

from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.true_map import WALL_FACTOR, TrueMap
from firmware_bridge import NEUTRAL, Command

MAX_V = 0.5
MAX_W = 2.5
TICK_S = 0.1
SPACING_M = 0.05
"""Distance between the points that the path is followed by."""
LOOKAHEAD_M = (0.5, 0.4, 0.3, 0.22, 0.15, 0.1)
"""Distances along the path to aim at; the first that can be driven to straight is taken."""
OFF_PATH_M = 0.2
TURN_GAIN = 3.5
TURN_ON_THE_SPOT_RAD = 0.9
EASE_M = 0.17
"""Clearance (from the centre) at which speed begins to drop; at ``rm.RADIUS_M`` only ``CRAWL`` of it is left."""
CRAWL = 0.3
RECOVERY = 0.25
"""Clearance to win back per metre, where the robot is closer to something than its path is."""
MOVER_NEAR_M = 1.2
MOVER_GAP_M = 0.12
"""Air to keep between the hull and a moving obstacle over the next ``FORESIGHT_S``."""
FORESIGHT_S = 1.2


class PathTracker:
    """Pure pursuit with braking, on the path of a true map to one goal.

    Args:
        true_map: what the robot must not touch.
        goal: (x, y) in the world frame.
        wall_factor: how much the path keeps away from things; see :meth:`TrueMap.path`.
    """

    def __init__(
        self, true_map: TrueMap, goal: tuple[float, float], wall_factor: float = WALL_FACTOR
    ) -> None:
        self._map = true_map
        self._goal = goal
        self._wall_factor = wall_factor
        self._path: Array | None = None
        self._progress = 0
        self._discs: Array | None = None

    @property
    def path(self) -> Array | None:
        """The path being followed, float64[P, 2] in the world frame, evenly spaced."""
        return self._path

    def command(self, pose: tuple[float, float, float], discs: Array | None = None) -> Command:
        """Return the command of this tick.

        Args:
            pose: true (x, y, yaw) in the world frame.
            discs: moving obstacles float64[M, 3] (x, y, radius), the same ones in the same order every tick.
        """
        here = np.array(pose[:2])
        if self._path is None or not self._advance(here):
            self._plan(here)
        if self._path is None:
            return NEUTRAL
        command = self._pursue(here, pose[2])
        if discs is not None and len(discs):
            command = self._give_way(command, pose, discs)
        return command

    def _plan(self, here: Array) -> None:
        route = self._map.path((float(here[0]), float(here[1])), self._goal, self._wall_factor)
        if route is None:  # pushed to within a centimetre of something: keep the old path and squeeze out
            return
        self._path, self._progress = resample(route, SPACING_M), 0

    def _advance(self, here: Array) -> bool:
        """Move the progress to the nearest of the next path points; return whether that is close enough."""
        assert self._path is not None
        ahead = self._path[self._progress : self._progress + 12]
        distance = np.hypot(*(ahead - here).T)
        self._progress += int(distance.argmin())
        return bool(distance.min() < OFF_PATH_M)

    def _pursue(self, here: Array, yaw: float) -> Command:
        assert self._path is not None
        aim = self._aim(here)
        to_aim = aim - here
        error = math.remainder(math.atan2(to_aim[1], to_aim[0]) - yaw, math.tau)
        w = max(-MAX_W, min(MAX_W, TURN_GAIN * error))
        if abs(error) > TURN_ON_THE_SPOT_RAD:
            return Command(0.0, w)
        share = 1.0 - (abs(error) / TURN_ON_THE_SPOT_RAD) ** 1.5
        ahead = here + 0.15 * np.array([math.cos(yaw), math.sin(yaw)])
        clearance = float(self._map.clearance_at(np.stack([here, ahead])).min())
        share *= CRAWL + (1.0 - CRAWL) * min(
            1.0, max(0.0, (clearance - rm.RADIUS_M) / (EASE_M - rm.RADIUS_M))
        )
        left = float(np.hypot(*(self._path[-1] - here)))
        return Command(min(MAX_V * share, 0.05 + 1.5 * left), w)

    def _aim(self, here: Array) -> Array:
        """The furthest point ahead on the path that can be driven to without coming closer to anything than it does."""
        assert self._path is not None
        own = float(self._map.clearance_at(here))
        for lookahead in LOOKAHEAD_M:
            last = min(self._progress + round(lookahead / SPACING_M), len(self._path) - 1)
            on_path = float(self._map.clearance_at(self._path[self._progress : last + 1]).min())
            along = np.linspace(0.0, 1.0, 2 + round(lookahead / 0.03))
            line = here + along[:, None] * (self._path[last] - here)
            # Too close already: each step must lead away, or errors of a few millimetres a tick add up to a touch.
            needed = np.minimum(
                min(on_path, EASE_M + 0.05) - 0.008, own + RECOVERY * along * lookahead - 0.002
            )
            if (self._map.clearance_at(line) >= needed).all():
                return np.asarray(self._path[last])
        return np.asarray(self._path[min(self._progress + 2, len(self._path) - 1)])

    def _give_way(self, command: Command, pose: tuple[float, float, float], discs: Array) -> Command:
        """Slow down, stand or back off where keeping on would come too close to a moving obstacle."""
        previous = self._discs if self._discs is not None and self._discs.shape == discs.shape else discs
        velocity = (discs[:, :2] - previous[:, :2]) / TICK_S
        self._discs = discs.copy()
        gaps = np.hypot(discs[:, 0] - pose[0], discs[:, 1] - pose[1]) - discs[:, 2] - rm.RADIUS_M
        if gaps.min() > MOVER_NEAR_M:
            return command
        options = [
            command,
            Command(0.5 * command.v, command.w),
            Command(0.0, command.w),
            NEUTRAL,
            Command(-0.15, 0.0),
            Command(MAX_V, 0.0),
        ]
        best, best_air = command, -math.inf
        for option in options:
            air = self._air(option, pose, discs, velocity)
            if air > MOVER_GAP_M:
                return option
            if air > best_air + 0.01:
                best, best_air = option, air
        return best

    def _air(
        self, command: Command, pose: tuple[float, float, float], discs: Array, velocity: Array
    ) -> float:
        """Least gap (m) to moving and static things while ``command`` lasts, ``FORESIGHT_S`` ahead."""
        times = np.arange(1, round(FORESIGHT_S / TICK_S) + 1) * TICK_S
        yaw = pose[2] + command.w * (times - TICK_S / 2)
        x = pose[0] + np.cumsum(command.v * np.cos(yaw)) * TICK_S
        y = pose[1] + np.cumsum(command.v * np.sin(yaw)) * TICK_S
        moved = discs[:, None, :2] + velocity[:, None] * times[:, None]
        moving = np.hypot(moved[..., 0] - x, moved[..., 1] - y) - discs[:, 2:3] - rm.RADIUS_M
        # A static thing may be as near as the path runs by it; it only counts once it is touched.
        static = self._map.clearance_at(np.stack([x, y], axis=1)) - rm.RADIUS_M
        touched = -1.0 if command != NEUTRAL and static[:4].min() < 0.01 else math.inf
        return min(float(moving.min()), touched)


def resample(path: Array, spacing_m: float) -> Array:
    """Put points every ``spacing_m`` along the polyline ``path[P, 2]``, its ends included."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, along[-1], max(2, math.ceil(along[-1] / spacing_m) + 1))
    return np.stack([np.interp(wanted, along, path[:, i]) for i in (0, 1)], axis=1)
