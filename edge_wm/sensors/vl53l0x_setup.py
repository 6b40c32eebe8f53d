"""How a VL53L0X is set up: its registers, ST's settings for them, and the order of writing them.

Its datasheet (DS11555) names hardly a register.  Names, numbers, formulas and order are those of ST's API 1.0.2 (STSW-IMG005, described in UM2039):
``ResetDevice``, ``DataInit``, ``StaticInit``, ``PerformRefCalibration``, ``StartMeasurement``.  As in Pololu's library, the reference diodes are those
that ST chose in the factory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum

from edge_wm.clock import Clock
from firmware_bridge.i2c import I2cBus, I2cError

ADDRESS = 0x29
"""After every reset.  It is left at that: several of them need a multiplexer."""
IDENTITY = bytes((0xEE, 0xAA, 0x10))
"""Model, module type and revision."""


class Register(IntEnum):
    """As in ``vl53l0x_device.h``."""

    SYSRANGE_START = 0x00
    SYSTEM_SEQUENCE_CONFIG = 0x01
    SYSTEM_INTERRUPT_CONFIG_GPIO = 0x0A
    SYSTEM_INTERRUPT_CLEAR = 0x0B
    RESULT_INTERRUPT_STATUS = 0x13
    RESULT_RANGE_STATUS = 0x14
    FINAL_RANGE_CONFIG_MIN_COUNT_RATE_RTN_LIMIT = 0x44
    DYNAMIC_SPAD_NUM_REQUESTED_REF_SPAD = 0x4E  # page 1
    DYNAMIC_SPAD_REF_EN_START_OFFSET = 0x4F  # page 1
    MSRC_CONFIG_CONTROL = 0x60
    FINAL_RANGE_CONFIG_TIMEOUT_MACROP = 0x71
    POWER_MANAGEMENT_GO1_POWER_FORCE = 0x80
    GPIO_HV_MUX_ACTIVE_HIGH = 0x84
    I2C_MODE = 0x88
    VHV_CONFIG_PAD_SCL_SDA_EXTSUP_HV = 0x89
    INTERNAL_STOP_VARIABLE = 0x91  # page 1
    GLOBAL_CONFIG_SPAD_ENABLES_REF_0 = 0xB0
    GLOBAL_CONFIG_REF_EN_START_SELECT = 0xB6
    SOFT_RESET_GO2_SOFT_RESET_N = 0xBF
    IDENTIFICATION_MODEL_ID = 0xC0
    PAGE = 0xFF


Values = tuple[tuple[int, int], ...]
"""Registers and what is written to them, in this order."""

OPEN_PRIVATE: Values = ((0x80, 0x01), (0xFF, 0x01), (0x00, 0x00))
CLOSE_PRIVATE: Values = ((0x00, 0x01), (0xFF, 0x00), (0x80, 0x00))
OPEN_SPAD_INFO: Values = ((0xFF, 0x07), (0x81, 0x01), (0x80, 0x01), (0x94, 0x6B), (0x83, 0x00))
REFERENCE_SPADS: Values = ((0xFF, 0x01), (0x4F, 0x00), (0x4E, 0x2C), (0xFF, 0x00), (0xB6, 0xB4))
TUNING: tuple[tuple[int, str], ...] = (
    # page, then register and value, register and value: DefaultTuningSettings in vl53l0x_tuning.h.  ST says nothing of what they mean.
    # Copyright 2016 STMicroelectronics International N.V., BSD-3-Clause.
    (1, "0000"),
    (0, "0900 1000 1100 2401 25ff 7500"),
    (1, "4e2c 4800 3020"),
    (0, "3009 5400 3104 3203 4083 4625 6000 2700 5006 5100 5296 5608 5730 6100 6200 6400 6500 66a0"),
    (1, "2232 4714 49ff 4a00"),
    (0, "7a0a 7b00 7821"),
    (1, "2334 4200 44ff 4526 4605 4040 0e06 201a 4340"),
    (0, "3403 3544"),
    (1, "3104 4b09 4c05 4d04"),
    (0, "4400 4520 4708 4828 6700 7004 7101 72fe 7600 7700"),
    (1, "0d01"),
    (0, "8001 01f8"),
    (1, "8e01 0001"),
    (0, "8000"),
)
SPADS = 48
FIRST_APERTURE_SPAD = 12
NO_RATE_LIMITS_BEFORE_FINAL = 0x12  # MSRC and pre-range: DataInit switches these two checks off
RATE_LIMIT_MCPS = 0.25  # of what comes back, UM2039; weaker measurements are not valid
STEPS = 0xE8  # dynamic SPAD selection, pre-range and final range; no MSRC, no TCC: StaticInit
ONLY_VHV, ONLY_PHASE = 0x01, 0x02
SINGLE, VHV_INIT, BACK_TO_BACK = 0x01, 0x40, 0x02
NEW_SAMPLE, RESULT_ERROR = 0x07, 0x18  # bits of RESULT_INTERRUPT_STATUS

# Timing, VL53L0X_set_measurement_timing_budget_micro_seconds.  The periods and times before the final range are those of TUNING, the
# overheads of the start, the end, the choice of diodes (twice), the pre-range and the final range.
OVERHEAD_US = 1910 + 960 + 2 * 690 + 660 + 550
MSRC_MCLKS, PRE_RANGE_MCLKS = 0x25 + 1, 0x96 + 1
PRE_RANGE_PCLKS, FINAL_RANGE_PCLKS = (0x06 + 1) * 2, (0x04 + 1) * 2

WAIT_S = 0.5
"""None of the steps of setting it up takes longer."""
WRITES_A_TURN = 8
"""While it is set up, the control loop may have its turn after so many transfers: about 3 ms at 100 kHz."""


class Setup:
    """Sets a sensor up.

    Args:
        bus: its bus.
        measurement_s: time for one measurement.
        clock: time.
    """

    def __init__(self, bus: I2cBus, measurement_s: float, clock: Clock) -> None:
        self._bus, self._measurement_s, self._clock = bus, measurement_s, clock

    def steps(self) -> Iterator[None]:
        """Everything between power and measuring; the caller may do other things at every ``yield``.

        Raises:
            I2cError: it does not answer, is another chip, or does not do what it should.
        """
        yield from self._reset()
        # 2.8 V on the pins, as boards have it
        pads = self._get(Register.VHV_CONFIG_PAD_SCL_SDA_EXTSUP_HV)
        self._put(Register.VHV_CONFIG_PAD_SCL_SDA_EXTSUP_HV, pads | 0x01)
        self._put(Register.I2C_MODE, 0x00)
        self._write(OPEN_PRIVATE)
        stop_variable = self._get(Register.INTERNAL_STOP_VARIABLE)
        self._write(CLOSE_PRIVATE)
        yield
        checks = self._get(Register.MSRC_CONFIG_CONTROL)
        self._put(Register.MSRC_CONFIG_CONTROL, checks | NO_RATE_LIMITS_BEFORE_FINAL)
        limit = round(RATE_LIMIT_MCPS * 128)  # 9.7 bits
        self._put(Register.FINAL_RANGE_CONFIG_MIN_COUNT_RATE_RTN_LIMIT, limit >> 8, limit & 0xFF)
        self._put(Register.SYSTEM_SEQUENCE_CONFIG, 0xFF)
        yield from self._select_reference_spads()
        for page, values in TUNING:
            self._put(Register.PAGE, page)
            pairs = bytes.fromhex(values)
            for index in range(0, len(pairs), 2):
                self._put(pairs[index], pairs[index + 1])
                if index // 2 % WRITES_A_TURN == WRITES_A_TURN - 1:
                    yield
            yield
        self._put(Register.SYSTEM_INTERRUPT_CONFIG_GPIO, 0x04)  # says when a measurement is new
        self._put(
            Register.GPIO_HV_MUX_ACTIVE_HIGH, self._get(Register.GPIO_HV_MUX_ACTIVE_HIGH) & ~0x10 & 0xFF
        )
        self._put(Register.SYSTEM_INTERRUPT_CLEAR, 0x01)
        self._put(Register.SYSTEM_SEQUENCE_CONFIG, STEPS)
        timeout = final_range_timeout(round(self._measurement_s * 1e6))
        self._put(Register.FINAL_RANGE_CONFIG_TIMEOUT_MACROP, timeout >> 8, timeout & 0xFF)
        yield
        yield from self._calibrate(ONLY_VHV, SINGLE | VHV_INIT)
        yield from self._calibrate(ONLY_PHASE, SINGLE)
        self._put(Register.SYSTEM_SEQUENCE_CONFIG, STEPS)
        self._write(OPEN_PRIVATE)
        self._put(Register.INTERNAL_STOP_VARIABLE, stop_variable)
        self._write(CLOSE_PRIVATE)
        self._put(Register.SYSRANGE_START, BACK_TO_BACK)

    def _reset(self) -> Iterator[None]:
        """Make sure of the chip, then of the state that it is in: VL53L0X_ResetDevice."""
        identity = self._bus.read(ADDRESS, Register.IDENTIFICATION_MODEL_ID, len(IDENTITY))
        if identity != IDENTITY:
            self._put(Register.PAGE, 0)  # setting it up may have ended on another page
            identity = self._bus.read(ADDRESS, Register.IDENTIFICATION_MODEL_ID, len(IDENTITY))
        if identity != IDENTITY:
            raise I2cError(
                f"chip {ADDRESS:#04x} is no VL53L0X: it says {identity.hex(' ')} and not {IDENTITY.hex(' ')}"
            )
        self._put(Register.SOFT_RESET_GO2_SOFT_RESET_N, 0x00)
        yield from self._wait("reset", lambda: self._get(Register.IDENTIFICATION_MODEL_ID) == 0)
        self._put(Register.SOFT_RESET_GO2_SOFT_RESET_N, 0x01)
        yield from self._wait("start", lambda: self._get(Register.IDENTIFICATION_MODEL_ID) == IDENTITY[0])

    def _select_reference_spads(self) -> Iterator[None]:
        """Switch on as many good reference diodes as ST found to be right: VL53L0X_get_info_from_device, VL53L0X_set_reference_spads."""
        self._write(OPEN_PRIVATE)
        self._put(Register.PAGE, 6)
        self._put(0x83, self._get(0x83) | 0x04)
        self._write(OPEN_SPAD_INFO)
        yield from self._wait("find its reference diodes", lambda: self._get(0x83) != 0)
        self._put(0x83, 0x01)
        info = self._get(0x92)
        self._put(0x81, 0x00)
        self._put(Register.PAGE, 6)
        self._put(0x83, self._get(0x83) & ~0x04 & 0xFF)
        self._write(((0xFF, 0x01), *CLOSE_PRIVATE))
        yield
        good = self._bus.read(ADDRESS, Register.GLOBAL_CONFIG_SPAD_ENABLES_REF_0, SPADS // 8)
        self._write(REFERENCE_SPADS)
        enabled = reference_spads(good, count=info & 0x7F, aperture=bool(info & 0x80))
        self._bus.write(ADDRESS, Register.GLOBAL_CONFIG_SPAD_ENABLES_REF_0, enabled)
        yield

    def _calibrate(self, step: int, start: int) -> Iterator[None]:
        """VL53L0X_perform_single_ref_calibration."""
        self._put(Register.SYSTEM_SEQUENCE_CONFIG, step)
        self._put(Register.SYSRANGE_START, start)
        yield from self._wait(
            "calibrate", lambda: bool(self._get(Register.RESULT_INTERRUPT_STATUS) & NEW_SAMPLE)
        )
        self._put(Register.SYSTEM_INTERRUPT_CLEAR, 0x01)
        self._put(Register.SYSRANGE_START, 0x00)

    def _wait(self, what: str, done: Callable[[], bool]) -> Iterator[None]:
        deadline = self._clock.now() + WAIT_S
        while not done():
            if self._clock.now() > deadline:
                raise I2cError(f"chip {ADDRESS:#04x}: did not {what} in {WAIT_S} s: is its supply sound?")
            yield

    def _get(self, register: int) -> int:
        return self._bus.read(ADDRESS, register, 1)[0]

    def _put(self, register: int, *values: int) -> None:
        self._bus.write(ADDRESS, register, bytes(values))

    def _write(self, values: Values) -> None:
        for register, value in values:
            self._put(register, value)


def final_range_timeout(measurement_us: int) -> int:
    """Content of FINAL_RANGE_CONFIG_TIMEOUT_MACROP for one measurement in this time, in microseconds.

    The final range has the time that the other steps leave; the register counts that of the pre-range too.
    """
    msrc_us = _microseconds(MSRC_MCLKS, PRE_RANGE_PCLKS)
    pre_range_us = _microseconds(PRE_RANGE_MCLKS, PRE_RANGE_PCLKS)
    left_us = measurement_us - (OVERHEAD_US + 2 * msrc_us + pre_range_us)
    period_ns = _macro_period_ns(FINAL_RANGE_PCLKS)
    mantissa = (left_us * 1000 + period_ns // 2) // period_ns + PRE_RANGE_MCLKS - 1
    exponent = 0
    while mantissa > 0xFF:  # VL53L0X_encode_timeout: low byte * 2^high byte + 1
        mantissa, exponent = mantissa >> 1, exponent + 1
    return exponent << 8 | mantissa


def _macro_period_ns(pclks: int) -> int:
    return (2304 * pclks * 1655 + 500) // 1000  # VL53L0X_calc_macro_period_ps


def _microseconds(mclks: int, pclks: int) -> int:
    return (mclks * _macro_period_ns(pclks) + 500) // 1000  # VL53L0X_calc_timeout_us


def reference_spads(good: bytes, count: int, aperture: bool) -> bytes:
    """Which reference diodes to switch on.

    Args:
        good: 48 bits, lowest first: the diodes that work.
        count: how many of them it takes.
        aperture: whether those behind the aperture are taken, from number 12 on.
    """
    enabled = bytearray(len(good))
    for spad in range(FIRST_APERTURE_SPAD if aperture else 0, SPADS):
        bit = 1 << spad % 8
        if count > 0 and good[spad // 8] & bit:
            enabled[spad // 8] |= bit
            count -= 1
    return bytes(enabled)
