"""Generated worlds: rooms, rooms that need a detour, corridors and mazes, as MJCF text with a task.

Everything is drawn from one seed.  Seeds below ``VALIDATION_SEEDS`` make training data, those from there on tune,
and those from ``TEST_SEEDS`` on are for reports only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edge_wm.sensors.observation import Array
from edge_wm.sim.true_map import WALL_FACTOR, TrueMap, path_length

VALIDATION_SEEDS = 1_000_000
TEST_SEEDS = 2_000_000
KINDS = ("rooms", "rooms-hard", "corridors", "mazes")
DETOUR_M = 0.35
"""How much longer than the straight line the comfortable path of a *hard* task is."""
PATH_RANGE_M = {"rooms": (2.5, 6.0), "rooms-hard": (2.5, 6.0), "corridors": (2.5, 10.0), "mazes": (2.5, 10.0)}
START_CLEARANCE_M = 0.22
PASSABLE_CLEARANCE_M = 0.17
"""Clearance (from the robot's centre) all along the comfortable path of a task: 5 cm of air on each side.  A gap that
the robot fits through by a centimetre is luck, not navigation."""
WALL_M = 0.1


@dataclass
class Layout:
    """Things on a floor: walls as boxes, obstacles of several shapes.  Metres, world frame."""

    width: float
    depth: float
    geoms: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def box(
        self, x: float, y: float, half_x: float, half_y: float, height: float, look: str, yaw: float = 0.0
    ) -> None:
        """Add an upright box standing on the floor."""
        turn = f' euler="0 0 {math.degrees(yaw):.2f}"' if yaw else ""
        self.geoms.append(
            f'<geom type="box" pos="{x:.3f} {y:.3f} {height / 2:.3f}"'
            f' size="{half_x:.3f} {half_y:.3f} {height / 2:.3f}"{turn} {look}/>'
        )

    def wall(self, a: tuple[float, float], b: tuple[float, float], height: float, look: str) -> None:
        """Add a wall of ``WALL_M`` thickness between two points on a line parallel to an axis."""
        half_x = abs(b[0] - a[0]) / 2 + WALL_M / 2
        half_y = abs(b[1] - a[1]) / 2 + WALL_M / 2
        self.box((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, half_x, half_y, height, look)

    def cylinder(self, x: float, y: float, radius: float, height: float, look: str) -> None:
        """Add an upright cylinder standing on the floor."""
        self.geoms.append(
            f'<geom type="cylinder" pos="{x:.3f} {y:.3f} {height / 2:.3f}" size="{radius:.3f} {height / 2:.3f}" {look}/>'
        )

    def mover(
        self, number: int, x: float, y: float, angle: float, reach: float, radius: float, look: str
    ) -> None:
        """Add a cylinder that slides back and forth over ``reach`` metres to each side."""
        axis = f"{math.cos(angle):.4f} {math.sin(angle):.4f} 0"
        self.bodies.append(
            f'<body name="moving_{number}" pos="{x:.3f} {y:.3f} 0"><joint type="slide" axis="{axis}" limited="true"'
            f' range="{-reach:.3f} {reach:.3f}"/><geom type="cylinder" pos="0 0 0.3" size="{radius:.3f} 0.29"'
            f' mass="20" {look}/></body>'
        )


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated world with one task in it."""

    xml: str
    start: tuple[float, float, float]
    goal: tuple[float, float]
    geodesic_m: float
    true_map: TrueMap


def generate(kind: str, seed: int, *, movers: int = 0) -> Generated:
    """Make the world of this kind and seed, with a task whose path length lies in the kind's range.

    Args:
        kind: one of ``KINDS``.
        seed: seeds everything that is drawn.
        movers: how many moving obstacles to add; the task's paths do not know of them.
    """
    build = _BUILDERS[kind]
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    while True:
        layout = build(rng)
        looks = _Looks(rng)
        xml = looks.dress(layout)
        true_map = TrueMap.from_world(xml)
        task = _draw_task(true_map, kind, rng)
        if task is None:
            continue
        if movers:
            _add_movers(layout, true_map, movers, task, rng)
            xml = looks.dress(layout)
        return Generated(xml, *task, true_map)


def _draw_task(
    true_map: TrueMap, kind: str, rng: np.random.Generator
) -> tuple[tuple[float, float, float], tuple[float, float], float] | None:
    low, high = PATH_RANGE_M[kind]
    rows, columns = np.nonzero(true_map.clearance > START_CLEARANCE_M)
    inner = _inside(true_map, rows, columns)
    rows, columns = rows[inner], columns[inner]
    if not len(rows):
        return None
    for _ in range(12):
        spot = rng.integers(len(rows))
        goal = _point(true_map, rows[spot], columns[spot])
        cost = true_map.cost_to_go(goal)[rows, columns]
        good = np.nonzero((cost > low * 1.02) & (cost < high))[0]
        for candidate in rng.permutation(good)[:10]:
            start = _point(true_map, rows[candidate], columns[candidate])
            shortest = true_map.path(start, goal)
            if shortest is None or not low <= path_length(shortest) <= high:
                continue
            comfortable = true_map.path(start, goal, WALL_FACTOR)
            if comfortable is None or not _is_passable(true_map, comfortable):
                continue
            if kind == "rooms-hard":
                blind = true_map.straight_is_free(np.array(start), np.array(goal))
                if blind or path_length(comfortable) < math.dist(start, goal) + DETOUR_M:
                    continue
            return (*start, rng.uniform(-math.pi, math.pi)), goal, path_length(shortest)
    return None


def _is_passable(true_map: TrueMap, path: Array) -> bool:
    """Whether the whole path keeps ``PASSABLE_CLEARANCE_M``."""
    legs = itertools.pairwise(path)
    return all(true_map.straight_is_free(a, b, PASSABLE_CLEARANCE_M) for a, b in legs)


def _inside(true_map: TrueMap, rows: Array, columns: Array) -> Array:
    """Cells within the outer walls: the border of the map lies outside of them."""
    margin = 10
    high_row, high_column = true_map.clearance.shape
    return (
        (rows > margin) & (rows < high_row - margin) & (columns > margin) & (columns < high_column - margin)
    )


def _point(true_map: TrueMap, row: int, column: int) -> tuple[float, float]:
    from edge_wm.sim.true_map import CELL_M

    x, y = true_map.origin + CELL_M * np.array([column, row])
    return float(x), float(y)


def _enclose(layout: Layout, height: float) -> None:
    w, d = layout.width / 2, layout.depth / 2
    for a, b in (((-w, -d), (w, -d)), ((-w, d), (w, d)), ((-w, -d), (-w, d)), ((w, -d), (w, d))):
        layout.wall(a, b, height, "@wall")


def _room(rng: np.random.Generator) -> Layout:
    layout = Layout(rng.uniform(4.5, 8.0), rng.uniform(4.5, 7.5))
    height = rng.uniform(0.3, 1.2)
    _enclose(layout, height)
    for _ in range(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2])):
        _partition(layout, height, rng)
    _scatter(layout, int(rng.integers(6, 15)), rng)
    return layout


