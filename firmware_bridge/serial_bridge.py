"""The bridge to a microcontroller that runs our firmware, or any that speaks ``docs/wire-protocol.md``.

The microcontroller has the last word: it is disarmed until it is armed, stops by itself when commands stay out, and keeps limits of its
own.  What is checked here is that it was built for the same protocol and for this robot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry
from firmware_bridge.chassis import Chassis, differences
from firmware_bridge.clock_offset import ClockOffset
from firmware_bridge.link import Line, Link, open_line
from firmware_bridge.wire import (
    PROTOCOL,
    Arm,
    Disarm,
    Drive,
    Fault,
    Hello,
    Identity,
    Message,
    Poll,
    Result,
    State,
    Status,
)

BAUD = 115_200
GREETING_S = 0.25
GREETINGS = 12
"""An Arduino resets when its port is opened, and its boot loader keeps the line for up to two seconds."""
FRESH_S = 0.15
PROCESSORS = {1: "an ATmega328P", 2: "an RP2040", 255: "a program of this computer"}
"""``Identity.port`` in words."""
REFUSED = {
    Result.OLD_SEQUENCE: "it has heard a newer request: another program may be talking to it",
    Result.NO_SESSION: "it knows no session: it was reset, or another program has begun one",
    Result.NOT_ARMED: "it is disarmed: it was reset, or another program has disarmed it",
    Result.BUTTON_PRESSED: "the emergency-stop button is pressed, or its wire is broken",
    Result.OUT_OF_RANGE: "the velocity is beyond its limits",
}


class WrongFirmware(BridgeError):
    """It speaks another protocol, or was built for another robot: it has to be flashed for this one."""


class SerialBridge:
    """Commands over a serial line.  See :class:`firmware_bridge.bridge.Bridge` for the methods.

    Args:
        device: of the port, such as ``/dev/ttyACM0``.
        chassis: the robot.
        baud: of the line.
        opened: opens the port, given device and baud.
        clock: seconds, monotonic.

    Attributes:
        identity: what answered, once connected.
        status: its newest report.
    """

    def __init__(
        self,
        device: str,
        chassis: Chassis,
        baud: int = BAUD,
        *,
        opened: Callable[[str, int], Line] = open_line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity: Identity | None = None
        self.status: Status | None = None
        self._device, self._chassis, self._baud = device, chassis, baud
        self._opened, self._monotonic = opened, clock
        self._link: Link | None = None
        self._clock = ClockOffset()
        self._read_at = 0.0

    def connect(self) -> None:
        """Open the port and say hello.

        Raises:
            BridgeError: no such port, busy, no permission, or no answer.
            WrongFirmware: another protocol, or another robot.
        """
        if self._link is not None:
            raise BridgeError(f"{self._device}: connected already")
        link = Link(self._opened(self._device, self._baud), self._monotonic)
        try:
            self.identity = greet(link, self._device)
            for difference in differences(self._chassis, self.identity):
                raise WrongFirmware(f"{self._device}: {difference}")
        except BaseException:
            link.close()
            raise
        self._link, self.status, self._clock = link, None, ClockOffset()

    def firmware(self) -> str:
        """What answered, for people.  Raises BridgeError if it is not connected."""
        _, identity = self._connected()
        processor = PROCESSORS.get(identity.port, f"processor {identity.port}")
        return f"firmware of {processor}, protocol {identity.protocol:08x}, deadman {identity.deadman_ms} ms"

    def arm(self) -> None:
        """Let commands reach the motors.  Raises BridgeError if a fault is latched or the button is pressed."""
        _, identity = self._connected()
        self._obeyed(Arm(identity.session))

    def apply(self, command: Command) -> Command:
        """Send a velocity, within the firmware's limits.

        Returns:
            The velocity that is in force: less on the same arc if a wheel cannot turn so fast.

        Raises:
            BridgeError: it is not finite (nothing is sent), the line is gone, or the firmware refuses.
        """
        if not (math.isfinite(command.v) and math.isfinite(command.w)):
            raise BridgeError(f"a velocity that is not finite: {command}")
        _, limits = self._connected()
        allowed = command.within(
            limits.max_v_mmps / 1000.0, limits.max_reverse_mmps / 1000.0, limits.max_w_mradps / 1000.0
        )
        return _in_force(self._obeyed(Drive(round(allowed.v * 1000.0), round(allowed.w * 1000.0))))

    def telemetry(self) -> Telemetry:
        """The newest report; a new one is asked for if the last is older than ``FRESH_S``, which nothing that drives finds."""
        _, identity = self._connected()
        status = self.status
        if status is None or self._monotonic() - self._read_at > FRESH_S:
            status = self._obeyed(Poll())
        return Telemetry(
            time=self._read_at,
            armed=status.state == State.ARMED,
            applied=_in_force(status),
            faults=fault_names(status.faults),
            wheels_m=_turned(identity, status) if identity.counts_per_turn else None,
            battery_v=status.battery_mv / 1000.0 if status.battery_mv else None,
        )

    def stop(self) -> None:
        """Motors off and disarmed.  If nothing answers, the firmware's deadman does it.  Never raises."""
        if self._link is None:
            return
        self._link.abandon()  # from a signal handler, in the middle of another request
        with suppress(BridgeError):
            self._keep(Disarm())

    def close(self) -> None:
        """Stop, and give the port back.  Never raises."""
        self.stop()
        if self._link is not None:
            self._link.close()
        self._link = None

    def _obeyed(self, request: Message) -> Status:
        """Ask, and insist on OK."""
        status = self._keep(request)
        result = Result(status.result)
        if result is Result.FAULT_LATCHED:
            raise BridgeError(f"{self._device}: latched: {', '.join(fault_names(status.faults))}")
        if result is not Result.OK:
            raise BridgeError(f"{self._device}: {REFUSED[result]}")
        return status

    def _connected(self) -> tuple[Link, Identity]:
        if self._link is None or self.identity is None:
            raise BridgeError(f"{self._device}: not connected")
        return self._link, self.identity

    def _keep(self, request: Message) -> Status:
        link, _ = self._connected()
        self.status, exchange = link.ask(request, Status)
        self._clock.observe(exchange.sent, exchange.received, self.status.time_us)
        self._read_at, _ = self._clock.to_host(self.status.time_us - self.status.age_us)
        return self.status


