"""What hangs on a PCA9685's outputs, as data, and which pulses make it move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from firmware_bridge.bridge import BridgeError, Command
from firmware_bridge.chassis import SAME, Chassis
from firmware_bridge.drivetrain import Ackermann, Differential
from firmware_bridge.output_enable import OutputEnable
from firmware_bridge.pca9685 import CHANNELS, OSCILLATOR_HZ, STEPS, rate

ADDRESSES = range(0x40, 0x78)
ALL_CALL = 0x70
"""Every chip listens to it after power-up (7.3.7)."""
OFF_CENTRE = 0.1
"""Share by which the internal oscillator may be off; the chips are known for some per cent."""
MOTOR_HZ = (24.0, 1526.0)
SERVO_HZ = (50.0, 60.0)
SHORTEST_US, LONGEST_US = 500.0, 2500.0


@dataclass(frozen=True)
class Wiring:
    """Where the chip is.

    Attributes:
        bus: number of ``/dev/i2c-N``.
        pwm_hz: cycles a second of all its outputs.
        address: of the chip, 7 bits.
        oscillator_hz: of this chip: 25e6 times the frequency that was measured at an output, over the one that was asked for.
        output_enable: its OE pin; None if that is tied low.
    """

    bus: int
    pwm_hz: float
    address: int = 0x40
    oscillator_hz: float = OSCILLATOR_HZ
    output_enable: OutputEnable | None = None

    def __post_init__(self) -> None:
        if self.address not in ADDRESSES or self.address == ALL_CALL:
            raise BridgeError(f"address is {self.address:#04x}: it must be 0x40 to 0x77, and not 0x70")
        if not abs(self.oscillator_hz / OSCILLATOR_HZ - 1.0) <= OFF_CENTRE:
            raise BridgeError(f"oscillator_hz is {self.oscillator_hz:g}: it must be within 10 % of 25e6")
        if not (math.isfinite(self.pwm_hz) and self.pwm_hz > 0.0):
            raise BridgeError(f"pwm_hz is {self.pwm_hz}: it must be finite and positive")
        rate(self.pwm_hz, self.oscillator_hz)


class Outputs(Protocol):
    """What the bridge needs to know of what hangs on the outputs."""

    @property
    def hz(self) -> tuple[float, float]:
        """Lowest and highest ``pwm_hz``."""

    @property
    def arming_s(self) -> float:
        """Seconds at rest before the first command."""

    def mix(self, command: Command, step_s: float) -> tuple[dict[int, int], Command]:
        """What to set for a velocity.

        Args:
            command: the velocity.
            step_s: seconds, of one of the 4096 steps of a PWM cycle.

        Returns:
            The steps in which each channel is high, 0 to 4096, and the velocity that this is.
        """

    def check(self, chassis: Chassis) -> None:
        """Raise BridgeError if they are another robot's."""


