"""What the robot would meet of a world, seen from above: each static geom as a disc, a convex polygon or a half plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.movers import moving_bodies

GROUND_TOP_M = 0.003
"""What ends below this is ground: higher steps stop the robot."""
ROBOT_TOP_M = 0.15
"""What begins above this is overhead."""
MARGIN_M = 0.3
"""Width of the border around the outermost geoms."""
OPEN_M = 5.0
"""How far beyond the outermost geoms a start or goal may lie in a world without walls around it."""
PLANE_REACH_M = 20.0
"""How far a world whose walls are planes is mapped around the things and the task in it, if no plane ends it sooner."""
LARGEST_M = 45.0
REACH_M = 20.0
"""A world larger than ``LARGEST_M`` is mapped this far around the task."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Disc:
    """Footprint of a sphere, or of an upright cylinder or capsule."""

    x: float
    y: float
    radius: float

    @property
    def extent(self) -> Array:
        """Points float64[2, 2] whose bounding box is that of the disc."""
        middle = np.array([self.x, self.y])
        return np.array([middle - self.radius, middle + self.radius])

    def distance(self, points: Array) -> Array:
        """Signed distance (m) of ``points[P, 2]``, negative inside."""
        distance: Array = np.hypot(points[:, 0] - self.x, points[:, 1] - self.y) - self.radius
        return distance

    least_distance = distance

    def crosses(self, a: Array, b: Array) -> bool:
        """Whether the straight line from ``a[2]`` to ``b[2]`` leads through it."""
        to_middle, way = np.array([self.x, self.y]) - a, b - a
        along = np.clip(to_middle @ way / max(way @ way, 1e-12), 0.0, 1.0)
        return bool(np.hypot(*(to_middle - along * way)) < self.radius)


@dataclass(frozen=True, slots=True)
class Polygon:
    """Convex footprint; ``corners[K, 2]`` counter-clockwise."""

    corners: Array

    @property
    def extent(self) -> Array:
        """As ``Disc.extent``."""
        return self.corners

    def distance(self, points: Array) -> Array:
        """As ``Disc.distance``."""
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

    def least_distance(self, points: Array) -> Array:
        """A lower bound of ``distance`` that is quick to find: the distance to a disc around the polygon."""
        middle = self.corners.mean(axis=0)
        reach = np.hypot(*(self.corners - middle).T).max()
        distance: Array = np.hypot(*(points - middle).T) - reach
        return distance

    def crosses(self, a: Array, b: Array) -> bool:
        """As ``Disc.crosses`` (Cyrus and Beck 1978: what is left of the line within each edge's half plane)."""
        edges = np.roll(self.corners, -1, axis=0) - self.corners
        outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
        begin, end = (np.einsum("ij,ij->i", point - self.corners, outward) for point in (a, b))
        enters, leaves = 0.0, 1.0
        for outside, change in zip(begin, end - begin, strict=True):
            if change < 0.0:
                enters = max(enters, -outside / change)
            elif change > 0.0:
                leaves = min(leaves, -outside / change)
            elif outside >= 0.0:
                return False
        return enters < leaves


@dataclass(frozen=True, slots=True)
class HalfPlane:
    """Footprint of a plane that is a wall: all points with ``normal[2] @ point <= offset``; ``normal`` has length 1."""

    normal: Array
    offset: float

    @property
    def extent(self) -> Array:
        """Nothing: it has no end."""
        return np.empty((0, 2))

    def distance(self, points: Array) -> Array:
        """As ``Disc.distance``."""
        distance: Array = points @ self.normal - self.offset
        return distance

    least_distance = distance

    def crosses(self, a: Array, b: Array) -> bool:
        """As ``Disc.crosses``."""
        return bool((self.distance(np.array([a, b])) < 0.0).any())

    def cut(self, corners: Array) -> Array:
        """What is outside of it of the convex polygon ``corners[K, 2]``."""
        kept = []
        side = self.distance(corners)
        for a, b, here, there in zip(
            corners, np.roll(corners, -1, axis=0), side, np.roll(side, -1), strict=True
        ):
            if here >= 0.0:
                kept.append(a)
            if (here < 0.0) != (there < 0.0):
                kept.append(a + (b - a) * here / (here - there))
        return np.array(kept).reshape(-1, 2)


Footprint = Disc | Polygon | HalfPlane


