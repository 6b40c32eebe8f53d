"""A ground rover with an autopilot, as far as a bridge meets one: MAVLink over a real socket or terminal.

Written from the public message definitions and the documentation of ArduPilot's and PX4's rovers; it shares no code with the bridge.  pymavlink
makes the bytes.  Time is what ``step`` is told.  The wheels do at once what they are told: what is tested is when they are told to rest.
"""

from __future__ import annotations

import math
import os
import pty
import socket
import struct
import tty
from contextlib import suppress
from typing import Any, Protocol

from pymavlink.dialects.v20 import common as mavlink

GROUND_ROVER, QUADROTOR = mavlink.MAV_TYPE_GROUND_ROVER, mavlink.MAV_TYPE_QUADROTOR
ARDUPILOT, PX4 = mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, mavlink.MAV_AUTOPILOT_PX4
MANUAL, HOLD, GUIDED = 0, 4, 15  # ArduPilot's custom modes
OFFBOARD, PX4_HOLD, PX4_MANUAL = 6 << 16, 4 << 16 | 3 << 24, 1 << 16
FORCE = 21196.0
HEARD_WITHIN_S = 2.0
"""ArduPilot before FS_GCS_TIMEOUT: a station that is silent for this long is gone."""

ARDUPILOT_PARAMETERS: dict[str, float | int] = {
    "FS_GCS_ENABLE": 1,
    "FS_ACTION": 2,
    "FS_TIMEOUT": 1.5,
    "SYSID_MYGCS": 255,
    "WP_SPEED": 1.0,
    "CRUISE_SPEED": 2.0,
    "ATC_STR_RAT_MAX": 180.0,
}
PX4_PARAMETERS: dict[str, float | int] = {
    "COM_OBL_RC_ACT": 5,
    "COM_OF_LOSS_T": 0.5,
    "RO_YAW_P": 4.0,
    "RO_SPEED_LIM": 1.0,
    "RO_YAW_RATE_LIM": 180.0,
    "RD_TRANS_TRN_DRV": 0.3,
    "RD_TRANS_DRV_TRN": 0.4,
    "MAV_FWDEXTSP": 1,
}


class Wire(Protocol):
    """Bytes to and from the bridge."""

    device: str

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Udp:
    """Waits to be spoken to; or speaks to an address first, as an autopilot's telemetry does."""

    def __init__(self, to: tuple[str, int] | None = None) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._to = to
        self.device = f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"

    def read(self) -> bytes:
        data = b""
        with suppress(BlockingIOError):
            data, self._to = self._socket.recvfrom(65535)
        return data

    def write(self, data: bytes) -> None:
        if self._to:
            self._socket.sendto(data, self._to)

    def close(self) -> None:
        self._socket.close()


class Stream:
    """One end of a connection."""

    device = ""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.setblocking(False)

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            return self._socket.recv(65535)
        return b""

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


