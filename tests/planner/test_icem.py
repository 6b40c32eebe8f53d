from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.errors import BadInput
from edge_wm.planner.horizon_shift import HorizonShift
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, PlanError, PlannerConfig
from tests.planner.point_robot import LIMITS, PointRobot, at, drive, goal, unicycle

BLOCKED = ((0.9, 0.0, 0.25),)
"""One round obstacle on the straight line from the start to (2, 0)."""


def test_drives_round_an_obstacle_to_the_goal_without_touching_it():
    model = PointRobot(BLOCKED)
    reached, least = drive(ICEM(model, PlannerConfig(), LIMITS, seed=1), model, goal(2.0, 0.0))
    assert reached
    assert least > 0.12


def test_drives_into_the_obstacle_when_its_outcomes_carry_no_weight():
    model = PointRobot(BLOCKED)
    config = PlannerConfig(weights={"terminal": 1.0, "smoothness": 0.1})
    _, least = drive(ICEM(model, config, LIMITS, seed=1), model, goal(2.0, 0.0))
    assert least < 0.12


@pytest.mark.parametrize("target", [(1.0, 1.0), (0.5, -1.2), (-1.0, 0.0)])
def test_reaches_goals_beside_and_behind_it(target):
    model = PointRobot()
    assert drive(ICEM(model, PlannerConfig(), LIMITS, seed=2), model, goal(*target))[0]


def test_the_plan_is_the_cheapest_candidate_of_all_iterations():
    model = PointRobot(BLOCKED)
    planner = ICEM(model, PlannerConfig(), LIMITS, seed=3)
    costs = []
    total = planner._costs.total
    planner._costs.total = lambda imagined: costs.append(total(imagined).copy()) or costs[-1]
    plan = planner.plan(at(), goal(2.0, 0.0))
    iteration, candidate = np.unravel_index(np.argmin(costs), (3, 64))
    assert plan.cost == np.min(costs)
    assert np.array_equal(plan.actions, model.calls[iteration][candidate])
    assert plan.poses.shape == (12, 3)
    assert plan.candidates.shape == (64, 12, 3)
    assert np.array_equal(plan.candidate_costs, costs[-1])


def test_each_iteration_samples_where_the_last_was_cheap():
    model = PointRobot()
    ICEM(model, PlannerConfig(), LIMITS, seed=3).plan(at(), goal(1.0, 0.5))
    ends = [unicycle(at()["pose"], actions, 0.2)[:, -1] for actions in model.calls]
    left = [float(np.median(np.hypot(end[:, 0] - 1.0, end[:, 1] - 0.5))) for end in ends]
    assert left[0] > left[1] > left[2]
    assert left[2] < 0.7 * left[0]


def test_each_iteration_looks_in_a_narrower_place_but_never_at_one_point():
    model = PointRobot()
    ICEM(model, PlannerConfig(iterations=24), LIMITS, seed=3).plan(at(), goal(1.0, 0.5))
    spread = [actions[8:].std(axis=0).mean() for actions in model.calls]
    assert spread[3] < 0.6 * spread[0]
    assert spread[-1] > 0.04


def test_the_same_seed_gives_the_same_plans_and_another_seed_others():
    def plans(seed: int, planner: ICEM | None = None) -> list[np.ndarray]:
        planner = planner or ICEM(PointRobot(BLOCKED), PlannerConfig(), LIMITS, seed)
        return [planner.plan(at(0.05 * i), goal(2.0, 0.5)).actions for i in range(6)]

    planner = ICEM(PointRobot(BLOCKED), PlannerConfig(), LIMITS, 7)
    first = plans(7, planner)
    planner.reset()
    assert np.array_equal(first, plans(7))
    assert np.array_equal(first, plans(7, planner))
    assert not np.array_equal(first, plans(8))


