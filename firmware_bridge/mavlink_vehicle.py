"""One vehicle at the other end of a MAVLink link, on which there may be others.

What it says is kept as it comes; nothing here runs by itself, so heartbeats of ours leave while something is asked, or when told to.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Set
from typing import Any, TypeVar

from firmware_bridge.autopilots import AUTOPILOTS, Autopilot, Setpoint
from firmware_bridge.bridge import BridgeError
from firmware_bridge.mavlink_link import COMPONENT, MavlinkLink, dialect

BEAT_S = 0.5
"""Between two heartbeats of ours; once a second is asked for."""
FIRST_HEARD_S, ALL_HEARD_S = 6.0, 2.2
"""For the first heartbeat, and then for those of other vehicles on the same link."""
PARAMETERS_S, ANSWER_S, REASON_S, AGAIN_S = 2.0, 3.0, 0.6, 0.4
"""For all parameters, or the version; for the answer to a command, and for the reason behind a refusal; each is asked for again after ``AGAIN_S``."""
REPORT_S, REPORTS, REPORTS_S = 0.2, 5, 1.5
"""Seconds between reports, as they are asked for, and how many must come within how long."""
WHEELS_S = 0.1
MOST_TEXTS = 20
_WAIT_S = 0.005
_AUTOPILOT_COMPONENT, _GROUND_ROVER, _ONBOARD, _NO_AUTOPILOT, _ACTIVE = 1, 10, 18, 8, 4
_ARMED = 128  # MAV_MODE_FLAG_SAFETY_ARMED
_CRITICAL = 5  # MAV_STATE; more is worse
SET_MODE, ARM, _SET_MESSAGE_INTERVAL, _REQUEST_MESSAGE = 176, 400, 511, 512  # MAV_CMD
_ACCEPTED, _LATER = 0, (1, 5)  # MAV_RESULT: temporarily rejected, in progress
_WARNING = 4  # MAV_SEVERITY; less is worse
_WHOLE_NUMBERS = range(1, 7)  # MAV_PARAM_TYPE
_SYS_STATUS, _HEARTBEAT, _WHEEL_DISTANCE, _AUTOPILOT_VERSION = 1, 0, 9000, 148
_RELEASES = {0: "dev", 64: "alpha", 128: "beta", 192: "rc", 255: "official"}  # FIRMWARE_VERSION_TYPE

FoundT = TypeVar("FoundT")


class MavlinkVehicle:
    """Finds a ground rover, and talks with it.

    Args:
        link: open.
        system: MAVLink id that the link sends as.
        clock: seconds, monotonic.

    Attributes:
        autopilot: which one it is, once found.
        heartbeat: its newest.
        beat_at, any_at: when that came, and when the newest message of any kind did.
        status, wheels: its newest SYS_STATUS and WHEEL_DISTANCE; None before the first.
        texts: its warnings and worse, newest last.
        doubled: whether something else sends as the same id.
        station_at: when another ground station was last heard that sends as our id.
    """

    autopilot: Autopilot

    def __init__(self, link: MavlinkLink, system: int, clock: Callable[[], float]) -> None:
        self.heartbeat: Any = None
        self.beat_at = self.any_at = self.station_at = -math.inf
        self.status: Any = None
        self.wheels: Any = None
        self._version: Any = None
        self.texts: list[str] = []
        self.doubled = False
        self._link, self._us, self._clock = link, system, clock
        self._id = 0
        self._heartbeats: dict[int, Any] = {}
        self._parameters: dict[str, float] = {}
        self._answers: dict[int, int] = {}
        self._reports = 0
        self._chunks_of = 0
        self._began, self._sent_beat_at = clock(), -math.inf
        self._abandoned = 0

    @property
    def armed(self) -> bool:
        """Whether it says that its motors have power."""
        return bool(self.heartbeat.base_mode & _ARMED)

    @property
    def mode(self) -> int:
        """HEARTBEAT.custom_mode."""
        return int(self.heartbeat.custom_mode)

    @property
    def failing(self) -> bool:
        """Whether it says that a failsafe of it acts."""
        return bool(self.heartbeat.system_status >= _CRITICAL)

    def find(self, wanted: int | None) -> None:
        """Wait for its heartbeat.

        Args:
            wanted: its MAVLink id; None if it is alone.

        Raises:
            BridgeError: nothing is heard, several vehicles are, or it is no ground rover of ArduPilot or PX4.
        """
        self.until(lambda: self._heartbeats or None, FIRST_HEARD_S)
        if not self._heartbeats:
            raise self.error(
                f"{self._link.heard} bytes came and no autopilot's heartbeat among them: another baud rate, or no MAVLink on this port of it"
                if self._link.heard
                else "nothing came: is the autopilot on and connected, and does this port of it speak MAVLink?"
            )
        self.until(_never, ALL_HEARD_S)
        found = sorted(self._heartbeats)
        if wanted is None and len(found) > 1:
            raise self.error(f"several vehicles are on it: say which of {found} by vehicle=")
        self._id = found[0] if wanted is None else wanted
        if self._id not in found:
            raise self.error(f"no heartbeat of system {self._id} came, but of {found}")
        self.heartbeat = self._heartbeats[self._id]
        autopilot = AUTOPILOTS.get(self.heartbeat.autopilot)
        if self.heartbeat.type != _GROUND_ROVER or autopilot is None:
            kind = _in_words("MAV_TYPE", self.heartbeat.type)
            maker = _in_words("MAV_AUTOPILOT", self.heartbeat.autopilot)
            raise self.error(
                f"system {self._id} is a {kind} with {maker}: only ground rovers of ArduPilot and PX4 are driven"
            )
        self.autopilot = autopilot
        self.beat_at = self.any_at = self._clock()

    def parameters(self, names: Set[str]) -> dict[str, float]:
        """Those of them that it has."""

        def ask() -> None:
            for name in names - self._parameters.keys():
                self._send("param_request_read", self._id, _AUTOPILOT_COMPONENT, name.encode(), -1)

        self.until(lambda: names <= self._parameters.keys() or None, PARAMETERS_S, (AGAIN_S, ask))
        return dict(self._parameters)

    def report(self) -> None:
        """Have it report often, and see that it does: so that a dead link is noticed soon.

        Raises:
            BridgeError: it does not.
        """

        def ask() -> None:
            self._reports = 0
            for message, seconds in (
                (_SYS_STATUS, REPORT_S),
                (_HEARTBEAT, REPORT_S),
                (_WHEEL_DISTANCE, WHEELS_S),
            ):
                self._send_order(_SET_MESSAGE_INTERVAL, (message, seconds * 1e6), 0)

        if not self.until(lambda: self._reports >= REPORTS or None, 3.0 * REPORTS_S, (REPORTS_S, ask)):
            raise self.error(
                f"SYS_STATUS does not come every {REPORT_S:g} s as it was asked for: a dead link would be noticed late"
            )

    def version(self) -> str:
        """Of its firmware, such as "4.5.7 official"; empty if it does not say."""

        def ask() -> None:
            self._send_order(_REQUEST_MESSAGE, (_AUTOPILOT_VERSION,), 0)

        told = self.until(lambda: self._version, PARAMETERS_S, (AGAIN_S, ask))
        if told is None:
            return ""
        *numbers, release = int(told.flight_sw_version).to_bytes(4, "big")
        return f"{'.'.join(map(str, numbers))} {_RELEASES.get(release, release)}"

    def order(
        self,
        order: int,
        numbers: tuple[float, ...],
        what: str,
        *meanwhile: tuple[float, Callable[[], object]],
    ) -> None:
        """Send a MAV_CMD until it is answered, and insist on yes.

        Args:
            order: the command.
            numbers: its first parameters.
            what: it is, for people.
            meanwhile: what else is to be done how often.

        Raises:
            BridgeError: no answer, or no, with the reason it gives.
        """
        self._answers.pop(order, None)
        self.texts.clear()
        tries = 0

        def ask() -> None:
            nonlocal tries
            self._send_order(order, numbers, min(tries, 255))
            tries += 1

        def answer() -> int | None:
            return None if (found := self._answers.get(order)) in _LATER else found

        if self.until(answer, ANSWER_S, (AGAIN_S, ask), *meanwhile) == _ACCEPTED:
            return
        if order not in self._answers:
            raise self.error(f"no answer to the request to {what}")
        self.until(_never, REASON_S, *meanwhile)
        raise self.error(f"it refuses to {what}{self.because()}")

    def disarm(self, confirmation: int) -> None:
        """Ask for it, and do not wait for the answer."""
        self._send_order(ARM, (0.0, 0.0), confirmation)

    def steer(self, setpoint: Setpoint) -> None:
        """Send a setpoint."""
        self._send(
            "set_position_target_local_ned",
            int((self._clock() - self._began) * 1000.0) & 0xFFFFFFFF,
            self._id,
            _AUTOPILOT_COMPONENT,
            setpoint.frame,
            setpoint.type_mask,
            *(0.0, 0.0, 0.0),
            *(setpoint.vx, setpoint.vy, 0.0),
            *(0.0, 0.0, 0.0),
            *(0.0, setpoint.yaw_rate),
        )

    def beat(self) -> None:
        """Send a heartbeat if it is time for one."""
        now = self._clock()
        if now - self._sent_beat_at >= BEAT_S:
            self._sent_beat_at = now
            self._send("heartbeat", _ONBOARD, _NO_AUTOPILOT, 0, 0, _ACTIVE, 3)

    def hear(self) -> None:
        """Take in what has come; does not wait."""
        for message in self._link.receive():
            self._take(message)

    def because(self) -> str:
        """What it said was wrong, to be put behind what it did; empty if it said nothing."""
        telling = [
            text for text in self.texts if "arm" in text.lower() or "fail" in text.lower()
        ] or self.texts
        return ": " + "; ".join(dict.fromkeys(telling)) if telling else ""

    def error(self, text: str) -> BridgeError:
        """The same with the device."""
        return BridgeError(f"{self._link.device}: {text}")

    def abandon(self) -> None:
        """Let what is being waited for further down the stack fail: for what a signal handler does in its place."""
        self._abandoned += 1

    def until(
        self,
        done: Callable[[], FoundT | None],
        seconds: float,
        *again: tuple[float, Callable[[], object]],
    ) -> FoundT | None:
        """Listen, and send heartbeats, until something holds.

        Args:
            done: what it is, or None as long as it does not hold.
            seconds: to wait at most.
            again: how often to do what meanwhile, first at once.

        Raises:
            BridgeError: it was abandoned, or the link is gone.
        """
        abandoned, deadline = self._abandoned, self._clock() + seconds
        due = [-math.inf] * len(again)
        while True:
            now = self._clock()
            self.beat()
            for number, (every_s, action) in enumerate(again):
                if now >= due[number] and abandoned == self._abandoned:
                    due[number] = now + every_s
                    action()
            self.hear()
            if abandoned != self._abandoned:
                raise self.error("abandoned: the motors were stopped meanwhile")
            if (found := done()) is not None or now >= deadline:
                return found
            self._link.wait(_WAIT_S)

    def _take(self, message: Any) -> None:
        system, component, kind = message.get_srcSystem(), message.get_srcComponent(), message.get_type()
        if component != _AUTOPILOT_COMPONENT:
            if kind == "HEARTBEAT" and system == self._us and component != COMPONENT:
                self.station_at = self._clock()
            return
        if kind == "HEARTBEAT" and message.autopilot != _NO_AUTOPILOT:
            self._heartbeats[system] = message
        if self._id not in (0, system) or (self._id == 0 and system not in self._heartbeats):
            return
        self._link.answer_here()
        if self._id == 0:
            return
        self.any_at = self._clock()
        if kind == "HEARTBEAT":
            if (message.type, message.autopilot) != (self.heartbeat.type, self.heartbeat.autopilot):
                self.doubled = True
            else:
                self.heartbeat, self.beat_at = message, self.any_at
        elif kind == "SYS_STATUS":
            self.status = message
            self._reports += 1
        elif kind == "WHEEL_DISTANCE":
            self.wheels = message
        elif kind == "AUTOPILOT_VERSION":
            self._version = message
        elif kind == "STATUSTEXT" and message.severity <= _WARNING:
            self._take_text(" ".join(message.text.split()), message.id, message.chunk_seq)
        elif kind == "PARAM_VALUE":
            number = message.param_value
            if self.autopilot.bytewise and message.param_type in _WHOLE_NUMBERS:
                number = struct.unpack("<i", struct.pack("<f", number))[0]
            self._parameters[message.param_id] = float(number)
        elif kind == "COMMAND_ACK" and message.target_system in (0, self._us):
            self._answers[message.command] = message.result

    def _take_text(self, text: str, chunks_of: int, chunk: int) -> None:
        if chunks_of and chunk and chunks_of == self._chunks_of and self.texts:
            self.texts[-1] += text
        elif text:
            self.texts.append(text)
            del self.texts[:-MOST_TEXTS]
        self._chunks_of = chunks_of

    def _send_order(self, order: int, numbers: tuple[float, ...], confirmation: int) -> None:
        seven = (*numbers, *[0.0] * (7 - len(numbers)))
        self._send("command_long", self._id, _AUTOPILOT_COMPONENT, order, confirmation, *seven)

    def _send(self, kind: str, *values: Any) -> None:
        self._link.send(getattr(dialect(), f"MAVLink_{kind}_message")(*values))


def _never() -> None:
    """Nothing to wait for but time."""


def _in_words(enum: str, number: int) -> str:
    entry = dialect().enums[enum].get(number)
    return entry.name if entry else f"{enum} {number}"
