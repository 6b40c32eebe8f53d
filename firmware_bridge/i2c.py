"""Registers of chips on an I2C bus of Linux, and what goes wrong with them in words.

Only blocks of bytes after a register number are moved, and single bytes, which the adapters of all boards can do.  A bus that is stuck must not
hold up a robot's control loop, so a transfer that does not end is given up after ``GIVE_UP_S``.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol, TypeVar, cast

from firmware_bridge.bridge import BridgeError

TIMEOUT_S = 0.02
"""What the adapter is told to wait.  The longest transfer, 34 bytes at 100 kHz, takes 3 ms."""
GIVE_UP_S = 0.04
"""What is waited for the adapter.  Some have a time-out of their own that nothing shortens: several times 0.1 s for buses made of GPIO pins
(i2c-gpio), more than 1 s for a Jetson's (i2c-tegra)."""
MOST_BYTES = 32
"""Of one transfer."""
_I2C_RETRIES, _I2C_TIMEOUT = 0x0701, 0x0702  # ioctls, include/uapi/linux/i2c-dev.h; the timeout counts 10 ms
_NEEDED = 0x0C040000  # I2C_FUNC_SMBUS_{WRITE_BYTE,READ_I2C_BLOCK,WRITE_I2C_BLOCK}, include/uapi/linux/i2c.h
_STUCK = "the bus is stuck: a wire is held low, or a chip holds its clock"
_FOUND = {
    errno.ENXIO: "nothing answers there: is it powered, connected, and at this address?",
    errno.EREMOTEIO: "nothing answers there: is it powered, connected, and at this address?",
    errno.ENODEV: "nothing answers there: is it powered, connected, and at this address?",
    errno.ETIMEDOUT: _STUCK,
    errno.EAGAIN: "arbitration was lost: is there another master, or noise on the bus?",
    errno.EIO: "the transfer failed: a loose wire, missing pull-ups, or no power",
    errno.EBUSY: "busy: a driver of the kernel has this address for itself, or the adapter is not done with another transfer",
}

ResultT = TypeVar("ResultT")


class I2cError(BridgeError):
    """A chip on an I2C bus could not be reached."""


class I2cBus(Protocol):
    """Transfers with the chips of one bus; all of them raise I2cError, which says what is wrong and with which chip."""

    def read(self, address: int, register: int, count: int) -> bytes:
        """Up to 32 bytes from a register on."""

    def write(self, address: int, register: int, data: bytes) -> None:
        """Up to 32 bytes to a register and those behind it."""

    def send(self, address: int, byte: int) -> None:
        """One byte to a chip without registers."""

    def close(self) -> None:
        """Give the bus back.  Never raises."""


class _Order(NamedTuple):
    """A transfer that somebody waits for.

    Attributes:
        transfer: makes it.
        deadline: monotonic seconds at which nobody does any more.
        outcome: where its result goes, or its error.
    """

    transfer: Callable[[], object]
    deadline: float
    outcome: SimpleQueue[object]


class LinuxBus:
    """``/dev/i2c-N``.  Transfers go one after the other, whichever threads and signal handlers ask for them.

    Args:
        number: of the bus.

    Raises:
        I2cError: no such bus, no permission, an adapter that cannot do what is needed, or no smbus2.
    """

    def __init__(self, number: int) -> None:
        try:
            import smbus2
        except ImportError:
            raise I2cError("no I2C without smbus2: run  pip install 'edge-wm[i2c]'") from None
        import fcntl

        self._device = f"/dev/i2c-{number}"
        try:
            self._bus = smbus2.SMBus(number)
        except OSError as error:
            raise I2cError(f"{self._device}: {_why_not(error)}") from error
        if ~self._bus.funcs & _NEEDED:
            self._bus.close()
            raise I2cError(f"{self._device}: its adapter cannot move blocks of bytes: use another bus")
        descriptor = cast(int, self._bus.fd)
        fcntl.ioctl(descriptor, _I2C_TIMEOUT, round(TIMEOUT_S * 100))
        fcntl.ioctl(descriptor, _I2C_RETRIES, 0)
        self._closed = False
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()  # a lock would not bear signal handlers
        self._in_hand: _Order | None = None
        self._hand = threading.Thread(target=self._carry_out, name=self._device, daemon=True)
        self._hand.start()

    def read(self, address: int, register: int, count: int) -> bytes:
        """See :class:`I2cBus`."""
        return bytes(self._made(address, lambda: self._bus.read_i2c_block_data(address, register, count)))

    def write(self, address: int, register: int, data: bytes) -> None:
        """See :class:`I2cBus`."""
        self._made(address, lambda: self._bus.write_i2c_block_data(address, register, list(data)))

    def send(self, address: int, byte: int) -> None:
        """See :class:`I2cBus`."""
        self._made(address, lambda: self._bus.write_byte(address, byte))

    def close(self) -> None:
        """See :class:`I2cBus`."""
        self._closed = True
        self._orders.put(None)
        self._hand.join(GIVE_UP_S)

    def _made(self, address: int, transfer: Callable[[], ResultT]) -> ResultT:
        """Have a transfer made, and wait for it."""
        if self._closed:
            raise I2cError(f"{self._device}: closed")
        now, in_hand = time.monotonic(), self._in_hand
        if in_hand is not None and now >= in_hand.deadline:
            raise self._failed(address, _STUCK)  # by an earlier transfer, of which this was said already
        order = _Order(transfer, now + GIVE_UP_S, SimpleQueue())
        self._orders.put(order)
        try:
            outcome = order.outcome.get(timeout=GIVE_UP_S)
        except Empty:
            raise self._failed(address, _STUCK) from None
        if isinstance(outcome, OSError):
            raise self._failed(address, in_words(outcome)) from outcome
        if isinstance(outcome, Exception):
            raise outcome
        return cast(ResultT, outcome)

    def _carry_out(self) -> None:
        """What the thread does."""
        while (order := self._orders.get()) is not None:
            if time.monotonic() >= order.deadline:
                continue  # an old command must not reach the motors when the bus is free again
            self._in_hand = order
            outcome: object
            try:
                outcome = order.transfer()
            except Exception as error:
                outcome = error
            self._in_hand = None
            order.outcome.put(outcome)
        with suppress(OSError):
            self._bus.close()

    def _failed(self, address: int, why: str) -> I2cError:
        return I2cError(f"{self._device}, chip {address:#04x}: {why}")


def in_words(error: OSError) -> str:
    """What an error of a transfer means."""
    return _FOUND.get(error.errno or 0, os.strerror(error.errno) if error.errno else str(error))


def _why_not(error: OSError) -> str:
    """Why a bus cannot be opened."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "no such bus: is I2C switched on (raspi-config, or dtparam=i2c_arm=on), and the module i2c-dev loaded?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission: run  sudo usermod -aG i2c $USER  and log in again"
    return in_words(error)
