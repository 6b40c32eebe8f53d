"""Tasks: a start and a goal in a world, read from and written to ``tasks.json``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edge_wm.errors import BadInput
from edge_wm.sim import robot_model as rm
from edge_wm.sim.true_map import TrueMap, path_length, true_map_of

FILE_NAME = "tasks.json"
SUCCESS_M = 0.3
"""A goal is reached when the robot's centre is this near to it."""
REACHED_SLACK_M = 0.1
"""How much longer than that the way to it may be: two cells of the true map, which cannot be more exact."""
TIME_LIMIT_S = 60.0
MAP_ERROR_M = 0.01
"""How far the true map's clearance may be off between its cells."""


class TaskEntry(msgspec.Struct, forbid_unknown_fields=False):
    """One entry of ``tasks.json``; see DESIGN for the form.  Unknown keys are kept out of our way."""

    world: str
    start: tuple[float, float, float]
    goal: tuple[float, float]
    geodesic_m: float | None = None


class Task(NamedTuple):
    """A start pose (x, y, yaw) and a goal (x, y) in the world frame of one MJCF file.

    ``geodesic_m`` is the length of the shortest collision-free path; SPL is measured against it.
    """

    world: Path
    start: tuple[float, float, float]
    goal: tuple[float, float]
    geodesic_m: float


def load_tasks(directory: Path) -> list[Task]:
    """Read ``directory/tasks.json``; the worlds it names are relative to the directory.

    Raises:
        BadInput: if there are no tasks, a world is missing, a number is not finite, or start or goal cannot be
            reached.
    """
    file = directory / FILE_NAME
    try:
        entries = msgspec.json.decode(file.read_bytes(), type=list[TaskEntry])
    except FileNotFoundError:
        raise BadInput(
            f"{directory}: no {FILE_NAME} here; name a folder of worlds with their tasks"
        ) from None
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadInput(f"{file}: not a list of tasks: {error}") from error
    if not entries:
        raise BadInput(f"{file}: holds no task")
    tasks = []
    for number, entry in enumerate(entries):
        where = f"{file}: task {number}"
        path = directory / entry.world
        if not path.is_file():
            path = directory / f"{entry.world}.xml"
        if not path.is_file():
            raise BadInput(f"{where}: there is no world {directory / entry.world}")
        numbers = (*entry.start, *entry.goal)
        if not all(math.isfinite(value) for value in numbers):
            raise BadInput(f"{where}: start and goal must be finite numbers")
        geodesic_m = entry.geodesic_m
        if geodesic_m is None:
            geodesic_m = _geodesic(path, entry, where)
        if not (math.isfinite(geodesic_m) and geodesic_m > 0.0):
            raise BadInput(f"{where}: geodesic_m is {geodesic_m}; it must be a length in metres")
        tasks.append(Task(path, entry.start, entry.goal, geodesic_m))
    return tasks


def is_reached(goal: tuple[float, float], here: tuple[float, float], path_m: float) -> bool:
    """Whether the robot's centre ``here`` counts as at the goal: near it, and not on the other side of a wall.

    Args:
        goal: x, y, metres.
        here: x, y, metres.
        path_m: length of the shortest path between them.
    """
    return math.dist(here, goal) <= SUCCESS_M and path_m <= SUCCESS_M + REACHED_SLACK_M


def check_task(task: Task, true_map: TrueMap, where: str) -> float:
    """Check that neither start nor goal lies inside something; return the length (m) of the shortest path between them.

    A goal may be closer to a wall than the robot can come: it counts as reached from ``SUCCESS_M`` away.

    Raises:
        BadInput: one of them does, or there is no path.
    """
    for name, point, needed in (
        ("start", task.start[:2], rm.CHASSIS_RADIUS_M - MAP_ERROR_M),
        ("goal", task.goal, 0.0),
    ):
        place = f"{where}: the {name} ({point[0]:g}, {point[1]:g})"
        if not true_map.contains(point):
            raise BadInput(f"{place} lies outside the world")
        if float(true_map.clearance_at(np.array(point))) <= needed:
            raise BadInput(f"{place} is inside a wall or obstacle")
    path = true_map.path(task.start[:2], task.goal)
    if path is None:
        raise BadInput(f"{where}: no path leads from the start to the goal")
    return path_length(path)


def save_tasks(directory: Path, tasks: list[Task]) -> None:
    """Write ``directory/tasks.json``."""
    entries = [
        TaskEntry(
            task.world.relative_to(directory).as_posix(), task.start, task.goal, round(task.geodesic_m, 3)
        )
        for task in tasks
    ]
    text = msgspec.json.format(msgspec.json.encode(entries), indent=1)
    (directory / FILE_NAME).write_bytes(text + b"\n")


def _geodesic(path: Path, entry: TaskEntry, where: str) -> float:
    true_map = true_map_of(path, entry.start[:2], entry.goal)
    return check_task(Task(path, entry.start, entry.goal, 0.0), true_map, where)
