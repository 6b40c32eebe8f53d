from __future__ import annotations

import pytest

from edge_wm.clock import MonotonicClock, SimulatedClock
from edge_wm.control.rate import Rate


def test_a_simulated_clock_jumps_and_never_goes_back():
    clock = SimulatedClock(5.0)
    clock.sleep_until(7.5)
    clock.sleep_until(6.0)
    assert clock.now() == 7.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1.0)


def test_the_machine_clock_returns_at_once_from_a_moment_that_has_passed():
    clock = MonotonicClock()
    before = clock.now()
    clock.sleep_until(before - 100.0)
    assert before <= clock.now() < before + 1.0


def run(works: list[float], tick_s: float = 0.1) -> tuple[Rate, list[float], list[float]]:
    """Ticks that take ``works`` seconds each; the rate, the moments they ended and how late."""
    clock = SimulatedClock(100.0)
    rate = Rate(tick_s, clock)
    ends, lates = [], []
    for work in works:
        clock.advance(work)
        lates.append(rate.keep())
        ends.append(clock.now())
    return rate, ends, lates


def test_uneven_ticks_do_not_drift():
    rate, ends, lates = run([0.01, 0.09, 0.05] * 1000)
    assert ends[-1] == pytest.approx(100.0 + 300.0, abs=1e-9)
    assert rate.missed == 0
    assert rate.ticks == 3000
    assert not any(lates)


def test_a_slightly_late_tick_is_counted_and_made_up_for():
    rate, ends, lates = run([0.05, 0.12, 0.05, 0.05])
    assert ends == pytest.approx([100.1, 100.22, 100.3, 100.4])
    assert lates == pytest.approx([0.0, 0.02, 0.0, 0.0])
    assert (rate.missed, rate.skipped) == (1, 0)
    assert rate.worst_late_s == pytest.approx(0.02)


def test_a_long_stall_is_skipped_and_not_followed_by_a_burst():
    rate, ends, _ = run([0.05, 5.03, 0.05, 0.05])
    assert ends == pytest.approx([100.1, 105.13, 105.2, 105.3])
    assert (rate.missed, rate.skipped) == (1, 49)
    assert rate.worst_late_s == pytest.approx(4.93)


def test_a_tick_never_begins_with_less_than_half_its_time():
    clock = SimulatedClock()
    rate = Rate(0.1, clock)
    for work in (0.101, 0.149, 0.151, 0.19, 0.2, 0.249, 0.3, 1.234):
        clock.advance(work)
        rate.keep()
        assert rate.deadline - clock.now() >= 0.05 - 1e-9


def test_start_forgets_what_was_counted():
    clock = SimulatedClock()
    rate = Rate(0.1, clock)
    clock.advance(1.0)
    rate.keep()
    rate.start()
    assert (rate.ticks, rate.missed, rate.skipped, rate.worst_late_s) == (0, 0, 0, 0.0)
    assert rate.deadline == pytest.approx(clock.now() + 0.1)
