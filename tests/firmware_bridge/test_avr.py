"""The program for the ATmega328P, in a simulated one: the same firmware, its port, its watchdog, and its size."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.simulator.avr_bench import EXTERNAL, POWER_ON, WATCHDOG, AvrBench
from firmware_bridge.simulator.faults import FAULTS, MS, Computer, drill
from firmware_bridge.wire import (
    PROTOCOL,
    Counters,
    Disarm,
    Drive,
    Poll,
    ReadCounters,
    Reset,
    Result,
    State,
)
from firmware_bridge.wire import Fault as Latched

TICK_MS = 5
DEADMAN_MS = 200
FLASH_BYTES, RAM_BYTES = 32_768, 2_048


@pytest.fixture
def bench(folder: Path) -> Iterator[AvrBench]:
    bench = AvrBench(folder)
    yield bench
    bench.close()


@pytest.fixture
def computer(bench: AvrBench) -> Computer:
    return Computer(bench, random.Random(7))


def test_it_is_the_firmware_that_the_host_runs_too(computer: Computer) -> None:
    computer.bench.run(100 * MS)
    identity = computer.greet()
    assert (identity.protocol, identity.port, identity.reset) == (PROTOCOL, 1, Reset.POWER_ON)
    assert (identity.deadman_ms, identity.tick_ms) == (DEADMAN_MS, TICK_MS)


@pytest.mark.parametrize(("v", "w"), [(300, 0), (-150, 0), (0, 2000), (200, -1500)])
def test_its_wheels_reach_their_speeds(computer: Computer, v: int, w: int) -> None:
    computer.start()
    before = computer.drive_for(0.5, Drive(0, 0))
    status = computer.drive_for(2.0, Drive(v, w))
    left, right = computer.bench.state().speed_mmps
    assert left == pytest.approx(v - w * 0.075, abs=12)
    assert right == pytest.approx(v + w * 0.075, abs=12)
    assert (status.left_counts - before.left_counts) * left >= 0
    assert (status.right_counts - before.right_counts) * right >= 0
    assert status.battery_mv == pytest.approx(7400, abs=40)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(2))
def test_whatever_happens_the_motors_are_off_in_time(folder: Path, fault: str, number: int) -> None:
    """Two of the hundreds that `make hil` does."""
    bench = AvrBench(folder)
    found = drill(bench, fault, random.Random(f"{fault} {number}"))
    bench.close()
    assert not found.again
    assert found.neutral_us is not None
    assert found.neutral_us <= (DEADMAN_MS + TICK_MS) * MS


def test_a_computer_that_goes_on_is_no_fault(bench: AvrBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the drill."""
    monkeypatch.setitem(FAULTS, "none", lambda computer: computer.command(Drive(120, 0)))
    found = drill(bench, "none", random.Random(3))
    assert found.neutral_us is None


def test_a_disarmed_motor_driver_is_in_standby(computer: Computer) -> None:
    computer.start()
    computer.drive_for(0.3, Drive(150, 0))
    assert computer.bench.state().enabled
    computer.order(Disarm())
    computer.bench.run(MS)
    assert computer.bench.state().power == (0, 0)
    assert not computer.bench.state().enabled


@pytest.mark.parametrize(
    ("spoil", "fault", "within_s"),
    [
        (lambda bench: bench.wheel(False, encoder=0), Latched.STALLED, 1.2),
        (lambda bench: bench.wheel(False, encoder=2), Latched.STALLED, 1.2),
        (lambda bench: bench.wheel(True, blocked=True), Latched.STALLED, 1.2),
        (lambda bench: bench.wheel(True, encoder=-1), Latched.RUNAWAY, 0.6),
    ],
)
def test_a_wheel_that_does_not_do_as_it_should_stops_the_robot(
    computer: Computer, spoil: Callable[[AvrBench], None], fault: Latched, within_s: float
) -> None:
    computer.start()
    computer.drive_for(0.6, Drive(0, 0))
    spoil(computer.bench)
    status = computer.drive_for(within_s, Drive(300, 0))
    assert (status.state, status.faults, status.result) == (State.FAULT, fault, Result.FAULT_LATCHED)
    assert computer.bench.state().power == (0, 0)


def test_a_firmware_that_hangs_is_reset_and_says_so(computer: Computer) -> None:
    computer.start()
    computer.bench.hang()
    computer.bench.run(100 * MS)
    assert computer.bench.state().power == (0, 0)
    identity = computer.greet()
    assert identity.reset == Reset.WATCHDOG
    assert computer.order(Poll()).state == State.DISARMED


@pytest.mark.parametrize(
    ("flags", "why"),
    [(POWER_ON, Reset.POWER_ON), (WATCHDOG, Reset.WATCHDOG), (EXTERNAL, Reset.EXTERNAL), (0, Reset.UNKNOWN)],
)
def test_it_says_why_it_started(computer: Computer, flags: int, why: Reset) -> None:
    computer.bench.reset(flags)
    computer.bench.run(50 * MS)
    identity = computer.greet()
    assert identity.reset == why


def test_requests_without_a_pause_leave_the_control_tick_its_time(computer: Computer) -> None:
    """More than it can answer: some are lost, none holds up the tick."""
    computer.start()
    for _ in range(20):
        for _ in range(40):
            computer.send(Poll())
        computer.bench.run(40 * MS)
    computer.bench.say(b"\0")  # ends the request that is incomplete
    computer.bench.run(100 * MS)
    counters = computer.ask(ReadCounters())
    assert isinstance(counters, Counters)
    assert counters.frames > 100
    assert counters.lost_bytes > 0
    assert counters.worst_tick_us < 8 * MS


@pytest.mark.parametrize("at_once", [2, 4, 8, 200])
def test_commands_without_a_pause_do_not_make_the_deadman_late(computer: Computer, at_once: int) -> None:
    """Counted from the last byte on the line: what waits to be read is heard already, and understood later."""
    computer.start()
    for _ in range(at_once):
        computer.send(Drive(120, 300))
    computer.bench.run(at_once * 1200 + 100 * MS)
    heard_us = computer.bench.state().heard_us
    computer.bench.run(300 * MS)
    neutral_us = computer.bench.state().neutral_us
    assert neutral_us is not None
    assert 150 * MS < neutral_us - heard_us <= 205 * MS


def test_flash_and_ram_are_less_than_half_used(folder: Path, computer: Computer) -> None:
    """RAM with the deepest that the stack was while it drove and was asked everything."""
    said = subprocess.run(
        ["avr-size", folder / "atmega328p.elf"], capture_output=True, text=True, check=True
    ).stdout
    text, data, _ = map(int, re.findall(r"\d+", said.splitlines()[1])[:3])
    computer.start()
    computer.drive_for(1.0, Drive(300, 1000))
    computer.ask(ReadCounters())
    assert text + data < FLASH_BYTES / 2
    assert RAM_BYTES - computer.bench.state().unused_ram < RAM_BYTES / 2