def _hard_room(rng: np.random.Generator) -> Layout:
    layout = Layout(rng.uniform(4.5, 7.5), rng.uniform(4.5, 7.0))
    height = rng.uniform(0.3, 1.2)
    _enclose(layout, height)
    for _ in range(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25])):
        _partition(layout, height, rng)
    _scatter(layout, int(rng.integers(8, 17)), rng)
    return layout


def _partition(layout: Layout, height: float, rng: np.random.Generator) -> None:
    """A wall across the room with one doorway, or one that ends before the far side."""
    door = rng.uniform(0.5, 0.9)
    w, d = layout.width / 2, layout.depth / 2
    if rng.random() < 0.5:
        x, gap = rng.uniform(-0.5, 0.5) * w, rng.uniform(-0.8, 0.8) * d
        segments = [((x, -d), (x, gap - door / 2)), ((x, gap + door / 2), (x, d))]
    else:
        y, gap = rng.uniform(-0.5, 0.5) * d, rng.uniform(-0.8, 0.8) * w
        segments = [((-w, y), (gap - door / 2, y)), ((gap + door / 2, y), (w, y))]
    if rng.random() < 0.3:
        segments.pop(int(rng.integers(2)))
    for a, b in segments:
        if math.dist(a, b) > 0.15:
            layout.wall(a, b, height, "@wall")


def _scatter(layout: Layout, count: int, rng: np.random.Generator) -> None:
    for _ in range(count):
        x = rng.uniform(-0.46, 0.46) * layout.width
        y = rng.uniform(-0.46, 0.46) * layout.depth
        height = rng.uniform(0.1, 0.9)
        shape = rng.random()
        if shape < 0.5:
            half_x, half_y = rng.uniform(0.06, 0.4, 2)
            layout.box(x, y, half_x, half_y, height, "@thing", rng.uniform(0, math.pi))
        elif shape < 0.85:
            layout.cylinder(x, y, rng.uniform(0.06, 0.35), height, "@thing")
        elif shape < 0.93:
            radius = rng.uniform(0.1, 0.3)
            layout.geoms.append(
                f'<geom type="sphere" pos="{x:.3f} {y:.3f} {radius * 0.8:.3f}" size="{radius:.3f}" @thing/>'
            )
        else:
            layout.cylinder(x, y, rng.uniform(0.02, 0.05), rng.uniform(0.4, 1.0), "@thing")


