"""The guard as a process: real pipes, real signals, and a chip behind a socket."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.guard import FAULTS, drill
from firmware_bridge import BridgeError, Command
from firmware_bridge.output_enable import OutputEnable
from firmware_bridge.pca9685_guard_process import GuardError, GuardProcess
from firmware_bridge.pca9685_outputs import Wiring
from tests.firmware_bridge.fake_pca9685_process import DEADMAN_S, PROGRAM, Bench, host_bridge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="I2C devices are Linux's")

BUSY_S = 0.15
"""More than is allowed where it is measured: here other tests may run at the same time."""


LATE = r"PCA9685 0x40 on I2C bus \d+: no command for 0\.[123]\d+ s, and the deadman allows 0\.1[79]\d: connect again"
SAID = {
    "computer stopped, and goes on": LATE,
    "computer stopped within a command, and goes on": LATE,
    "guard killed": "the guard has died: connect again",
    "guard stopped": r"the guard has not answered for 0\.1[79]\d s: connect again",
    "chip browned out": "chip 0x40: it was reset, as when its supply falls, or another program has changed it"
    r" \(MODE1, MODE2 and PRE_SCALE are 11 04 1e\): connect again",
}
"""By the host, once; the others cannot."""


@pytest.mark.parametrize(("number", "fault"), enumerate(FAULTS))
def test_the_outputs_are_turned_off_and_stay_off_and_the_host_says_why_once(number: int, fault: str) -> None:
    """Motors and a car take turns, with OE and without."""
    found = drill(fault, number + number // 4)
    assert found.neutral_s is not None
    assert found.neutral_s < found.allowed_s + BUSY_S
    assert found.again_s == 0.0
    assert re.fullmatch(SAID.get(fault, ""), found.said)


def test_without_a_guard_the_chip_keeps_its_last_pulse() -> None:
    """The negative control of all the above."""
    assert drill("computer killed", 0, "unguarded").neutral_s is None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_a_bridge_whose_guard_has_acted_drives_on_after_connecting_again(bench: Bench) -> None:
    bridge, _ = host_bridge(bench.path, ["oe"])
    for _ in range(2):
        bridge.connect()
        bridge.arm()
        for _ in range(3):
            time.sleep(0.02)
            bridge.apply(Command(0.3, 0.0))
        time.sleep(0.01)
        assert any(bench.chip.high)
        time.sleep(DEADMAN_S)
        with pytest.raises(BridgeError, match="no command for"):
            bridge.apply(Command(0.3, 0.0))
        assert not any(bench.chip.high)
    bridge.connect()
    bridge.close()


def test_stopping_leaves_no_guard_behind_and_the_chip_asleep(bench: Bench) -> None:
    bridge, _ = host_bridge(bench.path, [])
    bridge.connect()
    bridge.arm()
    bridge.apply(Command(0.3, 0.0))
    bridge.stop()
    assert not bench.chip.awake
    with pytest.raises(ProcessLookupError):
        os.kill(bench.guards[-1], 0)
    bridge.close()


def test_ctrl_c_and_sigterm_are_the_hosts_affair(bench: Bench) -> None:
    bridge, _ = host_bridge(bench.path, [])
    bridge.connect()
    bridge.arm()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(bench.guards[-1], number)
        bridge.apply(Command(0.3, 0.0))
    assert os.getpgid(bench.guards[-1]) != os.getpgid(0)
    bridge.close()


def test_a_guard_without_a_bus_or_a_pin_is_one_line(tmp_path: Path) -> None:
    """The real program, of which there is nothing here that it needs."""
    pytest.importorskip("smbus2", reason="pip install 'edge-wm[i2c]'")
    pytest.importorskip("gpiod", reason="pip install 'edge-wm[i2c]'")
    with (tmp_path / "claim").open("w") as claim:
        with pytest.raises(GuardError, match="/dev/i2c-9999: no such bus: is I2C switched on"):
            GuardProcess(Wiring(9999, 50.0), 0.2, claim.fileno())
        wiring = Wiring(9999, 50.0, output_enable=OutputEnable("/dev/gpiochip999", 4))
        with pytest.raises(GuardError, match="OE, /dev/gpiochip999 line 4: no such GPIO chip"):
            GuardProcess(wiring, 0.2, claim.fileno())


def test_feeds_that_were_late_on_the_way_do_not_count(bench: Bench, tmp_path: Path) -> None:
    """A host that was stopped after its look at the clock and before it fed the guard."""
    with (tmp_path / "claim").open("w") as claim:
        guard = GuardProcess(Wiring(1, 1000.0), DEADMAN_S, claim.fileno(), (*PROGRAM, "guard", bench.path))
        guard.enable()
        guard.feed(time.monotonic())
        time.sleep(0.02)
        guard.check(time.monotonic())
        guard.feed(time.monotonic() - DEADMAN_S)
        time.sleep(0.1)
        with pytest.raises(GuardError, match="the guard has turned the outputs off"):
            guard.check(time.monotonic())
        assert guard.end(1.0)
