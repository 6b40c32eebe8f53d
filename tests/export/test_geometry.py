"""The map scrolls exactly, its cells lie where they are said to lie, and the sensors bear on the right ones."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from export.geometry import CELL_M, camera_lookup, cell_offsets, map_coordinates, ring_features, scroll

CELLS = 40
CLOSE = 2
"""Channel of ring_features."""


def poses(count: int = 16) -> Tensor:
    rng = torch.Generator().manual_seed(3)
    return (torch.rand(count, 3, generator=rng) - 0.5) * torch.tensor([8.0, 8.0, 12.0])


def to_odometry(pose: Tensor, offsets: Tensor) -> Tensor:
    """Points [B, P, 2] of the odometry frame at ``offsets[B, 2, G, G]`` from the robots."""
    x, y = offsets.flatten(2).unbind(1)
    cos, sin = torch.cos(pose[:, 2:]), torch.sin(pose[:, 2:])
    return pose[:, None, :2] + torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -1), (3, -2), (-7, 5), (6, 6), (40, 0), (0, -90)])
def test_scrolling_moves_the_map_by_whole_cells_and_fills_with_zeros(shift: tuple[int, int]) -> None:
    grid = torch.rand(1, 3, CELLS, CELLS) + 1.0
    moved = scroll(grid, torch.tensor([shift], dtype=torch.float32))
    expected = torch.zeros_like(grid)
    for row in range(CELLS):
        for column in range(CELLS):
            if 0 <= row + shift[1] < CELLS and 0 <= column + shift[0] < CELLS:
                expected[..., row, column] = grid[..., row + shift[1], column + shift[0]]
    assert torch.equal(moved, expected)


def test_each_map_of_a_batch_scrolls_by_its_own_shift() -> None:
    grid = torch.rand(2, 1, CELLS, CELLS)
    moved = scroll(grid, torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    assert torch.equal(moved[0, :, :, :-2], grid[0, :, :, 2:])
    assert torch.equal(moved[1, :, :-1], grid[1, :, 1:])


def test_what_has_scrolled_out_is_forgotten() -> None:
    grid = torch.rand(1, 1, CELLS, CELLS) + 1.0
    there = torch.tensor([[4.0, 0.0]])
    back = scroll(scroll(grid, there), -there)
    assert torch.equal(back[..., 4:], grid[..., 4:])
    assert (back[..., :4] == 0).all()


def test_the_centre_of_a_cell_maps_to_that_cell() -> None:
    pose = poses()
    number = torch.arange(CELLS * CELLS, dtype=torch.float32).reshape(1, 1, CELLS, CELLS)
    centres = to_odometry(pose, cell_offsets(pose, CELLS))

    def read(points: Tensor) -> Tensor:
        where = map_coordinates(points, pose, CELLS)[:, None]
        return F.grid_sample(number.expand(len(pose), -1, -1, -1), where, align_corners=False)[:, 0, 0]

    cells = number.flatten().expand(len(pose), -1)
    assert (read(centres) - cells).abs().max() < 0.05
    # The control: half a cell away is another reading.
    assert (read(centres + CELL_M / 2) - cells).abs().median() > 10


def test_cells_stay_where_they_are_while_the_robot_moves_within_its_cell() -> None:
    here = torch.tensor([[0.01, 0.01, 0.0]])
    within, beyond = torch.tensor([[0.14, 0.1, 1.0]]), torch.tensor([[0.16, 0.1, 1.0]])
    centres = to_odometry(here, cell_offsets(here, CELLS))
    assert torch.allclose(to_odometry(within, cell_offsets(within, CELLS)), centres, atol=1e-5)
    moved = to_odometry(beyond, cell_offsets(beyond, CELLS)) - centres
    assert torch.allclose(moved, torch.tensor([CELL_M, 0.0]).expand_as(moved), atol=1e-5)


def closeness_at_readings(claimed: Tensor, measured: Tensor) -> Tensor:
    """Closeness [8] of the cells that hold the ends of beams as long as ``claimed``, given ``measured``."""
    pose = torch.tensor([[0.07, 0.05, 0.6]])
    offsets = cell_offsets(pose, CELLS)
    close = ring_features(offsets, measured[None])[0, CLOSE].flatten()
    bearing = torch.arange(8) * (math.tau / 8)
    ends = torch.stack([claimed * torch.cos(bearing), claimed * torch.sin(bearing)], dim=-1)
    nearest = torch.cdist(ends, offsets[0].flatten(1).T).argmin(dim=1)
    return close[nearest]


def test_closeness_peaks_on_the_cells_at_the_reading() -> None:
    readings = 0.5 + 0.3 * torch.arange(8.0)
    assert (closeness_at_readings(readings, readings) > 0.4).all()
    # The controls: the readings of other beams, and shorter ones.
    assert (closeness_at_readings(readings, readings.roll(1)) < 0.2).all()
    assert (closeness_at_readings(readings, readings - 0.3) < 0.2).all()


@pytest.mark.parametrize("reading", [0.0, 4.0], ids=["drop-out", "nothing within reach"])
def test_a_beam_that_hit_nothing_is_close_to_no_cell(reading: float) -> None:
    offsets = cell_offsets(torch.zeros(1, 3), 80)
    assert (ring_features(offsets, torch.full((1, 8), reading))[0, CLOSE] == 0).all()


def test_the_camera_sees_ahead_and_its_left_is_on_the_left() -> None:
    ahead, left, right, behind, beside = (0, 1, 2, 3, 4)
    points = torch.tensor([[1.5, 0.0], [1.5, 0.4], [1.5, -0.4], [-1.5, 0.0], [0.3, 2.0]])
    lookup, seen = camera_lookup(points.T.reshape(1, 2, 1, 5))
    across = lookup[0, 0, :, 0]
    assert seen.flatten().tolist() == [1, 1, 1, 0, 0]
    assert across[left] < across[ahead] == 0 < across[right]
    assert (across[[behind, beside]].abs() > 1).all()  # where grid_sample gives zeros
