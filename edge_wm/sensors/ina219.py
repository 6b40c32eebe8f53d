"""The battery monitor INA219 of Texas Instruments: volts, and amperes through a shunt.

Sections are those of its datasheet, SBOS448G.  The library on PyPI, pi-ina219, needs Adafruit-GPIO, which is not kept up any more, and opens a bus of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.sensors.outage import Outage
from firmware_bridge.i2c import I2cBus, I2cError

ADDRESS = 0x41
"""With its pin A0 at the supply, A1 at ground.  Boards come with both at ground, 0x40, which is where a PCA9685 is."""


class Register(IntEnum):
    """8.6; 16 bits each, high byte first."""

    CONFIGURATION = 0x00
    SHUNT_VOLTAGE = 0x01
    BUS_VOLTAGE = 0x02
    POWER = 0x03
    CURRENT = 0x04
    CALIBRATION = 0x05


# Configuration, 8.6.2.1
RANGE_32_V = 1 << 13
GAINS = ((0.04, 0), (0.08, 1 << 11), (0.16, 2 << 11), (0.32, 3 << 11))
"""Most volts across the shunt, and PG."""
GAIN = 3 << 11
SIXTEEN_SAMPLES = 0b1100  # 8.5 ms for each of the two voltages
CONTINUOUS = 0b111  # shunt and bus
CONFIGURATION = RANGE_32_V | SIXTEEN_SAMPLES << 7 | SIXTEEN_SAMPLES << 3 | CONTINUOUS
AFTER_RESET = 0x399F
DIFFERS = 0x3800
"""Bits by which one robot's configuration differs from another's: BRNG and PG."""

SHUNT_STEP_V = 0.00001  # 8.6.3.1; at the end of its gain's range it stands still

# Bus voltage, 8.6.3.2
CONVERSION_READY, OVERFLOW = 0x02, 0x01
BUS_STEP_V = 0.004

CONVERSION_S = 0.0186
"""Of both voltages, at most (7.5: 9.35 ms each)."""
LATE = 3.0
"""Conversions that it must have missed to count as hung."""


@dataclass(frozen=True, slots=True)
class BatteryReading:
    """Of the battery.

    Attributes:
        time: monotonic seconds at which it was read; a mean over 17 ms that ended at most as long before.
        volts: at the load's side of the shunt, in steps of 4 mV.
        amperes: through the shunt, positive towards the load; None if it is beyond what the chip can count.
        overflow: whether it is.
    """

    time: float
    volts: float
    amperes: float | None
    overflow: bool


class Ina219:
    """One chip.  Does nothing until ``start`` or ``read``.

    Args:
        bus: its bus.
        shunt_ohm: of its shunt; 0.1 on most boards.
        most_amperes: the largest current to be measured.
        address: 0x40 to 0x4F.
        clock: time.

    Raises:
        BadInput: that current makes more than 0.32 V across that shunt, or no calibration fits it.
    """

    def __init__(
        self,
        bus: I2cBus,
        shunt_ohm: float,
        most_amperes: float,
        address: int = ADDRESS,
        *,
        clock: Clock | None = None,
    ) -> None:
        name = f"INA219 {address:#04x}"
        self._configuration, self._calibration = settings(shunt_ohm, most_amperes, name)
        self._ampere_step = 0.04096 / (
            self._calibration * shunt_ohm
        )  # 8.5.1, equation 1, for what the register really holds
        self._most_v = next(most for most, bits in GAINS if self._configuration & GAIN == bits)
        self._bus, self._address, self._clock = bus, address, clock or MonotonicClock()
        self._outage = Outage(name, self._clock)
        self._set_up = False
        self._heard_at = 0.0
        self._newest: BatteryReading | None = None

    def start(self) -> None:
        """Set it up, and wait for its first conversion: 0.02 s.

        Raises:
            I2cError: it does not answer, or another chip does.
        """
        try:
            self._configure()
        except I2cError as error:
            raise self._outage.named(error) from error
        self._clock.sleep_until(self._clock.now() + CONVERSION_S)

    def read(self) -> BatteryReading:
        """The newest reading; never waits for one.

        Raises:
            I2cError: it does not answer, has hung, or has reset itself.  It is set up again with the next call.  If it goes on failing it
                is left alone for a while, during which the same error is raised.
        """
        if self._outage.why is not None and self._outage.resting:
            raise self._outage.why
        try:
            if not self._set_up:
                self._configure()
            self._look()
        except I2cError as error:
            raise self._outage.failed(error) from error
        if self._newest is None:
            raise self._outage.why or self._outage.named(I2cError("it has not measured yet"))
        return self._newest

    def _configure(self) -> None:
        """Make sure of the chip, which has no identity, by what its registers hold; a chip that is another one is not written to."""
        found = self._get(Register.CONFIGURATION)
        if found & ~DIFFERS not in (CONFIGURATION & ~DIFFERS, AFTER_RESET & ~DIFFERS):
            raise I2cError(
                f"its configuration is {found:#06x}: it is no INA219 (a PCA9685?), or another program has set it up: take its power off once"
            )
        self._put(Register.CONFIGURATION, self._configuration)
        self._put(Register.CALIBRATION, self._calibration)
        self._get(Register.POWER)  # what was converted before is not new, 8.6.3.2
        self._set_up, self._newest = True, None
        self._heard_at = self._clock.now()

    def _look(self) -> None:
        """Fetch a new reading, if there is one."""
        voltage = self._get(Register.BUS_VOLTAGE)
        shunt, current = self._get(Register.SHUNT_VOLTAGE), self._get(Register.CURRENT)
        # After the reading, so that a reset before it is seen: without its calibration, a chip says that no current flows.
        held = self._get(Register.CONFIGURATION), self._get(Register.CALIBRATION)
        now = self._clock.now()
        if held != (self._configuration, self._calibration):
            self._set_up = False
            raise I2cError("it has lost its settings: its supply may have dropped")
        if not voltage & CONVERSION_READY:
            if now - self._heard_at > LATE * CONVERSION_S:
                self._set_up = False
                raise I2cError(f"it has not measured for {now - self._heard_at:.2f} s")
            return
        self._get(Register.POWER)  # so that the next conversion can be told from this one, 8.6.3.2
        self._heard_at = now
        overflow = (
            bool(voltage & OVERFLOW) or abs(_signed(shunt)) * SHUNT_STEP_V >= self._most_v - SHUNT_STEP_V
        )
        amperes = None if overflow else _signed(current) * self._ampere_step
        self._newest = BatteryReading(now, (voltage >> 3) * BUS_STEP_V, amperes, overflow)
        self._outage.ended()

    def _get(self, register: Register) -> int:
        return int.from_bytes(self._bus.read(self._address, register, 2), "big")

    def _put(self, register: Register, value: int) -> None:
        self._bus.write(self._address, register, value.to_bytes(2, "big"))


def _signed(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value


def settings(shunt_ohm: float, most_amperes: float, name: str = "INA219") -> tuple[int, int]:
    """Configuration and calibration register for a shunt and the largest current through it.

    The calibration is trunc(0.04096 / (current step * shunt)), the current step ``most_amperes`` / 2^15 (8.5.1, equations 1 and 2).

    Raises:
        BadInput: they do not go together.
    """
    if not (0.0 < shunt_ohm < math.inf and 0.0 < most_amperes < math.inf):
        raise BadInput(f"{name}: shunt_ohm is {shunt_ohm}, most_amperes {most_amperes}: both must be above 0")
    volts = shunt_ohm * most_amperes
    gain = next((bits for most, bits in GAINS if volts <= most * (1.0 + 1e-9)), None)
    if gain is None:
        raise BadInput(
            f"{name}: {most_amperes} A through {shunt_ohm} ohm are {volts:.2f} V; it measures 0.32 V at most: take a smaller shunt"
        )
    calibration = int(0.04096 / (most_amperes / 2**15 * shunt_ohm)) & ~1  # bit 0 is always 0, 8.6.4.1
    if not 2 <= calibration <= 0xFFFE:
        raise BadInput(
            f"{name}: {most_amperes} A through {shunt_ohm} ohm are only {volts * 1e3:.2g} mV: take a larger shunt"
        )
    return CONFIGURATION | gain, calibration
