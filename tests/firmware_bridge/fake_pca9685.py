"""A PCA9685 to the byte, and the bus that it hangs on.

NXP's data sheet, Rev. 4.  Where it leaves a choice, this chip is the worst that it allows:

    outputs follow their registers at the end of a PWM cycle, and no sooner     7.3.3, figures 10 and 11
    asleep, outputs stay as they are, whatever is written                       7.3.1, note 2
    awake again, they go on without RESTART                                     7.3.1.1

What is on the wire: ``S address W, control register, data ... P`` writes; ``S address W, control register, Sr address R, data ... P`` reads.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import NamedTuple

from firmware_bridge.i2c import TIMEOUT_S, I2cBus, I2cError, in_words
from firmware_bridge.output_enable import OutputEnable

MODE1, MODE2, SUBADR1, ALLCALLADR, LED0, LED15_END, ALL_LED, PRE_SCALE = 0, 1, 2, 5, 6, 0x46, 0xFA, 0xFE
RESTART, EXTCLK, AI, SLEEP, ALLCALL = 0x80, 0x40, 0x20, 0x10, 0x01
OSCILLATOR_HZ, START_S = 25e6, 0.0005
BIT_S = 1e-5
"""At 100 kHz."""


class Change(NamedTuple):
    """The outputs from a time on: steps of 4096 that each is high."""

    at: float
    high: tuple[int, ...]


OFF = (0,) * 16


class FakePca9685:
    """One chip.  ``changes`` tells what its pins did."""

    def __init__(self, clock: Callable[[], float], address: int = 0x40) -> None:
        self.clock, self.address = clock, address
        self._lock = threading.RLock()  # tests look while others drive
        self.oe_high = False
        self.changes = [Change(clock(), OFF)]
        self.power_cycle()

    def power_cycle(self) -> None:
        """Also what a brown-out does: everything at its default, outputs low at once (7.5)."""
        with self._lock:
            self._power_up()

    def _power_up(self) -> None:
        self.registers = bytearray(256)
        self.registers[MODE1], self.registers[MODE2] = SLEEP | ALLCALL, 0x04
        self.registers[SUBADR1 : SUBADR1 + 4] = bytes((0xE2, 0xE4, 0xE8, 0xE0))
        for channel in range(16):
            self.registers[LED0 + 4 * channel + 3] = 0x10
        self.registers[PRE_SCALE] = 0x1E
        self._control = 0
        self._live = list(OFF)
        self._cycle_began = self.clock()
        self._due: float | None = None
        self._stale = False
        self._note(self.clock())

    # --- what others see ---------------------------------------------------------------------------------------------

    @property
    def high(self) -> tuple[int, ...]:
        """Steps of a cycle that each output is high, now."""
        with self._lock:
            self._advance()
            return OFF if self.oe_high else tuple(self._live)

    def set_oe(self, high: bool) -> None:
        """The pin: high disables, and OUTNE is 00: low (7.4)."""
        with self._lock:
            self._advance()
            self.oe_high = high
            self._note(self.clock())

    def addresses(self) -> set[int]:
        """What it listens to (7.1)."""
        mode1, found = self.registers[MODE1], {self.address}
        for bit, register in ((8, 2), (4, 3), (2, 4), (ALLCALL, ALLCALLADR)):
            if mode1 & bit:
                found.add(self.registers[register] >> 1)
        return found

    # --- the wire ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Control register, then data."""
        with self._lock:
            self._write(data)

    def _write(self, data: bytes) -> None:
        self._advance()
        self._control = data[0]
        for value in data[1:]:
            self._set(self._control, value)
            self._next()
        if self._stale and self.awake:  # at the stop condition: OCH is 0
            self._due = self._cycle_end()
            self._stale = False

    def read(self, count: int) -> bytes:
        """From the control register on."""
        with self._lock:
            return self._read(count)

    def _read(self, count: int) -> bytes:
        self._advance()
        found = bytearray()
        for _ in range(count):
            known = not LED15_END <= self._control < ALL_LED
            found.append(
                self.registers[self._control]
                if known and self._control not in range(ALL_LED, PRE_SCALE)
                else 0
            )
            self._next()
        return bytes(found)

    def _next(self) -> None:
        if self.registers[MODE1] & AI:
            self._control = (
                0 if self._control in (LED15_END - 1, PRE_SCALE, 0xFF) else self._control + 1
            )  # 7.2, remark of table 4

    def _set(self, register: int, value: int) -> None:
        if register == MODE1:
            self._set_mode1(value)
        elif register == MODE2:
            self.registers[register] = value & 0x1F
        elif SUBADR1 <= register <= ALLCALLADR:
            self.registers[register] = value & 0xFE
        elif LED0 <= register < LED15_END:
            self.registers[register] = value & (0x1F if (register - LED0) % 2 else 0xFF)
            self._touched()
        elif ALL_LED <= register < PRE_SCALE:
            for channel in range(16):
                at = LED0 + 4 * channel + register - ALL_LED
                self.registers[at] = value & (0x1F if register % 2 else 0xFF)
            self._touched()
        elif register == PRE_SCALE:
            if not self.awake:
                self.registers[register] = max(value, 3)
        else:
            raise AssertionError(f"register {register:#04x} is reserved or for tests at the factory")

    def _touched(self) -> None:
        self._stale = True
        self.registers[MODE1] &= ~RESTART

    def _set_mode1(self, value: int) -> None:
        old = self.registers[MODE1]
        restart = 0 if value & RESTART else old & RESTART
        if value & SLEEP and not old & SLEEP:
            restart = RESTART if any(self._live) else 0
            self._stale, self._due = self._stale or self._due is not None, None
        if old & SLEEP and not value & SLEEP:
            self._cycle_began = self.clock() + START_S
            self._stale = True
        external = old & EXTCLK or (value & EXTCLK if old & SLEEP else 0)  # sticky; only set asleep
        self.registers[MODE1] = restart | external | value & 0x3F

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def awake(self) -> bool:
        return not self.registers[MODE1] & SLEEP

    @property
    def cycle_s(self) -> float:
        return (self.registers[PRE_SCALE] + 1) * 4096 / OSCILLATOR_HZ

    def _cycle_end(self) -> float:
        cycles = int(max(self.clock() - self._cycle_began, 0.0) / self.cycle_s) + 1
        return self._cycle_began + cycles * self.cycle_s

    def _advance(self) -> None:
        if self._due is not None and self.clock() >= self._due:
            self._live = [self._wanted(channel) for channel in range(16)]
            self._note(self._due)
            self._due = None

    def _wanted(self, channel: int) -> int:
        on_l, on_h, off_l, off_h = self.registers[LED0 + 4 * channel : LED0 + 4 * channel + 4]
        if off_h & 0x10:
            return 0
        if on_h & 0x10:
            return 4096
        on, off = on_l | on_h << 8, off_l | off_h << 8
        assert on != off, "ON and OFF must not be equal (7.3.4)"
        return (off - on) % 4096

    def _note(self, at: float) -> None:
        high = OFF if self.oe_high else tuple(self._live)
        if high != self.changes[-1].high:
            self.changes.append(Change(at, high))