def test_drawing_noise_ahead_changes_no_plan():
    lazy = ICEM(PointRobot(), PlannerConfig(), LIMITS, 7)
    eager = ICEM(PointRobot(), PlannerConfig(), LIMITS, 7)
    for _ in range(12):
        eager.draw_ahead()
        plans = [planner.plan(at(), goal(1.0, 1.0)).actions for planner in (lazy, eager)]
        assert np.array_equal(*plans)


def test_every_candidate_keeps_the_limits():
    model = PointRobot()
    ICEM(model, PlannerConfig(initial_std=(2.0, 20.0)), LIMITS).plan(at(), goal(1.0, 0.0))
    actions = np.concatenate(model.calls)
    low, high = np.float32(LIMITS.low), np.float32(LIMITS.high)
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert (actions == low).any()
    assert (actions == high).any()


def test_first_candidates_hold_the_mean_a_stop_the_previous_plan_and_the_turns_in_place():
    model = PointRobot()
    planner = ICEM(model, PlannerConfig(), LIMITS)
    previous = planner.plan(at(), goal(1.0, 0.3)).actions
    model.calls.clear()
    mean = planner._mean.copy()
    planner.plan(at(), goal(1.0, 0.3))
    for sequence in (mean, previous):
        HorizonShift(12, 0.5).apply(sequence)
    first = model.calls[0]
    assert np.array_equal(first[0], mean)
    assert not first[1].any()
    assert np.array_equal(first[2], previous)
    assert np.allclose(first[3], (0.0, 2.0))
    assert np.allclose(first[4], (0.0, -2.0))


def test_a_stop_is_among_the_candidates_and_wins_when_everything_else_collides():
    model = PointRobot(((0.3, 0.0, 0.17), (-0.3, 0.0, 0.17)))
    plan = ICEM(model, PlannerConfig(primitives=()), LIMITS).plan(at(), goal(0.3, 0.0))
    assert np.abs(plan.poses[:, 0]).max() < 0.02


def test_half_a_step_of_shift_averages_neighbours_and_holds_the_last():
    sequence = np.array([[0.0], [1.0], [4.0]], dtype=np.float32)
    HorizonShift(3, 0.5).apply(sequence)
    assert sequence[:, 0].tolist() == [0.5, 2.5, 4.0]


def test_sequences_are_shifted_together_as_each_alone():
    sequences = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    alone = [sequence.copy() for sequence in sequences]
    HorizonShift(5, 0.5).apply(sequences)
    for sequence in alone:
        HorizonShift(5, 0.5).apply(sequence)
    assert np.array_equal(sequences, alone)


def test_a_whole_step_and_more_of_shift_keep_time():
    sequence = np.arange(6, dtype=np.float32)[:, None]
    HorizonShift(6, 1.0).apply(sequence)
    assert sequence[:, 0].tolist() == [1, 2, 3, 4, 5, 5]
    HorizonShift(6, 2.25).apply(sequence)
    assert sequence[:, 0].tolist() == [3.25, 4.25, 5, 5, 5, 5]


def test_proposals_of_the_policy_head_enter_after_the_first_call_with_noisy_copies():
    proposal = np.full((12, 2), (0.31, 0.7), dtype=np.float32)
    model = PointRobot(extra={"policy": proposal})
    ICEM(model, PlannerConfig(), LIMITS).plan(at(), goal(1.0, 0.0))

    def holds(actions: np.ndarray) -> bool:
        return bool((actions == proposal).all(axis=(1, 2)).any())

    assert [holds(actions) for actions in model.calls] == [False, True, False]
    row = int(np.argmax((model.calls[1] == proposal).all(axis=(1, 2))))
    copies = model.calls[1][row + 1 : row + 7] - proposal
    assert (np.abs(copies).max(axis=(1, 2)) > 0.0).all()


