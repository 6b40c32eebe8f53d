"""Between the world frame of a simulation and the odometry frame of the robot in it."""

from __future__ import annotations

import math


def to_odometry_frame(start: tuple[float, float, float], point: tuple[float, float]) -> tuple[float, float]:
    """A point (x, y) of the world in the odometry frame, whose origin is the start pose (x, y, yaw)."""
    dx, dy = point[0] - start[0], point[1] - start[1]
    cos, sin = math.cos(start[2]), math.sin(start[2])
    return cos * dx + sin * dy, cos * dy - sin * dx


def to_world_frame(start: tuple[float, float, float], point: tuple[float, float]) -> tuple[float, float]:
    """A point (x, y) of the odometry frame in the world; the inverse of :func:`to_odometry_frame`."""
    cos, sin = math.cos(start[2]), math.sin(start[2])
    return start[0] + cos * point[0] - sin * point[1], start[1] + sin * point[0] + cos * point[1]
