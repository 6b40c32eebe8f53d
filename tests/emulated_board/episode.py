"""The same seed, world and bundle, on this machine and on the emulated board: how far do the two drives part?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_wm.cli import run

WORDS = ("demo", "--fast", "--no-view", "--no-pictures", "--goals", "1", "--precision", "fp32", "--seed", "0")
COMPARED = ("command", "applied", "pose", "true_pose", "goal_distance_m", "min_range_m", "plan_cost")
"""Of a tick's record, most of which is rounded to thousandths."""

Ticks = Sequence[Mapping[str, Any]]


def ticks_of(text: str) -> Ticks:
    """A run's ``ticks.jsonl``."""
    return [json.loads(line) for line in text.splitlines()]


def driven_here() -> Ticks:
    """The drive on this machine."""
    with tempfile.TemporaryDirectory(prefix="episode-") as folder:
        code = run([*WORDS, "--runs", folder])
        assert code == 0, f"edge-wm demo: exit code {code}"
        (ticks,) = Path(folder).glob("*/ticks.jsonl")
        return ticks_of(ticks.read_text())


def divergence(here: Ticks, there: Ticks) -> dict[str, float]:
    """The largest difference of each compared value over all ticks; infinite if one drive is longer.

    Angles are the third value of a pose; they are compared around the circle.
    """
    if len(here) != len(there):
        return dict.fromkeys(COMPARED, float("inf"))
    return {
        name: max(_apart(name, a[name], b[name]) for a, b in zip(here, there, strict=True))
        for name in COMPARED
    }


def _apart(name: str, a: Any, b: Any) -> float:
    if not isinstance(a, list):
        return 0.0 if a == b else abs(a - b)
    apart = [abs(x - y) for x, y in zip(a, b, strict=True)]
    if name.endswith("pose"):
        apart[2] = min(apart[2] % 6.283185307179586, -apart[2] % 6.283185307179586)
    return max(apart)