def footprints_of(model: Any, name: str) -> list[Footprint]:
    """The footprints in a compiled model, with or without our robot, of what neither moves nor lets through.

    Raises:
        BadInput: there is none, or something that has no footprint; the message begins with ``name``.
    """
    if ((model.flex_contype != 0) | (model.flex_conaffinity != 0)).any():
        raise BadInput(f"{name}: soft bodies (flex) cannot be mapped: put geoms in their place")
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    if not np.isfinite(data.geom_xpos).all():
        raise BadInput(f"{name}: a geom stands at a position that is not a number")
    moving = moving_bodies(model)
    footprints = []
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        if moving[body] or model.body(int(model.body_rootid[body])).name == rm.BODY_NAME:
            continue
        if not (model.geom_contype[geom] or model.geom_conaffinity[geom]):
            continue
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_HFIELD:
            _check_flat(model, data, geom, name)
            continue
        footprint = _footprint(model, data, geom)
        if footprint is not None:
            footprints.append(footprint)
    if not footprints:
        raise BadInput(f"{name}: there is no obstacle or wall that the robot could meet")
    return footprints


def bounds_of(
    footprints: Sequence[Footprint], around: Sequence[Point], name: str
) -> tuple[float, float, float, float]:
    """Rectangle (x_min, y_min, x_max, y_max) to map: the footprints, and the points ``around`` if they are near them.

    Raises:
        BadInput: nothing in a large world is near the points; the message begins with ``name``.
    """
    wanted = np.array(around, dtype=np.float64).reshape(-1, 2)
    things = np.concatenate([footprint.extent for footprint in footprints])
    planes = [footprint for footprint in footprints if isinstance(footprint, HalfPlane)]
    if planes:
        things = _room_between(planes, np.concatenate([things, wanted]))
        if not len(things):
            raise BadInput(f"{name}: the planes leave no room between them")
    low, high = things.min(axis=0) - MARGIN_M, things.max(axis=0) + MARGIN_M
    if (high - low).max() > LARGEST_M:
        middle = wanted.mean(axis=0) if len(wanted) else np.zeros(2)
        low, high = np.maximum(low, middle - REACH_M), np.minimum(high, middle + REACH_M)
        if not (low < high).all():
            raise BadInput(
                f"{name}: is larger than {LARGEST_M:g} m, and nothing in it is near ({middle[0]:g}, {middle[1]:g})"
            )
    if len(wanted):
        low = np.minimum(low, np.maximum(wanted.min(axis=0) - 1.0, low - OPEN_M))
        high = np.maximum(high, np.minimum(wanted.max(axis=0) + 1.0, high + OPEN_M))
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _room_between(planes: list[HalfPlane], points: Array) -> Array:
    """Corners float64[K, 2] of what the planes leave of the surroundings of ``points``."""
    points = points if len(points) else np.zeros((1, 2))
    (left, bottom), (right, top) = points.min(axis=0) - PLANE_REACH_M, points.max(axis=0) + PLANE_REACH_M
    corners = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    for plane in planes:
        corners = plane.cut(corners)
    return corners


def _check_flat(model: Any, data: Any, geom: int, name: str) -> None:
    """Raise BadInput unless a height field is ground."""
    field = int(model.geom_dataid[geom])
    first, count = int(model.hfield_adr[field]), int(model.hfield_nrow[field] * model.hfield_ncol[field])
    top = (
        data.geom_xpos[geom][2] + model.hfield_size[field][2] * model.hfield_data[first : first + count].max()
    )
    if data.geom_xmat[geom][8] < 0.999 or top > GROUND_TOP_M:
        raise BadInput(
            f"{name}: height field {model.hfield(field).name!r} rises above the ground, and cannot be mapped: use"
            " boxes or meshes instead"
        )


def _footprint(model: Any, data: Any, geom: int) -> Footprint | None:
    """What the robot would meet of one geom: None if it is ground or overhead."""
    kind = mujoco.mjtGeom(int(model.geom_type[geom]))
    centre, axes = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    size = model.geom_size[geom]
    upright = abs(axes[2, 2]) > 0.999
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        return None if upright else _half_plane(centre, axes[:, 2])
    corners = _hull_points(model, geom, kind, size) @ axes.T + centre
    if corners[:, 2].max() <= GROUND_TOP_M or corners[:, 2].min() > ROBOT_TOP_M:
        return None
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        # A raised ball meets the robot below its equator, a sunken one above it.
        off = max(0.0, centre[2] - ROBOT_TOP_M, -centre[2])
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


def _half_plane(centre: Array, normal: Array) -> HalfPlane:
    """A plane that is no floor is a wall, solid behind its face; a leaning one begins where it is nearest to the robot."""
    slope = float(np.hypot(*normal[:2]))
    nearest = max(normal[2] * (centre[2] - height) for height in (0.0, ROBOT_TOP_M))
    return HalfPlane(normal[:2] / slope, float(normal[:2] @ centre[:2] + nearest) / slope)
