"""A clock that cannot be right, or that nobody has set, is not believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.update import time_trust
from edge_wm.update.time_trust import BUILT, time_source, trusted_time

LATER = BUILT + timedelta(days=90)
CHIP = "sys/class/rtc/rtc0/since_epoch"


@pytest.fixture(autouse=True)
def set_by_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_trust, "time_source", lambda **how: "follows a time server")


def test_a_clock_after_the_floor_is_believed() -> None:
    assert trusted_time(LATER, LATER.timestamp) == LATER
    assert trusted_time(None, LATER.timestamp) == LATER


@pytest.mark.parametrize("unset", [False, True])
@pytest.mark.parametrize("wall", [0.0, -1e12, 1e15, float("nan"), float("inf")])
def test_a_robot_without_the_time_refuses_updates(wall: float, unset: bool) -> None:
    with pytest.raises(BadInput, match="updates wait until the clock is set"):
        trusted_time(None, lambda: wall, unset=unset)


@pytest.mark.parametrize("unset", [False, True])
def test_a_clock_that_was_set_back_is_refused(unset: bool) -> None:
    yesterday = LATER - timedelta(days=1)
    assert trusted_time(None, yesterday.timestamp, unset=unset) == yesterday
    with pytest.raises(BadInput, match="updates wait"):
        trusted_time(LATER, yesterday.timestamp, unset=unset)


def test_a_floor_from_before_the_software_does_not_lower_it() -> None:
    old = datetime(1999, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(BadInput, match="updates wait"):
        trusted_time(old, (old + timedelta(days=1)).timestamp)


# --- who set it ------------------------------------------------------------------------------------------------------


def test_a_clock_that_nobody_set_is_believed_only_if_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as one that goes on from where the power went off: it is after the floor, and may be days behind."""
    monkeypatch.setattr(time_trust, "time_source", lambda **how: None)
    with pytest.raises(BadInput, match=r"updates wait until the clock is set, .* believe_unset_clock = true"):
        trusted_time(LATER, LATER.timestamp)
    assert trusted_time(LATER, LATER.timestamp, unset=True) == LATER


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., str | None]:
    """Of a board, whose clock follows nobody."""
    return partial(time_source, tmp_path, LATER.timestamp, follows=lambda: False, machine="aarch64")


def has_chip(root: Path, says: str) -> None:
    (root / CHIP).parent.mkdir(parents=True)
    (root / CHIP).write_text(says)


def test_a_board_without_a_chip_has_the_time_from_a_server_or_not_at_all(
    source: Callable[..., str | None],
) -> None:
    assert source() is None
    assert source(follows=lambda: True) == "follows a time server"


@pytest.mark.parametrize("hours", [0.0, -13.0, 13.0], ids=["right", "local time behind", "local time ahead"])
def test_a_chip_that_has_the_time_sets_the_clock(
    source: Callable[..., str | None], tmp_path: Path, hours: float
) -> None:
    has_chip(tmp_path, f"{LATER.timestamp() + hours * 3600.0:.0f}\n")
    assert source() == "from the real-time clock"


@pytest.mark.parametrize("says", ["86\n", "", "what?\n", f"{LATER.timestamp() - 2 * 86_400.0:.0f}\n"])
@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
def test_a_chip_whose_battery_is_empty_does_not(
    source: Callable[..., str | None], tmp_path: Path, says: str, machine: str
) -> None:
    """The system has set its clock to when it was last switched off, and the chip begins in 1970."""
    has_chip(tmp_path, says)
    assert source(machine=machine) is None


def test_a_virtual_machine_has_the_time_of_its_host(source: Callable[..., str | None]) -> None:
    assert source(machine="x86_64") == "from the computer's host"
