"""The link to the actuators: one small interface that every bridge implements.

A bridge turns a body velocity into what its hardware understands, sends it, and returns what was *really*
sent after its own limits.  It never plans and never decides; the supervisor above it and the microcontroller
below it do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Command:
    """A body velocity, ROS axes.

    Attributes:
        v: forward speed in m/s.
        w: yaw rate in rad/s, counter-clockwise positive.
    """

    v: float
    w: float

    def within(self, max_v: float, max_reverse_v: float, max_w: float) -> Command:
        """The same velocity, each part clamped to its limit; all limits are positive."""
        return Command(min(max(self.v, -max_reverse_v), max_v), min(max(self.w, -max_w), max_w))


NEUTRAL = Command(0.0, 0.0)
"""The command of a robot at rest."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What the actuators report about themselves.

    Attributes:
        time: monotonic seconds at which the report was read.
        armed: whether commands reach the motors.
        applied: the command that is in force at the actuators.
        faults: names of the faults that are latched, empty when there are none.
        wheels_m: metres that the left and the right wheel have turned since power came; None without encoders.
        battery_v: volts; None if they are not measured.
    """

    time: float
    armed: bool
    applied: Command
    faults: tuple[str, ...] = field(default=())
    wheels_m: tuple[float, float] | None = None
    battery_v: float | None = None


class BridgeError(Exception):
    """The actuators could not be reached or refused; the motors must be assumed to be stopping by themselves."""


class Bridge(Protocol):
    """What every actuator link does.  Call order: ``connect``, ``arm``, then ``apply`` once a tick."""

    def connect(self) -> None:
        """Open the link and check the other end.  Raises BridgeError."""

    def arm(self) -> None:
        """Let commands reach the motors.  Raises BridgeError if the other end refuses."""

    def apply(self, command: Command) -> Command:
        """Send ``command``; return what was really sent.  Raises BridgeError."""

    def telemetry(self) -> Telemetry:
        """Return the newest report of the actuators."""

    def stop(self) -> None:
        """Bring the motors to rest and disarm.  Never raises; safe to call twice and from a signal handler."""

    def close(self) -> None:
        """Stop, then release the link.  Never raises; safe to call twice."""
