"""Where the cells of the latent map lie, and what of the sensors bears on each: the fixed geometry of the model.

The map is a square of cells that stays parallel to the axes of the odometry frame and scrolls by whole cells when
the robot moves, so that memory is never resampled and never blurs.  Shapes: B batch, G cells a side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edge_wm.sim import robot_model as rm

CELL_M = 0.15
CAMERA_NEAR_M, CAMERA_FAR_M = 0.12, 5.0
"""Range of depths that the camera's features are spread over, evenly in their logarithm."""
HALF_WIDTH_TANGENT = math.tan(math.radians(rm.CAMERA_FOVY_DEG) / 2) * rm.CAMERA_WIDTH / rm.CAMERA_HEIGHT
BEAM_SPACING = math.tau / rm.RING_BEAMS
RING_FEATURES = 6


def origin_cell(pose: Tensor) -> Tensor:
    """Whole-cell position [..., 2] of the map's middle for the robot at ``pose[..., 3]``."""
    return torch.floor(pose[..., :2] / CELL_M)


def scroll(grid: Tensor, shift: Tensor) -> Tensor:
    """Move the window of ``grid[B, C, G, G]`` by ``shift[B, 2]`` whole cells (x, y); fresh cells are zero."""
    batch, channels, size, _ = grid.shape
    index = torch.arange(size, device=grid.device)
    columns = index + shift[:, :1].long()  # [B, G]
    rows = index + shift[:, 1:].long()
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    flat = rows.clamp(0, size - 1)[:, :, None] * size + columns.clamp(0, size - 1)[:, None, :]
    moved = grid.flatten(2).gather(2, flat.reshape(batch, 1, size * size).expand(-1, channels, -1))
    return moved.reshape(batch, channels, size, size) * inside[:, None].to(grid.dtype)


def cell_offsets(pose: Tensor, cells: int) -> Tensor:
    """Centres of all cells of a map of ``cells`` a side relative to the robot, in its axes: [B, 2, G, G], metres."""
    index = torch.arange(cells, dtype=pose.dtype, device=pose.device) - cells // 2 + 0.5
    inside_cell = pose[:, :2] / CELL_M - origin_cell(pose)  # where in its cell the robot stands
    dx = (index - inside_cell[:, :1]) * CELL_M  # [B, G]
    dy = (index - inside_cell[:, 1:]) * CELL_M
    east = dx[:, None, :].expand(-1, cells, -1)
    north = dy[:, :, None].expand(-1, -1, cells)
    cos, sin = torch.cos(pose[:, 2])[:, None, None], torch.sin(pose[:, 2])[:, None, None]
    return torch.stack([cos * east + sin * north, cos * north - sin * east], dim=1)


def camera_lookup(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Where in the camera's features (columns by log depth) each cell is seen.

    Args:
        offsets: [B, 2, G, G] from :func:`cell_offsets`.

    Returns:
        lookup [B, G, G, 2] for ``grid_sample`` and seen [B, 1, G, G], 1 inside the field of view.
    """
    depth = offsets[:, 0] - rm.CAMERA_FORWARD_M
    safe = depth.clamp(min=CAMERA_NEAR_M / 2)
    across = -offsets[:, 1] / (safe * HALF_WIDTH_TANGENT)  # image columns run to the right, y to the left
    span = math.log(CAMERA_FAR_M / CAMERA_NEAR_M)
    along = 2.0 * torch.log(safe / CAMERA_NEAR_M) / span - 1.0
    seen = (depth > CAMERA_NEAR_M / 2) & (across.abs() < 1.0)
    # Cells behind the camera are sent outside of the picture, where grid_sample gives zeros.
    across = torch.where(seen, across, torch.full_like(across, 3.0))
    return torch.stack([across, along], dim=-1), seen[:, None].to(offsets.dtype)


def ring_features(offsets: Tensor, readings: Tensor) -> Tensor:
    """What the nearest beam of the range ring says about each cell.

    Args:
        offsets: [B, 2, G, G] from :func:`cell_offsets`.
        readings: range ring [B, 8] in metres, 0 for a drop-out.

    Returns:
        [B, RING_FEATURES, G, G]: valid, signed distance behind the reading, closeness to the reading, offset from
        the beam's axis, distance, whether the beam hit something within its reach.
    """
    x, y = offsets[:, 0], offsets[:, 1]
    distance = torch.sqrt(x * x + y * y + 1e-6)
    bearing = torch.atan2(y, x + 1e-6)
    nearest = torch.round(bearing / BEAM_SPACING)
    beam = torch.remainder(nearest, rm.RING_BEAMS).long()
    reading = readings.gather(1, beam.flatten(1)).reshape(beam.shape)
    valid = (reading > 0.01).to(offsets.dtype)
    hit = valid * (reading < rm.RING_REACH_M - 0.05).to(offsets.dtype)
    behind = ((distance - reading) / 0.4).clamp(-3.0, 3.0) * valid
    close = torch.exp(-(((distance - reading) / 0.12) ** 2).clamp(max=20.0)) * hit
    off_axis = (bearing - nearest * BEAM_SPACING).abs() * distance / 0.3
    return torch.stack([valid, behind, close, off_axis.clamp(max=3.0), distance / 3.0, hit], dim=1)


def map_coordinates(points: Tensor, pose: Tensor, cells: int) -> Tensor:
    """Points of the odometry frame [B, ..., 2] as ``grid_sample`` coordinates of the map around ``pose[B, 3]``."""
    corner = (origin_cell(pose) - cells // 2) * CELL_M
    corner = corner.reshape(-1, *([1] * (points.dim() - 2)), 2)
    return (points - corner) / (cells * CELL_M / 2) - 1.0
