"""Whether a robot's clock can be right.

Signatures expire, so that nobody can show a robot an old repository for ever; a clock that is set back would let him.  Many
boards have no clock that runs without power: they begin in 1970, or where they were switched off, until a time server is asked.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from edge_wm.errors import BadInput

BUILT = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""It was later than this when this code was written."""
TIME_ERROR = 5
"""What ``adjtimex`` returns while the clock follows nobody."""
CHIP_AGREES_S = 86_400.0
"""A chip without a battery is years behind; one that runs in local time is hours beside."""
MACHINES_WITH_TIME = ("x86_64", "i686")
"""Those have a chip, or are virtual and are given the time by their host."""


def trusted_time(
    floor: datetime | None, wall: Callable[[], float] = time.time, *, unset: bool = False
) -> datetime:
    """The time, if it can be right.

    Args:
        floor: a moment that is past for certain.  It is raised only with metadata that was valid at that moment, so that a clock
            that runs ahead cannot raise it beyond what the publisher's signatures allow.
        wall: seconds since 1970.
        unset: believe also a clock that has no :func:`time_source`.

    Raises:
        BadInput: the clock is before the floor, or was not set.
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
    if not unset and time_source(wall=wall) is None:
        raise BadInput(
            f"the clock says {now:%Y-%m-%d %H:%M}, a guess: there is no clock chip that has the time, and no time server"
            " was reached: updates wait until the clock is set, such as by NTP, or believe_unset_clock ="
            " true in update.toml; the robot keeps its model"
        )
    return now


def time_source(
    root: Path = Path("/"),
    wall: Callable[[], float] = time.time,
    *,
    follows: Callable[[], bool] | None = None,
    machine: str | None = None,
) -> str | None:
    """Where the clock has the time from, for a person; None if it has gone on by itself since the power was off.

    Args:
        root: of the file system with `/sys`.
        wall: seconds since 1970.
        follows: whether the clock follows somebody, see :func:`clock_follows`.
        machine: as ``platform.machine()`` names it.
    """
    if (follows or clock_follows)():
        return "follows a time server"
    chips = sorted((root / "sys/class/rtc").glob("rtc*/since_epoch"))
    if any(_agrees(chip, wall()) for chip in chips):
        return "from the real-time clock"
    if not chips and (machine or platform.machine()) in MACHINES_WITH_TIME:
        return "from the computer's host"
    return None


def clock_follows() -> bool:
    """Whether the kernel's clock is kept right by somebody (``adjtimex``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 <= int(libc.adjtimex(ctypes.create_string_buffer(512))) < TIME_ERROR


def _agrees(chip: Path, now: float) -> bool:
    try:
        return abs(float(chip.read_text()) - now) < CHIP_AGREES_S
    except (OSError, ValueError):  # a chip may say that it has lost the time
        return False