def _maze(rng: np.random.Generator) -> Layout:
    """Thin walls on the edges of a square lattice; a spanning tree with a few loops is left open."""
    columns, rows = rng.integers(4, 7, 2)
    cell = rng.uniform(0.8, 1.2)
    layout = Layout(columns * cell, rows * cell)
    height = rng.uniform(0.3, 1.0)
    _enclose(layout, height)
    open_edges = _spanning_tree(int(columns), int(rows), rng)
    for edge in _lattice_edges(int(columns), int(rows)):
        if edge in open_edges or rng.random() < 0.12:
            continue
        (c, r), (c2, _) = edge
        x0, y0 = -layout.width / 2, -layout.depth / 2
        if c2 > c:
            layout.wall(
                (x0 + c2 * cell, y0 + r * cell), (x0 + c2 * cell, y0 + (r + 1) * cell), height, "@wall"
            )
        else:
            layout.wall(
                (x0 + c * cell, y0 + (r + 1) * cell),
                (x0 + (c + 1) * cell, y0 + (r + 1) * cell),
                height,
                "@wall",
            )
    return layout


def _corridors(rng: np.random.Generator) -> Layout:
    """Solid blocks with corridors carved between them: a tree of long straight runs with side branches."""
    pitch = rng.uniform(0.75, 1.3)
    columns, rows = rng.integers(6, 9, 2)
    carved = np.zeros((rows, columns), dtype=bool)
    row, column = int(rng.integers(rows)), int(rng.integers(columns))
    carved[row, column] = True
    for _ in range(int(rng.integers(5, 10))):
        spots = np.argwhere(carved)
        row, column = spots[rng.integers(len(spots))]
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[rng.integers(4)]
        for _ in range(int(rng.integers(2, 6))):
            row, column = row + down, column + right
            if not (0 <= row < rows and 0 <= column < columns):
                break
            carved[row, column] = True
    layout = Layout(columns * pitch, rows * pitch)
    height = rng.uniform(0.3, 1.2)
    _enclose(layout, height)
    for r in range(rows):
        for c in range(columns):
            around = carved[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2]
            if not carved[r, c] and around.any():
                x = (c + 0.5) * pitch - layout.width / 2
                y = (r + 0.5) * pitch - layout.depth / 2
                layout.box(x, y, pitch / 2, pitch / 2, height, "@wall")
    for r, c in np.argwhere(carved):
        if rng.random() < 0.12:
            side = rng.uniform(-0.45, 0.45, 2) * pitch
            x, y = (
                (c + 0.5) * pitch - layout.width / 2 + side[0],
                (r + 0.5) * pitch - layout.depth / 2 + side[1],
            )
            half_x, half_y = rng.uniform(0.04, 0.12, 2)
            layout.box(x, y, half_x, half_y, rng.uniform(0.1, 0.6), "@thing", rng.uniform(0, math.pi))
    return layout


