"""A clock that cannot be right is not believed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from edge_wm.errors import BadInput
from edge_wm.update.time_trust import BUILT, trusted_time

LATER = BUILT + timedelta(days=90)


def test_a_clock_after_the_floor_is_believed() -> None:
    assert trusted_time(LATER, LATER.timestamp) == LATER
    assert trusted_time(None, LATER.timestamp) == LATER


@pytest.mark.parametrize("wall", [0.0, -1e12, 1e15, float("nan"), float("inf")])
def test_a_robot_without_the_time_refuses_updates(wall: float) -> None:
    with pytest.raises(BadInput, match="updates wait until the clock is set"):
        trusted_time(None, lambda: wall)


def test_a_clock_that_was_set_back_is_refused() -> None:
    yesterday = LATER - timedelta(days=1)
    assert trusted_time(None, yesterday.timestamp) == yesterday
    with pytest.raises(BadInput, match="updates wait"):
        trusted_time(LATER, yesterday.timestamp)


def test_a_floor_from_before_the_software_does_not_lower_it() -> None:
    old = datetime(1999, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(BadInput, match="updates wait"):
        trusted_time(old, (old + timedelta(days=1)).timestamp)
