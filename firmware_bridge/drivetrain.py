"""From a body velocity to the power of motors, and to the angle of steered wheels, for bridges whose hardware only knows these.

What a motor makes of its power is a straight line behind a dead zone.  The numbers of each motor are data of the robot file, and
``edge-wm bridge calibrate`` finds some of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command

STILL = 0.0005
"""m/s.  A wheel that is asked for less stands: what rounding leaves of 0.1 - 0.1 must not be given the power of the dead zone."""


@dataclass(frozen=True)
class Motor:
    """How one motor, and the wheels on it, answer to power.

    Attributes:
        full_speed: of the wheel's rim at full power, m/s.
        dead_zone: power at which the wheel begins to turn, as a share of full power, 0 to below 1.
        trim: metres that the wheel makes for each that it is asked for; 1 if it is as ``full_speed`` says.
        reversed: connected the wrong way round.
    """

    full_speed: float
    dead_zone: float = 0.0
    trim: float = 1.0
    reversed: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.full_speed) and self.full_speed > 0.0):
            raise BridgeError(f"full_speed is {self.full_speed}: it must be finite and positive")
        if not 0.0 <= self.dead_zone < 1.0:
            raise BridgeError(f"dead_zone is {self.dead_zone}: it must be a share of full power below 1")
        if not 0.5 <= self.trim <= 2.0:
            raise BridgeError(f"trim is {self.trim}: it must be between 0.5 and 2")

    @property
    def max_speed(self) -> float:
        """What the rim really reaches at full power, m/s."""
        return self.full_speed * self.trim

    def power(self, speed: float) -> float:
        """Power for a speed of the rim, from -1 to 1; exactly 0 at rest, and below ``STILL``.

        Args:
            speed: m/s, forward positive; beyond ``max_speed`` it is full power.
        """
        if abs(speed) < STILL:
            return 0.0
        share = min(abs(speed) / self.max_speed, 1.0)
        power = self.dead_zone + (1.0 - self.dead_zone) * share
        return math.copysign(power, -speed if self.reversed else speed)


class Powers(NamedTuple):
    """What a differential drive does.

    Attributes:
        left, right: power of the motors, from -1 to 1.
        applied: the velocity that this is.
    """

    left: float
    right: float
    applied: Command


@dataclass(frozen=True)
class Differential:
    """Two driven wheels side by side.

    Attributes:
        track_m: between the contact points of the wheels.
        left, right: their motors.
    """

    track_m: float
    left: Motor
    right: Motor

    def __post_init__(self) -> None:
        if not (math.isfinite(self.track_m) and self.track_m > 0.0):
            raise BridgeError(f"track_m is {self.track_m}: it must be finite and positive")

    def mix(self, command: Command) -> Powers:
        """Power for a velocity.  If a wheel cannot turn so fast, the robot is slowed down on the same arc."""
        rim = command.w * self.track_m / 2.0
        left, right = command.v - rim, command.v + rim
        share = min(
            1.0, *(_reachable(speed, motor) for speed, motor in ((left, self.left), (right, self.right)))
        )
        applied = command if share == 1.0 else Command(command.v * share, command.w * share)
        return Powers(self.left.power(left * share), self.right.power(right * share), applied)


class Steered(NamedTuple):
    """What a car does.

    Attributes:
        power: of the motor, from -1 to 1.
        steering: of the way to either side, from -1 (right) to 1 (left).
        applied: the velocity that this is.
    """

    power: float
    steering: float
    applied: Command


@dataclass(frozen=True)
class Ackermann:
    """A car: a motor, and front wheels that steer.

    The wheels stand as those of a bicycle would: tan(angle) = wheelbase * w / v (Rajamani, Vehicle Dynamics and Control, section 2.2).

    Attributes:
        wheelbase_m: between front and rear axle.
        max_angle: of the steered wheels, either way, rad, below a quarter turn.
        motor: drives the car.
    """

    wheelbase_m: float
    max_angle: float
    motor: Motor

    def __post_init__(self) -> None:
        if not (math.isfinite(self.wheelbase_m) and self.wheelbase_m > 0.0):
            raise BridgeError(f"wheelbase_m is {self.wheelbase_m}: it must be finite and positive")
        if not 0.0 < self.max_angle < math.pi / 2.0:
            raise BridgeError(
                f"max_angle is {self.max_angle}: it must lie between 0 and a quarter turn, in rad"
            )

    def mix(self, command: Command) -> Steered:
        """Power and steering for a velocity.  A car at rest does not turn, and none turns tighter than its wheels allow."""
        share = _reachable(command.v, self.motor)
        v, w = command.v * share, command.w * share
        if v == 0.0:
            return Steered(0.0, 0.0, NEUTRAL)
        angle = min(max(math.atan(self.wheelbase_m * w / v), -self.max_angle), self.max_angle)
        turned = v * math.tan(angle) / self.wheelbase_m
        within = abs(turned) < abs(w)
        return Steered(self.motor.power(v), angle / self.max_angle, Command(v, turned if within else w))


def _reachable(speed: float, motor: Motor) -> float:
    """The share of a speed that a motor can give; 1 if it can all of it."""
    return min(1.0, motor.max_speed / abs(speed)) if speed else 1.0
