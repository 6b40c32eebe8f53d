"""Messages of the wire protocol.  Made from ``protocol.toml`` by ``python -m firmware_bridge.generate``: do not edit."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

PROTOCOL = 0x515BE929
"""Hash of the definition: both ends must have the same."""


class State(IntEnum):
    """What the microcontroller may do with the motors."""

    DISARMED = 0
    """Motors off; the state after every reset."""
    ARMED = 1
    """Commands reach the motors."""
    FAULT = 2
    """Motors off, and a fault is latched."""


class Fault(IntFlag):
    """Bits of `faults`, latched until they are cleared."""

    DEADMAN = 1
    """No accepted Drive for deadman_ms while armed."""
    EMERGENCY_STOP = 2
    """The button was pressed, or EmergencyStop came."""
    STALLED = 4
    """A wheel turned less than an eighth of the way that it should have: blocked, or a wire of its encoder is broken."""
    RUNAWAY = 8
    """A wheel turned against its command: motor or encoder are connected the wrong way round."""
    TICK_OVERRUN = 16
    """The control tick came late: the firmware itself is not keeping its deadlines."""
    MISBUILT = 32
    """It was built for a robot whose numbers it cannot calculate with; nothing clears it."""


class Result(IntEnum):
    """What became of a request."""

    OK = 0
    """Done."""
    OLD_SEQUENCE = 1
    """Its number is not newer than the last: repeated or delayed, and ignored."""
    NO_SESSION = 2
    """Arm and ClearFaults: no Hello with the right protocol came since the reset, or it names another session."""
    NOT_ARMED = 3
    """Drive is for an armed robot."""
    FAULT_LATCHED = 4
    """A fault must be cleared first."""
    BUTTON_PRESSED = 5
    """The emergency-stop button is still pressed."""
    OUT_OF_RANGE = 6
    """The velocity is beyond the limits in `Identity`: ignored."""


class Reset(IntEnum):
    """Why the microcontroller started last."""

    POWER_ON = 0
    """Power came."""
    EXTERNAL = 1
    """The reset pin, as when a port of an Arduino is opened."""
    BROWN_OUT = 2
    """The supply fell too low."""
    WATCHDOG = 3
    """The firmware hung."""
    UNKNOWN = 4
    """A boot loader has cleared the reason."""


class Hello(NamedTuple):
    """Begins a session: disarms, takes the frame's sequence number as the first, and forgets a latched DEADMAN. `Hello` and the first field of `Identity` never change, so that any two versions can tell each other apart."""

    protocol: int
    """The computer's protocol hash."""


class Arm(NamedTuple):
    """Lets commands reach the motors, from rest. The deadman starts to count."""

    session: int
    """As in `Identity`, so that recorded frames cannot arm a robot."""


class Drive(NamedTuple):
    """Asks for a body velocity and feeds the deadman."""

    v_mmps: int
    """Forward speed, mm/s."""
    w_mradps: int
    """Yaw rate, counter-clockwise positive, mrad/s."""


class Disarm(NamedTuple):
    """Motors off at once. Accepted in every state and with every sequence number."""


class EmergencyStop(NamedTuple):
    """Motors off at once, and latched. Accepted in every state and with every sequence number."""


class ClearFaults(NamedTuple):
    """Forgets latched faults, all at once, unless the button is pressed; the robot is disarmed then."""

    session: int
    """As in `Identity`."""


class Poll(NamedTuple):
    """Asks for the status. It does not feed the deadman."""


class ReadCounters(NamedTuple):
    """Asks for what has been counted since the last reset."""


class Identity(NamedTuple):
    """Who is there, and what it was built for."""

    protocol: int
    """The firmware's protocol hash."""
    session: int
    """Names the session that this `Hello` began."""
    reset: int
    """`Reset`."""
    port: int
    """1 ATmega328P, 2 RP2040, 255 host."""
    deadman_ms: int
    """Motors are off this long and one tick after the last accepted Drive, and not sooner than one tick before."""
    tick_ms: int
    """Period of the control tick."""
    track_um: int
    """Between the contact points of the wheels."""
    left_radius_um: int
    """That the left wheel rolls on."""
    right_radius_um: int
    """And the right one."""
    counts_per_turn: int
    """Of an encoder, for one turn of the wheel; 0 if there are none."""
    max_v_mmps: int
    """Forward."""
    max_reverse_mmps: int
    """Backward, as a positive number."""
    max_w_mradps: int
    """Either way."""
    accel_mmps2: int
    """Speeding up."""
    decel_mmps2: int
    """Slowing down."""
    angular_accel_mradps2: int
    """Speeding up."""
    angular_decel_mradps2: int
    """Slowing down."""


class Status(NamedTuple):
    """The answer to most requests; its sequence number is that of the request."""

    result: int
    """`Result` of the request."""
    state: int
    """`State`."""
    faults: int
    """Bits of `Fault`."""
    time_us: int
    """The microcontroller's clock when the request had come; wraps."""
    age_us: int
    """How long before that the encoders, and the battery, were read."""
    v_mmps: int
    """The velocity in force: the last accepted, or what the wheels can of it."""
    w_mradps: int
    """Likewise."""
    left_counts: int
    """Of the left encoder since the reset."""
    right_counts: int
    """Of the right encoder."""
    left_permille: int
    """Output to the left motor, of full power, forward positive."""
    right_permille: int
    """Output to the right motor."""
    battery_mv: int
    """0 if it is not measured."""


class Counters(NamedTuple):
    """What has been counted since the last reset; each wraps."""

    frames: int
    """Whole frames with a right checksum."""
    damaged: int
    """Frames dropped: checksum, length, or a type that is not known."""
    refused: int
    """Requests with another result than OK."""
    clamped: int
    """Commands that asked more of a wheel than it can: slowed down on the same arc."""
    deadman_trips: int
    """Times that the deadman stopped the robot."""
    lost_bytes: int
    """Received faster than they were read."""
    worst_tick_us: int
    """Longest time between two control ticks."""


Message = (
    Hello
    | Arm
    | Drive
    | Disarm
    | EmergencyStop
    | ClearFaults
    | Poll
    | ReadCounters
    | Identity
    | Status
    | Counters
)

LAYOUTS: dict[int, tuple[type[Message], struct.Struct]] = {
    1: (Hello, struct.Struct("<I")),
    2: (Arm, struct.Struct("<H")),
    3: (Drive, struct.Struct("<hh")),
    4: (Disarm, struct.Struct("<")),
    5: (EmergencyStop, struct.Struct("<")),
    6: (ClearFaults, struct.Struct("<H")),
    7: (Poll, struct.Struct("<")),
    8: (ReadCounters, struct.Struct("<")),
    129: (Identity, struct.Struct("<IHBBHHIIIHhhhHHHH")),
    130: (Status, struct.Struct("<BBHIHhhiihhH")),
    131: (Counters, struct.Struct("<IIIIHHH")),
}
"""What a message of each type is, and how its fields lie in a frame."""
TYPES = {kind: number for number, (kind, _) in LAYOUTS.items()}
"""The type of each message."""
