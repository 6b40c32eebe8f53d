from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.record.statistics import TickStatistics


def test_percentiles_are_those_of_numpy(make_drive):
    statistics = TickStatistics()
    records = make_drive(200)
    for record in records:
        statistics.add(record)
    for percentile in (50, 99, 100):
        expected = np.percentile([record.tick_ms for record in records], percentile)
        assert statistics.tick_ms(percentile) == pytest.approx(expected, rel=1e-6)
    assert statistics.plan_ms(50) == pytest.approx(np.percentile([r.plan_ms for r in records], 50), rel=1e-6)
    assert statistics.tick_ms(50) != pytest.approx(statistics.tick_ms(99), rel=1e-2)


def test_misses_and_ticks_are_counted_over_the_whole_run(make_drive):
    statistics = TickStatistics(kept_ticks=5)
    for record in make_drive(50):
        statistics.add(record)
    assert (statistics.ticks, statistics.misses) == (50, 1)


def test_a_full_buffer_keeps_the_newest_ticks(make_drive):
    statistics = TickStatistics(kept_ticks=10)
    records = make_drive(37)
    for record in records:
        statistics.add(record)
    newest = np.percentile([record.tick_ms for record in records[-10:]], 50)
    assert statistics.tick_ms(50) == pytest.approx(newest, rel=1e-6)


def test_what_was_never_measured_is_null_in_the_summary():
    statistics = TickStatistics()
    assert math.isnan(statistics.tick_ms(50))
    assert statistics.summary()["tick_p99_ms"] is None
