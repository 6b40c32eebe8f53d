"""Running figures of the ticks, kept in buffers that never grow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_wm.record.tick_record import TickRecord

KEPT_TICKS = 36_000
"""One hour at 10 Hz; percentiles are over the newest so many ticks."""


class TickStatistics:
    """Latency percentiles and deadline misses.  ``add`` allocates nothing: it belongs on the control path."""

    def __init__(self, kept_ticks: int = KEPT_TICKS) -> None:
        self._ring = np.full((kept_ticks, 3), np.nan, dtype=np.float32)
        self.ticks = 0
        self.misses = 0

    def add(self, record: TickRecord) -> None:
        """Count one tick."""
        row = self._ring[self.ticks % len(self._ring)]
        row[0] = record.tick_ms
        row[1] = record.observe_ms
        row[2] = record.plan_ms
        self.ticks += 1
        self.misses += record.missed

    def tick_ms(self, percentile: float) -> float:
        """Percentile (0..100, linear interpolation) of the duration of whole ticks; NaN before the first."""
        return self._percentile(0, percentile)

    def observe_ms(self, percentile: float) -> float:
        """Percentile of the model's observe step."""
        return self._percentile(1, percentile)

    def plan_ms(self, percentile: float) -> float:
        """Percentile of planning."""
        return self._percentile(2, percentile)

    def summary(self) -> dict[str, Any]:
        """The figures as they stand in ``summary.json``; what was never measured is None."""
        figures = {
            "tick_p50_ms": self.tick_ms(50),
            "tick_p99_ms": self.tick_ms(99),
            "tick_max_ms": self.tick_ms(100),
            "observe_p50_ms": self.observe_ms(50),
            "observe_p99_ms": self.observe_ms(99),
            "plan_p50_ms": self.plan_ms(50),
            "plan_p99_ms": self.plan_ms(99),
        }
        rounded = {name: round(v, 2) if math.isfinite(v) else None for name, v in figures.items()}
        return {"ticks": self.ticks, "misses": self.misses, **rounded}

    def _percentile(self, column: int, percentile: float) -> float:
        values = self._ring[: min(self.ticks, len(self._ring)), column]
        values = np.sort(values[np.isfinite(values)])
        if not values.size:
            return math.nan
        # As numpy.percentile, whose first call imports numpy.ma: tens of milliseconds in the middle of a drive.
        below, share = divmod(percentile / 100 * (len(values) - 1), 1.0)
        lower, upper = float(values[int(below)]), float(values[min(int(below) + 1, len(values) - 1)])
        return lower + share * (upper - lower)
