"""The true map of a world: clearance everywhere, shortest paths, and the cost to go to a goal.

Only simulation knows it.  It labels training data, scores episodes and drives the oracle; the runtime on a robot
never sees it.  Every static geom is reduced to its footprint within the robot's height.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.footprints import Footprint, bounds_of, footprints_of
from edge_wm.sim.world_file import read_world, refusals, world_name

CELL_M = 0.05
COMFORT_M = 0.4
"""Clearance (from the robot's centre) from which on a path costs no more than its length."""
WALL_FACTOR = 2.0
"""Added cost per metre of path that hugs an obstacle, falling linearly to zero at ``COMFORT_M``."""
PATH_CLEARANCE_M = rm.RADIUS_M + 0.01
SNAP_M = 0.2
"""A start or goal closer to things than the robot's centre can come stands for the free place this near to it."""


class TrueMap:
    """Clearance grid of a world, and shortest paths on it.

    Args:
        footprints: of what stands in it.
        bounds: rectangle (x_min, y_min, x_max, y_max) to map, metres.

    Attributes:
        origin: world position (x, y) of the centre of cell (0, 0).
        clearance: float32[rows, columns], distance (m) from the cell's centre to the nearest static thing; row along
            +y, column along +x; negative inside things.
    """

    def __init__(self, footprints: Sequence[Footprint], bounds: tuple[float, float, float, float]) -> None:
        low, high = np.array(bounds[:2]), np.array(bounds[2:])
        columns, rows = np.ceil((high - low) / CELL_M).astype(int) + 1
        self.origin = low
        xs = low[0] + np.arange(columns) * CELL_M
        ys = low[1] + np.arange(rows) * CELL_M
        points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        nearest = np.full(len(points), 10.0)
        for footprint in footprints:
            near = footprint.least_distance(points) < nearest
            nearest[near] = np.minimum(nearest[near], footprint.distance(points[near]))
        self.clearance = nearest.reshape(rows, columns).astype(np.float32)
        self._footprints = footprints
        self._edges: dict[float, Any] = {}

    @classmethod
    def from_model(cls, model: Any, around: Sequence[tuple[float, float]] = ()) -> TrueMap:
        """Read the footprints off a compiled model (with or without a robot in it)."""
        footprints = footprints_of(model, "the world")
        return cls(footprints, bounds_of(footprints, around, "the world"))

    @classmethod
    def from_world(cls, world: str | Path, around: Sequence[tuple[float, float]] = ()) -> TrueMap:
        """Read the footprints off MJCF text or an MJCF file.

        Args:
            world: text or file.
            around: points (x, y) that the map should hold as well, if no further than ``OPEN_M`` from all things: a
                world need not have walls around it.

        Raises:
            BadInput: MuJoCo refuses the world, there is nothing in it, or something that cannot be mapped.
        """
        footprints = _footprints_in(world)
        return cls(footprints, bounds_of(footprints, around, world_name(world)))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max of the mapped rectangle."""
        rows, columns = self.clearance.shape
        x, y = self.origin
        return float(x), float(y), float(x + (columns - 1) * CELL_M), float(y + (rows - 1) * CELL_M)

    def clearance_at(self, points: Array) -> Array:
        """Clearance (m) at ``points[..., 2]``, bilinear between cells."""
        return self._sample(self.clearance, points, 10.0)

    def cost_to_go(
        self, goal: tuple[float, float], wall_factor: float = 0.0, limit_m: float = math.inf
    ) -> Array:
        """Length of the shortest collision-free path from each cell to ``goal``.

        Returns:
            float32[rows, columns] in metres (weighted metres if ``wall_factor`` > 0), infinity where there is none
            or it is longer than ``limit_m``.
        """
        cost = dijkstra(
            self._graph(wall_factor), directed=False, indices=self._free_cell(goal), limit=limit_m
        )
        grid: Array = cost.reshape(self.clearance.shape).astype(np.float32)
        return grid

    def cost_at(self, cost: Array, point: Array) -> float:
        """Cost to go, read off a grid of :meth:`cost_to_go` at ``point[2]``: the best of the cells around it."""
        cells = (np.asarray(point) - self.origin) / CELL_M
        column, row = np.floor(cells).astype(int)
        best = math.inf
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            r, c = row + down, column + right
            if 0 <= r < cost.shape[0] and 0 <= c < cost.shape[1]:
                off = math.hypot(r - cells[1], c - cells[0]) * CELL_M
                best = min(best, float(cost[r, c]) + off)
        return best

    def path(
        self, start: tuple[float, float], goal: tuple[float, float], wall_factor: float = 0.0
    ) -> Array | None:
        """Shortest path float64[P, 2] from start to goal, pulled tight, or None if there is none."""
        first, last = self._free_cell(start), self._free_cell(goal)
        cost, previous = dijkstra(
            self._graph(wall_factor), directed=False, indices=last, return_predecessors=True
        )
        if not np.isfinite(cost[first]):
            return None
        cells = [first]
        while cells[-1] != last:
            cells.append(int(previous[cells[-1]]))
        if len(cells) == 1:
            return np.array([start, goal])
        rows, columns = np.divmod(np.array(cells), self.clearance.shape[1])
        path = self.origin + CELL_M * np.stack([columns, rows], axis=1)
        path[0], path[-1] = start, goal
        return self._pull_tight(path, wall_factor)

    def contains(self, point: tuple[float, float]) -> bool:
        """Whether the point lies on the map."""
        x_min, y_min, x_max, y_max = self.bounds
        return x_min <= point[0] <= x_max and y_min <= point[1] <= y_max

    def straight_is_free(self, a: Array, b: Array, clearance_m: float = PATH_CLEARANCE_M) -> bool:
        """Whether the robot can drive straight from ``a`` to ``b`` with ``clearance_m`` around its centre."""
        count = max(2, int(np.hypot(*(b - a)) / (CELL_M / 2)) + 1)
        line = a + np.linspace(0.0, 1.0, count)[:, None] * (b - a)
        return bool((self.clearance_at(line) >= clearance_m).all())

    def _pull_tight(self, path: Array, wall_factor: float) -> Array:
        """Cut the corners that the grid's eight directions put in, where that costs no clearance."""
        kept = [0]
        while kept[-1] < len(path) - 1:
            here = kept[-1]
            reach = here + 1
            step = 32
            while step:
                ahead = min(reach + step, len(path) - 1)
                needed = PATH_CLEARANCE_M
                if wall_factor:  # a comfortable path must stay as comfortable as it was
                    least = float(self.clearance_at(path[here : ahead + 1]).min())
                    needed = max(needed, min(COMFORT_M, least) - 0.02)
                if ahead > reach and self.straight_is_free(path[here], path[ahead], needed):
                    reach = ahead
                else:
                    step //= 2
            kept.append(reach)
        return path[kept]

    def _cell(self, point: tuple[float, float]) -> int:
        rows, columns = self.clearance.shape
        column, row = np.rint((np.asarray(point) - self.origin) / CELL_M).astype(int)
        if not (0 <= row < rows and 0 <= column < columns):
            raise BadInput(f"the point ({point[0]:.2f}, {point[1]:.2f}) lies outside the world")
        return int(row * columns + column)

    def _free_cell(self, point: tuple[float, float]) -> int:
        """The point's cell, or the nearest that the robot's centre can be in, if it is near enough and in sight."""
        cell = self._cell(point)
        row, column = divmod(cell, self.clearance.shape[1])
        if self.clearance[row, column] > PATH_CLEARANCE_M:
            return cell
        reach = int(SNAP_M / CELL_M)
        top, left = max(0, row - reach), max(0, column - reach)
        around = self.clearance[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero(around > PATH_CLEARANCE_M)
        rows, columns = rows + top, columns + left
        here = np.array(point, dtype=np.float64)
        things = [f for f in self._footprints if f.least_distance(here[None])[0] < 2.0 * SNAP_M]
        for nearest in np.hypot(rows - row, columns - column).argsort(kind="stable"):
            there = self.origin + CELL_M * np.array([columns[nearest], rows[nearest]])
            if not any(thing.crosses(here, there) for thing in things):
                return int(rows[nearest] * self.clearance.shape[1] + columns[nearest])
        return cell

    def _graph(self, wall_factor: float) -> Any:
        """Sparse graph of the free cells, eight neighbours, edges weighted by length and closeness to walls."""
        if wall_factor not in self._edges:
            rows, columns = self.clearance.shape
            index = np.arange(rows * columns).reshape(rows, columns)
            free = self.clearance > PATH_CLEARANCE_M
            weight = 1.0 + wall_factor * np.clip(1.0 - self.clearance / COMFORT_M, 0.0, 1.0)
            edges = []
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                here = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
                there = (slice(down, rows), slice(max(0, right), columns + min(0, right)))
                open_ = free[here] & free[there]
                length = CELL_M * math.hypot(down, right) * (weight[here] + weight[there])[open_] / 2
                edges.append((length, index[here][open_], index[there][open_]))
            length, a, b = (np.concatenate(part) for part in zip(*edges, strict=True))
            self._edges[wall_factor] = coo_matrix((length, (a, b)), shape=(index.size, index.size)).tocsr()
        return self._edges[wall_factor]

    def _sample(self, grid: Array, points: Array, outside: float) -> Array:
        cells = (np.asarray(points, dtype=np.float64) - self.origin) / CELL_M
        flat = cells.reshape(-1, 2)
        values = ndimage.map_coordinates(
            grid, [flat[:, 1], flat[:, 0]], order=1, mode="constant", cval=outside
        )
        result: Array = values.reshape(cells.shape[:-1])
        return result


def path_length(path: Array) -> float:
    """Length in metres of the polyline ``path[P, 2]``."""
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def true_map_of(world: Path, start: tuple[float, float], goal: tuple[float, float]) -> TrueMap:
    """The true map of a world file around one task.  Tasks that need the same part of a world share its map.

    Raises:
        BadInput: see :meth:`TrueMap.from_world`.
    """
    modified_ns = world.stat().st_mtime_ns
    footprints = _footprints_in_file(world, modified_ns)
    return _map_of_file(world, modified_ns, bounds_of(footprints, (start, goal), str(world)))


@functools.lru_cache(maxsize=8)
def _map_of_file(world: Path, modified_ns: int, bounds: tuple[float, float, float, float]) -> TrueMap:
    return TrueMap(_footprints_in_file(world, modified_ns), bounds)


@functools.lru_cache(maxsize=8)
def _footprints_in_file(world: Path, modified_ns: int) -> list[Footprint]:
    return _footprints_in(world)


def _footprints_in(world: str | Path) -> list[Footprint]:
    spec = read_world(world)
    with refusals(world):
        model = spec.compile()
    return footprints_of(model, world_name(world))
