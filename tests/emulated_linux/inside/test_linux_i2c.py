"""Transfers on a real kernel's buses, and what goes wrong on them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import smbus2

from firmware_bridge import i2c
from firmware_bridge.i2c import I2cBus, I2cError, LinuxBus
from tests.emulated_linux.cp2112 import BROKEN, HELD, HELD_S, LOST, STUCK, Cp2112
from tests.emulated_linux.inside.conftest import I801, PARPORT, STUB, bus_number

NOTHING = "nothing answers there"
STUCK_LINE = "the bus is stuck"
NOBODY = 65534
I2C_RETRIES, I2C_TIMEOUT = 0x0701, 0x0702
Plug = Callable[[I2cBus], tuple[Cp2112, LinuxBus]]


class Memory:
    """Chips of 256 registers, and a list of what was sent to those without."""

    def __init__(self, *addresses: int) -> None:
        self.chips = {address: bytearray(256) for address in addresses}
        self.sent: list[tuple[int, int]] = []

    def read(self, address: int, register: int, count: int) -> bytes:
        return bytes(self._chip(address)[register : register + count])

    def write(self, address: int, register: int, data: bytes) -> None:
        self._chip(address)[register : register + len(data)] = data

    def send(self, address: int, byte: int) -> None:
        self._chip(address)
        self.sent.append((address, byte))

    def close(self) -> None:
        """It is memory."""

    def _chip(self, address: int) -> bytearray:
        if address not in self.chips:
            raise I2cError("not here")
        return self.chips[address]


@contextmanager
def opened(name: str) -> Iterator[LinuxBus]:
    bus = LinuxBus(bus_number(name))
    yield bus
    bus.close()


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("count", [1, 2, 5, 32])
def test_what_is_written_is_read(bus: LinuxBus, count: int) -> None:
    data = bytes(range(7, 7 + count))
    bus.write(0x40, 0x06, data)
    assert bus.read(0x40, 0x06, count) == data
    assert bus.read(0x40, 0x05, 1) == b"\0"
    assert bus.read(0x41, 0x06, count) == bytes(count)


def test_another_program_sees_what_was_written(bus: LinuxBus) -> None:
    bus.write(0x68, 0x75, b"\x68\x01")
    with smbus2.SMBus(bus_number(STUB)) as other:
        assert other.read_byte_data(0x68, 0x75) == 0x68
        other.write_byte_data(0x68, 0x6B, 0x80)
    assert bus.read(0x68, 0x6B, 1) == b"\x80"


def test_a_single_byte_reaches_a_chip_without_registers(plug: Plug) -> None:
    chips = Memory(0x70)
    _, bus = plug(chips)
    bus.send(0x70, 0x04)
    assert chips.sent == [(0x70, 0x04)]


def test_a_missing_chip_is_named(bus: LinuxBus) -> None:
    for transfer in (
        lambda: bus.read(0x42, 0, 1),
        lambda: bus.write(0x42, 0, b"\0"),
        lambda: bus.send(0x42, 0),
    ):
        with pytest.raises(I2cError, match=rf"^/dev/i2c-{bus_number(STUB)}, chip 0x42: {NOTHING}"):
            transfer()
    assert bus.read(0x40, 0, 1) == b"\0"


def test_a_chip_that_does_not_acknowledge_is_named() -> None:
    with opened(I801) as bus:
        for _ in range(3):
            with pytest.raises(I2cError, match=f"chip 0x33: {NOTHING}"):
                bus.read(0x33, 0, 4)
            with pytest.raises(I2cError, match=f"chip 0x33: {NOTHING}"):
                bus.send(0x33, 0)
            bus.write(0x50, 0x10, b"\xa5")  # an EEPROM: the bus goes on for the others
            assert bus.read(0x50, 0x10, 1) == b"\xa5"


def test_a_bus_that_is_not_there_is_refused() -> None:
    with pytest.raises(I2cError, match=r"^/dev/i2c-77: no such bus: is I2C switched on"):
        LinuxBus(77)


def test_a_user_without_the_right_is_told_the_group() -> None:
    number = bus_number(STUB)
    with as_nobody(), pytest.raises(I2cError, match=rf"^/dev/i2c-{number}: no permission: .*usermod -aG i2c"):
        LinuxBus(number)
    device = Path(f"/dev/i2c-{number}")
    before = device.stat()
    os.chown(device, NOBODY, 0)
    try:
        with as_nobody():
            LinuxBus(number).close()
    finally:
        os.chown(device, before.st_uid, before.st_gid)


def test_an_adapter_that_moves_no_blocks_is_refused() -> None:
    functions = Path("/sys/module/i2c_stub/parameters/functionality")
    before, number = functions.read_text(), bus_number(STUB)
    functions.write_text(str(0x007F0000))  # single bytes and words
    try:
        with pytest.raises(I2cError, match=rf"^/dev/i2c-{number}: its adapter cannot move blocks of bytes"):
            LinuxBus(number)
    finally:
        functions.write_text(before)
    LinuxBus(number).close()


def test_an_address_that_a_driver_of_the_kernel_has_is_refused(bus: LinuxBus) -> None:
    adapter = Path(f"/sys/bus/i2c/devices/i2c-{bus_number(STUB)}")
    (adapter / "new_device").write_text("24c02 0x50")
    try:
        assert (adapter / f"{bus_number(STUB)}-0050" / "driver").readlink().name == "at24"
        with pytest.raises(I2cError, match="chip 0x50: busy: a driver of the kernel has this address"):
            bus.read(0x50, 0, 1)
        assert bus.read(0x40, 0, 1) == b"\0"
    finally:
        (adapter / "delete_device").write_text("0x50")
    assert bus.read(0x50, 0, 1) == b"\0"


def took(transfer: Callable[[], object], error: type[Exception], match: str) -> float:
    began = time.monotonic()
    with pytest.raises(error, match=match):
        transfer()
    return time.monotonic() - began


def test_a_bus_that_is_held_up_for_long_holds_nobody_up(plug: Plug) -> None:
    chips = Memory(0x40)
    adapter, bus = plug(chips)
    adapter.fault = HELD
    assert took(lambda: bus.read(0x40, 0, 1), I2cError, STUCK_LINE) < i2c.GIVE_UP_S + 0.01
    assert took(lambda: bus.send(0x41, 0), I2cError, f"chip 0x41: {STUCK_LINE}") < 0.01  # it is known by now
    adapter.fault = None
    time.sleep(12 * HELD_S)  # until the driver gives up as well
    bus.write(0x40, 0, b"\x11")
    assert (chips.chips[0x40][0], adapter.transfers) == (0x11, 2)


def test_without_giving_up_it_would(plug: Plug) -> None:
    adapter, _ = plug(Memory(0x40))
    adapter.fault = HELD
    with smbus2.SMBus(adapter.number) as other:
        held = took(lambda: other.read_i2c_block_data(0x40, 0, 1), OSError, "Errno 110")
    assert held > 5 * HELD_S > i2c.GIVE_UP_S


def test_closing_waits_for_no_bus(plug: Plug) -> None:
    adapter, bus = plug(Memory(0x40))
    adapter.fault = HELD
    with pytest.raises(I2cError):
        bus.read(0x40, 0, 1)
    began = time.monotonic()
    bus.close()
    assert time.monotonic() - began < i2c.GIVE_UP_S + 0.01
    with pytest.raises(I2cError, match=f"^/dev/i2c-{adapter.number}: closed"):
        bus.read(0x40, 0, 1)


def test_a_clock_that_is_held_low_is_told() -> None:
    """On a bus made of a port's pins.  Its driver keeps the only processor here busy for 2 s, so this says nothing about the time."""
    with opened(PARPORT) as bus:
        took(lambda: bus.read(0x40, 0, 1), I2cError, f"chip 0x40: {STUCK_LINE}")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (STUCK, "the bus is stuck"),
        (LOST, "arbitration was lost"),
        (BROKEN, "the transfer failed: a loose wire"),
    ],
)
def test_a_fault_of_the_bus_is_told_and_passes_without_a_restart(
    plug: Plug, fault: tuple[int, int], line: str
) -> None:
    chips = Memory(0x40)
    adapter, bus = plug(chips)
    adapter.fault = fault
    for transfer in (
        lambda: bus.read(0x40, 0, 1),
        lambda: bus.write(0x40, 0, b"\1"),
        lambda: bus.send(0x40, 0),
    ):
        assert took(transfer, I2cError, f"^/dev/i2c-{adapter.number}, chip 0x40: {line}") < i2c.GIVE_UP_S
    adapter.fault = None
    bus.write(0x40, 0, b"\2")
    assert (chips.chips[0x40][0], chips.sent, adapter.transfers) == (2, [], 4)


