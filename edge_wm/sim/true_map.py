"""The true map of a world: clearance everywhere, shortest paths, and the cost to go to a goal.

Only simulation knows it.  It labels training data, scores episodes and drives the oracle; the runtime on a robot
never sees it.  Every static geom is reduced to its footprint within the robot's height: a disc or a convex
polygon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import ConvexHull, QhullError

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.movers import PREFIX

CELL_M = 0.05
MARGIN_M = 0.3
"""Width of the border around the outermost geoms."""
OPEN_M = 5.0
"""How far beyond the outermost geoms a start or goal may lie in a world without walls around it."""
GROUND_TOP_M = 0.012
"""What ends below this is ground: the chassis passes over it."""
ROBOT_TOP_M = 0.15
"""What begins above this is overhead."""
COMFORT_M = 0.4
"""Clearance (from the robot's centre) from which on a path costs no more than its length."""
WALL_FACTOR = 2.0
"""Added cost per metre of path that hugs an obstacle, falling linearly to zero at ``COMFORT_M``."""
PATH_CLEARANCE_M = rm.RADIUS_M + 0.01
SNAP_M = 0.2
"""A start or goal closer to things than the robot's centre can come stands for the free place this near to it."""


@dataclass(frozen=True, slots=True)
class Disc:
    """Footprint of an upright cylinder, capsule or sphere."""

    x: float
    y: float
    radius: float

    def distance(self, points: Array) -> Array:
        """Signed distance (m) of ``points[P, 2]``."""
        distance: Array = np.hypot(points[:, 0] - self.x, points[:, 1] - self.y) - self.radius
        return distance


@dataclass(frozen=True, slots=True)
class Polygon:
    """Convex footprint; ``corners[K, 2]`` counter-clockwise."""

    corners: Array

    def distance(self, points: Array) -> Array:
        """Signed distance (m) of ``points[P, 2]``, negative inside."""
        nearest = np.full(len(points), np.inf)
        inside = np.full(len(points), -np.inf)
        for a, b in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            edge = b - a
            length = float(np.hypot(*edge))
            if length < 1e-9:
                continue
            along = np.clip(((points - a) @ edge) / length**2, 0.0, 1.0)
            gap = points - (a + along[:, None] * edge)
            nearest = np.minimum(nearest, np.hypot(gap[:, 0], gap[:, 1]))
            inside = np.maximum(inside, (points - a) @ np.array([edge[1], -edge[0]]) / length)
        return np.where(inside < 0, inside, nearest)


class TrueMap:
    """Clearance grid of a world, and shortest paths on it.

    Attributes:
        origin: world position (x, y) of the centre of cell (0, 0).
        clearance: float32[rows, columns], distance (m) from the cell's centre to the nearest static thing; row along
            +y, column along +x; negative inside things.
    """

    def __init__(self, footprints: list[Disc | Polygon], around: Sequence[tuple[float, float]] = ()) -> None:
        low, high = _bounds(footprints, around)
        columns, rows = np.ceil((high - low) / CELL_M).astype(int) + 1
        self.origin = low
        xs = low[0] + np.arange(columns) * CELL_M
        ys = low[1] + np.arange(rows) * CELL_M
        points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        nearest = np.full(len(points), 10.0)
        for footprint in footprints:
            np.minimum(nearest, footprint.distance(points), out=nearest)
        self.clearance = nearest.reshape(rows, columns).astype(np.float32)
        self._edges: dict[float, Any] = {}

    @classmethod
    def from_model(cls, model: Any, around: Sequence[tuple[float, float]] = ()) -> TrueMap:
        """Read the footprints off a compiled model (with or without a robot in it)."""
        return cls(_footprints(model), around)

    @classmethod
    def from_world(cls, world: str | Path, around: Sequence[tuple[float, float]] = ()) -> TrueMap:
        """Read the footprints off MJCF text or an MJCF file.

        Args:
            world: text or file.
            around: points (x, y) that the map should hold as well, if no further than ``OPEN_M`` from all things: a
                world need not have walls around it.

        Raises:
            BadInput: MuJoCo refuses the world, or there is nothing in it.
        """
        try:
            if isinstance(world, Path):
                return cls.from_model(mujoco.MjModel.from_xml_path(str(world)), around)
            return cls.from_model(mujoco.MjModel.from_xml_string(world), around)
        except ValueError as error:
            raise BadInput(f"{world}: MuJoCo refuses the world: {' '.join(str(error).split())}") from error

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max of the mapped rectangle."""
        rows, columns = self.clearance.shape
        x, y = self.origin
        return float(x), float(y), float(x + (columns - 1) * CELL_M), float(y + (rows - 1) * CELL_M)

    def clearance_at(self, points: Array) -> Array:
        """Clearance (m) at ``points[..., 2]``, bilinear between cells."""
        return self._sample(self.clearance, points, 10.0)

    def cost_to_go(self, goal: tuple[float, float], wall_factor: float = 0.0) -> Array:
        """Length of the shortest collision-free path from each cell to ``goal``.

        Returns:
            float32[rows, columns] in metres (weighted metres if ``wall_factor`` > 0), infinity where there is none.
        """
        cost = dijkstra(self._graph(wall_factor), directed=False, indices=self._free_cell(goal))
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
        """The point's cell, or the nearest one that the robot's centre can be in, if that is near enough."""
        cell = self._cell(point)
        row, column = divmod(cell, self.clearance.shape[1])
        if self.clearance[row, column] > PATH_CLEARANCE_M:
            return cell
        reach = int(SNAP_M / CELL_M)
        top, left = max(0, row - reach), max(0, column - reach)
        around = self.clearance[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero(around > PATH_CLEARANCE_M)
        if not len(rows):
            return cell
        nearest = int(np.hypot(rows + top - row, columns + left - column).argmin())
        return int((rows[nearest] + top) * self.clearance.shape[1] + columns[nearest] + left)

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


def _footprints(model: Any) -> list[Disc | Polygon]:
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    footprints = []
    for geom in range(model.ngeom):
        body = model.body(int(model.geom_bodyid[geom]))
        root = model.body(int(body.rootid[0])).name
        if root == rm.BODY_NAME or root.startswith(PREFIX) or body.name.startswith(PREFIX):
            continue
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        footprint = _footprint(model, data, geom)
        if footprint is not None:
            footprints.append(footprint)
    if not footprints:
        raise BadInput("the world has no obstacle or wall that the robot could meet")
    return footprints


def _footprint(model: Any, data: Any, geom: int) -> Disc | Polygon | None:
    """What the robot would meet of one geom: None if it is ground or overhead."""
    kind = mujoco.mjtGeom(int(model.geom_type[geom]))
    centre, axes = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    size = model.geom_size[geom]
    upright = abs(axes[2, 2]) > 0.999
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        return None if upright else _slab_behind(centre, axes)
    if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
        return None
    corners = _hull_points(model, geom, kind, size) @ axes.T + centre
    if corners[:, 2].max() < GROUND_TOP_M or corners[:, 2].min() > ROBOT_TOP_M:
        return None
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        off = max(0.0, centre[2] - ROBOT_TOP_M)  # a raised ball meets the robot below its equator
        return Disc(centre[0], centre[1], math.sqrt(max(size[0] ** 2 - off**2, 0.0)))
    if upright and kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        return Disc(centre[0], centre[1], size[0])
    try:
        flat = corners[:, :2]
        return Polygon(flat[ConvexHull(flat).vertices])
    except QhullError:
        return None  # no area: an upright sheet without thickness cannot be touched


def _hull_points(model: Any, geom: int, kind: Any, size: Array) -> Array:
    """Points float64[P, 3], in the geom's frame, whose convex hull encloses it."""
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        vertices: Array = model.mesh_vert[first : first + count].astype(np.float64)
        return vertices
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        corners: Array = np.array(np.meshgrid(*([-s, s] for s in size))).reshape(3, -1).T
        return corners
    angle = np.linspace(0.0, math.tau, 24, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return np.concatenate([ring * size[0] + [0, 0, z] for z in (-size[1], size[1])])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        latitudes = np.linspace(-math.pi / 2, math.pi / 2, 9)
        return np.concatenate([(ring * math.cos(a) + [0, 0, math.sin(a)]) * size for a in latitudes])
    # Sphere and capsule: two half balls, the sphere's with no cylinder between them.
    half = size[1] if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0
    latitudes = np.linspace(0.0, math.pi / 2, 5)
    cap = np.concatenate([(ring * math.cos(a) + [0, 0, math.sin(a)]) * size[0] for a in latitudes])
    return np.concatenate([cap + np.array([0, 0, half]), cap * np.array([1, 1, -1]) - np.array([0, 0, half])])


def _slab_behind(centre: Array, axes: Array) -> Polygon:
    """An upright plane is a wall: a thick box behind its face, long enough for any world."""
    normal = axes[:2, 2] / np.hypot(*axes[:2, 2])
    along = np.array([-normal[1], normal[0]])
    face = centre[:2]
    corners = np.array(
        [face - 20 * along, face - 20 * along - normal, face + 20 * along - normal, face + 20 * along]
    )
    return Polygon(corners[ConvexHull(corners).vertices])


def _bounds(footprints: list[Disc | Polygon], around: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    points = np.concatenate(
        [
            np.array([[f.x - f.radius, f.y - f.radius], [f.x + f.radius, f.y + f.radius]])
            if isinstance(f, Disc)
            else f.corners
            for f in footprints
        ]
    )
    low, high = points.min(axis=0) - MARGIN_M, points.max(axis=0) + MARGIN_M
    if (high - low).max() > 45.0:  # an endless wall: keep what lies around the origin
        low, high = np.maximum(low, -20.0), np.minimum(high, 20.0)
    if len(around):
        wanted = np.array(around, dtype=np.float64)
        low = np.minimum(low, np.maximum(wanted.min(axis=0) - 1.0, low - OPEN_M))
        high = np.maximum(high, np.minimum(wanted.max(axis=0) + 1.0, high + OPEN_M))
    return low, high