Fault = Callable[[str, int, int], int | None]
"""Given "read" or "write", address and register: the error that the transfer ends with, if it does."""


def healthy(what: str, address: int, register: int) -> None:
    """No fault."""


class FakeBus:
    """A bus with chips on it, and transfers as ``LinuxBus`` makes them.

    Args:
        chips: on it.
        sleep: lets a transfer's time pass.
    """

    def __init__(self, *chips: FakePca9685, sleep: Callable[[float], None] = lambda seconds: None) -> None:
        self.chips = list(chips)
        self.fault: Fault = healthy
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self.log: list[tuple[int, bytes]] = []
        self._sleep = sleep

    def read(self, address: int, register: int, count: int) -> bytes:
        chip = self._reach("read", address, register, count + 3)
        chip.write(bytes((register,)))
        return chip.read(count)

    def write(self, address: int, register: int, data: bytes) -> None:
        chip = self._reach("write", address, register, len(data) + 2)
        self.log.append((register, data))
        chip.write(bytes((register,)) + self.spoil(data))

    def send(self, address: int, byte: int) -> None:
        self._reach("write", address, byte, 2).write(bytes((byte,)))

    def close(self) -> None:
        """See :class:`FakeDevice`."""

    def _reach(self, what: str, address: int, register: int, count: int) -> FakePca9685:
        number = self.fault(what, address, register)
        self._sleep(TIMEOUT_S if number == errno.ETIMEDOUT else 9 * count * BIT_S)
        found = [chip for chip in self.chips if address in chip.addresses()]
        if number is None and not found:
            number = errno.ENXIO
        if number is not None:
            raise I2cError(f"/dev/i2c-1, chip {address:#04x}: {in_words(OSError(number, ''))}")
        return found[0]


class FakeDevice:
    """``/dev/i2c-N``, opened once: closed, it can be used no more."""

    def __init__(self, bus: I2cBus) -> None:
        self.bus, self.is_open = bus, True

    def read(self, address: int, register: int, count: int) -> bytes:
        assert self.is_open
        return self.bus.read(address, register, count)

    def write(self, address: int, register: int, data: bytes) -> None:
        assert self.is_open
        self.bus.write(address, register, data)

    def send(self, address: int, byte: int) -> None:
        assert self.is_open
        self.bus.send(address, byte)

    def close(self) -> None:
        self.is_open = False


class FakeSwitch:
    """An OE pin of a chip.  The kernel's part: one program at a time; given back, the pull-up raises it."""

    def __init__(self, chip: FakePca9685, pin: OutputEnable) -> None:
        self.chip, self.pin = chip, pin
        chip.set_oe(True)

    def enable(self) -> None:
        self.chip.set_oe(False)

    def disable(self) -> None:
        self.chip.set_oe(True)

    def close(self) -> None:
        self.chip.set_oe(True)