@dataclass(frozen=True)
class HBridge:
    """The channels of one motor.  A motor at rest is not braked: all of them are low.

    Attributes:
        forward, backward: high while the motor turns that way; they carry the PWM where ``pwm`` is None, as on DRV8833 boards.
        pwm: carries the PWM on drivers with an input for it, as the TB6612.
    """

    forward: int
    backward: int
    pwm: int | None = None

    def __post_init__(self) -> None:
        _distinct(self.channels)

    @property
    def channels(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(channel for channel in (self.pwm, self.forward, self.backward) if channel is not None)

    def levels(self, power: float) -> dict[int, int]:
        """For a power from -1 to 1."""
        level = round(abs(power) * STEPS)
        towards, away = (self.forward, self.backward) if power > 0.0 else (self.backward, self.forward)
        if self.pwm is None:
            return {towards: level, away: 0}
        return {self.pwm: level, towards: STEPS if level else 0, away: 0}


@dataclass(frozen=True)
class HBridges:
    """Two motors of a differential drive.

    Attributes:
        drive: the motors as they answer to power.
        left, right: their channels.
    """

    drive: Differential
    left: HBridge
    right: HBridge

    def __post_init__(self) -> None:
        _distinct(self.left.channels + self.right.channels)

    @property
    def hz(self) -> tuple[float, float]:
        """See :class:`Outputs`."""
        return MOTOR_HZ

    @property
    def arming_s(self) -> float:
        """See :class:`Outputs`."""
        return 0.0

    def mix(self, command: Command, step_s: float) -> tuple[dict[int, int], Command]:
        """See :class:`Outputs`."""
        left, right, applied = self.drive.mix(command)
        return {**self.left.levels(left), **self.right.levels(right)}, applied

    def check(self, chassis: Chassis) -> None:
        """See :class:`Outputs`."""
        if not math.isclose(self.drive.track_m, chassis.track_m, rel_tol=SAME):
            raise BridgeError(
                f"the drive's track is {self.drive.track_m:g} m and the robot's {chassis.track_m:g} m"
            )


@dataclass(frozen=True)
class Steering:
    """A servo that steers.  A servo that turns the other way has a longer pulse to the other side.

    Attributes:
        channel: of it.
        centre_us: microseconds, of the pulse for straight ahead.
        left_us, right_us: with the wheels at the greatest angle.
    """

    channel: int
    centre_us: float
    left_us: float
    right_us: float

    def __post_init__(self) -> None:
        _distinct((self.channel,))
        _pulses(self, "centre_us", "left_us", "right_us")

    def pulse_us(self, steering: float) -> float:
        """For -1 (right) to 1 (left)."""
        return _between(steering, self.right_us, self.centre_us, self.left_us)


@dataclass(frozen=True)
class Esc:
    """A speed controller for one motor.

    Attributes:
        channel: of it.
        neutral_us: microseconds, of the pulse at rest.
        forward_us, backward_us: at full power; ``backward_us`` is None if it cannot go backwards at once.
        arming_s: seconds of the neutral pulse after which it obeys.
    """

    channel: int
    neutral_us: float
    forward_us: float
    backward_us: float | None = None
    arming_s: float = 2.0

    def __post_init__(self) -> None:
        _distinct((self.channel,))
        _pulses(self, "neutral_us", "forward_us", "backward_us")
        if not 0.0 <= self.arming_s <= 10.0:
            raise BridgeError(f"arming_s is {self.arming_s}: it must be between 0 and 10")

    def pulse_us(self, power: float) -> float:
        """For a power from -1 to 1."""
        backward_us = self.neutral_us if self.backward_us is None else self.backward_us
        return _between(power, backward_us, self.neutral_us, self.forward_us)


@dataclass(frozen=True)
class Car:
    """A steering servo and a speed controller.

    Attributes:
        drive: wheelbase, greatest angle, and the motor as it answers to power.
        steering, esc: their channels and pulses.
    """

    drive: Ackermann
    steering: Steering
    esc: Esc

    def __post_init__(self) -> None:
        _distinct((self.steering.channel, self.esc.channel))

    @property
    def hz(self) -> tuple[float, float]:
        """See :class:`Outputs`."""
        return SERVO_HZ

    @property
    def arming_s(self) -> float:
        """See :class:`Outputs`."""
        return self.esc.arming_s

    def mix(self, command: Command, step_s: float) -> tuple[dict[int, int], Command]:
        """See :class:`Outputs`."""
        power, steering, applied = self.drive.mix(command)
        pulses_us = {
            self.steering.channel: self.steering.pulse_us(steering),
            self.esc.channel: self.esc.pulse_us(power),
        }
        return {channel: round(us * 1e-6 / step_s) for channel, us in pulses_us.items()}, applied

    def check(self, chassis: Chassis) -> None:
        """See :class:`Outputs`."""
        if self.esc.backward_us is None and chassis.max_reverse_v > 0.0:
            raise BridgeError(
                f"max_reverse_v is {chassis.max_reverse_v:g} and the ESC has no backward_us: set max_reverse_v = 0"
            )


def _between(share: float, least: float, middle: float, most: float) -> float:
    """Least at -1, middle at 0, most at 1."""
    return middle + abs(share) * ((most if share > 0.0 else least) - middle)


def _distinct(channels: tuple[int, ...]) -> None:
    for channel in channels:
        if channel not in range(CHANNELS):
            raise BridgeError(f"there is no channel {channel}: a PCA9685 has 0 to 15")
        if channels.count(channel) > 1:
            raise BridgeError(f"channel {channel} is used twice")


def _pulses(servo: Steering | Esc, middle: str, one: str, other: str) -> None:
    for name in (middle, one, other):
        pulse_us = getattr(servo, name)
        if pulse_us is not None and not SHORTEST_US <= pulse_us <= LONGEST_US:
            raise BridgeError(f"{name} is {pulse_us}: it must be {SHORTEST_US:g} to {LONGEST_US:g} us")
    at, ends = getattr(servo, middle), (getattr(servo, one), getattr(servo, other))
    if at in ends or (ends[1] is not None and not min(ends) < at < max(ends)):
        raise BridgeError(f"{middle} is {at:g}: it must lie between {one} and {other}")
