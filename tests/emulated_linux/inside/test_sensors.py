"""The sensors' drivers over a real kernel's ``/dev/i2c-N``; their chips answer each transfer as they do in the fast tests."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.sensors.ina219 import Ina219
from edge_wm.sensors.mpu6050 import Mpu6050
from edge_wm.sensors.observation import NO_READING
from edge_wm.sensors.range_ring import RangeRing, RingReading
from edge_wm.sensors.vl53l0x import Vl53l0x
from firmware_bridge.i2c import I2cBus, I2cError, LinuxBus
from tests.emulated_linux.cp2112 import BROKEN, LOST, STUCK, Cp2112
from tests.sensors.chips import Bus, Chip, FakeIna219, FakeMpu6050, FakeVl53l0x, Tca9548a

TICK_S = 0.1
BUDGET_S = 0.08
"""For eight sensors on this adapter, which is slower than a board's."""
FAULTS = {STUCK: "the bus is stuck", LOST: "arbitration was lost", BROKEN: "the transfer failed"}
Plug = Callable[[I2cBus], tuple[Cp2112, LinuxBus]]


class Now(SimulatedClock):
    """The time of the machine, for the chips."""

    def now(self) -> float:
        return time.monotonic()

    def advance(self, seconds: float) -> None:
        """The kernel's transfers take their own time."""


@dataclass
class Bench:
    """A chip on a bus of the kernel, and what reads it."""

    adapter: Cp2112
    bus: LinuxBus
    chip: Chip
    start: Callable[[], None]
    read: Callable[[], object]

    def tick(self) -> object:
        time.sleep(TICK_S)
        return self.read()

    def until_back(self) -> object:
        deadline = time.monotonic() + 10.0
        while True:
            try:
                if (reading := self.tick()) is not None:
                    return reading
            except I2cError:
                assert time.monotonic() < deadline, "it never came back"


def distance(plug: Plug) -> Bench:
    chip = FakeVl53l0x(0.5)
    adapter, bus = plug(Bus(Now(), chip))
    sensor = Vl53l0x(bus)
    return Bench(adapter, bus, chip, sensor.start, lambda: sensor.read(time.monotonic() + 0.05))


def imu(plug: Plug) -> Bench:
    chip = FakeMpu6050()
    adapter, bus = plug(Bus(Now(), chip))
    sensor = Mpu6050(bus, bias=(0.0, 0.0, 0.0))
    return Bench(adapter, bus, chip, sensor.start, sensor.read)


def battery(plug: Plug) -> Bench:
    chip = FakeIna219()
    adapter, bus = plug(Bus(Now(), chip))
    sensor = Ina219(bus, 0.1, 2.0)
    return Bench(adapter, bus, chip, sensor.start, sensor.read)


ALL = pytest.mark.parametrize("make", [distance, imu, battery])


@pytest.fixture
def ring(plug: Plug) -> Bench:
    clock = Now()
    chips = {channel: FakeVl53l0x(0.2 + channel / 10, channel) for channel in range(8)}
    multiplexer = Tca9548a(chips, clock)
    adapter, bus = plug(Bus(clock, multiplexer))
    ring = RangeRing(bus, range(8), 1.2, budget_s=BUDGET_S)
    ring.start()
    return Bench(adapter, bus, multiplexer, ring.start, ring.read)


def test_a_distance_is_read(plug: Plug) -> None:
    bench = distance(plug)
    bench.start()
    reading = bench.tick()
    assert reading is not None
    assert reading.distance_m == pytest.approx(0.5, abs=0.006)  # type: ignore[attr-defined]
    assert 0.0 <= time.monotonic() - reading.time < 0.05  # type: ignore[attr-defined]


def test_a_bias_is_measured_and_a_turn_read(plug: Plug) -> None:
    chip = FakeMpu6050()
    _, bus = plug(Bus(Now(), chip))
    sensor = Mpu6050(bus)
    sensor.calibrate()
    chip.rates_dps = (0.0, 0.0, 57.2958)
    time.sleep(TICK_S)
    assert sensor.read().yaw_rate == pytest.approx(1.0, abs=0.02)


def test_a_battery_is_read(plug: Plug) -> None:
    bench = battery(plug)
    bench.start()
    reading = bench.tick()
    assert reading.volts == pytest.approx(7.4, abs=0.005)  # type: ignore[attr-defined]
    assert reading.amperes == pytest.approx(1.0, abs=0.001)  # type: ignore[attr-defined]


def test_eight_sensors_behind_a_multiplexer_are_read(ring: Bench) -> None:
    for _ in range(5):
        reading = ring.tick()
        assert isinstance(reading, RingReading)
        assert reading.range_m == pytest.approx([0.2 + channel / 10 for channel in range(8)], abs=0.006)
        assert reading.missing == ()
        assert ring.chip.transmit(1) == b"\0"  # no channel is on


def test_one_sensor_of_the_ring_vanishes_and_comes_back(ring: Bench) -> None:
    ring.tick()
    assert isinstance(ring.chip, Tca9548a)
    gone = ring.chip.channels.pop(3)
    for _ in range(5):
        reading = ring.tick()
        assert isinstance(reading, RingReading)
        assert reading.missing == (3,)
        assert reading.range_m[3] == NO_READING
    gone.power_on()  # type: ignore[attr-defined]
    ring.chip.channels[3] = gone
    deadline = time.monotonic() + 20.0
    while reading.missing:
        assert time.monotonic() < deadline
        reading = ring.tick()
        assert isinstance(reading, RingReading)
    assert reading.range_m[3] == pytest.approx(0.5, abs=0.006)


@ALL
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_bus_is_found_at_once_and_passes_without_a_restart(
    plug: Plug, make: Callable[[Plug], Bench], fault: tuple[int, int]
) -> None:
    bench = make(plug)
    bench.start()
    bench.tick()
    bench.adapter.fault = fault
    with pytest.raises(I2cError, match=FAULTS[fault]):
        bench.tick()
    bench.adapter.fault = None
    assert bench.until_back() is not None


@ALL
def test_a_chip_that_vanishes_and_comes_back_without_its_settings_is_set_up_again(
    plug: Plug, make: Callable[[Plug], Bench]
) -> None:
    bench = make(plug)
    bench.start()
    bench.tick()
    bench.chip.fault = errno.EREMOTEIO
    for _ in range(5):
        with pytest.raises(I2cError, match=f"chip {bench.chip.address:#04x}"):
            bench.tick()
    bench.chip.fault = 0
    bench.chip.power_on()  # type: ignore[attr-defined]
    assert bench.until_back() is not None


def test_without_the_multiplexer_there_is_no_reading(ring: Bench) -> None:
    ring.tick()
    ring.adapter.fault = STUCK
    with pytest.raises(I2cError, match=r"multiplexer: .*the bus is stuck"):
        ring.tick()
    ring.adapter.fault = None
    assert isinstance(ring.until_back(), RingReading)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda bus: Vl53l0x(bus), "is no VL53L0X: it says 00 00 00"),
        (lambda bus: Mpu6050(bus), "it is no MPU-6050: it says 0x00"),
        (lambda bus: Ina219(bus, 0.1, 2.0), "its configuration is 0x0000: it is no INA219"),
    ],
)
def test_memory_at_a_sensors_address_is_refused(
    bus: LinuxBus, make: Callable[[LinuxBus], Vl53l0x | Mpu6050 | Ina219], said: str
) -> None:
    with pytest.raises(I2cError, match=said):
        make(bus).start()
