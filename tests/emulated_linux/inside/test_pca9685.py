"""The PCA9685's bridge and its guard over a real kernel's ``/dev/i2c-N`` and ``/dev/gpiochipN``: nothing of theirs is replaced but the chip itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from firmware_bridge import BridgeError, Command
from firmware_bridge.i2c import I2cBus, LinuxBus
from firmware_bridge.output_enable import OutputEnable
from firmware_bridge.pca9685_bridge import Pca9685Bridge
from firmware_bridge.pca9685_outputs import Wiring
from firmware_bridge.simulator.avr_bench import CHASSIS as SIMULATED
from tests.emulated_linux.cp2112 import BROKEN, LOST, STUCK, Cp2112
from tests.emulated_linux.inside.conftest import STUB, bus_number
from tests.firmware_bridge.fake_pca9685 import OFF, FakeBus, FakePca9685
from tests.firmware_bridge.fake_pca9685_process import MOTORS

DEADMAN_S, TICK_S = 0.4, 0.1
"""This machine is emulated, and so slower than a board."""
SOON_S = 0.5
CHASSIS = replace(SIMULATED, accel=5.0, decel=5.0, tick_s=TICK_S)
FORWARD = Command(0.3, 0.0)
OE = 2
"""The adapter's pin."""
FAULTS = {
    "the bus is stuck": STUCK,
    "arbitration was lost": LOST,
    "the transfer failed": BROKEN,
}


def motors_on(number: int, pin: OutputEnable | None = None) -> Pca9685Bridge:
    """A bridge as a robot has it, with the real bus and the real guard."""
    return Pca9685Bridge(CHASSIS, MOTORS, Wiring(number, 1000.0, output_enable=pin), DEADMAN_S)


@dataclass
class Bench:
    """A chip on a bus of the kernel, and a bridge to it."""

    adapter: Cp2112
    chip: FakePca9685
    bridge: Pca9685Bridge

    def drive(self, ticks: int = 5) -> None:
        for _ in range(ticks):
            self.bridge.apply(FORWARD)
            time.sleep(TICK_S)
        assert sorted(channel for channel, high in enumerate(self.chip.high) if high) == [8, 10, 11, 13]

    def off_after(self) -> float:
        """Seconds until the outputs are off."""
        began = time.monotonic()
        while self.chip.high != OFF:
            assert time.monotonic() - began < 5.0, "they stay on"
            time.sleep(0.001)
        return time.monotonic() - began

    def drives_again(self) -> None:
        self.bridge.connect()
        self.bridge.arm()
        self.drive()


@pytest.fixture
def bench(plug: Callable[[I2cBus], tuple[Cp2112, LinuxBus]]) -> Iterator[Bench]:
    chip = FakePca9685(time.monotonic)
    adapter, bus = plug(FakeBus(chip))
    bus.close()
    bench = Bench(adapter, chip, motors_on(adapter.number))
    yield bench
    adapter.fault = None
    bench.bridge.close()


def test_it_drives_and_stops(bench: Bench) -> None:
    bench.drives_again()
    assert bench.bridge.apply(FORWARD) == FORWARD
    assert bench.chip.high[8] == bench.chip.high[13] == 2048
    bench.bridge.stop()
    assert bench.off_after() < SOON_S
    assert not bench.chip.awake


@pytest.mark.parametrize("said", FAULTS)
def test_a_fault_of_the_bus_is_found_within_the_tick_and_passes_without_a_restart(
    bench: Bench, said: str
) -> None:
    bench.drives_again()
    bench.adapter.fault = FAULTS[said]
    began = time.monotonic()
    with pytest.raises(BridgeError, match=rf"/dev/i2c-{bench.adapter.number}, chip 0x40: {said}"):
        bench.bridge.apply(FORWARD)
    assert time.monotonic() - began < 0.2 + TICK_S
    with pytest.raises(BridgeError, match="not connected"):
        bench.bridge.apply(FORWARD)
    assert bench.chip.high != OFF  # nothing reaches it
    bench.adapter.fault = None
    assert bench.off_after() < SOON_S  # by the guard, whom nobody asked again
    bench.drives_again()


