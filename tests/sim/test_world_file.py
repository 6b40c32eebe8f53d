"""Worlds of other people: their settings do not change our robot, and what cannot be driven in is refused."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from edge_wm.errors import BadInput
from edge_wm.sim.robot_model import Imperfections
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import TrueMap
from edge_wm.sim.world_file import read_world
from firmware_bridge import Command
from tests.sim.worlds import world

pytestmark = pytest.mark.sim

START = (-1.0, 0.0, 0.0)
IDEAL = Imperfections(dead_zone_mps=0.0, gyro_noise_radps=0.0, range_noise_m=0.0, range_dropout=0.0)
BLOCK = '<geom type="box" pos="0 0 0.2" size="0.1 0.4 0.2" {}/>'
CHAIR = '<body name="{}" pos="0.5 0 0.5"><joint name="swivel" type="slide" axis="0 0 1"/><geom size="0.2"/></body>'


def simulate(xml: str | Path) -> Simulation:
    return Simulation(xml, START, imperfections=IDEAL, render=False)


def ahead(simulation: Simulation) -> float:
    return float(simulation.observe().arrays["range"][0])


def drive(xml: str, v: float = 0.5, ticks: int = 30) -> Simulation:
    simulation = simulate(xml)
    for _ in range(ticks):
        simulation.step(Command(v, 0.0), 0.1)
    return simulation


def poses(xml: str) -> tuple[float, float, float]:
    return drive(xml, ticks=10).pose


@pytest.mark.parametrize("group", [0, 2, 3, 5])
def test_the_ring_sees_what_can_be_touched_in_whatever_group_and_nothing_else(group: int) -> None:
    assert ahead(simulate(world(BLOCK.format(f'group="{group}"')))) == pytest.approx(0.9, abs=0.02)
    ghost = BLOCK.format(f'group="{group}" contype="0" conaffinity="0"')
    assert ahead(simulate(world(ghost))) == pytest.approx(2.95, abs=0.02)


def test_the_ring_sees_what_can_be_touched_even_if_it_is_not_painted() -> None:
    assert ahead(simulate(world(BLOCK.format('rgba="0 0 0 0"')))) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("group", [0, 4, 5])
def test_the_camera_sees_all_groups(group: int) -> None:
    red = BLOCK.format(f'rgba="1 0 0 1" contype="0" conaffinity="0" group="{group}"')
    pictures = []
    for things in (red, ""):
        simulation = Simulation(world(things), (-0.6, 0.0, 0.0), imperfections=IDEAL)
        pictures.append(simulation.observe().arrays["camera"][20:28, 28:36].mean(axis=(0, 1)))
        simulation.close()
    with_block, without = pictures
    assert with_block[0] - with_block[1] > 50 + without[0] - without[1]


@pytest.mark.parametrize("bits", ['contype="2" conaffinity="2"', 'contype="0" conaffinity="1024"'])
def test_things_with_other_collision_bits_stop_the_robot(bits: str) -> None:
    assert drive(world(BLOCK.format(bits))).contact
    assert not drive(world(BLOCK.format('contype="0" conaffinity="0"'))).contact


def test_a_margin_around_things_is_no_touch() -> None:
    beside = '<geom type="box" pos="-0.5 0.35 0.2" size="0.2 0.1 0.2" {}/>'
    assert not drive(world(beside.format('margin="0.2"')), ticks=10).contact
    assert drive(world(beside.format("").replace("0.35", "0.2")), ticks=10).contact


@pytest.mark.parametrize(
    "settings",
    [
        '<option gravity="0 0 0"/>',
        '<option gravity="0 0 -1.6" density="1000" viscosity="1" wind="5 0 0"/>',
        '<option integrator="RK4" timestep="0.02" cone="elliptic" solver="PGS" iterations="3"/>',
        '<option><flag contact="disable" actuation="disable"/></option>',
        '<compiler settotalmass="500"/>',
        '<default><geom margin="0.05" gap="0.05"/></default>',
    ],
)
def test_settings_of_the_world_do_not_make_another_robot(settings: str) -> None:
    assert poses(world().replace("<mujoco>", f"<mujoco>{settings}")) == poses(world())


@pytest.mark.parametrize(
    ("floor", "message"),
    [
        ("", "no hard, level floor"),
        ('<geom type="plane" size="5 5 0.1" pos="0 0 0.05"/>', "no hard, level floor"),
        ('<geom type="plane" size="5 5 0.1" pos="0 0 -1"/>', "no hard, level floor"),
        ('<geom type="plane" size="5 5 0.1" pos="-1 0 0" euler="0 2 0"/>', ""),
        ('<geom type="plane" size="5 5 0.1" pos="-1 0 0" euler="0 5 0"/>', "no hard, level floor"),
        ('<geom type="plane" size="5 5 0.1" solref="0.2 1" solimp="0.1 0.2 0.1"/>', "no hard, level floor"),
        ('<geom type="plane" size="5 5 0.1"/><geom size="0.1" pos="-0.82 0 0.1"/>', "touches something"),
        ('<geom type="plane" size="5 5 0.1"/><geom size="0.1" pos="-0.78 0 0.1"/>', ""),
    ],
)
def test_a_start_at_which_the_robot_cannot_stand_is_refused(floor: str, message: str) -> None:
    if not message:
        simulate(world(floor=floor))
        return
    with pytest.raises(BadInput, match=f"cannot stand at its start.*{message}"):
        simulate(world(floor=floor))


def test_physics_that_diverges_is_refused_and_not_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "spring.xml"
    file.write_text(
        world(
            '<body name="moving_a" pos="0 1 1"><joint type="slide" axis="0 0 1" stiffness="1e12" springref="1"/>'
            '<geom size="0.1" mass="1e-6"/></body>'
        )
    )
    with pytest.raises(BadInput, match=r"spring\.xml: .*(diverges|simulation is unstable)"):
        simulate(file).step(Command(0.0, 0.0), 0.1)


def test_mujoco_writes_no_log_file_into_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    nan = world('<geom size="0.1" pos="nan 0 0"/>')
    with caplog.at_level(logging.INFO), pytest.raises(BadInput, match="not a number"):
        TrueMap.from_world(nan)
    assert "NaN" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_only_moving_bodies_keep_their_joints() -> None:
    hanging = drive(world(CHAIR.format("chair")))
    assert (hanging.model.njnt, drive(world(CHAIR.format("moving_chair"))).model.njnt) == (3, 4)
    assert hanging.data.body("chair").xpos[2] == 0.5


def test_a_joint_that_the_world_needs_is_not_taken_out_in_silence() -> None:
    motor = '<actuator><motor joint="swivel"/></actuator>'
    driven = world(CHAIR.format("chair")).replace("</worldbody>", f"</worldbody>{motor}")
    with pytest.raises(BadInput, match=r"body 'chair' has a joint.*rename the body"):
        simulate(driven)
    simulate(driven.replace('"chair"', '"moving_chair"'))


def test_sensors_and_keyframes_of_the_world_are_of_no_account() -> None:
    extras = '</worldbody><sensor><jointpos joint="swivel"/></sensor><keyframe><key qpos="0.2"/></keyframe>'
    assert simulate(world(CHAIR.format("chair")).replace("</worldbody>", extras)).model.nsensor == 0


@pytest.mark.parametrize("name", ["room.xml", "room.XML", "room.mjcf", "room"])
def test_the_ending_of_the_file_does_not_matter(tmp_path: Path, name: str) -> None:
    (tmp_path / "rock.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    )
    file = tmp_path / name
    file.write_text(world('<geom type="mesh" mesh="rock"/>', assets='<mesh name="rock" file="rock.obj"/>'))
    simulate(file)
    assert TrueMap.from_world(file).clearance_at(np.array([0.2, 0.2])) < 0.0


def test_malformed_files_are_bad_input_in_one_line(tmp_path: Path) -> None:
    for text in (b"", b"<mujoco><worldbody>", b"\xff\xfe\x00"):
        for name in ("room.xml", "room.mjcf"):
            (tmp_path / name).write_bytes(text)
            with pytest.raises(BadInput, match=r"room\.\w+: MuJoCo refuses the world") as caught:
                read_world(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_the_heading_at_the_start_is_kept() -> None:
    assert Simulation(world(), (0.0, 0.0, 1.0), render=False).pose[2] == pytest.approx(
        1.0, abs=math.radians(1)
    )