def test_several_proposals_are_taken_and_broken_ones_left_out():
    proposals = np.zeros((3, 12, 2), dtype=np.float32)
    proposals[:, :, 0] = np.array([0.11, np.nan, 0.33])[:, None]
    model = PointRobot(extra={"policy": proposals})
    plan = ICEM(model, PlannerConfig(), LIMITS).plan(at(), goal(1.0, 0.0))
    assert np.isfinite(np.concatenate(model.calls)).all()
    assert math.isfinite(plan.cost)
    for speed in (0.11, 0.33):
        assert (model.calls[1] == np.float32((speed, 0.0))).all(axis=(1, 2)).any()


def test_a_step_that_lies_beyond_the_old_sequence_says_so():
    assert HorizonShift(4, 1.0).beyond[:, 0].tolist() == [0, 0, 0, 1]
    assert HorizonShift(4, 2.25).beyond[:, 0].tolist() == [0, 0.25, 1, 1]
    assert HorizonShift(3, 0.5).beyond[:, 0].tolist() == [0, 0, 0.5]


class SlowModel:
    """A clock and a model of which each ``imagine`` takes ``imagine_s``."""

    def __init__(self, imagine_s: float) -> None:
        self.clock = SimulatedClock()
        self.imagine_s = imagine_s
        self.model = PointRobot()
        self.model.during_imagine = lambda: self.clock.advance(self.imagine_s)
        self.planner = ICEM(self.model, PlannerConfig(iterations=8), LIMITS)

    def plan(self, budget_s: float):
        deadline = self.clock.now() + budget_s
        plan = self.planner.plan(at(), goal(1.0, 0.0), deadline=deadline, clock=self.clock)
        return plan, self.clock.now() - deadline


def test_it_stops_iterating_when_another_iteration_would_not_fit():
    slow = SlowModel(0.02)
    for _ in range(10):
        plan, over_s = slow.plan(0.09)
    assert plan.iterations == 4
    assert over_s <= 0.0


def test_without_a_deadline_it_makes_all_iterations():
    slow = SlowModel(0.02)
    assert slow.planner.plan(at(), goal(1.0, 0.0), clock=slow.clock).iterations == 8


def test_without_time_for_one_iteration_it_returns_the_shifted_previous_plan():
    slow = SlowModel(0.02)
    previous = slow.plan(0.09)[0].actions.copy()
    calls = len(slow.model.calls)
    plan, _ = slow.plan(0.0)
    HorizonShift(12, 0.5).apply(previous)
    assert plan.iterations == 0
    assert math.isnan(plan.cost)
    assert np.array_equal(plan.actions, previous)
    assert len(slow.model.calls) == calls


def test_the_first_plan_gets_one_iteration_however_late_it_is():
    assert SlowModel(0.02).plan(-1.0)[0].iterations == 1


def test_one_slow_iteration_does_not_end_planning_for_good():
    slow = SlowModel(2.0)
    slow.plan(0.09)
    slow.imagine_s = 0.01
    iterations = [slow.plan(0.09)[0].iterations for _ in range(8)]
    assert iterations[0] == 0
    assert iterations[-1] > 0


@pytest.mark.parametrize("outcome", ["value", "cost_to_go", "imagined_pose", "collision"])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_no_finite_cost_is_no_plan(outcome, broken):
    shape = {"value": (64,), "imagined_pose": (64, 12, 3)}.get(outcome, (64, 12))
    model = PointRobot(extra={outcome: np.full(shape, broken, dtype=np.float32)})
    planner = ICEM(model, PlannerConfig(), LIMITS)
    with pytest.raises(PlanError):
        planner.plan(at(), goal(1.0, 0.0))
    model.extra = {}
    assert math.isfinite(planner.plan(at(), goal(1.0, 0.0)).cost)


def test_candidates_that_are_not_finite_are_never_chosen():
    value = np.full(64, np.nan, dtype=np.float32)
    value[[5, 9]] = (2.0, 1.0)
    plan = ICEM(PointRobot(extra={"value": value}), PlannerConfig(weights={"value": 1.0}), LIMITS).plan(
        at(), goal(1.0, 0.0)
    )
    assert plan.cost == 1.0
    assert np.isinf(plan.candidate_costs).sum() == 62


