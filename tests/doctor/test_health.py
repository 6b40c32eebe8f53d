"""What the doctor finds of heat, clocks and supply."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wm.board import Board, Health, board_files, load_board
from edge_wm.doctor.finding import Finding, Level, ok, warning
from edge_wm.doctor.health import COOL, MAILBOX, SUPPLY, health
from tests.doctor.machines import POLICY, good_machine, having, program_in

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
HOT_CORES = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
ORIN_EVENTS = "sys/class/hwmon/hwmon3/oc{}_event_cnt"


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
        (having(FIRMWARE, "error=1\n"), "throttling", Level.WARNING, "says error=1", "ls -l"),
        (having(FIRMWARE, ""), "throttling", Level.WARNING, "says nothing", "ls -l"),
        (
            having(f"{POLICY}/scaling_governor", "ondemand\n"),
            "governor",
            Level.NOTE,
            "ondemand: the clock follows the load",
            "echo performance | sudo tee ",
        ),
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


@pytest.mark.parametrize(
    ("name", "file", "remedy"),
    [("generic-x86-64", HOT_CORES, COOL), ("jetson-orin-nano", ORIN_EVENTS, SUPPLY)],
)
def test_counts_of_throttling_are_of_what_the_board_file_says(
    name: str, file: str, remedy: str, root: Path
) -> None:
    of = load_board(board_files()[name])

    def throttling() -> Finding:
        (finding,) = (finding for finding in health(of, root) if finding.check == "throttling")
        return finding

    for number in (1, 2, 3):
        having(file.format(number), "0\n")(root)
    assert throttling() == ok("throttling", "none since boot")
    having(file.format(2), "17\n")(root)
    assert throttling() == warning("throttling", f"0, 17, 0: {of.health.throttled_gives}", remedy)


@pytest.mark.parametrize(
    ("driver", "level"),
    [("intel_pstate", Level.NOTE), ("amd-pstate-epp", Level.NOTE), ("cpufreq-dt", Level.WARNING)],
)
def test_whose_powersave_follows_the_load_is_known_by_the_driver(
    driver: str, level: Level, root: Path
) -> None:
    having(f"{POLICY}/scaling_governor", "powersave\n")(root)
    having(f"{POLICY}/scaling_driver", f"{driver}\n")(root)
    *_, finding = health(board(), root)
    assert (finding.check, finding.level) == ("governor", level)


def test_a_slow_group_of_cores_beside_a_quick_one_is_found(root: Path) -> None:
    having("sys/devices/system/cpu/cpufreq/policy4/scaling_governor", "powersave\n")(root)
    *_, finding = health(board(), root)
    assert (finding.level, finding.said) == (
        Level.WARNING,
        "performance, powersave: the clock may stay low",
    )


VCGENCMD = "vcgencmd get_throttled"


def asked(root: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> Finding:
    """What is found where ``vcgencmd`` does this; None: there is no such program."""
    programs = root / "programs"
    programs.mkdir(exist_ok=True)
    if script is not None:
        program_in(programs, "vcgencmd", script)
    monkeypatch.setenv("PATH", str(programs))
    (finding,) = (finding for finding in health(board(VCGENCMD), root) if finding.check == "throttling")
    return finding


def test_a_firmware_that_is_asked_by_a_command_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(root, monkeypatch, "echo throttled=0x0").level is Level.OK
    low = asked(root, monkeypatch, "echo throttled=0x50005")
    assert (low.level, low.remedy.split()[:3]) == (Level.ERROR, ["a", "stronger", "power"])


NO_DEVICE = 'echo "Can\'t open device file: /dev/vcio"; exit 255'


def test_a_firmware_that_cannot_be_asked_is_a_warning_with_the_command_that_mends_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = asked(root, monkeypatch, None)
    assert (missing.level, missing.remedy) == (Level.WARNING, "sudo apt install raspi-utils")
    denied = asked(root, monkeypatch, NO_DEVICE)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert denied == warning(
        "throttling",
        "unknown: vcgencmd get_throttled says nothing",
        f"sudo usermod -aG video {user}, then log in again",
    )
    having(MAILBOX, "")(root)
    strange = asked(root, monkeypatch, "exit 1")
    assert (strange.level, strange.remedy.split(":")[0]) == (Level.WARNING, VCGENCMD)


def test_what_a_board_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    assert list(health(Board("test", "a board"), tmp_path)) == []
