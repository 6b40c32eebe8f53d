"""Whether a robot's clock can be right.

Signatures expire, so that nobody can show a robot an old repository for ever; a clock that is set back would let him.  Many
boards have no clock that runs without power, and begin in 1970.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone

from edge_wm.errors import BadInput

BUILT = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""It was later than this when this code was written."""


def trusted_time(floor: datetime | None, wall: Callable[[], float] = time.time) -> datetime:
    """The time, if it can be right.

    Args:
        floor: a moment that is past for certain.  It is raised only with metadata that was valid at that moment, so that a clock
            that runs ahead cannot raise it beyond what the publisher's signatures allow.
        wall: seconds since 1970.

    Raises:
        BadInput: the clock is before the floor.
    """
    earliest = max(floor, BUILT) if floor is not None else BUILT
    try:
        now = datetime.fromtimestamp(wall(), timezone.utc)
    except (ValueError, OverflowError, OSError):
        now = datetime.fromtimestamp(0, timezone.utc)
    if now < earliest:
        raise BadInput(
            f"the clock says {now:%Y-%m-%d %H:%M}, and it is after {earliest:%Y-%m-%d %H:%M}: updates wait until the"
            " clock is set, such as by NTP; the robot keeps its model"
        )
    return now
