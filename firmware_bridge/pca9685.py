"""The PCA9685: sixteen PWM outputs on an I2C bus.

Sections are those of NXP's data sheet, Rev. 4 of 16 April 2015.  What it leaves open is taken at its worst: that outputs change no sooner than at
the end of a PWM cycle (7.3.3), and that a chip put to sleep within one holds them as they are (7.3.1, note 2: they "cannot be turned on, off or
dimmed").  So outputs are turned off first, sleep comes a cycle later, and both are read back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from firmware_bridge.bridge import BridgeError
from firmware_bridge.i2c import MOST_BYTES, I2cBus

MODE1, MODE2, SUBADR1, LED0_ON_L, ALL_LED_OFF_H, PRE_SCALE = 0x00, 0x01, 0x02, 0x06, 0xFD, 0xFE  # table 4
RESTART, EXTERNAL_CLOCK, AUTO_INCREMENT, SLEEP = 0x80, 0x40, 0x20, 0x10  # of MODE1, table 5
TOTEM_POLE = 0x04  # of MODE2, table 6: not inverted, changes at a stop condition, low while OE is high
FULL = 0x10  # of LEDn_ON_H and LEDn_OFF_H, 7.3.3; full off wins over full on
POWER_UP_ADDRESSES = bytes((0xE2, 0xE4, 0xE8, 0xE0))
"""SUBADR1 to 3 and ALLCALLADR after power-up (7.3.6, 7.3.7).  Nobody changes them, and four such bytes in a row are no other chip's."""

CHANNELS = 16
STEPS = 4096
"""Of a PWM cycle."""
OSCILLATOR_HZ = 25e6
SLOWEST, FASTEST = 255, 3
"""PRE_SCALE, for 24 and 1526 Hz (7.3.5)."""
START_S = 0.0005
"""The oscillator has started (7.3.1.1)."""
LATE = 1.2
"""Share of a PWM cycle that is waited for its end: the oscillator may be slow."""
_AWAKE, _ASLEEP = (
    AUTO_INCREMENT,
    AUTO_INCREMENT | SLEEP,
)  # and deaf to the all-call address: others must not turn our motors


class Changed(BridgeError):
    """The chip holds something else than was written: it was reset, another program has changed it, or a byte was lost on the way."""


class Rate(NamedTuple):
    """How fast the outputs are.

    Attributes:
        prescale: for PRE_SCALE.
        step_s: seconds, of one of the 4096 steps of a cycle.
    """

    prescale: int
    step_s: float


def rate(pwm_hz: float, oscillator_hz: float = OSCILLATOR_HZ) -> Rate:
    """The prescaler nearest to a frequency: round(oscillator / (4096 * frequency)) - 1 (7.3.5).

    Args:
        pwm_hz: cycles a second.
        oscillator_hz: of this chip; the internal one is some per cent off 25 MHz.

    Raises:
        BridgeError: the chip cannot be so slow or so fast.
    """
    prescale = round(oscillator_hz / (STEPS * pwm_hz)) - 1
    if not FASTEST <= prescale <= SLOWEST:
        lowest, highest = (oscillator_hz / (STEPS * (end + 1)) for end in (SLOWEST, FASTEST))
        raise BridgeError(f"pwm_hz is {pwm_hz:g}: the chip can do {lowest:.0f} to {highest:.0f} Hz")
    return Rate(prescale, (prescale + 1) / oscillator_hz)


