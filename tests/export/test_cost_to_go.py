"""Value iteration inside the graph is a shortest path search: held against Dijkstra on hand-made maps."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from export import world_model
from export.geometry import CELL_M
from export.world_model import FAR, LEAVING, MAX_TRAVERSAL, State, WorldModel
from tests.export.tiny import TINY

CELLS = TINY.cells
OCTILE = 1.083
"""Longest that a way in eight directions is, over the straight one."""
Grid = NDArray[np.float64]


def field(traversal: Grid, goal: tuple[float, float]) -> Grid:
    """``WorldModel.cost_to_go`` of a robot at the origin, on a map of given traversal costs."""
    model = WorldModel(msgspec.structs.replace(TINY, value_iterations=4 * CELLS))
    cost = torch.from_numpy(traversal).float()[None]
    model.read_locally = lambda context: (torch.zeros_like(cost), cost)  # type: ignore[method-assign]
    with torch.no_grad():
        return model.cost_to_go(at_origin(model), torch.tensor([goal]))[0].double().numpy()


def at_origin(model: WorldModel) -> State:
    return model.initial_state(1)


def centres() -> tuple[Grid, Grid]:
    index = (np.arange(CELLS) - CELLS // 2 + 0.5) * CELL_M
    x, y = np.meshgrid(index, index)
    return x, y


def cell(x: float, y: float) -> tuple[int, int]:
    return math.floor(y / CELL_M) + CELLS // 2, math.floor(x / CELL_M) + CELLS // 2


def by_dijkstra(traversal: Grid, goal: tuple[float, float]) -> Grid:
    """The same by scipy: every cell pays its own cost for each step out of it; the border knows its way on."""
    x, y = centres()
    straight = np.hypot(x - goal[0], y - goal[1])
    at_goal = straight < CELL_M
    rim = np.ones((CELLS, CELLS), dtype=bool)
    rim[1:-1, 1:-1] = False
    given = np.where(at_goal, straight, straight + LEAVING * at_goal.any())
    index = np.arange(CELLS * CELLS).reshape(CELLS, CELLS)
    start = CELLS * CELLS
    edges = [(np.full((rim | at_goal).sum(), start), index[rim | at_goal], given[rim | at_goal])]
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = (slice(0, CELLS - down), slice(max(0, -right), CELLS - max(0, right)))
        there = (slice(down, CELLS), slice(max(0, right), CELLS + min(0, right)))
        step = CELL_M * math.hypot(down, right)
        for a, b in ((here, there), (there, here)):
            edges.append((index[a].ravel(), index[b].ravel(), step * (1.0 + traversal[b]).ravel()))
    a, b, length = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_matrix((length, (a, b)), shape=(start + 1, start + 1)).tocsr()
    cost = dijkstra(graph, indices=start)[:-1].reshape(CELLS, CELLS)
    return np.minimum(cost, FAR)


def free() -> Grid:
    return np.zeros((CELLS, CELLS))


def wall_with_a_gap() -> Grid:
    """A wall across the way to the east, from the southern border to 1.2 m north of the robot."""
    traversal = free()
    x, y = centres()
    traversal[(np.abs(x - 0.9) < 0.15) & (y < 1.2)] = MAX_TRAVERSAL
    return traversal


def rough_ground() -> Grid:
    return np.random.default_rng(5).gamma(0.5, 2.0, (CELLS, CELLS))


@pytest.mark.parametrize("make", [free, wall_with_a_gap, rough_ground])
@pytest.mark.parametrize("goal", [(1.8, 0.07), (-0.5, -1.1), (7.0, 2.0)])
def test_it_is_what_dijkstra_finds(make: object, goal: tuple[float, float]) -> None:
    traversal = make()  # type: ignore[operator]
    found, expected = field(traversal, goal), by_dijkstra(traversal, goal)
    assert np.abs(found - expected).max() < 2e-3


def test_dijkstra_on_another_map_differs() -> None:
    goal = (1.8, 0.07)
    assert np.abs(field(free(), goal) - by_dijkstra(wall_with_a_gap(), goal)).max() > 0.5


def test_on_a_free_map_it_is_the_distance_but_for_the_eight_directions() -> None:
    goal = (1.8, 0.07)
    x, y = centres()
    straight = np.hypot(x - goal[0], y - goal[1])
    found = field(free(), goal)
    assert (found >= straight - CELL_M).all()
    assert (found <= straight * OCTILE + 1.5 * CELL_M).all()


def test_the_way_goes_round_a_wall() -> None:
    goal = (1.8, 0.07)
    here = cell(0.0, 0.0)
    round_the_end = 2 * math.hypot(0.9, 1.2)
    with_wall, without = field(wall_with_a_gap(), goal)[here], field(free(), goal)[here]
    assert round_the_end - 2 * CELL_M < with_wall < round_the_end * OCTILE + 4 * CELL_M
    assert without < 1.8 * OCTILE + CELL_M


@pytest.mark.parametrize(("goal", "extra"), [((1.8, 0.07), LEAVING), ((7.0, 0.07), 0.0)])
def test_leaving_the_map_costs_more_only_if_the_goal_lies_within(
    goal: tuple[float, float], extra: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = centres()
    closed = free()
    closed[np.abs(x - 0.9) < 0.15] = MAX_TRAVERSAL  # from border to border: the only way is outside
    here = cell(0.0, 0.0)
    dear = field(closed, goal)[here]
    monkeypatch.setattr(world_model, "LEAVING", 0.0)
    assert dear - field(closed, goal)[here] == pytest.approx(extra, abs=1e-4)


def test_leaving_is_no_matter_where_the_map_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cell(0.0, 0.0)
    dear = field(free(), (1.8, 0.07))[here]
    monkeypatch.setattr(world_model, "LEAVING", 0.0)
    assert field(free(), (1.8, 0.07))[here] == pytest.approx(dear, abs=1e-4)


def test_the_value_between_cells_lies_between_theirs(model: WorldModel) -> None:
    state = at_origin(model)
    grid: Tensor = torch.arange(CELLS, dtype=torch.float32).expand(1, CELLS, CELLS)  # rises eastwards
    points = torch.tensor([[[0.5 * CELL_M, 0.3], [1.0 * CELL_M, 0.3], [99.0, 0.3]]])
    assert torch.allclose(
        model.value_at(state, grid, points), torch.tensor([[20.0, 20.5, CELLS - 1.0]]), atol=1e-4
    )
