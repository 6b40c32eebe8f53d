"""What ArduPilot's and PX4's rovers are told over MAVLink, and which of their parameters must stand how.

Sources: ArduPilot, "Rover Commands in Guided Mode" and "Failsafes" of its documentation, ``Rover/GCS_MAVLink_Rover.cpp`` and
``Rover/mode_guided.cpp``; PX4, "Offboard Mode" of its documentation, ``src/modules/rover_differential`` and
``src/lib/rover_control/rovercontrol_params.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from firmware_bridge.bridge import Command
from firmware_bridge.chassis import STARVED, Chassis

OUR_ID = "the id that this computer sends as"
"""Stands for that number in a Setting."""
DIRECTION_ONLY = 1e-8
"""m/s.  Less than PX4's FLT_EPSILON, so its speed controller takes it for rest, and still a direction to its atan2: of a velocity of
nought PX4 makes the bearing north, and turns there."""
MOST_LEAD = math.radians(90.0)
"""How far beside the heading PX4 is pointed to turn on the spot."""
WITHIN = 0.95
"""Of a threshold is stayed below."""


class Setpoint(NamedTuple):
    """SET_POSITION_TARGET_LOCAL_NED.

    Attributes:
        sent: the velocity that it asks for.
        frame: MAV_FRAME of its velocity.
        type_mask: what of it the autopilot ignores.
        vx, vy: m/s forward and to the right.
        yaw_rate: rad/s, clockwise.
    """

    sent: Command
    frame: int
    type_mask: int
    vx: float
    vy: float
    yaw_rate: float


@dataclass(frozen=True)
class Setting:
    """Between what a parameter must lie.

    Attributes:
        names: it goes by in different firmware; the first that there is counts.
        low, high: inclusive.
        advised: what to set it to.
        why: what happens otherwise.
        optional: some firmware does not have it.
    """

    names: tuple[str, ...]
    low: float | str
    high: float | str
    advised: float | str
    why: str
    optional: bool = False


@dataclass(frozen=True)
class Autopilot:
    """How one is spoken to.

    Attributes:
        name: for people.
        mode: HEARTBEAT.custom_mode while it obeys us.
        mode_request: first three numbers of MAV_CMD_DO_SET_MODE for that.
        modes: the names of them all.
        resting: modes in which it stands by itself.
        lead_s: seconds for which setpoints must have come before it takes that mode.
        bytewise: whether whole-number parameters come as bytes in a float, or as a float.
        watches: whether its failsafe watches the heartbeats of one id.
        settings: what must hold.
        silence: parameter for how long it drives on without setpoints, and seconds if there is no such parameter.
        speeds: parameters that limit the speed, m/s; the first that is positive counts.
        turning: parameter that limits the turn rate, degrees/s; no limit if it is not positive.
        also: further parameters that ``steer`` reads.
        steer: a velocity, the parameters and seconds from one setpoint to the next, made into a setpoint.
    """

    name: str
    mode: int
    mode_request: tuple[float, float, float]
    modes: Mapping[int, str]
    resting: frozenset[int]
    lead_s: float
    bytewise: bool
    watches: bool
    settings: tuple[Setting, ...]
    silence: tuple[str, float]
    speeds: tuple[str, ...]
    turning: str
    also: tuple[str, ...]
    steer: Callable[[Command, Mapping[str, float], float], Setpoint]

    def parameters(self) -> frozenset[str]:
        """All that are asked for."""
        named = {name for setting in self.settings for name in setting.names}
        return frozenset({*named, self.silence[0], *self.speeds, self.turning, *self.also})


def _steer_ardupilot(command: Command, parameters: Mapping[str, float], tick_s: float) -> Setpoint:
    """Speed and turn rate: "Use Vel+Yaw Rate", 1511, in MAV_FRAME_BODY_OFFSET_NED."""
    return Setpoint(command, 9, 1511, command.v, 0.0, -command.w)


def _steer_px4(command: Command, parameters: Mapping[str, float], tick_s: float) -> Setpoint:
    """The direction of a velocity, since PX4's rovers ignore turn rates that come by MAVLink and take the length of a velocity for speed.

    They turn towards that direction at RO_YAW_P times the angle that is left: an angle of a to the side of the heading, renewed every T,
    turns by a (1 - exp(-P T)) each time, hence ``lead``.  PX4 itself turns stick rates into angles like this in its Stabilized mode.  Backwards
    it cannot be asked to drive.
    """
    v, per_lead = max(command.v, 0.0), -math.expm1(-parameters["RO_YAW_P"] * tick_s) / tick_s
    most = (
        WITHIN * parameters.get("RD_TRANS_TRN_DRV", MOST_LEAD) if v else MOST_LEAD
    )  # beyond that it stands to turn
    lead = min(max(command.w / per_lead, -most), most)
    length = v or DIRECTION_ONLY
    # MAV_FRAME_BODY_NED; ignored are position, acceleration, yaw and yaw rate.  With vz ignored PX4 would ignore vx and vy too.
    return Setpoint(
        Command(v, lead * per_lead), 8, 0xDC7, length * math.cos(lead), -length * math.sin(lead), 0.0
    )


ARDUPILOT = Autopilot(
    name="ArduPilot",
    mode=15,
    mode_request=(1.0, 15.0, 0.0),
    modes={
        0: "MANUAL",
        1: "ACRO",
        3: "STEERING",
        4: "HOLD",
        5: "LOITER",
        6: "FOLLOW",
        7: "SIMPLE",
        8: "DOCK",
        9: "CIRCLE",
        10: "AUTO",
        11: "RTL",
        12: "SMART_RTL",
        15: "GUIDED",
        16: "INITIALISING",
    },
    resting=frozenset({4}),
    lead_s=0.0,
    bytewise=False,
    watches=True,
    settings=(
        Setting(("FS_GCS_ENABLE",), 1, 2, 1, "or it does not notice that this computer is gone"),
        Setting(
            ("FS_ACTION",), 2, 2, 2, "so that it holds when this computer is gone, and does not drive home"
        ),
        Setting(("FS_TIMEOUT",), 0.0, 3.0, 1.5, "or it takes too long to hold"),
        Setting(("FS_GCS_TIMEOUT",), 0.0, 5.0, 2, "or it takes too long to hold", optional=True),
        Setting(("GUID_TIMEOUT",), 0.0, 3.0, 0.5, "or it drives on too long without commands", optional=True),
        Setting(
            ("MAV_GCS_SYSID", "SYSID_MYGCS"),
            OUR_ID,
            OUR_ID,
            OUR_ID,
            "or its failsafe watches another station",
        ),
        Setting(("MAV_GCS_SYSID_HI",), 0, 0, 0, "or other stations keep its failsafe quiet", optional=True),
    ),
    silence=("GUID_TIMEOUT", 3.0),
    speeds=("WP_SPEED", "CRUISE_SPEED"),
    turning="ATC_STR_RAT_MAX",
    also=(),
    steer=_steer_ardupilot,
)

PX4 = Autopilot(
    name="PX4",
    mode=6 << 16,
    mode_request=(1.0, 6.0, 0.0),
    modes={
        1 << 16: "MANUAL",
        2 << 16: "ALTITUDE",
        3 << 16: "POSITION",
        4 << 16 | 3 << 24: "HOLD",
        4 << 16 | 4 << 24: "MISSION",
        4 << 16 | 5 << 24: "RETURN",
        4 << 16 | 6 << 24: "LAND",
        5 << 16: "ACRO",
        6 << 16: "OFFBOARD",
        7 << 16: "STABILIZED",
        10 << 16: "TERMINATION",
    },
    resting=frozenset({4 << 16 | 3 << 24, 10 << 16}),
    lead_s=1.2,  # "for more than a second"
    bytewise=True,
    watches=False,  # but the setpoints
    settings=(
        Setting(("COM_OBL_RC_ACT",), 5, 7, 5, "so that it holds when this computer is gone"),
        Setting(("COM_OF_LOSS_T",), 0.0, 1.0, 0.5, "or it drives on too long without commands"),
        Setting(("RO_YAW_P",), 0.01, 100.0, 4, "or it cannot turn; tune it"),
        Setting(("RO_SPEED_LIM",), 0.01, 100.0, 1, "or it does not drive; it is the speed limit in m/s"),
        Setting(
            ("RO_YAW_RATE_LIM",), 0.01, 10_000.0, 90, "or it does not turn; it is the limit in degrees/s"
        ),
        Setting(("MAV_FWDEXTSP",), 1, 1, 1, "or it ignores setpoints", optional=True),
    ),
    silence=("COM_OF_LOSS_T", 1.0),
    speeds=("RO_SPEED_LIM",),
    turning="RO_YAW_RATE_LIM",
    also=("RO_YAW_P", "RD_TRANS_TRN_DRV"),
    steer=_steer_px4,
)

AUTOPILOTS = {3: ARDUPILOT, 12: PX4}
"""By HEARTBEAT.autopilot: MAV_AUTOPILOT_ARDUPILOTMEGA and MAV_AUTOPILOT_PX4."""


def refusals(
    autopilot: Autopilot, parameters: Mapping[str, float], chassis: Chassis, system: int
) -> Iterator[str]:
    """Why this rover must not be driven, each with what to do.

    Args:
        autopilot: which one it is.
        parameters: that it told.
        chassis: the robot.
        system: MAVLink id that we send as.
    """
    for setting in autopilot.settings:
        low, high, advised = (
            float(system if isinstance(number, str) else number)
            for number in (setting.low, setting.high, setting.advised)
        )
        name = next((name for name in setting.names if name in parameters), None)
        if name is None and not setting.optional:
            yield (
                f"it does not tell {' or '.join(setting.names)}: another firmware than that of {autopilot.name}'s rover,"
                " too old a one, or a link that loses much"
            )
        elif name is not None and not low <= parameters[name] <= high:
            yield f"its {name} is {parameters[name]:g}: set {name} to {advised:g}, {setting.why}"
    name, fixed_s = autopilot.silence
    if STARVED * chassis.tick_s > (silence_s := parameters.get(name, fixed_s)):
        yield (
            f"its {name} of {silence_s:g} s does not outlast {STARVED:g} ticks of {chassis.tick_s:g} s: raise it, or lower tick_s"
        )
    name, speed = next(
        ((name, parameters[name]) for name in autopilot.speeds if parameters.get(name, 0.0) > 0.0),
        ("", math.inf),
    )
    if not name:
        yield f"it does not tell a speed limit: set {autopilot.speeds[0]} to {chassis.max_v:g}"
    for ours, number, theirs, limit in (
        ("max_v", chassis.max_v, name, speed),
        ("max_reverse_v", chassis.max_reverse_v, name, speed),
        (
            "max_w",
            chassis.max_w,
            autopilot.turning,
            math.radians(parameters.get(autopilot.turning, 0.0)) or math.inf,
        ),
    ):
        if number > max(limit, 0.0) * (1.0 + 1e-6):
            yield f"{ours} {number:g} is beyond the autopilot's own {limit:g} ({theirs}): lower it, or raise {theirs}"
