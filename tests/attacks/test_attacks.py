"""Attacks on updates, one by one; ``make attacks`` carries out the slow ones too, and shows all in a table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attack import Attack, attack, control
from tests.attacks.table import ATTACKS
from tests.attacks.tampered import tampered
from tests.attacks.without_defence import WITHOUT, Without, succeeds
from tests.attacks.world import NEW, Fleet

MEMORY = Path("/dev/shm")
QUICK = tuple(case for case in ATTACKS if not case.slow)
CHANGES_STEP = 17
"""Every so many changes of files are tried here."""


def _settings() -> list[Attack]:
    """One attack of each setting: their controls are the same."""
    found = {(case.setting, case.control): case for case in QUICK if case.control is not None}
    return list(found.values())


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """No disk, where there is memory: nobody cuts the power here."""
    with tempfile.TemporaryDirectory(prefix="attacks-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def fleet(scratch: Path) -> Fleet:
    return Fleet(scratch / "fleet")


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_the_robot_withstands(case: Attack, fleet: Fleet, scratch: Path) -> None:
    result = attack(fleet, case, scratch)
    assert result.accepted is None, f"{result.accepted}; it said: {result.attempt.said}"


@pytest.mark.parametrize("case", _settings(), ids=lambda case: case.name)
def test_without_the_attack_the_robot_updates(case: Attack, fleet: Fleet, scratch: Path) -> None:
    result = control(fleet, case, scratch)
    assert result.accepted is None, result.accepted


def test_no_change_of_a_file_on_the_server_makes_another_model_drive(fleet: Fleet, scratch: Path) -> None:
    cases = tampered(fleet)
    assert len(cases) > 100
    ends = []
    for case in cases[::CHANGES_STEP]:
        result = attack(fleet, case, scratch)
        assert result.accepted is None, f"{case.name}: {result.accepted}; it said: {result.attempt.said}"
        ends.append(result.attempt.drives)
    assert 0 < ends.count(NEW) < len(ends)


@pytest.mark.parametrize("without", WITHOUT, ids=lambda without: without.defence)
def test_without_a_defence_its_attack_succeeds(without: Without, fleet: Fleet, scratch: Path) -> None:
    succeeded, result = succeeds(fleet, without, scratch)
    assert succeeded, f"{result.accepted}; it said: {result.attempt.said}"
