"""The panel with the world from above: where the robot went, what it imagined, what it chose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from edge_wm.record.drawing import (
    OVERSAMPLING,
    draw_candidates,
    draw_goal,
    draw_label,
    draw_path,
    draw_plan,
    draw_robot,
)
from edge_wm.record.palette import BACKGROUND, DRIVEN, EDGE, PANEL
from edge_wm.record.tick_record import Array, GoalStart, Pose, TickRecord, TopView

MARGIN_M = 0.9
"""Kept free around the path and the goal."""
SMALLEST_VIEW_M = 4.0
WORLD_DIMMING = 0.5
"""How far the world's picture is blended into the background, so that paths stand out."""
GRID_M = 0.5


class WorldPanel:
    """Draws one drive to a goal; the world's picture is prepared once.

    Args:
        start: the goal and, if there is one, the picture of the world.
        records: all ticks of the drive, so that the view fits the whole path.
        size: of the panel in pixels, width and height.
        goal_radius_m: drawn as the goal's ring.
        scale: of lines and labels.
    """

    def __init__(
        self,
        start: GoalStart,
        records: Sequence[TickRecord],
        size: tuple[int, int],
        goal_radius_m: float,
        scale: int,
    ) -> None:
        self._start = start
        self._records = records
        self._size = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
        self._goal_radius_m = goal_radius_m
        self._scale = scale
        poses = [record.shown_pose for record in records]
        self._driven = np.array([(math.nan, math.nan) if p is None else p[:2] for p in poses]).reshape(-1, 2)
        self._fit_view()
        self._backdrop = self._plain_grid() if start.top_view is None else self._world(start.top_view)

    def picture(self, index: int, with_imagination: bool = True) -> Image.Image:
        """The panel at the tick ``index`` of the drive."""
        record = self._records[index]
        image = self._backdrop.copy()
        draw = ImageDraw.Draw(image, "RGBA")
        line = self._scale * OVERSAMPLING
        draw_goal(draw, self._to_pixels, self._start.goal, self._goal_radius_m)
        draw_path(draw, self._to_pixels(self._driven[: index + 1]), DRIVEN, 3 * line)
        pose = record.shown_pose
        if pose is not None and with_imagination and record.pose is not None:
            here = self._to_pixels(np.array(pose[:2]))
            if record.candidate_poses is not None:
                paths = self._to_pixels(moved(record.candidate_poses, record.pose, pose))
                draw_candidates(draw, here, paths, record.candidate_costs, line)
            if record.plan_poses is not None:
                draw_plan(draw, here, self._to_pixels(moved(record.plan_poses, record.pose, pose)), 3 * line)
        if pose is not None:
            draw_robot(draw, self._to_pixels, pose)
        image = image.reduce(OVERSAMPLING)
        draw_label(image, self._caption(), (6 * self._scale, 6 * self._scale), self._scale)
        return image

    def _caption(self) -> str:
        what = "the robot's own odometry" if self._start.top_view is None else "the true world from above"
        return f"{what} · {self._start.name}" if self._start.name else what

    def _fit_view(self) -> None:
        """Choose scale and centre so that the path and the goal fill the panel."""
        points = np.vstack([self._driven, np.array([self._start.goal])])
        points = points[np.isfinite(points).all(axis=-1)]
        low, high = points.min(axis=0) - MARGIN_M, points.max(axis=0) + MARGIN_M
        width_m, height_m = np.maximum(high - low, SMALLEST_VIEW_M)
        self._pixels_per_m = min(self._size[0] / float(width_m), self._size[1] / float(height_m))
        centre_x, centre_y = (low + high) / 2
        self._left_m = float(centre_x) - self._size[0] / 2 / self._pixels_per_m
        self._top_m = float(centre_y) + self._size[1] / 2 / self._pixels_per_m

    def _to_pixels(self, points: Array) -> Array:
        u = (points[..., 0] - self._left_m) * self._pixels_per_m
        v = (self._top_m - points[..., 1]) * self._pixels_per_m
        pixels: Array = np.stack([u, v], axis=-1)
        return pixels

    def _world(self, top_view: TopView) -> Image.Image:
        """The world's picture, cut to the view and dimmed."""
        (a, b, c), (d, e, f) = np.asarray(top_view.to_pixels, dtype=float).tolist()
        k, x0, y0 = 1.0 / self._pixels_per_m, self._left_m, self._top_m
        back = (a * k, -b * k, a * x0 + b * y0 + c, d * k, -e * k, d * x0 + e * y0 + f)
        image = Image.fromarray(top_view.image).transform(
            self._size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC, fillcolor=PANEL
        )
        return Image.blend(image, Image.new("RGB", self._size, BACKGROUND), WORLD_DIMMING)

    def _plain_grid(self) -> Image.Image:
        image = Image.new("RGB", self._size, PANEL)
        draw = ImageDraw.Draw(image)
        k = self._pixels_per_m
        for number in range(
            math.ceil(self._left_m / GRID_M), math.ceil((self._left_m + self._size[0] / k) / GRID_M)
        ):
            u = (number * GRID_M - self._left_m) * k
            draw.line([(u, 0), (u, self._size[1])], fill=EDGE)
        for number in range(
            math.ceil((self._top_m - self._size[1] / k) / GRID_M), math.ceil(self._top_m / GRID_M)
        ):
            v = (self._top_m - number * GRID_M) * k
            draw.line([(0, v), (self._size[0], v)], fill=EDGE)
        return image


def moved(poses: Array, from_pose: Pose, to_pose: Pose) -> Array:
    """Points [..., 2] of ``poses`` [..., 3], carried along with the robot from one frame's pose to another's.

    What the robot imagines starts where it believes to be; drawn from where it truly is, odometry drift does
    not tear the picture apart.
    """
    turn = to_pose[2] - from_pose[2]
    dx, dy = poses[..., 0] - from_pose[0], poses[..., 1] - from_pose[1]
    x = to_pose[0] + dx * math.cos(turn) - dy * math.sin(turn)
    y = to_pose[1] + dx * math.sin(turn) + dy * math.cos(turn)
    points: Array = np.stack([x, y], axis=-1)
    return points
