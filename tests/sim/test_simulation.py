"""The simulated robot: repeatable, and honest about contact and motion."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Observation
from edge_wm.sim.robot_model import Imperfections
from edge_wm.sim.simulation import Simulation
from firmware_bridge import Command
from tests.sim.worlds import world

pytestmark = pytest.mark.sim

START = (-1.0, 0.0, 0.0)
IDEAL = Imperfections(dead_zone_mps=0.0, gyro_noise_radps=0.0, range_noise_m=0.0, range_dropout=0.0)
MOVER = (
    '<body name="moving_a" pos="0 1.2 0.2"><joint type="slide" axis="1 0 0" limited="true" range="-1 1"/>'
    '<geom type="cylinder" size="0.1 0.19" mass="5"/></body>'
)


def drive(seed: int, *, render: bool = False) -> list[Observation]:
    simulation = Simulation(world(MOVER), START, seed, render=render)
    observations = []
    for tick in range(12):
        simulation.step(Command(0.3, 0.5 * math.sin(tick)), 0.1)
        observations.append(simulation.observe())
    simulation.close()
    return observations


def same(first: list[Observation], second: list[Observation]) -> bool:
    return all(
        a.arrays.keys() == b.arrays.keys() and all(np.array_equal(a.arrays[k], b.arrays[k]) for k in a.arrays)
        for a, b in zip(first, second, strict=True)
    )


def test_the_same_seed_gives_the_same_observations_pictures_included() -> None:
    assert same(drive(3, render=True), drive(3, render=True))


def test_another_seed_gives_other_observations() -> None:
    assert not same(drive(3), drive(4))


def test_driving_into_a_wall_is_noticed() -> None:
    simulation = Simulation(world(), START, render=False)
    for _ in range(90):
        simulation.step(Command(0.5, 0.0), 0.1)
    assert simulation.contact
    assert simulation.pose[0] < 1.9


def test_driving_freely_and_turning_touch_nothing() -> None:
    simulation = Simulation(world(), START, render=False)
    for tick in range(60):
        simulation.step(Command(0.3, 2.0 if tick % 20 > 10 else 0.0), 0.1)
    assert not simulation.contact
    assert simulation.travelled_m > 0.5


def test_a_thing_standing_beside_the_way_is_not_touched_and_one_in_it_is() -> None:
    for y, touched in ((0.25, False), (0.1, True)):
        simulation = Simulation(
            world(f'<geom type="box" pos="0 {y} 0.1" size="0.1 0.1 0.1"/>'),
            START,
            imperfections=IDEAL,
            render=False,
        )
        for _ in range(30):
            simulation.step(Command(0.5, 0.0), 0.1)
        assert simulation.contact is touched


def test_reading_the_sensors_does_not_change_how_far_the_robot_gets_or_what_the_gyro_sums_up_to() -> None:
    turned, travelled = [], []
    for look in (False, True):
        simulation = Simulation(world(), START, imperfections=IDEAL, render=False)
        total = 0.0
        for _ in range(20):
            simulation.step(Command(0.2, 1.0), 0.1)
            if look:
                total += float(simulation.observe().arrays["gyro"][0]) * 0.1
        turned.append(simulation.pose[2])
        travelled.append(simulation.travelled_m)
    assert turned[0] == pytest.approx(turned[1])
    assert travelled[0] == pytest.approx(travelled[1], rel=1e-6)
    assert total == pytest.approx(turned[1], abs=0.01)


def test_odometry_of_an_ideal_robot_stays_near_the_truth() -> None:
    simulation = Simulation(world(), START, imperfections=IDEAL, render=False)
    odometry = DeadReckoning()
    for tick in range(50):
        command = Command(0.3, 0.8 if tick < 25 else -0.8)
        simulation.step(command, 0.1)
        odometry.update(simulation.observe(), command, 0.1)
    x, y, _ = odometry.pose
    true_x, true_y, _ = simulation.pose
    assert math.hypot(x + START[0] - true_x, y - true_y) < 0.06


def test_the_ring_measures_the_walls() -> None:
    simulation = Simulation(world(), (0.0, 0.0, 0.0), imperfections=IDEAL, render=False)
    ring = simulation.observe().arrays["range"]
    assert ring[[0, 2, 4, 6]] == pytest.approx(1.95, abs=0.03)
    assert ring[1] > 2.2


def test_moving_bodies_move_and_stay_in_their_range() -> None:
    simulation = Simulation(world(MOVER), START, render=False)
    seen = []
    for _ in range(100):
        simulation.step(Command(0.0, 0.0), 0.1)
        seen.append(simulation.mover_discs[0])
    xs = np.array(seen)[:, 0]
    assert np.ptp(xs) > 0.3
    assert abs(xs).max() < 1.05


def test_a_command_takes_effect_after_the_action_delay_only() -> None:
    slow = Imperfections(action_delay_s=0.2)
    simulation = Simulation(world(), START, imperfections=slow, render=False)
    simulation.step(Command(0.5, 0.0), 0.1)
    assert simulation.travelled_m < 0.002
    simulation.step(Command(0.5, 0.0), 0.1)
    simulation.step(Command(0.5, 0.0), 0.1)
    assert simulation.travelled_m > 0.005


def test_a_world_that_mujoco_refuses_is_bad_input_in_one_line() -> None:
    with pytest.raises(BadInput) as caught:
        Simulation("<mujoco><worldbody><geom type='box'/></worldbody></mujoco>", START, render=False)
    assert "\n" not in str(caught.value)


def test_the_camera_sees_what_is_close_however_large_the_world_is() -> None:
    far_away = '<geom type="box" pos="25 25 0.2" size="0.1 0.1 0.2"/>'
    ahead = '<geom type="box" pos="0 0 0.2" size="0.1 0.5 0.2" rgba="1 0 0 1"/>'
    simulation = Simulation(world(far_away + ahead), (-0.25, 0.0, 0.0), 0)
    simulation.observe()
    assert simulation.depth()[24, 32] == pytest.approx(0.06, abs=0.01)
    simulation.close()


def reach_of(xml: str) -> float:
    """How far the first moving geom gets to the sides in ten seconds, metres."""
    simulation = Simulation(xml, START, render=False)
    xs = []
    for _ in range(100):
        simulation.step(Command(0.0, 0.0), 0.1)
        xs.append(simulation.mover_discs[0, 0])
    return float(np.ptp(xs))


def test_a_joint_below_a_moving_body_is_carried_too() -> None:
    nested = MOVER.replace('name="moving_a"', 'name="cart"')
    assert reach_of(world(f'<body name="moving_train">{nested}</body>')) > 0.3


def test_joints_with_an_actuator_are_left_to_the_physics_and_others_are_not() -> None:
    joint = MOVER.replace("<joint", '<joint name="rail"')
    tendon = '</worldbody><tendon><fixed name="rope"><joint joint="rail" coef="1"/></fixed></tendon>'
    for motor in (
        '</worldbody><actuator><motor joint="rail"/></actuator>',
        f'{tendon}<actuator><motor tendon="rope"/></actuator>',
    ):
        assert reach_of(world(joint).replace("</worldbody>", motor)) < 0.01
    other = joint.replace("moving_a", "moving_b").replace("rail", "rod").replace("0 1.2", "0 -1.2")
    both = world(joint + other).replace(
        "</worldbody>", f'{tendon.replace("rail", "rod")}<actuator><motor tendon="rope"/></actuator>'
    )
    assert reach_of(both) > 0.3  # tendon 0 is not joint 0


def test_a_machine_that_cannot_draw_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise mujoco.FatalError("no valid OpenGL context")

    monkeypatch.setattr(mujoco, "MjrContext", refuse)
    with pytest.raises(BadInput, match=r"cannot draw \(no valid OpenGL context\).*MUJOCO_GL"):
        Simulation(world(), START)


def test_the_picture_size_that_a_world_asks_for_is_not_ours() -> None:
    huge = world().replace(
        "<mujoco>", '<mujoco><visual><global offwidth="1000000" offheight="1000000"/></visual>'
    )
    simulation = Simulation(huge, START)
    assert simulation.observe().arrays["camera"].shape == (48, 64, 3)
    simulation.close()
