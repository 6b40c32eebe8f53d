"""The true map agrees with MuJoCo's own geometry, also for worlds that our generator never makes."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np
import pytest

from edge_wm.errors import BadInput
from edge_wm.sim.footprints import footprints_of
from edge_wm.sim.generator import generate
from edge_wm.sim.robot_model import RADIUS_M, Imperfections
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import CELL_M, WALL_FACTOR, TrueMap, path_length, true_map_of
from firmware_bridge import Command
from tests.sim.worlds import world

pytestmark = pytest.mark.sim

PYRAMID = (
    '<mesh name="rock" vertex="0.3 0.3 0  -0.3 0.3 0  -0.3 -0.3 0  0.3 -0.3 0  0.2 0.2 0.4  -0.2 0.2 0.4'
    '  -0.2 -0.2 0.4  0.2 -0.2 0.4"/>'
)
FOREIGN = {
    "a box as the floor": world(floor='<geom type="box" pos="0 0 -0.05" size="5 5 0.05"/>'),
    "a turned box": world('<geom type="box" pos="0.5 0.3 0.1" size="0.4 0.1 0.1" euler="0 0 30"/>'),
    "a cylinder, a capsule and a ball": world(
        '<geom type="cylinder" pos="1 1 0.2" size="0.3 0.2"/><geom type="capsule" pos="-1 0.5 0.3" size="0.2 0.1"/>'
        '<geom type="sphere" pos="0 -1 0.1" size="0.1"/>'
    ),
    "a mesh": world('<geom type="mesh" mesh="rock" pos="0.4 0 0.0"/>', assets=PYRAMID),
    "a ceiling": world('<geom type="box" pos="0 0 1.5" size="3 3 0.05"/>'),
    "a thing nested in bodies": world(
        '<body pos="0.5 0.5 0" euler="0 0 45"><body pos="0.3 0 0.2"><geom type="box" size="0.1 0.3 0.2"/></body></body>'
    ),
}


def clearance_by_mujoco(xml: str, points: np.ndarray) -> np.ndarray:
    """Distance of a slim upright robot-high cylinder at each point to the nearest thing, by mj_geomDistance."""
    spec = mujoco.MjSpec.from_string(xml)
    probe = spec.worldbody.add_body(name="probe", mocap=True)
    probe.add_geom(name="probe", type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[0.001, 0.066, 0])
    model = spec.compile()
    data = mujoco.MjData(model)
    mine = model.geom("probe").id
    result = []
    for x, y in points:
        data.mocap_pos[0] = (x, y, 0.082)  # the height of the robot, off the ground
        mujoco.mj_forward(model, data)
        others = [
            g
            for g in range(model.ngeom)
            if g != mine
            and not (model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE or out_of_reach(data, model, g))
        ]
        result.append(min(mujoco.mj_geomDistance(model, data, mine, g, 5.0, None) for g in others))
    return np.array(result)


def out_of_reach(data: mujoco.MjData, model: mujoco.MjModel, geom: int) -> bool:
    """Whether a box lies flat on the ground or overhead; the robot meets neither."""
    height, half = data.geom_xpos[geom][2], model.geom_size[geom][2]
    return bool(height + half <= 0.001 or height - half > 1.0)


@pytest.mark.parametrize("name", FOREIGN)
def test_clearance_agrees_with_mujoco(name: str) -> None:
    points = np.random.default_rng(1).uniform(-1.9, 1.9, (60, 2))
    expected = clearance_by_mujoco(FOREIGN[name], points)
    mapped = TrueMap.from_world(FOREIGN[name]).clearance_at(points)
    outside = expected > 0.02
    assert outside.sum() > 30
    assert mapped[outside] == pytest.approx(expected[outside], abs=0.035)
    assert (mapped[expected < -0.05] < 0.0).all()


def test_clearance_agrees_with_mujoco_in_generated_worlds() -> None:
    generated = generate("rooms", 1_000_123)
    x_min, y_min, x_max, y_max = generated.true_map.bounds
    points = np.random.default_rng(1).uniform((x_min + 0.4, y_min + 0.4), (x_max - 0.4, y_max - 0.4), (80, 2))
    expected = clearance_by_mujoco(generated.xml, points)
    outside = expected > 0.02
    assert generated.true_map.clearance_at(points)[outside] == pytest.approx(expected[outside], abs=0.05)


def test_a_missing_thing_would_be_noticed() -> None:
    points = np.random.default_rng(1).uniform(-1.9, 1.9, (60, 2))
    expected = clearance_by_mujoco(FOREIGN["a turned box"], points)
    mapped = TrueMap.from_world(world()).clearance_at(points)
    assert abs(mapped - expected).max() > 0.3


def test_planes_standing_upright_are_walls() -> None:
    planes = (
        '<geom type="plane" size="5 5 0.1"/><geom type="plane" pos="1 0 0" zaxis="-1 0 0" size="3 3 0.1"/>'
        '<geom type="plane" pos="-1 0 0" zaxis="1 0 0" size="3 3 0.1"/><geom type="box" pos="0 1 0.1" size="1 0.1 0.1"/>'
    )
    true_map = TrueMap.from_world(f"<mujoco><worldbody>{planes}</worldbody></mujoco>")
    assert true_map.clearance_at(np.array([0.7, 0.0])) == pytest.approx(0.3, abs=0.03)
    assert true_map.clearance_at(np.array([1.2, 0.0])) < 0.0


def test_moving_bodies_are_not_on_the_map() -> None:
    mover = '<body name="moving_1" pos="0 0 0.2"><joint type="slide" axis="1 0 0"/><geom size="0.2" mass="1"/></body>'
    assert TrueMap.from_world(world(mover)).clearance_at(np.zeros(2)) > 1.5
    still = mover.replace("moving_1", "still").replace('<joint type="slide" axis="1 0 0"/>', "")
    assert TrueMap.from_world(world(still)).clearance_at(np.zeros(2)) < 0.0


def test_what_has_no_contact_is_no_obstacle() -> None:
    ghost = '<geom type="box" pos="0 0 0.1" size="0.2 0.2 0.1" contype="0" conaffinity="0"/>'
    assert TrueMap.from_world(world(ghost)).clearance_at(np.zeros(2)) > 1.5


def test_the_shortest_path_goes_round_a_wall_and_not_through_it() -> None:
    true_map = TrueMap.from_world(world('<geom type="box" pos="0 0.5 0.2" size="0.05 1.5 0.2"/>'))
    path = true_map.path((-1.0, 0.0), (1.0, 0.0))
    assert path is not None
    assert (true_map.clearance_at(path) > RADIUS_M).all()
    corner = 1.0 + RADIUS_M  # the wall ends at y = -1
    assert path_length(path) == pytest.approx(2 * math.hypot(0.95, corner) + 0.1, abs=0.15)


def test_a_comfortable_path_keeps_further_away_and_is_not_much_longer() -> None:
    true_map = TrueMap.from_world(world('<geom type="box" pos="0 0.5 0.2" size="0.05 1.5 0.2"/>'))
    shortest, comfortable = (true_map.path((-1.0, 0.0), (1.0, 0.0), f) for f in (0.0, WALL_FACTOR))
    assert shortest is not None
    assert comfortable is not None
    least = [float(true_map.clearance_at(path).min()) for path in (shortest, comfortable)]
    assert least[1] > least[0] + 0.05
    assert path_length(shortest) <= path_length(comfortable) < 1.4 * path_length(shortest)


def test_there_is_no_path_through_a_closed_wall() -> None:
    true_map = TrueMap.from_world(world('<geom type="box" pos="0 0 0.2" size="0.05 2 0.2"/>'))
    assert true_map.path((-1.0, 0.0), (1.0, 0.0)) is None


def test_a_goal_nearer_to_a_wall_than_the_robot_fits_is_reached_as_far_as_it_can_be() -> None:
    true_map = TrueMap.from_world(world())
    path = true_map.path((0.0, 0.0), (1.88, 0.0))
    assert path is not None
    assert tuple(path[-1]) == (1.88, 0.0)


def test_cost_to_go_falls_along_a_path() -> None:
    true_map = TrueMap.from_world(world('<geom type="box" pos="0 0.5 0.2" size="0.05 1.5 0.2"/>'))
    path = true_map.path((-1.0, 0.0), (1.0, 0.0))
    assert path is not None
    cost = true_map.cost_to_go((1.0, 0.0))
    along = [true_map.cost_at(cost, point) for point in path]
    assert all(later < sooner for sooner, later in pairwise(along))
    assert along[0] == pytest.approx(path_length(path), rel=0.1)


def test_a_world_without_anything_in_it_and_a_point_outside_are_bad_input() -> None:
    empty = '<mujoco><worldbody><geom type="plane" size="5 5 0.1"/></worldbody></mujoco>'
    with pytest.raises(BadInput, match="no obstacle or wall"):
        TrueMap.from_world(empty)
    with pytest.raises(BadInput, match="outside the world"):
        TrueMap.from_world(world()).path((0.0, 0.0), (50.0, 0.0))


def test_a_world_without_walls_is_mapped_around_its_task() -> None:
    post = '<mujoco><worldbody><geom type="cylinder" size="0.3 0.3" pos="0 0 0.3"/></worldbody></mujoco>'
    start, goal = (-1.5, 0.1), (1.5, 0.0)
    assert not TrueMap.from_world(post).contains(start)
    path = TrueMap.from_world(post, (start, goal)).path(start, goal)
    assert path is not None
    assert 3.0 < path_length(path) < 3.4
    # A mistyped goal does not make a map as large as the mistake.
    assert not TrueMap.from_world(post, (start, (1e9, 0.0))).contains((1e9, 0.0))


def test_only_our_robot_is_left_out_of_the_map_not_what_is_called_alike() -> None:
    dock = '<body name="robot_dock"><geom type="box" pos="0 0 0.2" size="0.2 0.2 0.2"/></body>'
    simulation = Simulation(world(dock), (-1.0, 0.0, 0.0), 0, render=False)
    clearance = TrueMap.from_model(simulation.model).clearance_at(np.array([[0.0, 0.0], [-1.0, 0.0]]))
    assert clearance[0] < 0.0
    assert clearance[1] > 0.5


SHEET = '<geom type="box" pos="0 0 0.2" size="0.005 1.2 0.2"/>'


def test_a_goal_beside_a_thin_wall_stands_for_a_free_place_on_its_own_side() -> None:
    true_map = TrueMap.from_world(world(SHEET))
    for x in (-0.02, 0.02):
        cost = true_map.cost_to_go((x, 0.0))
        here, there = (true_map.cost_at(cost, np.array([side, 0.0])) for side in (10 * x, -10 * x))
        assert here < 0.2
        assert there > 2.0


def test_a_place_walled_in_all_around_stands_for_no_other() -> None:
    box = "".join(
        f'<geom type="box" pos="{x} {y} 0.2" size="{0.005 + 0.12 * abs(y > 0 or y < 0)} {0.005 + 0.12 * (x != 0)} 0.2"/>'
        for x, y in ((0.12, 0), (-0.12, 0), (0, 0.12), (0, -0.12))
    )
    assert TrueMap.from_world(world(box)).path((-1.0, 0.0), (0.0, 0.0)) is None


def test_a_leaning_plane_begins_where_the_robot_meets_it() -> None:
    for lean, face in (
        (0.3, 1.0),
        (-0.3, 0.955),
    ):  # leaning away it is met at the floor, leaning over at the robot's top
        plane = f'<geom type="plane" pos="1 0 0" zaxis="-1 0 {lean}" size="3 3 0.1"/>'
        clearance = TrueMap.from_world(world(plane)).clearance_at(np.array([0.5, 0.0]))
        assert clearance == pytest.approx(face - 0.5, abs=0.02)


def test_planes_wall_in_a_room_far_from_the_origin() -> None:
    walls = "".join(
        f'<geom type="plane" size="1 1 0.1" pos="{x} {y} 0" zaxis="{ax} {ay} 0"/>'
        for x, y, ax, ay in ((98, 0, 1, 0), (102, 0, -1, 0), (0, 98, 0, 1), (0, 102, 0, -1))
    )
    xml = f'<mujoco><worldbody><geom type="plane" size="5 5 0.1"/>{walls}</worldbody></mujoco>'
    true_map = TrueMap.from_world(xml, ((99.0, 99.0), (101.0, 101.0)))
    assert true_map.path((99.0, 99.0), (101.0, 101.0)) is not None
    assert max(true_map.clearance.shape) < 110
    with pytest.raises(BadInput, match="no room between"):
        TrueMap.from_world(
            xml.replace('zaxis="1 0 0"', 'zaxis="-1 0 0"', 1).replace('zaxis="-1 0 0"', 'zaxis="1 0 0"', 2)
        )


def test_a_sunken_ball_is_as_wide_as_what_stands_out_of_the_floor() -> None:
    sunken = world('<geom size="0.5" pos="0 0 -0.4"/>')
    assert TrueMap.from_world(sunken).clearance_at(np.array([1.0, 0.0])) == pytest.approx(0.7, abs=0.01)
    assert TrueMap.from_world(sunken.replace("-0.4", "0.4")).clearance_at(np.array([1.0, 0.0])) < 0.6


def test_a_step_that_the_robot_cannot_climb_is_an_obstacle() -> None:
    for height, blocked in ((0.003, False), (0.004, True)):
        step = f'<geom type="box" pos="0 0 {height / 2}" size="0.5 1.9 {height / 2}"/>'
        assert (TrueMap.from_world(world(step)).path((-1.2, 0.0), (1.2, 0.0)) is None) is blocked
        simulation = Simulation(world(step), (-1.2, 0.0, 0.0), imperfections=Imperfections(), render=False)
        for _ in range(60):
            simulation.step(Command(0.4, 0.0), 0.1)
        assert (simulation.pose[0] < -0.4) is blocked


def test_what_cannot_be_mapped_is_refused_and_not_driven_through() -> None:
    field = '<hfield name="hill" nrow="2" ncol="2" size="1 1 {} 0.1" elevation="0 0 0 1"/>'
    geom = '<geom type="hfield" hfield="hill"/>'
    with pytest.raises(BadInput, match="height field 'hill' rises above the ground"):
        TrueMap.from_world(world(geom, assets=field.format(0.3)))
    TrueMap.from_world(world(geom, assets=field.format(0.002)))
    soft = '<flexcomp name="soft" type="grid" count="3 3 3" spacing="0.2 0.2 0.2" pos="0 0 0.25" dim="3" rigid="true"/>'
    with pytest.raises(BadInput, match="flex"):
        TrueMap.from_world(world(soft))


def test_what_hangs_on_a_moving_body_is_not_on_the_map() -> None:
    cart = '<body name="{}"><body pos="0 0 0.2"><geom size="0.2"/></body></body>'
    assert TrueMap.from_world(world(cart.format("moving_cart"))).clearance_at(np.zeros(2)) > 1.5
    assert TrueMap.from_world(world(cart.format("cart"))).clearance_at(np.zeros(2)) < 0.0


def test_a_large_world_is_mapped_around_the_task() -> None:
    far = '<geom size="0.2" pos="{} 0 0.2"/>'
    xml = world(far.format(100) + far.format(98))
    true_map = TrueMap.from_world(xml, ((97.0, 1.0), (101.0, 0.0)))
    assert true_map.path((97.0, 1.0), (101.0, 0.0)) is not None
    assert true_map.clearance_at(np.array([100.0, 0.0])) < 0.0
    with pytest.raises(BadInput, match="nothing in it is near"):
        TrueMap.from_world(xml, ((500.0, 0.0), (501.0, 0.0)))


def test_tasks_share_a_map_unless_they_need_another_part_of_the_world(tmp_path: Path) -> None:
    file = tmp_path / "room.xml"
    file.write_text(world(SHEET))
    first = true_map_of(file, (-1.0, 0.0), (1.0, 0.0))
    assert true_map_of(file, (1.0, 0.5), (-0.5, 0.5)) is first
    assert true_map_of(file, (3.0, 0.0), (4.0, 0.0)).contains((4.0, 0.0))
    file.write_text(world())
    assert true_map_of(file, (-1.0, 0.0), (1.0, 0.0)) is not first


def test_leaving_out_far_things_early_changes_nothing() -> None:
    made = generate("rooms", 1_000_901)
    spec = mujoco.MjSpec.from_string(made.xml)
    footprints = footprints_of(spec.compile(), "room")
    rows, columns = made.true_map.clearance.shape
    x, y = made.true_map.origin
    points = np.stack(np.meshgrid(x + np.arange(columns) * CELL_M, y + np.arange(rows) * CELL_M), axis=-1)
    nearest = np.min([f.distance(points.reshape(-1, 2)) for f in footprints], axis=0)
    assert np.array_equal(made.true_map.clearance.ravel(), nearest.astype(np.float32))
