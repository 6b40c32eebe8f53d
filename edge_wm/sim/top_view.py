"""A picture of a world from above, with positions in it marked."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from edge_wm.sensors.observation import Array
from edge_wm.sim.camera import TOP_VIEW_SIZE, top_view, top_view_square
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import SUCCESS_M, Task
from edge_wm.sim.true_map import WALL_FACTOR, TrueMap

GOAL_COLOUR = (40, 170, 70)
PATH_COLOUR = (30, 100, 220)


def to_pixels(points: Array, bounds: tuple[float, float, float, float]) -> Array:
    """Pixels (column, row) float64[P, 2] of world points ``points[P, 2]`` in the picture of ``bounds``."""
    x, y, side = top_view_square(bounds)
    scale = TOP_VIEW_SIZE / side
    return np.stack(
        [
            TOP_VIEW_SIZE / 2 + (points[:, 0] - x) * scale,
            TOP_VIEW_SIZE / 2 - (points[:, 1] - y) * scale,
        ],
        axis=1,
    )


def draw_goal(
    picture: Array, goal: tuple[float, float], bounds: tuple[float, float, float, float]
) -> Image.Image:
    """``picture`` uint8[H, W, 3] with the circle around the goal in which it counts as reached."""
    image = Image.fromarray(picture)
    (column, row), _ = to_pixels(np.array([goal, goal]), bounds)
    radius = SUCCESS_M * TOP_VIEW_SIZE / top_view_square(bounds)[2]
    box = (column - radius, row - radius, column + radius, row + radius)
    ImageDraw.Draw(image).ellipse(box, outline=GOAL_COLOUR, width=3)
    return image


def draw_task(task: Task) -> Image.Image:
    """The task's world from above, with the robot at its start, the goal and the comfortable path between them."""
    true_map = TrueMap.from_world(task.world, (task.start[:2], task.goal))
    simulation = Simulation(task.world, task.start, render=False)
    image = draw_goal(
        top_view(simulation.model, simulation.data, true_map.bounds), task.goal, true_map.bounds
    )
    path = true_map.path(task.start[:2], task.goal, WALL_FACTOR)
    if path is not None:
        ImageDraw.Draw(image).line(
            to_pixels(path, true_map.bounds).ravel().tolist(), fill=PATH_COLOUR, width=3
        )
    return image
