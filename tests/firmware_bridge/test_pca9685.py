"""The chip's driver, and the fake chip that the tests rest on."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from firmware_bridge import BridgeError
from firmware_bridge.i2c import I2cError
from firmware_bridge.pca9685 import Changed, Pca9685, rate, registers_of
from tests.firmware_bridge.fake_pca9685 import OFF, FakeBus, FakePca9685

HZ_50 = 121


class Clock:
    """Passes when it is slept on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def chip(clock: Clock) -> FakePca9685:
    return FakePca9685(clock)


@pytest.fixture
def bus(chip: FakePca9685, clock: Clock) -> FakeBus:
    return FakeBus(chip, sleep=clock.sleep)


@pytest.fixture
def driver(bus: FakeBus, clock: Clock) -> Iterator[Pca9685]:
    driver = Pca9685(bus, 0x40, clock.sleep)
    driver.set_up(HZ_50)
    return driver


# --- the fake, against the data sheet ------------------------------------------------------------------------------------


def raw(bus: FakeBus, register: int, *data: int) -> None:
    bus.write(0x40, register, bytes(data))


def test_the_fake_powers_up_as_in_the_data_sheet(bus: FakeBus) -> None:
    assert bus.read(0x40, 0x00, 1) == b"\x11"
    assert bus.read(0x40, 0x01, 1) == b"\x04"
    assert [bus.read(0x40, register, 1)[0] for register in (2, 3, 4, 5)] == [0xE2, 0xE4, 0xE8, 0xE0]
    assert [bus.read(0x40, register, 1)[0] for register in (6, 7, 8, 9)] == [0, 0, 0, 0x10]
    assert bus.read(0x40, 0xFE, 1) == b"\x1e"


def test_the_fake_counts_registers_up_only_when_told(bus: FakeBus) -> None:
    assert bus.read(0x40, 0x00, 3) == b"\x11\x11\x11"
    raw(bus, 0x00, 0x31)
    assert bus.read(0x40, 0x00, 3) == b"\x31\x04\xe2"
    assert bus.read(0x40, 0x45, 3) == b"\x10\x31\x04"  # past LED15_OFF_H comes MODE1
    assert bus.read(0x40, 0xFD, 3) == b"\x00\x1e\x31"  # and past PRE_SCALE; ALL_LED reads as zero


def test_the_fake_takes_a_prescaler_only_asleep_and_never_below_3(bus: FakeBus) -> None:
    raw(bus, 0xFE, 0)
    assert bus.read(0x40, 0xFE, 1) == b"\x03"
    raw(bus, 0x00, 0x21)
    raw(bus, 0xFE, 121)
    assert bus.read(0x40, 0xFE, 1) == b"\x03"


def test_the_fakes_reserved_bits_are_zero(bus: FakeBus) -> None:
    for register, found in (
        (0x01, 0x1F),
        (0x02, 0xFE),
        (0x05, 0xFE),
        (0x07, 0x1F),
        (0x08, 0xFF),
        (0x09, 0x1F),
    ):
        raw(bus, register, 0xFF)
        assert bus.read(0x40, register, 1) == bytes((found,))


def test_the_fake_answers_to_the_all_call_address_until_it_is_told_not_to(bus: FakeBus) -> None:
    bus.write(0x70, 0x00, b"\x21")
    with pytest.raises(I2cError, match="nothing answers"):
        bus.write(0x71, 0x00, b"\x21")
    raw(bus, 0x00, 0x20)
    with pytest.raises(I2cError, match="nothing answers"):
        bus.write(0x70, 0x00, b"\x21")


def test_the_fakes_outputs_change_at_the_end_of_a_cycle(
    bus: FakeBus, chip: FakePca9685, clock: Clock
) -> None:
    raw(bus, 0x00, 0x20)
    raw(bus, 0x06, 0, 0, 0x00, 0x08)
    assert chip.high == OFF
    clock.sleep(0.006)
    assert chip.high[0] == 2048
    raw(bus, 0xFD, 0x10)
    assert chip.high[0] == 2048
    clock.sleep(0.006)
    assert chip.high == OFF


