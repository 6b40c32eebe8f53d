"""``LinuxBus`` against the kernel's side of ``/dev/i2c-7``, played: what is asked of it, and what its errors become.

Real kernels' buses are in ``tests/emulated_linux``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from firmware_bridge import i2c
from firmware_bridge.i2c import GIVE_UP_S, I2cError, LinuxBus

smbus2 = pytest.importorskip("smbus2", reason="pip install 'edge-wm[i2c]'")

# include/uapi/linux/i2c-dev.h and i2c.h
RETRIES, TIMEOUT, SLAVE, FUNCS, SMBUS = 0x0701, 0x0702, 0x0703, 0x0705, 0x0720
READ, BYTE, I2C_BLOCK = 1, 1, 8
ALL_FUNCTIONS = 0x0EFF000B
WHERE = "^/dev/i2c-7, chip 0x40: "


class Kernel:
    """One bus with register memory at 0x40 and 0x41.

    Attributes:
        asked: the ioctls that were no transfers, and their numbers.
        transfers: address, read or write, size and first byte of each.
        error: what each transfer ends with, if any.
        free: is not set while the bus is stuck.
        closed: whether the file was.
        astray: writes of a chip's address to another.
    """

    def __init__(self) -> None:
        self.chips = {0x40: bytearray(256), 0x41: bytearray(256)}
        self.asked: list[tuple[int, int]] = []
        self.transfers: list[tuple[int, int, int, int]] = []
        self.error: int | None = None
        self.opening: int | None = None
        self.functions = ALL_FUNCTIONS
        self.free = threading.Event()
        self.free.set()
        self.closed = False
        self.astray = 0
        self._address = 0

    def open(self, path: str, flags: int) -> int:
        assert (path, flags) == ("/dev/i2c-7", os.O_RDWR)
        if self.opening is not None:
            raise OSError(self.opening, os.strerror(self.opening), path)
        return 7

    def close(self, descriptor: int) -> None:
        assert (descriptor, self.closed) == (7, False)
        self.closed = True

    def ioctl(self, descriptor: int, request: int, argument: object) -> int:
        assert (descriptor, self.closed) == (7, False)
        if request == FUNCS:
            assert isinstance(argument, ctypes.c_ulong)
            argument.value = self.functions
        elif request == SMBUS:
            self._transfer(argument)
        else:
            assert isinstance(argument, int)
            self.asked.append((request, argument))
            if request == SLAVE:
                self._address = argument
                time.sleep(0.0001)  # others run meanwhile
        return 0

    def _transfer(self, message: object) -> None:
        read, register, size = message.read_write, message.command, message.size  # type: ignore[attr-defined]
        self.transfers.append((self._address, read, size, register))
        self.free.wait(10.0)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        if size == BYTE:
            return
        assert size == I2C_BLOCK
        block, chip = message.data.contents.block, self.chips[self._address]  # type: ignore[attr-defined]
        count = block[0]
        assert 1 <= count <= 32
        if read == READ:
            block[1 : count + 1] = list(chip[register : register + count])
        else:
            chip[register : register + count] = bytes(block[1 : count + 1])
            self.astray += block[1] in self.chips and block[1] != self._address


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(
        smbus2.smbus2, "os", SimpleNamespace(open=kernel.open, close=kernel.close, O_RDWR=os.O_RDWR)
    )
    monkeypatch.setattr(smbus2.smbus2, "ioctl", kernel.ioctl)
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    return kernel


@pytest.fixture
def bus(kernel: Kernel) -> Iterator[LinuxBus]:
    bus = LinuxBus(7)
    yield bus
    kernel.free.set()
    bus.close()


def test_registers_are_moved_in_blocks_after_their_number(bus: LinuxBus, kernel: Kernel) -> None:
    bus.write(0x40, 0x06, b"\x01\x02\x03")
    assert kernel.chips[0x40][5:10] == b"\0\x01\x02\x03\0"
    assert bus.read(0x40, 0x05, 4) == b"\0\x01\x02\x03"
    bus.send(0x41, 0x04)
    assert kernel.transfers == [
        (0x40, 0, I2C_BLOCK, 0x06),
        (0x40, READ, I2C_BLOCK, 0x05),
        (0x41, 0, BYTE, 0x04),
    ]


def test_the_kernel_is_told_to_wait_20_ms_and_to_repeat_nothing(bus: LinuxBus, kernel: Kernel) -> None:
    assert kernel.asked == [(TIMEOUT, 2), (RETRIES, 0)]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENXIO, "nothing answers there: is it powered, connected, and at this address?"),
        (errno.EREMOTEIO, "nothing answers there"),
        (errno.ENODEV, "nothing answers there"),
        (errno.ETIMEDOUT, "the bus is stuck: a wire is held low, or a chip holds its clock"),
        (errno.EAGAIN, "arbitration was lost: is there another master, or noise on the bus?"),
        (errno.EIO, "the transfer failed: a loose wire, missing pull-ups, or no power"),
        (errno.EBUSY, "busy: a driver of the kernel has this address for itself, or"),
        (errno.EPROTO, "Protocol error"),
    ],
)
def test_each_error_is_told_in_words_with_the_chip(
    bus: LinuxBus, kernel: Kernel, number: int, line: str
) -> None:
    kernel.error = number
    for transfer in (
        lambda: bus.read(0x40, 0, 2),
        lambda: bus.write(0x40, 0, b"\x01"),
        lambda: bus.send(0x40, 0),
    ):
        with pytest.raises(I2cError, match=WHERE + line) as caught:
            transfer()
        assert "\n" not in str(caught.value)
    kernel.error = None
    bus.write(0x40, 0, b"\x02")
    assert kernel.chips[0x40][0] == 2


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOENT, "no such bus: is I2C switched on"),
        (errno.ENXIO, "no such bus"),
        (errno.EACCES, r"no permission: run  sudo usermod -aG i2c \$USER"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_bus_that_cannot_be_opened_is_refused(kernel: Kernel, number: int, line: str) -> None:
    kernel.opening = number
    with pytest.raises(I2cError, match=f"^/dev/i2c-7: {line}"):
        LinuxBus(7)


@pytest.mark.parametrize("lacking", [0x0004_0000, 0x0400_0000, 0x0800_0000])
def test_an_adapter_that_cannot_do_what_is_needed_is_refused(kernel: Kernel, lacking: int) -> None:
    kernel.functions &= ~lacking
    with pytest.raises(I2cError, match=r"^/dev/i2c-7: its adapter cannot move blocks of bytes"):
        LinuxBus(7)
    assert kernel.closed


def test_without_smbus2_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(I2cError, match=r"pip install 'edge-wm\[i2c\]'"):
        LinuxBus(7)


def took(transfer: Callable[[], object], line: str) -> float:
    began = time.monotonic()
    with pytest.raises(I2cError, match=line):
        transfer()
    return time.monotonic() - began


def test_a_stuck_bus_is_given_up_and_from_then_on_refused_at_once(bus: LinuxBus, kernel: Kernel) -> None:
    kernel.free.clear()
    first = took(lambda: bus.read(0x40, 0, 1), WHERE + "the bus is stuck")
    assert first >= GIVE_UP_S * 0.9
    asked = len(kernel.transfers)
    assert (
        min(took(lambda: bus.write(0x41, 0, b"\1"), "chip 0x41: the bus is stuck") for _ in range(5))
        < GIVE_UP_S / 4
    )
    assert len(kernel.transfers) == asked


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def works(bus: LinuxBus) -> bool:
    try:
        bus.read(0x41, 0, 1)
    except I2cError:
        return False
    return True


def test_a_bus_that_is_free_again_needs_no_restart(bus: LinuxBus, kernel: Kernel) -> None:
    kernel.free.clear()
    took(lambda: bus.read(0x40, 0, 1), "stuck")
    kernel.free.set()
    until(lambda: works(bus))
    bus.write(0x40, 0, b"\x05")
    assert kernel.chips[0x40][0] == 5


def late_commands(bus: LinuxBus, kernel: Kernel) -> None:
    """A command is asked for behind a transfer that is stuck, and given up before the bus is free again."""
    kernel.free.clear()
    reader = threading.Thread(target=took, args=(lambda: bus.read(0x40, 0, 1), "stuck"))
    reader.start()
    until(lambda: len(kernel.transfers) == 1)
    with pytest.raises(I2cError, match="stuck"):
        bus.write(0x41, 0x06, b"\x99")
    reader.join()
    kernel.free.set()


def test_a_command_that_was_given_up_is_not_carried_out_later(bus: LinuxBus, kernel: Kernel) -> None:
    late_commands(bus, kernel)
    until(lambda: works(bus))
    assert kernel.chips[0x41][0x06] == 0


def test_without_its_deadline_it_would_be(
    bus: LinuxBus, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(i2c, "time", SimpleNamespace(monotonic=lambda: 0.0))
    late_commands(bus, kernel)
    until(lambda: works(bus))
    assert kernel.chips[0x41][0x06] == 0x99


def hammer(write: Callable[[int, int, bytes], None], kernel: Kernel) -> int:
    """Two threads write its address to a chip each; how many writes went to the wrong one."""

    together = threading.Barrier(2)

    def run(address: int) -> None:
        for register in range(200):
            together.wait(10.0)
            write(address, register, bytes((address,)))

    threads = [threading.Thread(target=run, args=(address,)) for address in kernel.chips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return kernel.astray


def test_threads_that_share_a_bus_do_not_reach_each_others_chips(bus: LinuxBus, kernel: Kernel) -> None:
    assert hammer(bus.write, kernel) == 0
    assert all(all(chip[:200]) for chip in kernel.chips.values())


def test_without_taking_turns_they_would(kernel: Kernel) -> None:
    with smbus2.SMBus(7) as bare:
        assert hammer(lambda *words: bare.write_i2c_block_data(*words[:2], list(words[2])), kernel) > 0


def test_a_signal_handler_may_use_the_bus_in_the_middle_of_a_transfer(bus: LinuxBus, kernel: Kernel) -> None:
    kernel.chips[0x40][0] = 0x77
    kernel.free.clear()

    def stop(*_: object) -> None:
        kernel.free.set()
        bus.write(0x41, 0, b"\x10")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, GIVE_UP_S / 4)
        assert bus.read(0x40, 0, 1) == b"\x77"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert kernel.chips[0x41][0] == 0x10
    assert [address for address, *_ in kernel.transfers] == [0x40, 0x41]


def test_more_than_a_transfer_holds_is_a_mistake_of_the_caller(bus: LinuxBus) -> None:
    with pytest.raises(ValueError, match="32"):
        bus.write(0x40, 0, bytes(33))
    with pytest.raises(ValueError, match="32"):
        bus.read(0x40, 0, 33)


def test_closing_twice_is_no_error_and_using_it_then_is(bus: LinuxBus, kernel: Kernel) -> None:
    bus.close()
    bus.close()
    assert kernel.closed
    with pytest.raises(I2cError, match=r"^/dev/i2c-7: closed"):
        bus.read(0x40, 0, 1)


def test_closing_a_stuck_bus_does_not_wait_for_it(bus: LinuxBus, kernel: Kernel) -> None:
    kernel.free.clear()
    took(lambda: bus.read(0x40, 0, 1), "stuck")
    began = time.monotonic()
    bus.close()
    assert time.monotonic() - began < 1.0
    assert not kernel.closed
    kernel.free.set()
    until(lambda: kernel.closed)