def greet(link: Link, device: str) -> Identity:
    """Begin a session.

    Args:
        link: to an open port.
        device: what to call it in messages.

    Raises:
        BridgeError: nothing answers.
        WrongFirmware: it speaks another protocol.
    """
    try:
        identity, _ = link.ask(Hello(PROTOCOL), Identity, GREETING_S, GREETINGS, newest=True)
    except BridgeError as error:
        if link.heard:
            raise BridgeError(
                f"{device}: {link.heard} bytes came and no answer among them: another device, another baud"
                " rate than the firmware's, or a firmware that has to be flashed anew"
            ) from error
        raise BridgeError(f"{device}: {error}: is this the board, and was it flashed?") from error
    if identity.protocol != PROTOCOL:
        raise WrongFirmware(
            f"{device}: its firmware speaks protocol {identity.protocol:08x}, this edge-wm speaks {PROTOCOL:08x}: reflash it"
        )
    return identity


def fault_names(faults: int) -> tuple[str, ...]:
    """The latched faults, in words."""
    return tuple(str(fault.name).lower().replace("_", " ") for fault in Fault if fault & faults)


def _turned(identity: Identity, status: Status) -> tuple[float, float]:
    """Metres that the wheels have turned."""
    per_count = 2.0 * math.pi * 1e-6 / identity.counts_per_turn
    return (
        status.left_counts * per_count * identity.left_radius_um,
        status.right_counts * per_count * identity.right_radius_um,
    )


def _in_force(status: Status) -> Command:
    return (
        Command(status.v_mmps / 1000.0, status.w_mradps / 1000.0)
        if status.v_mmps or status.w_mradps
        else NEUTRAL
    )
