"""What all the chips' readers have in common: a fault is found in the read that it is met in, said once, and over when the chip is back."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.sensors.ina219 import Ina219
from edge_wm.sensors.mpu6050 import Mpu6050
from edge_wm.sensors.outage import RETRIES_S, Outage
from edge_wm.sensors.range_ring import RangeRing
from edge_wm.sensors.vl53l0x import Vl53l0x
from firmware_bridge.i2c import I2cError
from tests.sensors.chips import Bus, Chip, FakeIna219, FakeMpu6050, FakeVl53l0x, Tca9548a

TICK_S = 0.1

FAULTS = {
    errno.EREMOTEIO: "nothing answers there",
    errno.ENXIO: "nothing answers there",
    errno.ETIMEDOUT: "the bus is stuck",
    errno.EAGAIN: "arbitration was lost",
    errno.EIO: "the transfer failed",
}


@dataclass
class Bench:
    """A chip, what reads it, and a loop of ticks."""

    clock: SimulatedClock
    bus: Bus
    chip: Chip
    start: Callable[[], None]
    read: Callable[[], object]

    def tick(self) -> object:
        self.clock.advance(TICK_S)
        return self.read()


def distance() -> Bench:
    clock, chip = SimulatedClock(5.0), FakeVl53l0x()
    bus = Bus(clock, chip)
    sensor = Vl53l0x(bus, clock=clock)
    return Bench(clock, bus, chip, sensor.start, lambda: sensor.read(clock.now() + 0.03))


def ring() -> Bench:
    clock = SimulatedClock(5.0)
    chip = Tca9548a({channel: FakeVl53l0x(seed=channel) for channel in range(8)}, clock)
    bus = Bus(clock, chip)
    sensor = RangeRing(bus, range(8), 1.0, clock=clock)
    return Bench(clock, bus, chip, sensor.start, sensor.read)


def imu() -> Bench:
    clock, chip = SimulatedClock(5.0), FakeMpu6050()
    bus = Bus(clock, chip)
    sensor = Mpu6050(bus, bias=(0.0, 0.0, 0.0), clock=clock)
    return Bench(clock, bus, chip, sensor.start, sensor.read)


def battery() -> Bench:
    clock, chip = SimulatedClock(5.0), FakeIna219()
    bus = Bus(clock, chip)
    sensor = Ina219(bus, 0.1, 2.0, clock=clock)
    return Bench(clock, bus, chip, sensor.start, sensor.read)


ALL = pytest.mark.parametrize("make", [distance, ring, imu, battery])
EVERY_FAULT = pytest.mark.parametrize("fault", FAULTS)


@ALL
@EVERY_FAULT
def test_a_chip_that_is_not_there_is_one_line_that_says_so(make: Callable[[], Bench], fault: int) -> None:
    bench = make()
    bench.chip.fault = fault
    with pytest.raises(I2cError, match=FAULTS[fault]) as error:
        bench.start()
    assert "\n" not in str(error.value)


@ALL
@EVERY_FAULT
def test_a_fault_is_found_in_the_read_that_meets_it(make: Callable[[], Bench], fault: int) -> None:
    bench = make()
    bench.start()
    for _ in range(5):
        bench.tick()
    bench.chip.fault = fault
    with pytest.raises(I2cError, match=FAULTS[fault]):
        bench.tick()


@ALL
def test_without_a_fault_there_is_no_error(make: Callable[[], Bench]) -> None:
    """The negative control of what is above and below it."""
    bench = make()
    bench.start()
    for _ in range(100):
        assert bench.tick() is not None


@ALL
@EVERY_FAULT
def test_an_outage_is_said_once_and_so_is_its_end(
    make: Callable[[], Bench], fault: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make()
    bench.start()
    bench.tick()
    with caplog.at_level(logging.INFO):
        bench.chip.fault = fault
        for _ in range(50):
            with pytest.raises(I2cError):
                bench.tick()
        assert len(caplog.records) == 1
        assert FAULTS[fault] in caplog.text
        bench.chip.fault = 0
        back = ticks_until_back(bench)
    assert back <= 30
    assert len(caplog.records) == 2
    assert "is back after" in caplog.records[1].getMessage()


@ALL
def test_a_chip_that_lost_its_power_meanwhile_comes_back_without_a_restart(
    make: Callable[[], Bench],
) -> None:
    bench = make()
    bench.start()
    before = bench.tick()
    bench.chip.fault = errno.EREMOTEIO
    for _ in range(20):
        with pytest.raises(I2cError):
            bench.tick()
    bench.chip.fault = 0
    for chip in bench.chip.channels.values() if isinstance(bench.chip, Tca9548a) else [bench.chip]:
        chip.power_on()  # type: ignore[attr-defined]
    assert ticks_until_back(bench) <= 50
    after = bench.tick()
    assert type(after) is type(before)


@ALL
def test_a_bus_that_stays_stuck_costs_little_time(make: Callable[[], Bench]) -> None:
    bench = make()
    bench.start()
    bench.bus.fault = errno.ETIMEDOUT
    spent = []
    for _ in range(100):
        bench.clock.advance(TICK_S)
        before = bench.clock.now()
        with pytest.raises(I2cError):
            bench.read()
        spent.append(bench.clock.now() - before)
    assert max(spent) < 0.045
    if make is not ring:  # which has nothing without its multiplexer, and asks for it every tick
        assert sum(spent) / len(spent) < 0.005


def test_tries_become_rarer() -> None:
    clock = SimulatedClock()
    outage = Outage("chip", clock)
    assert not outage.resting
    for pause in (*RETRIES_S, RETRIES_S[-1]):
        outage.failed(I2cError("gone"))
        began = clock.now()
        while outage.resting:
            clock.advance(0.001)
        assert clock.now() - began == pytest.approx(pause, abs=0.002)
    outage.ended()
    outage.failed(I2cError("gone"))
    assert not outage.resting


def ticks_until_back(bench: Bench) -> int:
    for tick in range(200):
        try:
            if bench.tick() is not None:
                return tick
        except I2cError:
            pass
    raise AssertionError("it never came back")