class Tcp:
    """Waits for a connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._socket: socket.socket | None = None
        self.device = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            if self._socket is None:
                self._socket, _ = self._listener.accept()
                self._socket.setblocking(False)
            return self._socket.recv(65535)
        return b""

    def write(self, data: bytes) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendall(data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()


class Pty:
    """The far end of a terminal."""

    def __init__(self) -> None:
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.device = os.ttyname(self._theirs)

    def read(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self._ours, 65535)
        return b""

    def write(self, data: bytes) -> None:
        with suppress(BlockingIOError):
            os.write(self._ours, data)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)


class Nowhere:
    """Of a second vehicle that shares the wire of the first: it only sends."""

    device = ""

    def __init__(self, wire: Wire) -> None:
        self.write = wire.write

    def read(self) -> bytes:
        return b""

    def close(self) -> None: ...


class RoverPeer:
    """One vehicle.

    Attributes:
        parameters: a whole number is one on the wire too.
        mode, armed: its state.
        speed, turning: what the wheels do now, m/s and rad/s counter-clockwise.
        stick: speed that its operator asks for in MANUAL.
        prearm: why it does not arm, if it does not.
        setpoints: times at which it took one.
        beats: times at which a heartbeat of the station came that it watches.
        orders: (command, first parameter, second parameter) that came.
        forced: whether somebody armed it by force.
        mute, deaf, heartless: it sends nothing; hears nothing; sends no heartbeats.
        failsafes: whether they work at all, whatever the parameters say.
        grants: whether it sends messages as often as it is asked to.
        spoil: of so many frames one is sent damaged; 0 for none.
        old: it sends MAVLink 1.
        version: major, minor, patch and kind of its release; None if it does not say.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        autopilot: int = ARDUPILOT,
        kind: int = GROUND_ROVER,
        system: int = 1,
        parameters: dict[str, float | int] | None = None,
    ) -> None:
        self.wire, self.autopilot, self.kind, self.system = wire, autopilot, kind, system
        defaults = PX4_PARAMETERS if autopilot == PX4 else ARDUPILOT_PARAMETERS
        self.parameters = {**defaults, **(parameters or {})}
        self.mode, self.armed = (PX4_MANUAL if autopilot == PX4 else MANUAL), False
        self.speed = self.turning = self.stick = 0.0
        self.heading = 1.0  # rad, clockwise from north
        self.wheels = [0.0, 0.0]
        self.prearm = ""
        self.setpoints: list[float] = []
        self.beats: list[float] = []
        self.orders: list[tuple[int, float, float]] = []
        self.forced = self.mute = self.deaf = self.heartless = self.old = False
        self.failsafes = self.grants = True
        self.spoil = 0
        self.version: tuple[int, int, int, int] | None = (4, 5, 7, mavlink.FIRMWARE_VERSION_TYPE_OFFICIAL)
        self.critical = False
        self._frames = 0
        self._parser = mavlink.MAVLink(None)
        self._parser.robust_parsing = True
        self._sender = mavlink.MAVLink(None, srcSystem=system, srcComponent=1)
        self._intervals = {"heartbeat": 1.0, "sys_status": 0.0, "wheel_distance": 0.0}
        self._due = dict.fromkeys(self._intervals, 0.0)
        self._target: tuple[float, float] | None = None  # speed; and turn rate, or bearing with PX4
        self._streaming_since = math.inf
        self._silent_since: float | None = None
        self._spot_turning = False
        self._now = 0.0

    def step(self, now: float) -> None:
        """Work off what came, watch over itself, drive, and report."""
        before, self._now = self._now, now
        while data := self.wire.read():
            for message in () if self.deaf else self._parser.parse_buffer(data) or ():
                self._take(message)
        self._watch()
        self._drive(min(max(now - before, 0.0), 0.1))
        for name, interval in self._intervals.items():
            if interval and now >= self._due[name]:
                self._due[name] = now + interval
                getattr(self, f"_send_{name}")()

    def say(self, text: str, severity: int = mavlink.MAV_SEVERITY_CRITICAL) -> None:
        """STATUSTEXT, in as many parts as it takes."""
        parts = [text[at : at + 50].encode() for at in range(0, len(text), 50)]
        for number, part in enumerate(parts):
            self.send(mavlink.MAVLink_statustext_message(severity, part, 7 if len(parts) > 1 else 0, number))

    def send(self, message: Any) -> None:
        data = bytearray(message.pack(self._sender, force_mavlink1=self.old))
        self._sender.seq = (self._sender.seq + 1) % 256
        self._frames += 1
        if self.spoil and self._frames % self.spoil == 0:
            data[len(data) // 2] ^= 0x40
        if not self.mute:
            self.wire.write(bytes(data))

    def close(self) -> None:
        self.wire.close()

    def _take(self, message: Any) -> None:
        kind, sender = message.get_type(), message.get_srcSystem()
        if getattr(message, "target_system", self.system) not in (0, self.system):
            return
        if kind == "HEARTBEAT":
            if sender == self.parameters.get("MAV_GCS_SYSID", self.parameters.get("SYSID_MYGCS", sender)):
                self.beats.append(self._now)
        elif kind == "PARAM_REQUEST_READ":
            self._tell(message.param_id)
        elif kind == "COMMAND_LONG":
            self.orders.append((message.command, message.param1, message.param2))
            result = self._obey(message)
            self.send(mavlink.MAVLink_command_ack_message(message.command, result, 0, 0, sender, 191))
        elif kind == "SET_POSITION_TARGET_LOCAL_NED":
            self._aim(message)

    def _tell(self, name: str) -> None:
        if name not in self.parameters:
            return
        number = self.parameters[name]
        kind = mavlink.MAV_PARAM_TYPE_INT32 if isinstance(number, int) else mavlink.MAV_PARAM_TYPE_REAL32
        if isinstance(number, int) and self.autopilot == PX4:
            number = struct.unpack("<f", struct.pack("<i", number))[0]
        self.send(mavlink.MAVLink_param_value_message(name.encode(), number, kind, 900, 1))

    def _obey(self, order: Any) -> int:
        if order.command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
            name = {0: "heartbeat", 1: "sys_status", 9000: "wheel_distance"}.get(int(order.param1))
            if name is None or not self.grants:
                return int(mavlink.MAV_RESULT_UNSUPPORTED)
            self._intervals[name] = order.param2 / 1e6
        elif order.command == mavlink.MAV_CMD_REQUEST_MESSAGE and self.version and order.param1 == 148:
            version = int.from_bytes(bytes(self.version), "big")
            unknown = [0] * 8
            self.send(
                mavlink.MAVLink_autopilot_version_message(
                    0, version, 0, 0, 0, unknown, unknown, unknown, 0, 0, 0
                )
            )
        elif order.command == mavlink.MAV_CMD_DO_SET_MODE:
            if self.autopilot == PX4:
                streaming = self._silence() <= 0.5 and self._now - self._streaming_since >= 1.0
                if order.param2 == 6.0 and not streaming:
                    return int(mavlink.MAV_RESULT_DENIED)
                self.mode = int(order.param2) << 16 | int(order.param3) << 24
            else:
                self.mode = int(order.param2)
                self._target = None
        elif order.command == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
            if order.param1 == 1.0 and self.prearm and order.param2 != FORCE:
                self.say(self.prearm)
                return int(mavlink.MAV_RESULT_FAILED)
            self.forced |= order.param2 == FORCE
            self.armed = order.param1 == 1.0
        else:
            return int(mavlink.MAV_RESULT_UNSUPPORTED)
        return int(mavlink.MAV_RESULT_ACCEPTED)

    def _aim(self, target: Any) -> None:
        """A setpoint: what GCS_MAVLINK_Rover and PX4's MavlinkReceiver make of it."""
        if not self.setpoints or self._now - self.setpoints[-1] > 0.5:
            self._streaming_since = self._now
        self.setpoints.append(self._now)
        mask = target.type_mask
        if self.autopilot == PX4:
            if mask & 0b111000 == 0 and mask & 0b111 == 0b111 and target.coordinate_frame in (1, 8):
                bearing = math.atan2(target.vy, target.vx) if target.vx or target.vy else 0.0
                if target.coordinate_frame == 8 and (target.vx or target.vy):
                    bearing += self.heading
                self._target = math.hypot(target.vx, target.vy), bearing
        elif self.mode == GUIDED and target.coordinate_frame in (1, 7, 8, 9):
            velocity, turning = not mask & 0b011000, not mask & 0x800
            if mask & 0x1C0 == 0x1C0 and mask & 0b11 == 0b11 and velocity and turning and mask & 0x400:
                most, length = self.parameters["WP_SPEED"], math.hypot(target.vx, target.vy)
                self._target = math.copysign(min(length, most), target.vx), -target.yaw_rate

    def _watch(self) -> None:
        """The failsafes."""
        if not self.failsafes:
            return
        if self.autopilot == PX4:
            if self.armed and self.mode == OFFBOARD and self._silence() > self.parameters["COM_OF_LOSS_T"]:
                self.mode, self.critical = PX4_HOLD, True
                self.say("Failsafe activated: Hold", mavlink.MAV_SEVERITY_WARNING)
            return
        timeout = self.parameters.get("GUID_TIMEOUT", 3.0)
        if self._target and self._silence() > timeout:
            self._target = None
            self.say(f"target not received last {timeout:.1f} secs, stopping", mavlink.MAV_SEVERITY_WARNING)
        gone = self.beats and self._now - self.beats[-1] > self.parameters.get(
            "FS_GCS_TIMEOUT", HEARD_WITHIN_S
        )
        if not gone or not self.parameters["FS_GCS_ENABLE"]:
            self._silent_since, self.critical = None, False
        elif self._silent_since is None:
            self._silent_since = self._now
        elif (
            self._now - self._silent_since > self.parameters["FS_TIMEOUT"]
            and not self.critical
            and self.mode != HOLD
        ):
            self.critical = True
            self.say("GCS Failsafe", mavlink.MAV_SEVERITY_WARNING)
            if self.parameters["FS_ACTION"] == 2:
                self.mode = HOLD

    def _silence(self) -> float:
        return self._now - self.setpoints[-1] if self.setpoints else math.inf

    def _drive(self, seconds: float) -> None:
        self.speed = self.turning = 0.0
        if self.armed and self.mode in (MANUAL, PX4_MANUAL):
            self.speed = self.stick
        elif self.armed and self.mode == GUIDED and self._target:
            most = math.radians(self.parameters["ATC_STR_RAT_MAX"]) or math.inf
            self.speed, self.turning = self._target[0], min(max(self._target[1], -most), most)
        elif self.armed and self.mode == OFFBOARD and self._target:
            self._drive_px4(*self._target)
        self.heading -= self.turning * seconds
        for side, sign in enumerate((-1.0, 1.0)):
            self.wheels[side] += (self.speed + sign * self.turning * 0.075) * seconds

    def _drive_px4(self, speed: float, bearing: float) -> None:
        """DifferentialVelControl and DifferentialAttControl: a P controller of the yaw, which stands to turn far."""
        left = math.remainder(bearing - self.heading, 2.0 * math.pi)
        if abs(left) > self.parameters["RD_TRANS_DRV_TRN"]:
            self._spot_turning = True
        elif abs(left) < self.parameters["RD_TRANS_TRN_DRV"]:
            self._spot_turning = False
        most = math.radians(self.parameters["RO_YAW_RATE_LIM"])
        self.speed = 0.0 if self._spot_turning else min(speed, self.parameters["RO_SPEED_LIM"])
        self.turning = -min(max(self.parameters["RO_YAW_P"] * left, -most), most)

    def _send_heartbeat(self) -> None:
        if self.heartless:
            return
        base = 1 | (mavlink.MAV_MODE_FLAG_SAFETY_ARMED if self.armed else 0)
        status = mavlink.MAV_STATE_CRITICAL if self.critical else mavlink.MAV_STATE_ACTIVE
        self.send(mavlink.MAVLink_heartbeat_message(self.kind, self.autopilot, base, self.mode, status, 3))

    def _send_sys_status(self) -> None:
        self.send(mavlink.MAVLink_sys_status_message(0, 0, 0, 0, 7400, -1, -1, 0, 0, 0, 0, 0, 0))

    def _send_wheel_distance(self) -> None:
        if not self.old:  # its number does not fit MAVLink 1
            self.send(mavlink.MAVLink_wheel_distance_message(0, 2, [*self.wheels, *[0.0] * 14]))
