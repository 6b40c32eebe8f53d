from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edge_wm.errors import BadInput
from edge_wm.planner.costs import COSTS, DEFAULT_WEIGHTS, CostSum, Imagined, Scale

N, H = 3, 4


def imagined(actions=None, applied=(0.0, 0.0), **outcomes) -> Imagined:
    outcomes = {name: np.asarray(array, dtype=np.float32) for name, array in outcomes.items()}
    outcomes.setdefault("value", np.zeros(N, dtype=np.float32))
    actions = np.zeros((N, H, 2), np.float32) if actions is None else np.asarray(actions, np.float32)
    return Imagined(outcomes, actions, np.array([1.0, 0.0], np.float32), np.array(applied, np.float32))


SCALE = Scale(
    half_range=np.tile(np.float32([0.5, 2.0]), (H, 1)),
    reverse=0.2,
    touch_discount=np.ones(H, np.float32),
    reward_cost=-np.ones(H + 1, np.float32),
    comfort_m=0.22,
    touch_m=0.12,
)


def total(what: Imagined, discount: float = 1.0, **weights: float) -> np.ndarray:
    scale = dataclasses.replace(
        SCALE,
        touch_discount=(discount ** np.arange(H)).astype(np.float32),
        reward_cost=-(discount ** np.arange(H + 1)).astype(np.float32),
    )
    return CostSum({"value": 1.0} | weights, scale, N).total(what)


def test_value_counts_metres_and_is_clipped():
    assert total(imagined(value=[1.5, -2.0, 1e9])).tolist() == [1.5, 0.0, 50.0]


def test_terminal_measures_the_distance_to_the_goal_from_the_last_pose():
    poses = np.zeros((N, H, 3))
    poses[0, :, 0] = (0.25, 0.5, 0.75, 1.0)
    poses[1, :, 0] = (0.0, 0.0, 0.0, 1.0)
    assert total(imagined(imagined_pose=poses), terminal=1.0) == pytest.approx([0.0, 0.0, 1.0])


def test_progress_is_the_mean_of_the_predicted_cost_to_go_and_is_clipped():
    cost_to_go = [[0.75, 0.5, 0.25, 0.0], [1.0, 1.0, 1.0, 0.0], [-2.0, 1e9, 0.0, 0.0]]
    assert total(imagined(cost_to_go=cost_to_go), progress=1.0) == pytest.approx([0.375, 0.75, 12.5])


def test_progress_reads_the_prediction_and_not_the_poses():
    poses = np.full((N, H, 3), 7.0)
    assert total(imagined(imagined_pose=poses), progress=1.0).tolist() == [0.0, 0.0, 0.0]
    ahead = imagined(imagined_pose=poses, cost_to_go=np.full((N, H), 2.0))
    assert total(ahead, progress=1.0).tolist() == [2.0, 2.0, 2.0]


def test_collision_is_the_probability_of_having_touched_anything():
    p = [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    assert total(imagined(collision=p), collision=4.0) == pytest.approx([3.0, 4.0, 0.0])


def test_progress_behind_a_touch_does_not_count():
    ahead = np.full((N, H), 5.0)
    touching = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]]
    through = imagined(value=[1.0, 1.0, 1.0], cost_to_go=ahead, collision=touching)
    assert total(through) == pytest.approx([1.0, 5.0, 3.0])


def test_without_a_cost_to_go_a_touch_leaves_the_value_alone():
    touching = [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]]
    assert total(imagined(value=[1.0, 1.0, 1.0], collision=touching)) == pytest.approx([1.0, 1.0, 1.0])


def test_revisit_counts_the_visited_places_near_the_end_of_the_plan():
    poses = np.zeros((N, H, 3))
    poses[:, -1, 0] = (0.0, 1.0, 3.0)
    back = dataclasses.replace(
        imagined(imagined_pose=poses), visited=np.array([[0.1, 0.0], [0.0, 0.3], [1.0, 0.2]], np.float32)
    )
    assert total(back, revisit=0.5).tolist() == [1.0, 0.5, 0.0]
    assert total(imagined(imagined_pose=poses), revisit=0.5).tolist() == [0.0, 0.0, 0.0]


def test_a_touch_further_away_costs_less_and_probabilities_are_clipped():
    p = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0], [-1.0, 0.0, 0.0, 0.0]]
    assert total(imagined(collision=p), discount=0.9, collision=1.0) == pytest.approx([1.0, 0.9**3, 0.0])


def test_clearance_costs_only_below_comfort_and_grows_towards_the_touch():
    clearance = np.array([[0.22], [0.17], [0.05]]).repeat(H, axis=1)
    assert total(imagined(clearance=clearance), clearance=1.0) == pytest.approx([0.0, 0.25, 1.0], abs=1e-5)