class Pca9685:
    """One chip.  All methods raise I2cError if it cannot be reached.

    Args:
        bus: it is on.
        address: of it, 7 bits.
        sleep: waits so many seconds.
    """

    def __init__(self, bus: I2cBus, address: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._bus, self._address, self._sleep = bus, address, sleep
        self._prescale = SLOWEST

    def recognise(self) -> None:
        """Only reads: what is there may be another chip.

        Raises:
            BridgeError: it is no PCA9685, or one that runs on an external clock.
        """
        found = bytes(self._read(register) for register in range(SUBADR1, SUBADR1 + 4))
        mode1, mode2 = self._read(MODE1), self._read(MODE2)
        if found != POWER_UP_ADDRESSES or mode2 & 0xE0 or self._read(PRE_SCALE) < FASTEST:
            raise BridgeError(
                f"chip {self._address:#04x}: another device than a PCA9685, or one whose addresses were changed: check address,"
                f" and cycle its power (registers 0 to 5: {mode1:02x} {mode2:02x} {found.hex(' ')})"
            )
        if mode1 & EXTERNAL_CLOCK:
            raise BridgeError(
                f"chip {self._address:#04x}: it runs on an external clock, so that its pulses are not known: cycle its power"
            )

    def set_up(self, prescale: int) -> None:
        """All outputs off, and only then the rate; awake afterwards.

        Raises:
            Changed: it does not hold what was written.
        """
        self.rest()
        self._prescale = prescale
        self._write(PRE_SCALE, prescale)  # only while it sleeps (7.3.5)
        self._write(MODE2, TOTEM_POLE)
        self._write(MODE1, _AWAKE)
        self._sleep(START_S)
        self.check()

    def check(self) -> None:
        """Whether it is still as it was set up.  Raises Changed if it was reset, or another program has put its hands on it."""
        mode1, mode2 = self._bus.read(self._address, MODE1, 2)
        found = (mode1 & ~RESTART, mode2, self._read(PRE_SCALE))
        if found != (_AWAKE, TOTEM_POLE, self._prescale):
            registers = bytes((mode1, self._read(MODE2), found[2]))  # uncounted, MODE1 was read twice
            raise Changed(
                f"chip {self._address:#04x}: it was reset, as when its supply falls, or another program has changed it"
                f" (MODE1, MODE2 and PRE_SCALE are {registers.hex(' ')})"
            )

    def write(self, levels: Mapping[int, int]) -> None:
        """Set outputs.

        Args:
            levels: steps of each cycle, 0 to 4096, in which a channel is high.

        Raises:
            Changed: the registers hold something else: there is no checksum on the bus, and half a pulse width is a pulse width.
        """
        for register, data in _blocks(levels):
            self._bus.write(self._address, register, data)
            found = self._bus.read(self._address, register, len(data))
            if found != data:
                raise Changed(
                    f"chip {self._address:#04x}: wrote {data.hex()} to register {register:#04x} and read {found.hex()}"
                )

    def off(self) -> None:
        """All outputs off at the end of the cycle, in one byte, whatever else the registers hold (7.3.4)."""
        self._write(ALL_LED_OFF_H, FULL)

    def rest(self) -> None:
        """All outputs off, then asleep: what is written to the outputs later has no effect.  It takes one PWM cycle, at most 50 ms.

        Raises:
            Changed: it is not so, because somebody has written meanwhile.  Call again.
        """
        self.off()
        self._write(MODE1, _AWAKE)  # what was put to sleep with an output on would hold it
        cycle_s = (max(self._read(PRE_SCALE), FASTEST) + 1) * STEPS / OSCILLATOR_HZ
        self._sleep(START_S + LATE * cycle_s)
        self._write(MODE1, _ASLEEP)
        if not self.rests():
            raise Changed(
                f"chip {self._address:#04x}: its outputs do not stay off: another device, or another program"
            )

    def rests(self) -> bool:
        """Whether it sleeps with all outputs off."""
        registers = b"".join(
            self._bus.read(self._address, LED0_ON_L + start, MOST_BYTES)
            for start in range(0, CHANNELS * 4, MOST_BYTES)
        )
        return self._read(MODE1) & ~RESTART == _ASLEEP and all(high & FULL for high in registers[3::4])

    def _read(self, register: int) -> int:
        return self._bus.read(self._address, register, 1)[0]

    def _write(self, register: int, value: int) -> None:
        self._bus.write(self._address, register, bytes((value,)))


def _blocks(levels: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
    """Neighbouring channels in one transfer, so that they change in the same cycle."""
    first, data = 0, b""
    for channel in sorted(levels):
        if data and (channel != first + len(data) // 4 or len(data) == MOST_BYTES):
            yield LED0_ON_L + 4 * first, data
            data = b""
        first = first if data else channel
        data += registers_of(levels[channel])
    if data:
        yield LED0_ON_L + 4 * first, data


def registers_of(level: int) -> bytes:
    """LEDn_ON_L, ON_H, OFF_L and OFF_H for an output that is high for so many of 4096 steps.  Equal counts must not be written (7.3.4)."""
    if level <= 0:
        return bytes((0, 0, 0, FULL))
    if level >= STEPS:
        return bytes((0, FULL, 0, 0))
    return bytes((0, 0, level & 0xFF, level >> 8))
