"""The range-ring baseline and the straight one, on made-up rings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.policies.reactive import Reactive
from edge_wm.policies.ring_memory import RingMemory
from edge_wm.policies.straight import Straight
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import NO_READING, Observation
from firmware_bridge.bridge import NEUTRAL, Command

LIMITS = load_robot().limits


def observe(ring: list[float] | None = None, wheel: float = 0.0, turn: float = 0.0) -> Observation:
    return Observation(
        0.0,
        1,
        {
            "range": np.array(ring or [4.0] * 8, dtype=np.float32),
            "wheel": np.array([wheel, wheel], dtype=np.float32),
            "gyro": np.array([turn], dtype=np.float32),
        },
    )


def reactive(ring: list[float], goal: tuple[float, float] = (3.0, 0.0), ticks: int = 1) -> Command:
    policy = Reactive(LIMITS)
    policy.reset(goal)
    command = NEUTRAL
    for _ in range(ticks):
        command = policy.act(observe(ring), command, 0.0).command
    return command


def test_dead_reckoning_adds_up_a_quarter_circle() -> None:
    odometry = DeadReckoning()
    for _ in range(100):
        odometry.update(observe(wheel=0.1 * math.pi / 2, turn=math.pi / 20), NEUTRAL, 0.1)
    assert odometry.pose == pytest.approx((1.0, 1.0, math.pi / 2), abs=0.01)
    distance, bearing = odometry.to_goal((1.0, 3.0))
    assert (distance, bearing) == pytest.approx((2.0, 0.0), abs=0.02)


def test_in_the_open_both_drive_at_the_goal() -> None:
    straight = Straight(LIMITS)
    straight.reset((3.0, 0.0))
    for command in (reactive([4.0] * 8), straight.act(observe(), NEUTRAL, 0.0).command):
        assert command.v == pytest.approx(LIMITS.max_v)
        assert abs(command.w) < 0.3


def test_with_the_goal_behind_both_turn() -> None:
    straight = Straight(LIMITS)
    straight.reset((-1.0, 1.5))
    assert straight.act(observe(), NEUTRAL, 0.0).command.w > 1.0
    assert reactive([4.0] * 8, goal=(-1.0, 1.5)).w > 1.0


def test_both_rest_at_the_goal() -> None:
    for policy in (Straight(LIMITS), Reactive(LIMITS)):
        policy.reset((0.1, 0.0))
        decision = policy.act(observe(), NEUTRAL, 0.0)
        assert decision.command == NEUTRAL
        assert decision.goal_distance == pytest.approx(0.1)


def test_before_a_wall_the_reactive_one_does_not_drive_on_and_the_straight_one_does() -> None:
    wall = [0.22, 0.3, 1.0, 4.0, 4.0, 4.0, 1.0, 0.3]
    assert reactive(wall).v <= 0.2
    straight = Straight(LIMITS)
    straight.reset((3.0, 0.0))
    assert straight.act(observe(wall), NEUTRAL, 0.0).command.v > 0.4


def test_a_thing_ahead_is_passed_on_its_open_side() -> None:
    # At 0.35 m the gap between two neighbouring beams is narrower than the robot.
    assert reactive([0.35, 0.35, 0.35, 4.0, 4.0, 4.0, 4.0, 4.0]).w < -0.3
    assert reactive([0.35, 4.0, 4.0, 4.0, 4.0, 4.0, 0.35, 0.35]).w > 0.3


def test_the_memory_keeps_what_is_out_of_sight_for_its_time_only() -> None:
    memory = RingMemory(keep_s=1.0)
    memory.update(np.array([0.5] + [4.0] * 7), (0.0, 0.0, 0.0))
    assert memory.points == pytest.approx(np.array([[0.5, 0.0]]))
    turned = (0.0, 0.0, math.radians(22.0))  # between two beams: nobody looks there now
    for _ in range(8):
        memory.update(np.full(8, 4.0), turned)
    assert len(memory.points) == 1
    for _ in range(3):
        memory.update(np.full(8, 4.0), turned)
    assert len(memory.points) == 0


def test_a_beam_that_sees_through_a_point_wipes_it_and_a_drop_out_does_not() -> None:
    for reading, left in ((NO_READING, 1), (4.0, 0)):
        memory = RingMemory(keep_s=5.0)
        memory.update(np.array([0.5] + [4.0] * 7), (0.0, 0.0, 0.0))
        memory.update(np.array([reading] + [4.0] * 7), (0.0, 0.0, 0.0))
        assert len(memory.points) == left


def test_points_stay_where_they_are_while_the_robot_moves() -> None:
    memory = RingMemory(keep_s=5.0)
    memory.update(np.array([1.0] + [4.0] * 7), (0.0, 0.0, 0.0))
    memory.update(np.array([4.0] * 2 + [1.0] + [4.0] * 5), (1.0, -1.0, 0.0))
    assert memory.points == pytest.approx(np.array([[1.0, 0.0]]), abs=0.05)