def test_the_fakes_outputs_stay_as_they_are_asleep_and_restart_tells_of_them(
    bus: FakeBus, chip: FakePca9685, clock: Clock
) -> None:
    raw(bus, 0x00, 0x20)
    raw(bus, 0x06, 0, 0x10, 0, 0)
    clock.sleep(0.006)
    raw(bus, 0x00, 0x30)
    assert bus.read(0x40, 0x00, 1) == b"\xb0"
    raw(bus, 0xFD, 0x10)
    clock.sleep(1.0)
    assert chip.high[0] == 4096
    assert bus.read(0x40, 0x00, 1) == b"\x30"  # a write to an output clears RESTART
    raw(bus, 0x00, 0x20)
    clock.sleep(0.006)
    assert chip.high == OFF


def test_the_fakes_full_off_wins_over_full_on(bus: FakeBus, chip: FakePca9685, clock: Clock) -> None:
    raw(bus, 0x00, 0x20)
    raw(bus, 0x06, 0, 0x10, 0, 0x10)
    clock.sleep(0.006)
    assert chip.high == OFF


def test_the_fakes_external_clock_is_sticky(bus: FakeBus) -> None:
    raw(bus, 0x00, 0x50)
    raw(bus, 0x00, 0x10)
    assert bus.read(0x40, 0x00, 1) == b"\x50"


# --- the driver ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hz", "prescale"), [(200.0, 0x1E), (50.0, HZ_50), (60.0, 101), (1526.0, 3), (24.0, 253), (1000.0, 5)]
)
def test_the_prescaler_is_that_of_the_data_sheet(hz: float, prescale: int) -> None:
    assert rate(hz).prescale == prescale


def test_a_faster_oscillator_is_divided_more() -> None:
    assert rate(50.0, 26e6).prescale == 126
    for oscillator_hz in (24e6, 25e6, 26.5e6):
        assert 4096 * rate(50.0, oscillator_hz).step_s == pytest.approx(0.02, rel=0.005)


@pytest.mark.parametrize("hz", [20.0, 2000.0])
def test_a_rate_that_the_chip_cannot_do_is_refused(hz: float) -> None:
    with pytest.raises(BridgeError, match="the chip can do 24 to 1526 Hz"):
        rate(hz)


@pytest.mark.parametrize(
    ("level", "registers"),
    [(0, "00000010"), (1, "00000100"), (2048, "00000008"), (4095, "0000ff0f"), (4096, "00100000")],
)
def test_no_level_writes_equal_counts(level: int, registers: str) -> None:
    assert registers_of(level).hex() == registers


def test_set_up_it_is_awake_silent_and_deaf_to_others(
    driver: Pca9685, chip: FakePca9685, bus: FakeBus
) -> None:
    assert (chip.registers[0], chip.registers[1], chip.registers[0xFE]) == (0x20, 0x04, HZ_50)
    assert chip.addresses() == {0x40}
    assert chip.changes == [chip.changes[0]]
    driver.check()


def test_setting_up_a_chip_that_drives_turns_it_off_first(
    driver: Pca9685, chip: FakePca9685, bus: FakeBus, clock: Clock
) -> None:
    driver.write({0: 4096, 1: 100})
    clock.sleep(0.03)
    assert chip.high[:2] == (4096, 100)
    bus.log.clear()
    Pca9685(bus, 0x40, clock.sleep).set_up(HZ_50)
    assert bus.log[0] == (0xFD, b"\x10")
    assert chip.high == OFF
    assert [change.high for change in chip.changes[-2:]] == [(4096, 100, *OFF[2:]), OFF]


def test_the_wait_for_the_cycle_is_what_turns_it_off(
    driver: Pca9685, chip: FakePca9685, bus: FakeBus, clock: Clock
) -> None:
    """The negative control: put to sleep at once, the outputs would stay on."""
    driver.write({0: 4096})
    clock.sleep(0.03)
    Pca9685(bus, 0x40, lambda seconds: None).rest()
    assert chip.high[0] == 4096


def test_rest_turns_off_what_was_put_to_sleep_with_an_output_on(
    driver: Pca9685, chip: FakePca9685, bus: FakeBus, clock: Clock
) -> None:
    driver.write({3: 4096})
    clock.sleep(0.03)
    raw(bus, 0x00, 0x30)
    assert chip.high[3] == 4096
    assert not driver.rests()
    driver.rest()
    assert driver.rests()
    clock.sleep(1.0)
    assert chip.high == OFF


