"""Contestants take turns, and what disturbs one call does not count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import timing
from benchmarks.timing import Spread, alternate


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was timed, in order; every third call is disturbed, and the machine is twice as slow in odd rounds."""
    timed: list[str] = []

    def cpu_ms(call: Callable[[], object]) -> float:
        call()
        slow = 2.0 if (len(timed) - 1) // 6 % 2 else 1.0
        return slow * {"ours": 1.0, "theirs": 3.0}[timed[-1]] + (50.0 if len(timed) % 3 == 0 else 0.0)

    monkeypatch.setattr(timing, "cpu_ms", cpu_ms)
    return timed


def test_the_quickest_call_of_each_turn_counts_and_ratios_hold_on_a_machine_that_slows_down(
    turns: list[str],
) -> None:
    contestants = {name: lambda name=name: turns.append(name) for name in ("ours", "theirs")}
    warm_up = 3 * len(contestants)
    spent = alternate(contestants, rounds=4, calls=3)
    assert turns[warm_up:] == (["ours"] * 3 + ["theirs"] * 3) * 4
    assert spent["ours"].tolist() == [2.0, 1.0, 2.0, 1.0]
    assert (spent["theirs"] / spent["ours"]).tolist() == [3.0] * 4


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert Spread.of(np.array([4.0, 1.0, 2.0, 3.0, 5.0])) == (3.0, 2.0, 4.0)
    assert str(Spread(1.0, 0.5, 2.25)) == "1.00 [0.50, 2.25]"
