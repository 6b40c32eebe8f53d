"""The bridge to a ground rover with an autopilot: ArduPilot in GUIDED mode, PX4 in OFFBOARD mode; see ``docs/mavlink.md``.

The autopilot has the last word: it arms or does not, stops by itself when setpoints or heartbeats stay out, and hands the rover to its
operator as soon as the mode is changed.  What is checked here is that it is a rover, and that its parameters make it stop.

Heartbeats of ours leave from within ``connect``, ``arm`` and ``apply`` and from nowhere else.  A thread that sent them would go on when the
planner has died, and tell the autopilot that all is well; so a program that no longer calls ``apply`` falls silent, and is noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from firmware_bridge.autopilots import refusals
from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry
from firmware_bridge.chassis import Chassis
from firmware_bridge.mavlink_link import MavlinkLink, Port, dialect, open_port
from firmware_bridge.mavlink_vehicle import ANSWER_S, ARM, SET_MODE, MavlinkVehicle

BAUD = 115_200
SYSTEM = 255
"""What both autopilots expect of a ground station, out of the box."""
LINK_LOST_S = 1.0
"""Five reports in a row have stayed out."""
HEARTBEAT_LOST_S = 2.5
"""They come once a second, or more often if the autopilot grants it: two have stayed out."""
STATION_S = 5.0
"""Another ground station that was not heard for so long is gone."""
RESTS_S = 0.1
"""Between setpoints of rest while it is being armed.  PX4 wants more than two a second."""
STOPS, STOPPED_S = 3, 5.0
"""A stop is sent so often, since nothing waits for its answer; and again if it is asked for again within so long."""


class Trouble(NamedTuple):
    """Why it must no longer be driven: in short, and for a person."""

    name: str
    text: str


class MavlinkBridge:
    """Commands to an autopilot.  See :class:`firmware_bridge.bridge.Bridge` for the methods.

    Args:
        device: a tty such as ``/dev/ttyACM0``, ``udpin:HOST:PORT`` to listen, ``udpout:HOST:PORT``, or ``tcp:HOST:PORT``.
        chassis: the robot.
        baud: of a tty.
        vehicle: MAVLink id of the rover; not needed where no other vehicle is on the link.
        system: MAVLink id to send as; the autopilot's failsafe must watch it.
        opened: opens the port, given device and baud.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        device: str,
        chassis: Chassis,
        baud: int = BAUD,
        *,
        vehicle: int | None = None,
        system: int = SYSTEM,
        opened: Callable[[str, int], Port] = open_port,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._chassis, self._baud = device, chassis, baud
        self._wanted, self._system = vehicle, system
        self._opened, self._clock = opened, clock
        self._link: MavlinkLink | None = None
        self._vehicle: MavlinkVehicle | None = None
        self._parameters: dict[str, float] = {}
        self._ours = self._obeyed = self._driving = False
        self._stops, self._stopped_at = 0, math.inf
        self._trouble: tuple[Trouble, ...] = ()
        self._applied = NEUTRAL

    def connect(self) -> None:
        """Open the link, find the rover, and read whether it would stop if this computer were lost.  Sets no parameter.

        Raises:
            BridgeError: the link cannot be opened, no rover is there or several vehicles are, its parameters would let it drive on, or it
                is slower than the robot.
        """
        if self._link is not None:
            raise BridgeError(f"{self._device}: connected already")
        dialect()
        link = MavlinkLink(self._device, self._opened(self._device, self._baud), self._system, self._clock)
        try:
            vehicle = MavlinkVehicle(link, self._system, self._clock)
            vehicle.find(self._wanted)
            self._parameters = vehicle.parameters(vehicle.autopilot.parameters())
            for refusal in refusals(vehicle.autopilot, self._parameters, self._chassis, self._system):
                raise vehicle.error(refusal)
            vehicle.report()
        except BaseException:
            link.close()
            raise
        self._link, self._vehicle = link, vehicle
        self._ours = self._obeyed = self._driving = False
        self._trouble, self._applied = (), NEUTRAL

    def firmware(self) -> str:
        """Which autopilot it is, for people; it is asked for its version.  Raises BridgeError if the link is lost, or not connected."""
        vehicle = self._connected()
        return f"{vehicle.autopilot.name} {vehicle.version() or 'that does not say its version'}"

    def arm(self) -> None:
        """Have it take the mode in which it obeys, and arm it; never by force.

        Raises:
            BridgeError: it refuses, with its own reason, or a ground station sends as our id too, which would hide our loss.
        """
        vehicle = self._connected()
        vehicle.hear()
        if vehicle.autopilot.watches and self._clock() - vehicle.station_at < STATION_S:
            raise vehicle.error(
                f"a ground station sends as system {self._system} too, and the autopilot would not notice if this computer were"
                " lost: give this one an id of its own by system=, and the autopilot the same to watch"
            )
        autopilot, mode = vehicle.autopilot, vehicle.autopilot.modes[vehicle.autopilot.mode]
        self._ours, self._obeyed, self._driving, self._stopped_at = True, False, False, math.inf
        self._trouble, self._applied = (), NEUTRAL
        stops, rest = self._stops, (RESTS_S, lambda: self._send(NEUTRAL))
        try:
            vehicle.until(lambda: None, autopilot.lead_s, rest)
            vehicle.order(SET_MODE, autopilot.mode_request, f"take {mode} mode", rest)
            if not vehicle.until(lambda: vehicle.mode == autopilot.mode or None, ANSWER_S, rest):
                raise vehicle.error(f"it agreed to {mode} mode and did not take it{vehicle.because()}")
            # While we were silent, after connecting, its failsafe has acted; our heartbeats end that.
            vehicle.until(lambda: not vehicle.failing or None, ANSWER_S, rest)
            vehicle.order(ARM, (1.0, 0.0), "arm", rest)  # 21196 in the second place would be by force
            if not vehicle.until(lambda: vehicle.armed or None, ANSWER_S, rest):
                raise vehicle.error(f"it agreed to arm and did not{vehicle.because()}")
            self._obeyed = True
            self._insist()
            if stops != self._stops:
                raise vehicle.error("abandoned: the motors were stopped meanwhile")
        except BaseException:
            self.stop()  # once more: what was on its way may have armed it after a signal handler's stop
            raise
        self._driving = True

    def apply(self, command: Command) -> Command:
        """Send a velocity; at least every tick, or the autopilot stops the rover by itself.

        Returns:
            The velocity that was asked of the autopilot: within the robot's limits, and what this autopilot can be asked for.

        Raises:
            BridgeError: it is not finite (nothing is sent), the link is lost, or the autopilot no longer obeys: its operator has it, or a
                failsafe.  Nothing is sent then, nor until it is armed anew.
        """
        if not (math.isfinite(command.v) and math.isfinite(command.w)):
            raise BridgeError(f"a velocity that is not finite: {command}")
        vehicle, stops = self._connected(), self._stops
        if not self._driving:
            raise vehicle.error(self._trouble[0].text if self._trouble else "not armed")
        vehicle.hear()
        self._insist()
        vehicle.beat()
        if stops != self._stops:
            raise vehicle.error("abandoned: the motors were stopped meanwhile")
        chassis = self._chassis
        self._applied = self._send(command.within(chassis.max_v, chassis.max_reverse_v, chassis.max_w))
        return self._applied

    def telemetry(self) -> Telemetry:
        """What the autopilot said last.

        ``armed`` is its own word, whoever armed it; ``applied`` is neutral unless it obeys us; ``faults`` say why it no longer does.
        """
        vehicle = self._connected()
        vehicle.hear()
        found = self._trouble or (tuple(self._look(vehicle)) if self._driving else ())
        wheels = vehicle.wheels.distance if vehicle.wheels and vehicle.wheels.count >= 2 else None
        volts = vehicle.status.voltage_battery / 1000.0 if vehicle.status else 0.0
        return Telemetry(
            time=vehicle.any_at,
            armed=vehicle.armed,
            applied=self._applied if self._driving and not found else NEUTRAL,
            faults=tuple(trouble.name for trouble in found),
            wheels_m=(float(wheels[0]), float(wheels[1])) if wheels else None,
            battery_v=volts if 0.0 < volts < 65.535 else None,  # the largest number stands for unknown
        )

    def stop(self) -> None:
        """Ask for rest and disarm, some times over, and wait for no answer.  Never raises.

        Nothing is sent if it was not armed here, or is known to be driven by its operator: the rover is left to him, armed.
        """
        self._stops += 1
        self._driving, self._applied = False, NEUTRAL
        vehicle = self._vehicle
        if vehicle is None or not self._ours:
            return
        vehicle.abandon()  # from a signal handler, in the middle of arming
        now = self._clock()
        self._stopped_at = min(self._stopped_at, now)
        left = vehicle.mode not in {vehicle.autopilot.mode, *vehicle.autopilot.resting}
        if (self._obeyed and left) or now - self._stopped_at > STOPPED_S:
            self._ours = False
            return
        with suppress(BridgeError):
            for number in range(STOPS):
                self._send(NEUTRAL)
                vehicle.disarm(number)

    def close(self) -> None:
        """Stop, and give the port back.  Never raises."""
        self.stop()
        link, self._link, self._vehicle = self._link, None, None
        if link is not None:
            link.close()

    def _send(self, command: Command) -> Command:
        vehicle = self._connected()
        setpoint = vehicle.autopilot.steer(command, self._parameters, self._chassis.tick_s)
        vehicle.steer(setpoint)
        return setpoint.sent

    def _insist(self) -> None:
        """That it obeys, or end the drive."""
        vehicle = self._connected()
        found = tuple(self._look(vehicle))
        if found:
            self._driving, self._trouble, self._applied = False, found, NEUTRAL
            raise vehicle.error(found[0].text)

    def _look(self, vehicle: MavlinkVehicle) -> Iterator[Trouble]:
        """For anything that speaks against driving, what explains most first."""
        now, autopilot = self._clock(), vehicle.autopilot
        if (silent_s := now - vehicle.any_at) > LINK_LOST_S:
            yield Trouble("link lost", f"nothing has come from the autopilot for {silent_s:.1f} s")
        elif (silent_s := now - vehicle.beat_at) > HEARTBEAT_LOST_S:
            yield Trouble("no heartbeat", f"the autopilot's heartbeat has stayed out for {silent_s:.1f} s")
        if vehicle.doubled:
            yield Trouble(
                "id taken twice", "another vehicle sends as the same MAVLink id: give it one of its own"
            )
        if vehicle.mode != autopilot.mode:
            name = autopilot.modes.get(vehicle.mode, f"mode {vehicle.mode}")
            yield Trouble(
                f"mode {name}", f"it was put into {name} by its operator or a failsafe{vehicle.because()}"
            )
        if not vehicle.armed:
            yield Trouble("disarmed", f"it was disarmed{vehicle.because()}")
        if vehicle.failing:
            yield Trouble("failsafe", f"it reports a failsafe{vehicle.because()}")

    def _connected(self) -> MavlinkVehicle:
        if self._vehicle is None:
            raise BridgeError(f"{self._device}: not connected")
        return self._vehicle