def test_a_chip_that_vanishes_and_comes_back_needs_no_restart(plug: Plug) -> None:
    chips = Memory(0x40, 0x41)
    _, bus = plug(chips)
    bus.write(0x40, 0, b"\x11")
    chip = chips.chips.pop(0x40)
    with pytest.raises(I2cError, match="chip 0x40"):
        bus.write(0x40, 0, b"\x22")
    bus.write(0x41, 0, b"\x33")
    chips.chips[0x40] = chip
    assert bus.read(0x40, 0, 1) == b"\x11"


def test_the_kernel_repeats_nothing_and_waits_no_longer_than_told(plug: Plug) -> None:
    """It tells nobody what it was told.  But a transfer that lost arbitration it repeats as often, and for as long."""
    adapter, bus = plug(Memory(0x40))
    adapter.fault = LOST
    assert took(lambda: bus.read(0x40, 0, 1), I2cError, "arbitration") < i2c.TIMEOUT_S
    assert adapter.transfers == 1
    with smbus2.SMBus(adapter.number) as other:
        assert other.fd is not None
        fcntl.ioctl(other.fd, I2C_RETRIES, 1_000_000)
        assert (
            i2c.TIMEOUT_S
            < took(lambda: other.read_byte_data(0x40, 0), OSError, "Errno 11")
            < 3 * i2c.TIMEOUT_S
        )
        fcntl.ioctl(other.fd, I2C_TIMEOUT, 20)
        assert took(lambda: other.read_byte_data(0x40, 0), OSError, "Errno 11") > 0.2
        fcntl.ioctl(other.fd, I2C_RETRIES, 0)
