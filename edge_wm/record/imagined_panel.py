"""The panel with what the model imagines: its local map and its imagined paths, heading up."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from edge_wm.record.drawing import (
    OVERSAMPLING,
    draw_candidates,
    draw_goal,
    draw_label,
    draw_placeholder,
    draw_plan,
    draw_robot,
)
from edge_wm.record.palette import COLLISION_COLOURS, PANEL, colour_ramp
from edge_wm.record.tick_record import Array, LocalMap, Pose, TickRecord

SHOWN_WIDTH_M = 5.4
ROBOT_HEIGHT = 0.62
"""How far down the panel the robot stands: more is seen ahead of it than behind."""

LABEL = "what the model imagines · heading up"
_RAMP = colour_ramp(COLLISION_COLOURS, 256)


def imagined_panel(
    record: TickRecord, size: tuple[int, int], goal_radius_m: float, scale: int
) -> Image.Image:
    """Draw the panel.

    Args:
        record: a record without map or pose gives an empty panel.
        size: of the panel in pixels, width and height.
        goal_radius_m: drawn as the goal's ring.
        scale: of the labels.
    """
    if record.pose is None or not np.isfinite(record.pose).all():
        return draw_placeholder(size, "no pose estimate", scale)
    large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    view = _HeadingUp(record.pose, large)
    image = Image.new("RGB", large, PANEL)
    if record.local_map is not None:
        image = view.map_picture(record.local_map)
    draw = ImageDraw.Draw(image, "RGBA")
    start = view.to_pixels(np.array(record.pose[:2]))
    line = scale * OVERSAMPLING
    if record.goal is not None:
        draw_goal(draw, view.to_pixels, record.goal, goal_radius_m)
    if record.candidate_poses is not None:
        paths = view.to_pixels(record.candidate_poses[..., :2])
        draw_candidates(draw, start, paths, record.candidate_costs, line)
    if record.plan_poses is not None:
        draw_plan(draw, start, view.to_pixels(record.plan_poses[..., :2]), 2 * line)
    draw_robot(draw, view.to_pixels, record.pose)
    image = image.reduce(OVERSAMPLING)
    draw_label(image, LABEL, (6 * scale, 6 * scale), scale)
    return image


class _HeadingUp:
    """The odometry frame as seen by the robot: it looks up the panel."""

    def __init__(self, pose: Pose, size: tuple[int, int]) -> None:
        self.size = size
        self._pose = pose
        self._pixels_per_m = size[0] / SHOWN_WIDTH_M
        self._robot_at = (size[0] / 2, size[1] * ROBOT_HEIGHT)

    def to_pixels(self, points: Array) -> Array:
        """Pixels [..., 2] of points [..., 2] in the odometry frame."""
        x, y, yaw = self._pose
        dx, dy = points[..., 0] - x, points[..., 1] - y
        forward = dx * math.cos(yaw) + dy * math.sin(yaw)
        left = dy * math.cos(yaw) - dx * math.sin(yaw)
        u = self._robot_at[0] - left * self._pixels_per_m
        v = self._robot_at[1] - forward * self._pixels_per_m
        pixels: Array = np.stack([u, v], axis=-1)
        return pixels

    def map_picture(self, local_map: LocalMap) -> Image.Image:
        """The map in colours, faded where the model has seen nothing, turned and scaled to the panel."""
        shade = (np.clip(np.nan_to_num(local_map.probability), 0.0, 1.0) * 255).astype(np.intp)
        known = (
            1.0 if local_map.known is None else np.clip(np.nan_to_num(local_map.known), 0.0, 1.0)[..., None]
        )
        colours = known * _RAMP[shade] + (1.0 - known) * np.array(PANEL)
        x, y, yaw = self._pose
        cos, sin = math.cos(yaw), math.sin(yaw)
        # From a panel pixel back to a map cell: pixel -> forward, left -> odometry frame -> column, row.  The map
        # is soft, so it is turned at the panel's final size, which costs a quarter.
        k = OVERSAMPLING / (self._pixels_per_m * local_map.cell_m)
        u0, v0 = self._robot_at[0] / OVERSAMPLING, self._robot_at[1] / OVERSAMPLING
        column0 = (x - local_map.corner[0]) / local_map.cell_m
        row0 = (y - local_map.corner[1]) / local_map.cell_m
        back = (
            *(k * sin, -k * cos, column0 + k * (v0 * cos - u0 * sin)),
            *(-k * cos, -k * sin, row0 + k * (v0 * sin + u0 * cos)),
        )
        final_size = (self.size[0] // OVERSAMPLING, self.size[1] // OVERSAMPLING)
        picture = Image.fromarray(colours.astype(np.uint8)).transform(
            final_size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=PANEL
        )
        return picture.resize(self.size, Image.Resampling.NEAREST)