@pytest.mark.parametrize(
    ("config", "limits", "said"),
    [
        (PlannerConfig(initial_std=(0.1,)), LIMITS, "initial_std"),
        (PlannerConfig(elites=65), LIMITS, "elites"),
        (PlannerConfig(weights={"colour": 1.0}), LIMITS, "colour"),
        (PlannerConfig(weights={"value": math.nan}), LIMITS, "value"),
        (PlannerConfig(primitives=(((1.0,),),)), LIMITS, "primitive"),
    ],
)
def test_settings_that_do_not_fit_are_named(config, limits, said):
    with pytest.raises(BadInput, match=said):
        ICEM(PointRobot(), config, limits)


def test_two_hundred_plans_leave_no_memory_behind():
    model = PointRobot(BLOCKED, extra={"policy": np.zeros((12, 2), dtype=np.float32)})
    model.remember = False
    planner = ICEM(model, PlannerConfig(), LIMITS)
    for _ in range(20):
        planner.plan(at(), goal(2.0, 0.0))
    tracemalloc.start()
    try:
        planner.plan(at(), goal(2.0, 0.0))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            planner.plan(at(), goal(2.0, 0.0))
        after, _ = tracemalloc.get_traced_memory()
        kept = [planner.plan(at(), goal(2.0, 0.0)) for _ in range(20)]
        control, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4096
    assert control - after > 20 * 9000, "twenty kept plans must show, or the measurement is blind"
    assert len(kept) == 20


class Payer:
    """A model of one task: no goal, five numbers an action, and a reward for being near ``WANTED``."""

    WANTED = np.linspace(-0.8, 0.8, 5, dtype=np.float32)

    def __init__(self) -> None:
        size = SimpleNamespace(candidates=128, horizon=3, step_s=0.1)
        self.manifest = SimpleNamespace(tick_s=0.1, imagine=size)

    def imagine(self, state: dict, actions: np.ndarray, goal: None) -> dict[str, np.ndarray]:
        assert goal is None
        return {"reward": -np.square(actions - self.WANTED).sum(axis=2)}


def paid(**changes: object) -> ICEM:
    config = PlannerConfig(
        noise_beta=0.0, initial_std=(1.0,) * 5, momentum=0.0, weights={"reward": 1.0}, primitives=()
    )
    return ICEM(Payer(), replace(config, **changes), ActionLimits((-1.0,) * 5, (1.0,) * 5), seed=5)


def test_plans_for_a_reward_without_a_goal_and_with_other_actions():
    plan = paid(iterations=6, elites=16).plan({}, None)
    assert np.abs(plan.actions - Payer.WANTED).max() < 0.4


def test_a_mean_of_elites_that_count_by_their_cost_is_that_of_mppi():
    planner = paid(iterations=1, elites=128, std_floor=0.0, temperature=1.5)
    plan = planner.plan({}, None)
    actions, costs = planner._actions, plan.candidate_costs
    weight = np.exp(-1.5 * (costs - costs.min()))
    weight /= weight.sum()
    mean = np.einsum("n,nha->ha", weight, actions)
    np.testing.assert_allclose(planner._mean, mean, atol=1e-6)
    np.testing.assert_allclose(
        planner._std, np.sqrt(np.einsum("n,nha->ha", weight, (actions - mean) ** 2)), atol=1e-6
    )


# --- the conventions of published planners ---------------------------------------------------------------------------


class Recorder(Payer):
    """Keeps what was imagined; the policy proposes two sequences in the latent state."""

    POLICY = np.stack([np.full((3, 5), 0.6), np.full((3, 5), -0.6)]).astype(np.float32)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[np.ndarray] = []

    def imagine(self, state: dict, actions: np.ndarray, goal: None) -> dict[str, np.ndarray]:
        self.calls.append(actions.copy())
        return super().imagine(state, actions, goal)


