"""A real robot that a service drives from goal to goal: its place, and its plugs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replace_fields

from edge_wm.clock import MonotonicClock, SimulatedClock
from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.control.supervisor import SupervisedCommand
from edge_wm.drive.errands import RealErrands, errands_of
from edge_wm.drive.real import Hardware
from edge_wm.drive.service_file import Mission
from edge_wm.errors import BadInput
from edge_wm.robot import DEFAULT_ROBOT, load_robot
from edge_wm.robot_sensors import RealSensors, V4l2Table, Vl53l0xTable
from firmware_bridge.bridge import NEUTRAL, Command
from tests.control.fakes import TICK_S, FakeBridge, observe

REACHED = RunResult(Outcome.REACHED, "there", None, 1, 0, 0.0, 0, 0.1)
FAULT = replace(REACHED, outcome=Outcome.FAULT, message="BridgeError: unplugged")


class Parts:
    """Counts how often the robot was connected and let go of."""

    def __init__(self) -> None:
        self.connected = self.closed = 0
        self.missing = False

    @contextmanager
    def __call__(self) -> Iterator[Hardware]:
        if self.missing:
            raise BadInput("robot rover: no such port")
        self.connected += 1
        yield Hardware(FakeSensors(), FakeBridge())  # type: ignore[arg-type]
        self.closed += 1


class FakeSensors:
    travelled_m = None
    problem = ""


@pytest.fixture
def parts() -> Parts:
    return Parts()


def errands(parts: Parts, *goals: tuple[float, float]) -> RealErrands:
    return RealErrands(load_robot(), Mission(goals=goals), parts)


def tick(v: float, w: float) -> Tick:
    moving = observe(0.0, 0, wheel=np.float32([v, v]), gyro=np.float32([w]))
    return Tick(0, 0.0, moving, None, SupervisedCommand(NEUTRAL, None, ()), NEUTRAL, 0.0, 0.0, 0)


def move(robot: RealErrands, metres: float, turn: float = 0.0) -> None:
    for _ in range(10):
        robot.tick(tick(metres / 10 / TICK_S, turn / 10 / TICK_S))


def test_goals_are_of_where_it_was_started_and_each_drive_gets_them_in_its_own_frame(parts: Parts) -> None:
    with errands(parts, (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)) as robot:
        first, second, home = robot.of_mission()
        with first.begin() as body:
            assert body.goal_xy == pytest.approx((1.0, 0.0))
            move(robot, 1.0)
            move(robot, 0.0, turn=math.pi / 2)
        assert robot.pose == pytest.approx((1.0, 0.0, math.pi / 2), abs=1e-6)
        with second.begin() as body:
            assert body.goal_xy == pytest.approx(
                (1.0, 0.0), abs=1e-6
            )  # to the left of the start is ahead now
            move(robot, 1.0)
        with home.begin() as body:
            assert body.goal_xy == pytest.approx((-1.0, 1.0), abs=1e-6)
        assert robot.pose == pytest.approx((1.0, 1.0, math.pi / 2), abs=1e-6)
    assert (parts.connected, parts.closed) == (1, 1)  # once, for all of them


def test_from_here_is_from_where_it_stands(parts: Parts) -> None:
    with errands(parts) as robot:
        with robot.to_point((2.0, 0.0), from_here=False).begin():
            move(robot, 1.0)
            move(robot, 0.0, turn=math.pi / 2)
        there = robot.to_point((0.5, 0.0), from_here=True)
        assert there.name == "(1.00, 0.50)"
        with there.begin() as body:
            assert body.goal_xy == pytest.approx((0.5, 0.0), abs=1e-6)


def test_a_reading_that_is_no_number_does_not_spoil_its_place(parts: Parts) -> None:
    with errands(parts) as robot, robot.to_point((1.0, 0.0), from_here=False).begin():
        move(robot, 0.5)
        robot.tick(tick(math.nan, 0.0))
        robot.tick(replace(tick(1.0, 0.0), observation=None))
        assert robot.pose == pytest.approx((0.5, 0.0, 0.0), abs=1e-6)


def test_without_wheels_and_gyro_it_goes_by_what_was_sent(parts: Parts) -> None:
    seen = observe(0.0, 0)
    arrays = {name: seen.arrays[name] for name in ("camera", "range")}
    blind = replace(tick(0.0, 0.0), observation=replace(seen, arrays=arrays))
    with errands(parts) as robot:
        errand = robot.to_point((1.0, 0.0), from_here=False)
        with errand.begin():
            for command in (*[Command(0.5, 0.0)] * 10, *[Command(0.0, 1.0)] * 5, NEUTRAL):
                robot.tick(replace(blind, applied=command))
            assert robot.pose == pytest.approx((0.5, 0.0, 0.5), abs=1e-6)
            robot.tick(replace(blind, applied=Command(0.5, 0.0)))  # a drive that ended in a fault
        with errand.begin():
            robot.tick(blind)  # it stands at first
            assert robot.pose == pytest.approx((0.5, 0.0, 0.5), abs=1e-6)


def test_after_a_fault_it_is_connected_anew_and_keeps_its_place(parts: Parts) -> None:
    with errands(parts) as robot:
        errand = robot.to_point((1.0, 0.0), from_here=False)
        with errand.begin():
            move(robot, 0.5)
            robot.ended(REACHED)
        assert (parts.connected, parts.closed) == (1, 0)  # the control
        with errand.begin():
            robot.ended(FAULT)
        assert (parts.connected, parts.closed) == (1, 1)
        parts.missing = True
        with pytest.raises(BadInput, match="no such port"), errand.begin():
            pass
        parts.missing = False
        with errand.begin() as body:
            assert body.goal_xy == pytest.approx((0.5, 0.0), abs=1e-6)
        assert parts.connected == 2
    assert parts.closed == 2


def test_missions_and_clocks_of_another_kind_of_robot_are_refused() -> None:
    simulated = load_robot()
    with pytest.raises(BadInput, match=r"mission.goals: the simulated robot"):
        errands_of(simulated, DEFAULT_ROBOT, SimulatedClock(), Mission(goals=((1.0, 0.0),)))
    ring = Vl53l0xTable(bus=1, channels=tuple(range(8)), reach_m=1.2)
    real = replace_fields(simulated, sensors=RealSensors(V4l2Table(height=48, width=64), ring))
    with pytest.raises(BadInput, match=r"mission.worlds: they are simulated"):
        errands_of(real, DEFAULT_ROBOT, MonotonicClock(), Mission(worlds=(1,)))
    with pytest.raises(BadInput, match="--fast is for the simulated robot"):
        errands_of(real, DEFAULT_ROBOT, SimulatedClock(), Mission())