def test_at_rest_writes_to_the_outputs_have_no_effect(
    driver: Pca9685, chip: FakePca9685, clock: Clock
) -> None:
    driver.rest()
    driver.write({0: 4096})
    clock.sleep(1.0)
    assert chip.high == OFF
    assert not driver.rests()


def test_neighbouring_channels_go_in_one_transfer_of_at_most_32_bytes(driver: Pca9685, bus: FakeBus) -> None:
    bus.log.clear()
    driver.write(dict.fromkeys((0, 1, 2, 5, *range(6, 15)), 7))
    assert [(register, len(data)) for register, data in bus.log] == [(6, 12), (26, 32), (58, 8)]


def test_a_byte_that_was_lost_on_the_way_is_noticed(driver: Pca9685, bus: FakeBus) -> None:
    bus.spoil = lambda data: data[:-1] + bytes((data[-1] ^ 4,))
    with pytest.raises(Changed, match="wrote 00000201 to register 0x06 and read 00000205"):
        driver.write({0: 0x102})


@pytest.mark.parametrize(("register", "value"), [(0x00, 0x21), (0x01, 0x14), (0x00, 0x30)])
def test_what_another_program_changed_is_noticed(
    driver: Pca9685, bus: FakeBus, register: int, value: int
) -> None:
    raw(bus, register, value)
    with pytest.raises(Changed, match="it was reset, as when its supply falls, or another program"):
        driver.check()


def test_another_rate_is_noticed(driver: Pca9685, chip: FakePca9685) -> None:
    chip.registers[0xFE] = 30
    with pytest.raises(Changed, match="PRE_SCALE are 20 04 1e"):
        driver.check()


def test_a_reset_is_noticed(driver: Pca9685, chip: FakePca9685) -> None:
    chip.power_cycle()
    with pytest.raises(Changed, match="are 11 04 1e"):
        driver.check()


def test_recognising_only_reads(chip: FakePca9685, bus: FakeBus) -> None:
    Pca9685(bus, 0x40).recognise()
    assert bus.log == []


def test_awake_it_does_not_rest_though_all_is_off(driver: Pca9685) -> None:
    assert not driver.rests()
    driver.rest()
    assert driver.rests()


@pytest.mark.parametrize(
    ("register", "value"), [(0x01, 0x84), (0x02, 0xE0), (0x03, 0xE2), (0x04, 0xEA), (0x05, 0), (0xFE, 2)]
)
def test_a_single_register_that_a_pca9685_would_not_have_so_is_another_device(
    chip: FakePca9685, bus: FakeBus, register: int, value: int
) -> None:
    chip.registers[register] = value
    with pytest.raises(BridgeError, match="another device than a PCA9685"):
        Pca9685(bus, 0x40).recognise()


def test_an_ina219_at_the_same_address_is_another_device(chip: FakePca9685, bus: FakeBus) -> None:
    """The high bytes of its registers after power-up: configuration 0x399F, all others 0."""
    chip.registers = bytearray(256)
    chip.registers[0] = 0x39
    with pytest.raises(BridgeError, match="another device than a PCA9685"):
        Pca9685(bus, 0x40).recognise()
    assert bus.log == []


def test_an_external_clock_is_refused(chip: FakePca9685, bus: FakeBus) -> None:
    raw(bus, 0x00, 0x51)
    with pytest.raises(BridgeError, match="external clock"):
        Pca9685(bus, 0x40).recognise()


def test_a_chip_whose_all_off_does_nothing_is_another_device(
    chip: FakePca9685, bus: FakeBus, clock: Clock
) -> None:
    chip.registers[6:10] = bytes((0, 0x10, 0, 0))
    obey = chip._set
    chip._set = lambda register, value: None if register == 0xFD else obey(register, value)  # type: ignore[method-assign]
    with pytest.raises(Changed, match="its outputs do not stay off: another device"):
        Pca9685(bus, 0x40, clock.sleep).set_up(HZ_50)


def test_no_chip_is_one_line(chip: FakePca9685, bus: FakeBus) -> None:
    bus.fault = lambda what, address, register: errno.ENXIO
    with pytest.raises(I2cError, match="chip 0x40: nothing answers there: is it powered"):
        Pca9685(bus, 0x40).recognise()