def published(method: str, **changes: object) -> tuple[Recorder, ICEM]:
    settings = {"iterations": 3, "elites": 16, "temperature": 0.5, "policy_copies": 0} | changes
    model, planner = Recorder(), paid(method=method, **settings)
    planner._model = model
    return model, planner


def placed(actions: np.ndarray, sequences: np.ndarray) -> bool:
    return np.array_equal(actions[: len(sequences)], sequences)


def test_mppi_tries_the_policy_in_every_iteration_and_nothing_else_beside_samples():
    model, planner = published("mppi")
    state = {"policy": Recorder.POLICY}
    planner.plan(state, None)
    planner.plan(state, None)
    assert all(placed(actions, Recorder.POLICY) for actions in model.calls)
    assert not any((actions[2:] == 0.0).all(axis=(1, 2)).any() for actions in model.calls)


def test_the_policy_of_the_state_enters_once_where_the_method_is_icem():
    model, planner = published("icem")
    planner.plan({"policy": Recorder.POLICY}, None)
    held = [(actions == Recorder.POLICY[0]).all(axis=(1, 2)).any() for actions in model.calls]
    assert held == [True, False, False]


def test_mppi_draws_an_elite_by_its_weight():
    _, planner = published("mppi", iterations=1, elites=4, temperature=3.0)
    counts, expected = np.zeros(4), np.zeros(4)
    for _ in range(400):
        planner._forget()
        plan = planner.plan({}, None)
        best = np.sort(plan.candidate_costs)[:4]
        weights = np.exp(-3.0 * (best - best[0]))
        expected += weights / weights.sum()
        counts[np.argmin(np.abs(best - plan.cost))] += 1
        assert (planner._actions == plan.actions).all(axis=(1, 2)).any()
    assert counts[0] > counts[3] > 0
    np.testing.assert_allclose(counts, expected, atol=45)
    # The control: without a temperature they count alike.
    assert expected.max() - expected.min() > 90


def test_cem_tries_its_mean_moves_as_a_sample_does_and_does_the_mean():
    model, planner = published("cem", temperature=0.0, std_floor=0.0)
    plan = planner.plan({}, None)
    costs = [-Payer().imagine({}, actions, None)["reward"].sum(1) for actions in model.calls]
    mean = np.zeros((3, 5))
    for actions, cost in zip(model.calls, costs, strict=True):
        np.testing.assert_allclose(actions[0], mean, atol=1e-6)
        elites = actions[np.argsort(cost, kind="stable")[:16]]
        mean, std = elites.mean(axis=0), elites.std(axis=0, ddof=1)
    np.testing.assert_allclose(plan.actions, mean, atol=1e-6)
    np.testing.assert_allclose(planner._std, std, atol=1e-6)
    assert plan.cost == pytest.approx(np.sort(costs[-1])[:16].mean(), rel=1e-5)
    assert plan.poses is None


@pytest.mark.parametrize("method", ["mppi", "cem"])
def test_the_next_mean_of_a_published_planner_ends_in_rest(method):
    _, planner = published(method)
    planner.plan({}, None)
    mean = planner._mean.copy()
    planner._shift_previous()
    np.testing.assert_array_equal(planner._mean, np.concatenate([mean[1:], np.zeros((1, 5))]))


def test_after_a_reset_mppi_draws_the_same_elites():
    _, planner = published("mppi")
    first = [planner.plan({}, None).actions for _ in range(3)]
    planner.reset()
    again = [planner.plan({}, None).actions for _ in range(3)]
    np.testing.assert_array_equal(first, again)


def test_a_method_that_there_is_not_is_refused():
    with pytest.raises(BadInput, match="method = annealing"):
        PlannerConfig(method="annealing")