def test_uncertainty_is_averaged_and_clipped():
    u = np.array([[0.0], [2.0], [99.0]]).repeat(H, axis=1)
    assert total(imagined(uncertainty=u), uncertainty=0.5) == pytest.approx([0.0, 1.0, 5.0])


def test_effort_is_measured_in_shares_of_the_range():
    actions = np.zeros((N, H, 2))
    actions[1] = (0.5, 0.0)
    actions[2] = (0.5, 2.0)
    assert total(imagined(actions), effort=1.0) == pytest.approx([0.0, 0.5, 1.0])


def test_smoothness_counts_every_change_and_the_jump_from_the_applied_action():
    actions = np.zeros((N, H, 2))
    actions[0] = (0.5, 0.0)
    actions[1, ::2] = (0.5, 0.0)
    assert total(imagined(actions, applied=(0.5, 0.0)), smoothness=8.0) == pytest.approx([0.0, 3.0, 1.0])


def test_only_driving_backwards_costs_reverse():
    actions = np.zeros((N, H, 2))
    actions[0] = (0.5, 1.0)
    actions[1, :2] = (-0.2, 0.0)
    assert total(imagined(actions), reverse=1.0) == pytest.approx([0.0, 0.5, 0.0])


def test_a_missing_outcome_drops_its_cost_and_nothing_else():
    weights = dict(DEFAULT_WEIGHTS)
    assert total(imagined(value=[1.0, 2.0, 3.0]), **weights) == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_clipping_does_not_turn_a_broken_outcome_into_a_good_one(broken):
    collision = np.zeros((N, H))
    collision[1, 2] = broken
    assert np.isfinite(total(imagined(collision=collision), collision=1.0)).tolist() == [True, False, True]
    assert np.isfinite(total(imagined(value=[0.0, 0.0, broken]))).tolist() == [True, True, False]


def test_a_number_that_is_large_and_finite_is_not_taken_for_a_broken_one():
    collision = np.full((N, H), 1e30)
    assert total(imagined(collision=collision), collision=2.0).tolist() == [2.0, 2.0, 2.0]


def test_outcomes_that_come_and_go_bring_and_take_their_costs():
    costs = CostSum({"value": 1.0, "uncertainty": 1.0}, SCALE, N)
    both = imagined(value=[1.0, 2.0, 3.0], uncertainty=np.ones((N, H)))
    for what, found in ((both, [2.0, 3.0, 4.0]), (imagined(), [0.0, 0.0, 0.0]), (both, [2.0, 3.0, 4.0])):
        assert costs.total(what).tolist() == found


def test_a_broken_outcome_that_carries_no_weight_does_no_harm():
    collision = np.full((N, H), np.nan)
    assert np.isfinite(total(imagined(collision=collision), collision=0.0)).all()


def test_a_broken_pose_is_a_broken_candidate_even_where_no_cost_reads_it():
    poses = np.zeros((N, H, 3))
    poses[1, 2, 0] = math.nan
    assert np.isfinite(total(imagined(imagined_pose=poses))).tolist() == [True, False, True]


@pytest.mark.parametrize(("name", "outcome"), [("progress", "cost_to_go"), ("terminal", "imagined_pose")])
def test_any_cost_that_measures_the_way_to_the_goal_is_enough(name, outcome):
    shape = {"cost_to_go": (N, H), "imagined_pose": (N, H, 3)}[outcome]
    only = Imagined({outcome: np.zeros(shape)}, np.zeros((N, H, 2)), np.zeros(2), np.zeros(2))
    assert total(only, **{name: 1.0}).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("outcomes", [{"collision": np.zeros((N, H))}, {}])
def test_a_model_without_any_way_to_the_goal_is_refused(outcomes):
    only = Imagined(outcomes, np.zeros((N, H, 2)), np.zeros(2), np.zeros(2))
    with pytest.raises(BadInput, match="none leads anywhere"):
        total(only, collision=1.0)


def test_every_default_weight_names_a_cost():
    assert set(DEFAULT_WEIGHTS) == set(COSTS)


def test_a_reward_is_a_cost_with_the_sign_turned_and_later_ones_count_less():
    rewards = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, 0.0, 0.0]]
    assert total(imagined(reward=rewards), discount=0.5, reward=1.0) == pytest.approx([-1.0, -0.125, 1.0])


def test_what_follows_after_the_last_step_is_discounted_once_more():
    found = total(imagined(terminal_value=[8.0, 0.0, -8.0]), discount=0.5, terminal_value=2.0)
    assert found == pytest.approx([-1.0, 0.0, 1.0])


def test_the_distance_in_the_latent_space_is_taken_as_the_model_measures_it():
    assert total(imagined(goal_distance=[0.5, 2.0, 0.0]), goal_distance=3.0) == pytest.approx([1.5, 6.0, 0.0])
