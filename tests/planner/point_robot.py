"""A world model that needs no learning: a point robot among round obstacles, in numpy.

It has what the planner asks of a world model and nothing else: a manifest with the sizes, and ``imagine``.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from edge_wm.planner.plan import ActionLimits

LIMITS = ActionLimits(low=(-0.15, -2.5), high=(0.5, 2.5))


def unicycle(pose: np.ndarray, actions: np.ndarray, step_s: float) -> np.ndarray:
    """Poses float32[N, H, 3] after each step of float32[N, H, 2] actions from one pose."""
    yaw = pose[2] + np.cumsum(actions[:, :, 1] * step_s, axis=1)
    middle = yaw - 0.5 * actions[:, :, 1] * step_s
    x = pose[0] + np.cumsum(actions[:, :, 0] * step_s * np.cos(middle), axis=1)
    y = pose[1] + np.cumsum(actions[:, :, 0] * step_s * np.sin(middle), axis=1)
    return np.stack([x, y, yaw], axis=2).astype(np.float32)


class PointRobot:
    """The model; ``calls`` keeps copies of the actions of each ``imagine``."""

    def __init__(
        self,
        obstacles: tuple[tuple[float, float, float], ...] = (),
        *,
        candidates: int = 64,
        horizon: int = 12,
        extra: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.manifest = SimpleNamespace(
            tick_s=0.1, imagine=SimpleNamespace(candidates=candidates, horizon=horizon, step_s=0.2)
        )
        self.obstacles = obstacles
        self.extra = extra or {}
        self.calls: list[np.ndarray] = []
        self.remember = True
        self.during_imagine = lambda: None

    def imagine(self, state: dict, actions: np.ndarray, goal: np.ndarray) -> dict[str, np.ndarray]:
        if self.remember:
            self.calls.append(actions.copy())
        self.during_imagine()
        poses = unicycle(state["pose"], actions, self.manifest.imagine.step_s)
        clearance = np.full(poses.shape[:2], 5.0, dtype=np.float32)
        for x, y, radius in self.obstacles:
            clearance = np.minimum(clearance, np.hypot(poses[:, :, 0] - x, poses[:, :, 1] - y) - radius)
        cost_to_go = np.hypot(poses[:, :, 0] - goal[0], poses[:, :, 1] - goal[1]).astype(np.float32)
        outcomes = {
            "imagined_pose": poses,
            "clearance": clearance,
            "collision": (clearance < 0.12).astype(np.float32),
            "value": cost_to_go[:, -1],
            "cost_to_go": cost_to_go,
        }
        return outcomes | self.extra


def at(x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> dict[str, np.ndarray]:
    return {"pose": np.array([x, y, yaw], dtype=np.float32)}


def goal(x: float, y: float) -> np.ndarray:
    return np.array([x, y], dtype=np.float32)


def drive(planner, model: PointRobot, target: np.ndarray, ticks: int = 200) -> tuple[bool, float]:
    """Close the loop at one plan a tick.  Returns whether it came within 0.15 m, and the least clearance."""
    pose, least = np.zeros(3), math.inf
    applied = np.zeros(2, dtype=np.float32)
    for _ in range(ticks):
        plan = planner.plan({"pose": pose}, target, applied=applied)
        applied = plan.actions[0]
        pose = unicycle(pose, applied[None, None], model.manifest.tick_s)[0, 0].astype(np.float64)
        for x, y, radius in model.obstacles:
            least = min(least, math.hypot(pose[0] - x, pose[1] - y) - radius)
        if math.hypot(pose[0] - target[0], pose[1] - target[1]) < 0.15:
            return True, least
    return False, least
