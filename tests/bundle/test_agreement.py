from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from edge_wm.bundle.agreement import Agreement

COSTS = np.array([4.0, 1.0, 3.0, 2.0, 5.0, 9.0], dtype=np.float32)


def test_the_same_costs_agree_wholly_and_so_do_costs_in_another_unit():
    assert Agreement.between(COSTS, 3.0 * COSTS + 1.0, 2) == pytest.approx((1.0, 1.0, 0.0))


def test_costs_the_other_way_round_agree_in_nothing():
    found = Agreement.between(COSTS, -COSTS, 2)
    assert (found.spearman, found.elite_overlap) == pytest.approx((-1.0, 0.0))
    assert found.regret == pytest.approx((9.0 - 1.0) / (3.5 - 1.0))


def test_regret_is_what_the_choice_costs_by_the_other_judgement():
    slightly_wrong = COSTS.copy()
    slightly_wrong[3] = 0.5
    found = Agreement.between(COSTS, slightly_wrong, 2)
    assert found.regret == pytest.approx((2.0 - 1.0) / (3.5 - 1.0))
    assert found.elite_overlap == 1.0


def test_the_correlation_is_spearmans_with_ties_sharing_their_ranks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, size=(2, 40)).astype(np.float32)
        assert Agreement.between(a, b, 4).spearman == pytest.approx(spearmanr(a, b).statistic)


def test_a_candidate_without_a_finite_cost_is_the_last_choice():
    broken = COSTS.copy()
    broken[1] = np.inf
    found = Agreement.between(COSTS, broken, 1)
    assert found.elite_overlap == 0.0
    assert found.regret > 0.0
    assert np.isfinite(found.spearman)


def test_where_all_candidates_cost_the_same_any_choice_is_right_and_none_is_told_apart():
    flat = np.ones(6)
    assert Agreement.between(flat, flat, 2) == (1.0, 1.0, 0.0)
    assert Agreement.between(flat, COSTS, 2).spearman == 0.0


def test_the_worst_is_taken_number_by_number():
    parts = [Agreement(0.9, 0.5, 0.0), Agreement(0.8, 0.75, 0.2)]
    assert Agreement.worst(parts) == (0.8, 0.5, 0.2)
    assert Agreement.mean(parts) == pytest.approx((0.85, 0.625, 0.1))
