"""The statistics agree with published values and with counting by hand."""

from __future__ import annotations

from math import comb

import pytest

from edge_wm.evaluate.statistics import mcnemar_p, mean, paired_p, spl, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_knows_nothing_of_nothing() -> None:
    low, high = wilson_interval(7, 50)
    assert wilson_interval(43, 50) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_mcnemar_agrees_with_counting_by_hand() -> None:
    # Ten discordant pairs, two of one sort: 2 * (C(10,0) + C(10,1) + C(10,2)) / 2^10 = 2 * 56 / 1024.
    assert mcnemar_p(8, 2) == mcnemar_p(2, 8) == pytest.approx(112 / 1024)
    assert mcnemar_p(20, 5) == pytest.approx(2 * sum(comb(25, k) for k in range(6)) / 2**25)


def test_policies_that_never_differ_are_not_told_apart() -> None:
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(4, 4) == 1.0


def test_only_episodes_in_which_two_policies_differ_count() -> None:
    agree = [True] * 50 + [False] * 20
    first, second = agree + [True] * 8 + [False] * 2, agree + [False] * 8 + [True] * 2
    assert paired_p(first, second) == mcnemar_p(8, 2)
    with pytest.raises(ValueError, match="zip"):
        paired_p([True], [True, False])


def test_spl_is_the_share_of_the_shortest_path_and_nothing_without_success() -> None:
    assert spl(True, 4.0, 3.0) == 0.75
    assert spl(True, 2.9, 3.0) == 1.0  # the robot stops at the edge of the goal's circle
    assert spl(False, 3.0, 3.0) == 0.0
    assert mean([1.0, 0.0]) == 0.5
    assert mean([]) == 0.0
