"""The battery monitor: volts and amperes, and never "no current" from a chip that was reset."""

from __future__ import annotations

import errno

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.errors import BadInput
from edge_wm.sensors import ina219
from edge_wm.sensors.ina219 import ADDRESS, BatteryReading, Ina219, settings
from firmware_bridge.i2c import I2cError
from tests.sensors.chips import Bus, Chip, FakeIna219


class Bench:
    def __init__(self, shunt_ohm: float = 0.1, most_amperes: float = 2.0) -> None:
        self.clock = SimulatedClock(10.0)
        self.chip = FakeIna219(shunt_ohm=shunt_ohm)
        self.bus = Bus(self.clock, self.chip)
        self.battery = Ina219(self.bus, shunt_ohm, most_amperes, clock=self.clock)

    def tick(self, seconds: float = 1.0) -> BatteryReading:
        self.clock.advance(seconds)
        return self.battery.read()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.battery.start()
    return bench


def test_it_is_not_where_a_pca9685_is() -> None:
    assert ADDRESS == 0x41


def test_it_is_set_up_byte_for_byte(bench: Bench) -> None:
    # 32 V, 320 mV, 16 samples each, both for ever; 0.04096 / (2 A / 2^15 * 0.1 ohm) = 6710.9
    assert bench.chip.writes == [(0x00, 0b0011_1110_0110_0111), (0x05, 6710)]


@pytest.mark.parametrize(
    ("shunt_ohm", "most_amperes", "configuration", "calibration"),
    [
        (
            0.002,
            15.0,
            0b0010_0110_0110_0111,
            44738,
        ),  # 30 mV of 40; the datasheet's own example has 15 A, 2 mohm
        (0.1, 0.4, 0b0010_0110_0110_0111, 33554),
        (0.1, 0.41, 0b0010_1110_0110_0111, 32736),
        (0.01, 16.0, 0b0011_0110_0110_0111, 8388),
        (0.1, 3.2, 0b0011_1110_0110_0111, 4194),
    ],
)
def test_gain_and_calibration_are_those_of_the_datasheets_equations(
    shunt_ohm: float, most_amperes: float, configuration: int, calibration: int
) -> None:
    assert settings(shunt_ohm, most_amperes) == (configuration, calibration)


@pytest.mark.parametrize(
    ("shunt_ohm", "most_amperes", "said"),
    [
        (0.1, 3.3, r"3\.3 A through 0\.1 ohm are 0\.33 V; it measures 0\.32 V at most: take a smaller shunt"),
        (0.001, 1.0, "take a larger shunt"),
        (0.0, 1.0, "both must be above 0"),
        (0.1, float("nan"), "both must be above 0"),
        (float("inf"), 1.0, "both must be above 0"),
    ],
)
def test_shunts_that_do_not_fit_are_refused(shunt_ohm: float, most_amperes: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Bench(shunt_ohm, most_amperes)


@pytest.mark.parametrize("amperes", [-1.9, -0.01, 0.0, 0.02, 1.0, 1.99])
@pytest.mark.parametrize("volts", [3.0, 7.404, 25.2])
def test_it_gives_volts_and_amperes(bench: Bench, amperes: float, volts: float) -> None:
    bench.chip.amperes, bench.chip.volts = amperes, volts
    reading = bench.tick()
    assert reading.volts == pytest.approx(volts, abs=0.002)
    assert reading.amperes == pytest.approx(amperes, abs=0.001)
    assert reading.overflow is False
    assert reading.time == pytest.approx(bench.clock.now(), abs=0.002)


@pytest.mark.parametrize(
    ("most_amperes", "amperes"),
    [
        (2.0, 2.1),  # more than it can count
        (2.0, -2.1),
        (3.2, 3.5),  # as much as it can count, but the shunt's voltage is at its end
        (3.2, -3.5),
    ],
)
def test_a_current_that_is_too_large_is_none_and_says_so(most_amperes: float, amperes: float) -> None:
    bench = Bench(most_amperes=most_amperes)
    bench.battery.start()
    bench.chip.amperes = amperes
    reading = bench.tick()
    assert (reading.amperes, reading.overflow) == (None, True)
    assert reading.volts == pytest.approx(7.4)


def test_a_pca9685_at_its_address_is_refused_and_not_written_to() -> None:
    """Its mode register would be overwritten, and the motors with it."""
    bench = Bench()
    pca9685 = Chip(ADDRESS)
    pca9685.memory = {0x00: 0x11, 0x01: 0x04}
    bench.bus.chips[:] = [pca9685]
    with pytest.raises(
        I2cError, match=r"INA219 0x41: its configuration is 0x1104: it is no INA219 \(a PCA9685\?\)"
    ):
        bench.battery.start()
    pca9685.memory = {0x00: 0xA1, 0x01: 0x04}
    with pytest.raises(I2cError, match="it is no INA219"):
        bench.battery.read()
    assert pca9685.writes == []


def test_one_that_another_run_has_set_up_is_taken(bench: Bench) -> None:
    other = Ina219(bench.bus, 0.1, 0.3, clock=bench.clock)
    other.start()
    bench.clock.advance(1.0)
    assert other.read().volts == pytest.approx(7.4)


def test_a_chip_that_was_reset_is_not_said_to_draw_nothing(bench: Bench) -> None:
    bench.tick()
    bench.chip.power_on()
    with pytest.raises(I2cError, match="it has lost its settings: its supply may have dropped"):
        bench.tick()
    with pytest.raises(I2cError):
        bench.tick()  # set up just now
    assert bench.tick().amperes == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(("register", "value"), [(0x00, 0x2667), (0x05, 3354)])
def test_a_setting_that_changed_is_noticed(bench: Bench, register: int, value: int) -> None:
    """With half the calibration, half the current flows."""
    bench.tick()
    bench.chip.words[register] = value
    with pytest.raises(I2cError, match="lost its settings"):
        bench.tick()


def test_what_it_converted_before_it_was_set_up_is_not_given() -> None:
    bench = Bench()
    with pytest.raises(I2cError, match="it has not measured yet"):
        bench.tick()
    assert bench.tick().amperes == pytest.approx(1.0, abs=0.001)


def test_unnoticed_it_would_be_said_to_draw_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    bench.tick()
    bench.chip.power_on()
    held = {0x00: bench.battery._configuration, 0x05: bench.battery._calibration}

    def blind(address: int, register: int, count: int, read=bench.bus.read) -> bytes:
        return held[register].to_bytes(2, "big") if register in held else read(address, register, count)

    monkeypatch.setattr(bench.bus, "read", blind)
    assert bench.tick().amperes == 0.0


def test_a_chip_that_hangs_is_noticed(bench: Bench) -> None:
    bench.tick()
    bench.chip.hung = True
    with pytest.raises(I2cError, match=r"it has not measured for 1\.\d+ s"):
        bench.tick()


def test_unnoticed_the_battery_would_stay_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    monkeypatch.setattr(ina219, "LATE", 1e9)
    bench.tick()
    bench.chip.hung, bench.chip.volts = True, 5.0
    assert bench.tick().volts == pytest.approx(7.4)


def test_asked_more_often_than_it_measures_it_gives_the_same_reading(bench: Bench) -> None:
    first = bench.tick()
    assert bench.tick(0.001) == first
    assert bench.tick(0.02) != first


def test_noise_on_one_transfer_costs_one_reading(bench: Bench) -> None:
    bench.bus.noise = [errno.EAGAIN]
    with pytest.raises(I2cError, match="arbitration was lost"):
        bench.tick()
    bench.tick()
    assert len(bench.chip.writes) == 2