def test_a_chip_that_browns_out_is_found_and_set_up_anew(bench: Bench) -> None:
    bench.drives_again()
    bench.chip.power_cycle()
    with pytest.raises(BridgeError, match="it was reset, as when its supply falls"):
        bench.bridge.apply(FORWARD)
    assert bench.chip.high == OFF
    bench.drives_again()


def test_a_chip_that_vanishes_is_found_and_set_up_anew_when_it_is_back(bench: Bench) -> None:
    bench.drives_again()
    chips = bench.adapter.chips
    assert isinstance(chips, FakeBus)
    chips.chips.clear()
    with pytest.raises(BridgeError, match=rf"/dev/i2c-{bench.adapter.number}, chip 0x40: "):
        bench.bridge.apply(FORWARD)
    with pytest.raises(BridgeError):
        bench.bridge.connect()
    bench.chip.power_cycle()
    chips.chips.append(bench.chip)
    bench.drives_again()


def test_a_planner_that_hangs_is_stopped_by_the_guard(bench: Bench) -> None:
    bench.drives_again()
    time.sleep(DEADMAN_S)
    assert bench.off_after() < SOON_S
    with pytest.raises(BridgeError, match="no command for"):
        bench.bridge.apply(FORWARD)
    assert bench.chip.high == OFF


def test_a_guard_that_is_killed_stops_the_robot_in_the_same_tick(bench: Bench) -> None:
    bench.drives_again()
    (guard,) = (
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if b"firmware_bridge.pca9685_guard" in (process / "cmdline").read_bytes()
    )
    os.kill(guard, signal.SIGKILL)
    with pytest.raises(BridgeError, match="the guard has died"):
        bench.bridge.apply(FORWARD)
    assert bench.off_after() < SOON_S


HOST = """
import itertools, time
from tests.emulated_linux.inside.test_pca9685 import FORWARD, TICK_S, motors_on
bridge = motors_on({number})
bridge.connect()
bridge.arm()
for tick in itertools.count():
    bridge.apply(FORWARD)
    if tick == 5:
        print("driving", flush=True)
    time.sleep(TICK_S)
"""


def test_a_host_that_is_killed_leaves_the_outputs_off(bench: Bench) -> None:
    script = HOST.format(number=bench.adapter.number)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "driving\n"
        assert bench.chip.high != OFF
        host.kill()
        assert bench.off_after() < SOON_S
    time.sleep(0.1)
    assert not bench.chip.awake
    bench.drives_again()  # the claim of the dead host is gone


def test_oe_is_raised_where_the_bus_fails(bench: Bench) -> None:
    """Through the kernel's GPIO lines, of which the adapter has eight; its pins reach the chip as wires do."""
    (gpio,) = Path(f"/sys/class/i2c-adapter/i2c-{bench.adapter.number}/device").resolve().glob("gpiochip*")
    bench.bridge = motors_on(bench.adapter.number, OutputEnable(f"/dev/{gpio.name}", OE))
    bench.bridge.connect()
    bench.bridge.arm()
    assert not bench.adapter.pins >> OE & 1
    bench.drive()
    bench.adapter.fault = STUCK
    with pytest.raises(BridgeError, match="the guard goes on trying"):
        bench.bridge.apply(FORWARD)
    began = time.monotonic()
    while not bench.adapter.pins >> OE & 1:
        assert time.monotonic() - began < SOON_S
    bench.adapter.fault = None
    bench.drives_again()
    assert not bench.adapter.pins >> OE & 1


def test_memory_at_its_address_is_refused() -> None:
    with pytest.raises(BridgeError, match="chip 0x40: another device than a PCA9685"):
        motors_on(bus_number(STUB)).connect()
