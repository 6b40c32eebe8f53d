"""A fabricated drive: half a circle around a box, towards a goal, through a world drawn here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edge_wm.record.tick_record import GoalStart, LocalMap, TickRecord, TopView
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import Command

TICK_S = 0.1
RADIUS_M = 1.5
BOX_HALF_M = 0.5
BOX_CENTRE = (RADIUS_M, 0.0)
GOAL = (2 * RADIUS_M, 0.0)
CELL_M = 0.15
PIXELS_PER_M = 80
WORLD_LOW = (-1.2, -1.5)
WORLD_SIZE_M = (5.6, 4.5)

MakeDrive = Callable[..., list[TickRecord]]


def true_pose(progress: float) -> tuple[float, float, float]:
    """Clockwise half circle from (0, 0), looking along +y, to the goal."""
    angle = math.pi * (1 - progress)
    return RADIUS_M + RADIUS_M * math.cos(angle), RADIUS_M * math.sin(angle), angle - math.pi / 2


def fabricate(ticks: int, goal_number: int = 1, drift_m: float = 0.0) -> list[TickRecord]:
    """A drive of ``ticks`` records; the estimated pose runs away from the true one by ``drift_m``."""
    random = np.random.default_rng(goal_number)
    records = []
    for tick in range(ticks):
        progress = tick / max(ticks - 1, 1)
        truth = true_pose(progress)
        pose = (truth[0] + drift_m * progress, truth[1], truth[2])
        candidates = imagined_paths(random, pose)
        wanted = np.array(true_pose(min(progress + 0.3, 1.0))[:2])
        costs = np.hypot(*(candidates[:, -1, :2] - wanted).T)
        distance = math.hypot(GOAL[0] - truth[0], GOAL[1] - truth[1])
        clear_m = max(abs(truth[0] - BOX_CENTRE[0]), abs(truth[1])) - BOX_HALF_M
        tick_ms = float(12 + random.gamma(2.0, 0.8))
        records.append(
            TickRecord(
                tick=tick,
                time_s=100.0 + tick * TICK_S,
                observation=Observation(
                    100.0 + tick * TICK_S, tick, {"camera": camera(tick), "range": ring(clear_m)}
                ),
                command=Command(0.4 + 0.05 * math.sin(tick / 5), -0.3),
                applied=Command(0.38 + 0.05 * math.sin((tick - 1) / 5), -0.28),
                goal_distance_m=distance,
                tick_ms=tick_ms,
                goal_number=goal_number,
                goal=GOAL,
                pose=pose,
                true_pose=truth,
                plan_poses=candidates[int(costs.argmin())],
                plan_cost=float(costs.min()) + distance,
                iterations=3,
                candidate_poses=candidates,
                candidate_costs=costs.astype(np.float32),
                observe_ms=tick_ms * 0.25,
                plan_ms=tick_ms * 0.7,
                missed=tick == 7,
                supervisor="closer than braking distance" if 20 <= tick < 23 else "",
                local_map=local_map(pose),
            )
        )
    return records


def imagined_paths(random: np.random.Generator, pose: tuple[float, float, float]) -> np.ndarray:
    """float32[64, 12, 3]: arcs of constant speed and yaw rate."""
    rate = random.normal(-0.4, 0.7, size=(64, 1))
    speed = random.uniform(0.25, 0.6, size=(64, 1))
    seconds = 0.2 * np.arange(1, 13)[None]
    yaw = pose[2] + rate * seconds
    x = pose[0] + np.cumsum(speed * 0.2 * np.cos(yaw), axis=1)
    y = pose[1] + np.cumsum(speed * 0.2 * np.sin(yaw), axis=1)
    return np.stack([x, y, yaw], axis=-1).astype(np.float32)


def local_map(pose: tuple[float, float, float]) -> LocalMap:
    """Probable where the box is; known in the half plane ahead and near."""
    empty = LocalMap.around(pose, np.zeros((40, 40), np.float32), None, CELL_M)
    centres = (np.arange(40) + 0.5) * CELL_M
    x, y = np.meshgrid(empty.corner[0] + centres, empty.corner[1] + centres)
    outside = np.maximum(np.abs(x - BOX_CENTRE[0]), np.abs(y - BOX_CENTRE[1])) - BOX_HALF_M
    walls = np.minimum.reduce([x + 1.0, 4.2 - x, y + 1.3, 2.8 - y])
    probability = 1 / (1 + np.exp((np.minimum(outside, walls) - 0.15) / 0.05))
    ahead = (x - pose[0]) * math.cos(pose[2]) + (y - pose[1]) * math.sin(pose[2])
    known = 1 / (1 + np.exp(-(ahead + 0.8) / 0.15))
    return LocalMap.around(pose, probability.astype(np.float32), known.astype(np.float32), CELL_M)


def camera(tick: int) -> np.ndarray:
    """uint8[48, 64, 3]: a floor, a wall, and a box that passes by."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:22] = (150, 160, 172)
    image[22:] = np.linspace(70, 120, 26)[:, None, None]
    left = (tick * 2) % 64
    image[14:36, left : left + 16] = (190, 90, 60)
    return image


def ring(clear_m: float) -> np.ndarray:
    """float32[8]: one beam dropped out, one sees the box."""
    return np.array([4.0, 0.0, 1.4, 2.0, 4.0, 1.1, max(clear_m, 0.05), 1.8], np.float32)


def top_view() -> TopView:
    width, height = (round(size * PIXELS_PER_M) for size in WORLD_SIZE_M)
    image = np.full((height, width, 3), (168, 160, 148), np.uint8)
    image[:16], image[-16:], image[:, :16], image[:, -16:] = ((96, 104, 118),) * 4
    top = WORLD_LOW[1] + WORLD_SIZE_M[1]
    to_pixels = np.array(
        [[PIXELS_PER_M, 0, -WORLD_LOW[0] * PIXELS_PER_M], [0, -PIXELS_PER_M, top * PIXELS_PER_M]]
    )
    left, upper = to_pixels @ (BOX_CENTRE[0] - BOX_HALF_M, BOX_CENTRE[1] + BOX_HALF_M, 1)
    side = round(2 * BOX_HALF_M * PIXELS_PER_M)
    image[round(upper) : round(upper) + side, round(left) : round(left) + side] = (190, 90, 60)
    return TopView(image, to_pixels)


@pytest.fixture(scope="session")
def make_drive() -> MakeDrive:
    return fabricate


@pytest.fixture(scope="session")
def start() -> GoalStart:
    return GoalStart(number=1, of=2, goal=GOAL, top_view=top_view(), name="half circle")
