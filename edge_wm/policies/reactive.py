"""The classical baseline: a dynamic-window planner on what the range ring has seen lately.  No camera, no model.

After Fox, Burgard & Thrun, "The dynamic window approach to collision avoidance" (1997), with two additions that
it needs to be a fair opponent: ring hits are remembered for some seconds in the odometry frame, because eight
beams leave gaps, and places where it has been are made unattractive, because a local planner would otherwise
stand in front of a wall for ever.  `docs/baselines.md` says how its parameters were chosen.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.control.policy import ARRIVE_M, Decision
from edge_wm.policies.ring_memory import RingMemory
from edge_wm.robot import Limits
from edge_wm.sensors.observation import Array, Observation
from firmware_bridge.bridge import NEUTRAL, Command

STEP_S = 0.2
"""Time step of the imagined arcs."""
NEAR_M = 2.0
"""Remembered hits further away than this are left out of the arcs' clearance."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tuned on validation worlds.

    Attributes:
        horizon_s: how far an arc looks ahead.
        keep_s: how long a ring hit is remembered.
        margin_m: air around the hull below which an arc counts as a touch.
        comfort_m: air around the hull from which on more of it is worth nothing.
        clearance_cost: metres of detour that driving at zero air for the whole horizon is worth.
        heading_cost: metres that pointing away from the goal at the arc's end is worth.
        change_cost: metres that turning against the last command is worth (hysteresis).
        visited_cost: metres that ending where it has been before is worth.
        visited_m: reach of a visited place.
        soon: share of the mean distance to the goal along the arc in its score; the rest is the distance at its end.
    """

    horizon_s: float = 2.4
    keep_s: float = 60.0
    margin_m: float = 0.035
    comfort_m: float = 0.12
    clearance_cost: float = 1.0
    heading_cost: float = 0.1
    change_cost: float = 0.015
    visited_cost: float = 0.1
    visited_m: float = 0.8
    soon: float = 0.3


VISITED_AFTER_S = 4.0
"""A place counts as visited this long after the robot was there."""
BREADCRUMB_M = 0.15
TOUCH_COST = 20.0


class Reactive:
    """Chooses among short arcs by progress, clearance and steadiness.

    Args:
        limits: of the robot.
        radius_m: of the circle that the robot fits in.
        tick_s: seconds between observations.
        tuning: weights.
        arrive_m: nearer to the goal than this it asks for rest.
    """

    def __init__(
        self,
        limits: Limits,
        radius_m: float = 0.12,
        tick_s: float = 0.1,
        tuning: Tuning | None = None,
        arrive_m: float = ARRIVE_M,
    ) -> None:
        self._radius_m, self._tick_s, self._arrive_m = radius_m, tick_s, arrive_m
        self._tuning = tuning = tuning or Tuning()
        self._odometry = DeadReckoning()
        self._memory = RingMemory(tuning.keep_s, tick_s)
        self._first, self._arcs = _arcs(limits, tuning.horizon_s)
        self.reset((0.0, 0.0))

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """Begin a run to a goal in the odometry frame."""
        self._goal = goal_xy
        self._odometry.reset()
        self._memory.reset()
        self._last = NEUTRAL
        self._crumbs: list[tuple[float, float, int]] = []
        self._tick = 0

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """Take the first command of the cheapest arc."""
        pose = self._odometry.update(observation, applied, self._tick_s)
        self._memory.update(observation.arrays["range"], pose)
        self._drop_crumb(pose)
        self._tick += 1
        distance, _ = self._odometry.to_goal(self._goal)
        if distance <= self._arrive_m:
            return Decision(NEUTRAL, None, distance)
        v, w = self._first[int(self._costs(pose).argmin())]
        self._last = Command(float(v), float(w))
        return Decision(self._last, None, distance)

    def _costs(self, pose: tuple[float, float, float]) -> Array:
        """Cost float64[N] of each arc, in metres of detour."""
        tuning = self._tuning
        x, y, yaw = pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        ahead, left, turn = self._arcs
        xs, ys = x + cos * ahead - sin * left, y + sin * ahead + cos * left
        to_goal = np.hypot(self._goal[0] - xs, self._goal[1] - ys)
        # An arc that passes the goal has arrived: what it does afterwards does not matter.
        reached = np.minimum.accumulate(to_goal, axis=1) < self._arrive_m
        to_goal = np.where(reached, 0.0, to_goal)
        # Of two arcs that end alike, the one that gets on with it: otherwise it turns on the spot for ever, always
        # meaning to drive in the next second.
        way = (1.0 - tuning.soon) * to_goal[:, -1] + tuning.soon * to_goal.mean(axis=1)
        bearing = np.arctan2(self._goal[1] - ys[:, -1], self._goal[0] - xs[:, -1]) - yaw - turn
        off = np.abs(np.mod(bearing + math.pi, math.tau) - math.pi) / math.pi
        cost = way + tuning.heading_cost * off + tuning.change_cost * np.abs(self._first[:, 1] - self._last.w)
        air = np.where(reached, np.inf, self._air(xs, ys, pose))
        squeezed = np.clip(1.0 - air / tuning.comfort_m, 0.0, 1.0) ** 2
        cost += tuning.clearance_cost * squeezed.mean(axis=1)
        touches = air < tuning.margin_m
        sooner = 1.0 - touches.argmax(axis=1) / touches.shape[1]
        cost += np.where(touches.any(axis=1), TOUCH_COST * (0.2 + sooner), 0.0)
        return np.asarray(cost + self._visited(xs[:, -1], ys[:, -1]))

    def _air(self, xs: Array, ys: Array, pose: tuple[float, float, float]) -> Array:
        """Gap float[N, T] (m) between the hull and the nearest remembered hit along each arc."""
        points = self._memory.points
        points = points[np.hypot(points[:, 0] - pose[0], points[:, 1] - pose[1]) < NEAR_M]
        if not len(points):
            return np.full(xs.shape, np.inf)
        here = np.stack([xs.ravel() - pose[0], ys.ravel() - pose[1]], axis=1)
        there = points - pose[:2]
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab: one matrix product instead of a large difference array.
        squared = (here**2).sum(axis=1)[:, None] + (there**2).sum(axis=1) - 2.0 * here @ there.T
        return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0.0))).reshape(xs.shape) - self._radius_m

    def _visited(self, xs: Array, ys: Array) -> Array:
        """Cost float64[N] of ending where the robot was some seconds ago."""
        before = self._tick - round(VISITED_AFTER_S / self._tick_s)
        old = np.array([(x, y) for x, y, tick in self._crumbs if tick < before]).reshape(-1, 2)
        if not len(old):
            return np.zeros(len(xs))
        gap = np.hypot(xs[:, None] - old[:, 0], ys[:, None] - old[:, 1])
        near = np.clip(1.0 - gap / self._tuning.visited_m, 0.0, 1.0)
        return np.asarray(self._tuning.visited_cost * near.sum(axis=1))

    def _drop_crumb(self, pose: tuple[float, float, float]) -> None:
        here = pose[0], pose[1]
        standing = self._crumbs and math.dist(here, self._crumbs[-1][:2]) < BREADCRUMB_M
        if not standing or self._tick - self._crumbs[-1][2] > 20:  # standing for two seconds counts as well
            self._crumbs.append((*here, self._tick))


def _arcs(limits: Limits, horizon_s: float) -> tuple[Array, tuple[Array, Array, Array]]:
    """Candidates in the robot's frame: a turn at constant v and w, then straight on.

    Returns:
        First commands float64[N, 2] (v, w), and ahead[N, T], left[N, T] (m), final yaw[N] (rad).
    """
    steps = round(horizon_s / STEP_S)
    commands, speeds, rates = [], [], []
    rate_choices = np.array([0.25, 0.5, 0.9, 1.4, 1.9, 2.5]) / 2.5 * limits.max_w
    turns = [0.0, *rate_choices, *-rate_choices]
    for v, w, after in itertools.product((0.0, 0.4, 0.7, 1.0), turns, (1, 2, 4, 7, steps)):
        if (w == 0.0 and after > 1) or after > steps or (v == 0.0 and abs(w) < 0.5 * limits.max_w):
            continue
        straight_v = limits.max_v * max(v, 0.7)
        turning = np.arange(steps) < after
        speeds.append(np.where(turning, v * limits.max_v, straight_v if w else v * limits.max_v))
        rates.append(np.where(turning, w, 0.0))
        commands.append((v * limits.max_v, w))
    if limits.max_reverse_v > 0.0:
        for w in (0.0, 1.0, -1.0):
            turning = np.arange(steps) < 4
            speeds.append(np.where(turning, -limits.max_reverse_v, 0.0))
            rates.append(np.where(turning, w, 0.0))
            commands.append((-limits.max_reverse_v, w))
    speed, rate = np.array(speeds), np.array(rates)
    yaw = np.cumsum(rate, axis=1) * STEP_S
    middle = yaw - rate * STEP_S / 2
    ahead = np.cumsum(speed * np.cos(middle), axis=1) * STEP_S
    left = np.cumsum(speed * np.sin(middle), axis=1) * STEP_S
    return np.array(commands), (ahead, left, yaw[:, -1])