def _lattice_edges(columns: int, rows: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    right = [((c, r), (c + 1, r)) for c in range(columns - 1) for r in range(rows)]
    up = [((c, r), (c, r + 1)) for c in range(columns) for r in range(rows - 1)]
    return right + up


def _spanning_tree(
    columns: int, rows: int, rng: np.random.Generator
) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Edges of a depth-first maze."""
    stack = [(int(rng.integers(columns)), int(rng.integers(rows)))]
    seen, tree = set(stack), set()
    while stack:
        c, r = stack[-1]
        around = [(c + 1, r), (c - 1, r), (c, r + 1), (c, r - 1)]
        fresh = [p for p in around if 0 <= p[0] < columns and 0 <= p[1] < rows and p not in seen]
        if not fresh:
            stack.pop()
            continue
        following = fresh[rng.integers(len(fresh))]
        tree.add((min((c, r), following), max((c, r), following)))
        seen.add(following)
        stack.append(following)
    return tree


def _add_movers(
    layout: Layout,
    true_map: TrueMap,
    count: int,
    task: tuple[tuple[float, float, float], tuple[float, float], float],
    rng: np.random.Generator,
) -> None:
    rows, columns = np.nonzero(true_map.clearance > 0.35)
    for number in range(count if len(rows) else 0):
        for _ in range(20):
            spot = rng.integers(len(rows))
            x, y = _point(true_map, rows[spot], columns[spot])
            room = float(true_map.clearance_at(np.array([x, y])))
            radius = rng.uniform(0.08, 0.15)
            if min(math.dist((x, y), task[0][:2]), math.dist((x, y), task[1])) > room + 0.3:
                layout.mover(number, x, y, rng.uniform(0, math.pi), max(room - radius, 0.1), radius, "@thing")
                break


_BUILDERS: dict[str, Callable[[np.random.Generator], Layout]] = {
    "rooms": _room,
    "rooms-hard": _hard_room,
    "corridors": _corridors,
    "mazes": _maze,
}


class _Looks:
    """Colours, textures and light of one world; ``@wall`` and ``@thing`` stand for a drawn material."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._seed = int(rng.integers(2**31))
        self.dull = bool(rng.random() < 0.25)  # everything in shades of one colour
        self.base = rng.uniform(0.15, 0.95, 3)

    def dress(self, layout: Layout) -> str:
        """MJCF of the layout.  Called twice on the same layout it draws the same looks."""
        rng = np.random.default_rng(self._seed)
        materials, names = [], []
        for number in range(8):
            materials.append(self._material(number, rng))
            names.append(f"m{number}")
        wall = names[1] if rng.random() < 0.6 else None
        things = [
            geom.replace("@wall", f'material="{wall or names[1 + rng.integers(3)]}"').replace(
                "@thing", f'material="{names[4 + rng.integers(4)]}"'
            )
            for geom in layout.geoms + layout.bodies
        ]
        ambient, diffuse = rng.uniform(0.15, 0.5), rng.uniform(0.3, 0.8)
        lights = "".join(
            f'<light pos="{rng.uniform(-2, 2):.2f} {rng.uniform(-2, 2):.2f} {rng.uniform(2, 4):.2f}"'
            f' dir="{rng.uniform(-0.5, 0.5):.2f} {rng.uniform(-0.5, 0.5):.2f} -1"'
            f' type="{"directional" if rng.random() < 0.6 else "spot"}" cutoff="80"'
            f' diffuse="{diffuse:.2f} {diffuse:.2f} {diffuse:.2f}" specular="0.1 0.1 0.1"/>'
            for _ in range(rng.integers(1, 3))
        )
        sky = rng.uniform(0, 1, 6)
        skybox = (
            ""
            if rng.random() < 0.3
            else (
                f'<texture type="skybox" builtin="gradient" width="64" height="64" rgb1="{_rgb(sky[:3])}"'
                f' rgb2="{_rgb(sky[3:])}"/>'
            )
        )
        return f"""<mujoco>
  <visual>
    <headlight ambient="{ambient:.2f} {ambient:.2f} {ambient:.2f}" diffuse="{diffuse / 2:.2f} {diffuse / 2:.2f} {diffuse / 2:.2f}" specular="0 0 0"/>
    <map znear="0.005" zfar="20"/>
  </visual>
  <statistic extent="4" center="0 0 0.5"/>
  <asset>{skybox}{"".join(materials)}</asset>
  <worldbody>
    {lights}
    <geom name="floor" type="plane" size="{layout.width:.2f} {layout.depth:.2f} 0.1" material="m0"/>
    {"".join(things)}
  </worldbody>
</mujoco>
"""

    def _material(self, number: int, rng: np.random.Generator) -> str:
        one, two = rng.uniform(0.05, 1.0, 3), rng.uniform(0.05, 1.0, 3)
        if self.dull:
            one, two = (
                np.clip(self.base * rng.uniform(0.6, 1.3) + rng.normal(0, 0.04, 3), 0, 1) for _ in range(2)
            )
        elif rng.random() < 0.5:
            two = np.clip(one + rng.normal(0.0, 0.12, 3), 0, 1)
        pattern = rng.choice(["flat", "checker", "gradient"], p=[0.5, 0.3, 0.2])
        specks = (
            f' mark="random" markrgb="{_rgb(rng.uniform(0, 1, 3))}" random="{rng.uniform(0.01, 0.2):.3f}"'
        )
        texture = (
            f'<texture name="t{number}" type="2d" builtin="{pattern}" width="64" height="64" rgb1="{_rgb(one)}"'
            f' rgb2="{_rgb(two)}"{specks if rng.random() < 0.5 else ""}/>'
        )
        repeat = rng.uniform(0.5, 3.0)
        return (
            f'{texture}<material name="m{number}" texture="t{number}" texuniform="true"'
            f' texrepeat="{repeat:.2f} {repeat:.2f}" specular="0.1"/>'
        )


def _rgb(colour: Array) -> str:
    return " ".join(f"{c:.2f}" for c in colour)
