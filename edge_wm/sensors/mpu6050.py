"""The gyroscope and accelerometer MPU-6050 of InvenSense.

Registers are those of RM-MPU-6000A-00 revision 4.2 ("RM"), figures those of PS-MPU-6000A-00 revision 3.4 ("PS").  Of the libraries on PyPI none
works over smbus2, and none notices that the chip has reset itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.sensors.outage import Outage
from firmware_bridge.bridge import BridgeError
from firmware_bridge.i2c import I2cBus, I2cError

ADDRESS = 0x68
"""With its pin AD0 low; 0x69 otherwise."""
IDENTITY = 0x68
"""Whatever the address (RM 4.32).  What is sold as an MPU-6050 is often an MPU-6500 (0x70) or ICM-20689 (0x98), whose filters are others."""


class Register(IntEnum):
    """RM 3."""

    SMPLRT_DIV = 0x19
    CONFIG = 0x1A
    GYRO_CONFIG = 0x1B
    ACCEL_CONFIG = 0x1C
    INT_ENABLE = 0x38
    INT_STATUS = (
        0x3A  # then acceleration x, y, z, temperature, and rate x, y, z in 16 bits each, RM 4.16 to 4.19
    )
    PWR_MGMT_1 = 0x6B
    PWR_MGMT_2 = 0x6C
    WHO_AM_I = 0x75


DATA_READY = 0x01
AWAKE = bytes((0x01, 0x00))
"""PWR_MGMT_1 and 2: no sleep, clocked by the x gyro, as RM 4.28 recommends, all axes on.  After a reset it sleeps: 0x40."""
GYRO_RANGES = {250: (0, 131.0), 500: (1, 65.5), 1000: (2, 32.8), 2000: (3, 16.4)}
"""Degrees a second: FS_SEL, and steps to a degree a second (RM 4.19)."""
ACCEL_RANGES = {2: (0, 16384), 4: (1, 8192), 8: (2, 4096), 16: (3, 2048)}
"""Multiples of g: AFS_SEL, and steps to a g (RM 4.17)."""
FILTERS = {188: 1, 98: 2, 42: 3, 20: 4, 10: 5, 5: 6}
"""Bandwidth of the gyro in Hz: DLPF_CFG (RM 4.3).  They delay it by 1.9, 2.8, 4.8, 8.3, 13.4 and 18.6 ms.  With each of them it samples at 1 kHz."""
G = 9.80665

FULL_SCALE = 32767

SETTLING_S = 0.2
"""After it was woken: the gyro takes 30 ms (PS 6.1), the slowest filter 160 ms."""
STALE_S = 0.02
"""Without a new sample for so long it has hung: there is one every millisecond."""

UPRIGHT = ("x", "y", "z")
UPSIDE_DOWN = ("x", "-y", "-z")

# What counts as rest while the bias is measured.
REST_S = 2.0
REST_SAMPLES = 100
LARGEST_BIAS_DPS = 40.0  # 20 at 25 °C and 20 more over the range of temperature, PS 6.1
REST_NOISE_DPS = 0.5  # ten times the noise of PS 6.1
REST_NOISE_G = 0.05
REST_TILT_G = 0.8  # of gravity along the robot's z axis: 37 degrees


@dataclass(frozen=True, slots=True)
class ImuSample:
    """In the robot's axes: x forward, y left, z up.

    Attributes:
        time: monotonic seconds at which it was read; the filter's delay comes on top.
        rates: rad/s about x, y, z, the bias taken off.
        accelerations: m/s^2; (0, 0, 9.8) at rest.
        rates_saturated: whether one of the rates is beyond the gyro's range: it turns faster than is said.
        accelerations_saturated: the same of the accelerations.
    """

    time: float
    rates: tuple[float, float, float]
    accelerations: tuple[float, float, float]
    rates_saturated: bool
    accelerations_saturated: bool

    @property
    def yaw_rate(self) -> float:
        """rad/s, counter-clockwise positive."""
        return self.rates[2]


class Mpu6050:
    """One chip.  Does nothing until ``start``, ``calibrate`` or ``read``.

    Args:
        bus: its bus.
        address: 0x68 or 0x69.
        mounting: which of the chip's axes, printed on most boards, points along the robot's x, y and z: ``("-y", "x", "z")``, say.
        gyro_dps: range of the gyro: 250, 500, 1000 or 2000 degrees a second.
        accel_g: range of the accelerometer: 2, 4, 8 or 16 g.
        filter_hz: bandwidth, a key of ``FILTERS``; half the rate of reading, or less, is right.
        bias: rad/s at rest about the chip's own axes, if it is known already.
        clock: time.

    Raises:
        BadInput: settings that cannot be.
    """

    def __init__(
        self,
        bus: I2cBus,
        address: int = ADDRESS,
        *,
        mounting: Sequence[str] = UPRIGHT,
        gyro_dps: int = 500,
        accel_g: int = 4,
        filter_hz: int = 5,
        bias: tuple[float, float, float] | None = None,
        clock: Clock | None = None,
    ) -> None:
        for name, value, known in (
            ("gyro_dps", gyro_dps, GYRO_RANGES),
            ("accel_g", accel_g, ACCEL_RANGES),
            ("filter_hz", filter_hz, FILTERS),
        ):
            if value not in known:
                raise BadInput(f"MPU-6050: {name} is {value}: it can be {', '.join(map(str, known))}")
        if bias is not None and (len(bias) != 3 or not np.isfinite(bias).all()):
            raise BadInput(f"MPU-6050: bias is {bias}: it needs three finite numbers, rad/s about x, y and z")
        self.bias = None if bias is None else np.asarray(bias, dtype=np.float64)
        self._bus, self._address, self._clock = bus, address, clock or MonotonicClock()
        self._rotation = _rotation(mounting)
        gyro, gyro_steps = GYRO_RANGES[gyro_dps]
        accel, accel_steps = ACCEL_RANGES[accel_g]
        self._settings = bytes((0, FILTERS[filter_hz], gyro << 3, accel << 3))
        self._radps, self._mps2 = math.radians(1.0) / gyro_steps, G / accel_steps
        self._name = f"MPU-6050 {address:#04x}"
        self._outage = Outage(self._name, self._clock)
        self._set_up = False
        self._settled_at = self._heard_at = 0.0
        self._newest: ImuSample | None = None

    def start(self) -> None:
        """Wake it, and wait until its readings are good: 0.2 s.

        Raises:
            I2cError: it does not answer, or another chip does.
        """
        try:
            self._wake()
        except I2cError as error:
            raise self._outage.named(error) from error
        self._clock.sleep_until(self._settled_at)

    def calibrate(self) -> None:
        """Measure the bias of the gyro, which takes 2 s: the robot has to stand.

        It cannot tell a slow and even turn from a bias.

        Raises:
            I2cError: see ``read``.
            BridgeError: it does not stand, or is mounted in another way than ``mounting`` says; the bias is what it was.
        """
        self.start()
        counts = np.empty((REST_SAMPLES, 6))
        for index in range(REST_SAMPLES):
            self._clock.sleep_until(self._clock.now() + REST_S / REST_SAMPLES)
            try:
                sample = self._sample()
            except I2cError as error:
                raise self._outage.named(error) from error
            if sample is None:
                raise self._outage.named(I2cError("it gives no new samples"))
            counts[index] = sample
        rates = counts[:, 3:] * self._radps
        g = counts[:, :3] @ self._rotation.T * self._mps2 / G
        for what, unit, measured, most in (
            ("turned", "°/s", np.abs(np.degrees(rates.mean(axis=0))).max(), LARGEST_BIAS_DPS),
            ("shook by", "°/s", np.degrees(rates.std(axis=0)).max(), REST_NOISE_DPS),
            ("shook by", "g", g.std(axis=0).max(), REST_NOISE_G),
        ):
            if measured > most:
                raise BridgeError(
                    f"{self._name}: it {what} {measured:.2g} {unit} while its bias was measured, at rest {most} are the most: let the robot stand"
                )
        if g[:, 2].mean() < REST_TILT_G:
            felt = ", ".join(f"{axis:.1f}" for axis in g.mean(axis=0))
            raise BridgeError(
                f"{self._name}: at rest it feels ({felt}) g and not (0, 0, 1): it is mounted in another way than `mounting` says"
            )
        self.bias = rates.mean(axis=0)

    def read(self) -> ImuSample:
        """The newest sample; never waits for one.

        Raises:
            I2cError: it does not answer, has hung, or has reset itself.  It is set up again with the next call, and gives
                nothing until it has settled.  If it goes on failing it is left alone for a while, during which the same error is raised.
            BridgeError: the bias was never measured.
        """
        if self.bias is None:
            raise BridgeError(
                f"{self._name}: its bias was never measured: call calibrate() while the robot stands"
            )
        if self._outage.why is not None and self._outage.resting:
            raise self._outage.why
        try:
            if not self._set_up:
                self._wake()
            settled = self._clock.now() >= self._settled_at
            counts = self._sample() if settled else None
        except I2cError as error:
            raise self._outage.failed(error) from error
        if not settled:
            raise self._outage.why or self._outage.named(
                I2cError("it was woken just now and has not settled")
            )
        if counts is not None:
            self._outage.ended()
            self._newest = ImuSample(
                self._clock.now(),
                _xyz(self._rotation @ (counts[3:] * self._radps - self.bias)),
                _xyz(self._rotation @ (counts[:3] * self._mps2)),
                bool((np.abs(counts[3:]) >= FULL_SCALE).any()),
                bool((np.abs(counts[:3]) >= FULL_SCALE).any()),
            )
        if self._newest is None:
            raise self._outage.why or self._outage.named(I2cError("it has not sampled yet"))
        return self._newest

    def _wake(self) -> None:
        """Make sure of the chip, and write all of its settings."""
        identity = self._bus.read(self._address, Register.WHO_AM_I, 1)[0]
        if identity != IDENTITY:
            raise I2cError(f"it is no MPU-6050: it says {identity:#04x} and not {IDENTITY:#04x}")
        self._bus.write(self._address, Register.PWR_MGMT_1, AWAKE)
        self._bus.write(self._address, Register.SMPLRT_DIV, self._settings)
        self._bus.write(self._address, Register.INT_ENABLE, bytes((DATA_READY,)))
        self._set_up, self._newest = True, None
        self._settled_at = self._heard_at = self._clock.now() + SETTLING_S

    def _sample(self) -> npt.NDArray[np.float64] | None:
        """float64[6], counts: acceleration and rate about the chip's own axes; None if there is no new sample."""
        data = self._bus.read(self._address, Register.INT_STATUS, 15)
        # After the sample, so that a reset before it is seen.
        settings = self._bus.read(self._address, Register.SMPLRT_DIV, len(self._settings))
        awake = self._bus.read(self._address, Register.PWR_MGMT_1, len(AWAKE))
        now = self._clock.now()
        if (settings, awake) != (self._settings, AWAKE):
            self._set_up = False
            raise I2cError("it has lost its settings: its supply may have dropped")
        if not data[0] & DATA_READY:
            if now - self._heard_at > STALE_S:
                self._set_up = False
                raise I2cError(f"it has given no new sample for {now - self._heard_at:.2f} s")
            return None
        self._heard_at = now
        counts = np.frombuffer(data[1:], dtype=">i2").astype(np.float64)
        return np.delete(counts, 3)  # the temperature


def _rotation(mounting: Sequence[str]) -> npt.NDArray[np.float64]:
    """float64[3, 3]: from the chip's axes to the robot's."""
    rotation = np.zeros((3, 3))
    for row, axis in enumerate(mounting):
        letter = axis.removeprefix("-")
        if row > 2 or letter not in UPRIGHT:
            break
        rotation[row, UPRIGHT.index(letter)] = -1.0 if axis.startswith("-") else 1.0
    if len(mounting) != 3 or not np.isclose(np.linalg.det(rotation), 1.0):
        raise BadInput(
            f"MPU-6050: mounting is {list(mounting)}: it needs three of x, y, z, -x, -y, -z, as a chip can be turned; upside down is {list(UPSIDE_DOWN)}"
        )
    return rotation


def _xyz(vector: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z
