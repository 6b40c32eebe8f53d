"""What the doctor finds of heat, clocks and supply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wm.board import Board, Health
from edge_wm.doctor.finding import Level
from edge_wm.doctor.health import health
from tests.doctor.machines import POLICY, good_machine, having

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
COUNTS = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"


def board(throttled: str = f"/{FIRMWARE}") -> Board:
    return Board(
        "test",
        "a board",
        health=Health(thermal_zones=("cpu-thermal",), throttles_at_c=85.0, throttled=throttled),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    having(FIRMWARE, "0\n")(tmp_path)
    return good_machine(tmp_path)


def test_a_cool_board_at_full_clock_is_well(root: Path) -> None:
    found = list(health(board(), root))
    assert [finding.check for finding in found] == ["temperature", "throttling", "governor"]
    assert all(finding.level is Level.OK for finding in found)
    assert found[0].said == "52 °C, throttles at 85 °C"


@pytest.mark.parametrize(
    ("fault", "check", "level", "said", "remedy"),
    [
        (
            having("sys/class/thermal/thermal_zone0/temp", "78000\n"),
            "temperature",
            Level.WARNING,
            "78",
            "fan",
        ),
        (having("sys/class/thermal/thermal_zone0/temp", "86000\n"), "temperature", Level.ERROR, "86", "fan"),
        (
            having(FIRMWARE, "50005\n"),
            "throttling",
            Level.ERROR,
            "now: the supply voltage is too low",
            "power",
        ),
        (having(FIRMWARE, "4\n"), "throttling", Level.ERROR, "now: throttled", "heat sink"),
        (having(FIRMWARE, "8\n"), "throttling", Level.ERROR, "soft temperature limit", "heat sink"),
        (having(FIRMWARE, "10000\n"), "throttling", Level.WARNING, "since boot: the supply", "power"),
        (having(FIRMWARE, "20000\n"), "throttling", Level.WARNING, "since boot: the clock is capped", "fan"),
        (
            having(f"{POLICY}/scaling_governor", "powersave\n"),
            "governor",
            Level.WARNING,
            "powersave",
            "echo performance",
        ),
    ],
)
def test_what_slows_a_board_down_is_found(
    fault: Callable[[Path], None], check: str, level: Level, said: str, remedy: str, root: Path
) -> None:
    fault(root)
    (finding,) = (finding for finding in health(board(), root) if finding.level is not Level.OK)
    assert (finding.check, finding.level) == (check, level)
    assert said in finding.said
    assert remedy in finding.remedy


@pytest.mark.parametrize(("count", "level"), [("0\n", Level.OK), ("17\n", Level.WARNING)])
def test_counts_of_throttling_are_since_boot(count: str, level: Level, root: Path) -> None:
    having(COUNTS, count)(root)
    found = {finding.check: finding for finding in health(board(f"/{COUNTS}"), root)}
    assert found["throttling"].level is level


def test_what_a_board_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    assert list(health(Board("test", "a board"), tmp_path)) == []
