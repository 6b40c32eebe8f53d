from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import Loop, Outcome
from edge_wm.control.supervisor import Supervisor, SupervisorConfig
from edge_wm.control.world_model_policy import MAX_REUSED_PLANS, WorldModelPolicy
from edge_wm.planner.horizon_shift import HorizonShift
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import PlanError, PlannerConfig
from firmware_bridge.bridge import NEUTRAL, Command
from tests.control.fakes import TICK_S, FakeBridge, FakeSensors, observe
from tests.planner.point_robot import LIMITS, PointRobot, unicycle


class DrivenPointRobot(PointRobot):
    """The point robot with ``observe``: its state is what the applied commands add up to."""

    def initial_state(self):
        return {"pose": np.zeros(3, dtype=np.float32)}

    def observe(self, state, observation, applied: np.ndarray):
        return {"pose": unicycle(state["pose"], applied[None, None], self.manifest.tick_s)[0, 0]}


def policy(model: DrivenPointRobot, clock: SimulatedClock, **config) -> WorldModelPolicy:
    return WorldModelPolicy(model, ICEM(model, PlannerConfig(**config), LIMITS, seed=4), clock)


def act(driver: WorldModelPolicy, deadline: float = math.inf, applied: Command = NEUTRAL):
    return driver.act(observe(0.0, 0), applied, deadline)


def test_in_the_loop_it_drives_round_an_obstacle_and_stops_at_the_goal():
    clock = SimulatedClock()
    model = DrivenPointRobot(((0.9, 0.0, 0.25),))
    driver, bridge = policy(model, clock), FakeBridge()
    poses = []
    loop = Loop(
        FakeSensors(clock),
        driver,
        Supervisor(SupervisorConfig(), TICK_S),
        bridge,
        clock,
        TICK_S,
        on_tick=[lambda tick: poses.append(driver.state["pose"].copy()), lambda tick: driver.draw_ahead()],
    )
    result = loop.run((2.0, 0.0))
    path = np.array(poses)
    assert result.outcome is Outcome.REACHED
    assert np.hypot(path[-1, 0] - 2.0, path[-1, 1]) < 0.2
    assert (np.hypot(path[:, 0] - 0.9, path[:, 1]) - 0.25).min() > 0.12
    assert bridge.log[-1] == NEUTRAL


def test_it_commands_the_first_action_of_its_plan():
    driver = policy(DrivenPointRobot(), SimulatedClock())
    driver.reset((2.0, 0.0))
    decision = act(driver)
    assert decision.command == Command(*map(float, decision.plan.actions[0]))
    assert decision.goal_distance == pytest.approx(2.0)


def test_at_the_goal_it_asks_for_rest_and_does_not_plan():
    model = DrivenPointRobot()
    driver = policy(model, SimulatedClock())
    driver.reset((0.1, 0.1))
    decision = act(driver)
    assert (decision.command, decision.plan) == (NEUTRAL, None)
    assert not model.calls
    driver.reset((0.2, 0.1))
    assert act(driver).plan is not None


def test_a_missed_plan_executes_the_shifted_previous_one_but_not_for_ever():
    clock = SimulatedClock()
    driver = policy(DrivenPointRobot(), clock)
    driver.reset((2.0, 1.0))
    previous = act(driver).plan.actions.copy()
    clock.advance(1.0)
    for _ in range(MAX_REUSED_PLANS):
        HorizonShift(12, 0.5).apply(previous)
        decision = act(driver, deadline=0.5)
        assert decision.plan.iterations == 0
        assert decision.command == Command(*map(float, previous[0]))
    with pytest.raises(PlanError, match="no time"):
        act(driver, deadline=0.5)
    assert act(driver, deadline=1.5).plan.iterations > 0


def test_a_new_goal_begins_at_the_origin_with_the_same_noise():
    driver = policy(DrivenPointRobot(), SimulatedClock())
    driver.reset((2.0, 0.0))
    first = [act(driver, applied=Command(0.3, 0.1)).plan.actions for _ in range(3)]
    driver.reset((2.0, 0.0))
    assert np.array_equal(first, [act(driver, applied=Command(0.3, 0.1)).plan.actions for _ in range(3)])


def test_a_pose_that_is_not_finite_is_no_plan():
    model = DrivenPointRobot()
    driver = policy(model, SimulatedClock())
    model.observe = lambda *_: {"pose": np.full(3, np.nan, dtype=np.float32)}
    with pytest.raises(PlanError, match="pose"):
        act(driver)
