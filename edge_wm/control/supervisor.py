"""The on-board safety layer between planner and bridge.  It knows no model and learns nothing.

Every tick it looks for faults, then limits the command: speed limits, braking distance, geofence, and last the
ramp, so that whatever it decides, the wheels are never asked to jump.  Only an emergency stop does that.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from edge_wm.control.dead_reckoning import DeadReckoning
from edge_wm.control.free_space import Box, Circle, FreeSpace
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Observation, all_finite, malformed
from firmware_bridge.bridge import NEUTRAL, Command
from firmware_bridge.ramp import approach

if TYPE_CHECKING:
    from edge_wm.robot import Robot

MOVING = Command(0.02, 0.1)
"""Applied commands above this must change the camera's picture."""
CREEP_MPS = 0.02
"""Wheels do not turn this slowly: what may only creep is stopped, and says so."""


class Reason(str, Enum):
    """Why the supervisor stops the robot."""

    EMERGENCY_STOP = "emergency stop"
    NO_OBSERVATION = "no observation"
    OBSERVATION_NOT_FINITE = "observation is not finite"
    STALE_FRAME = "camera frame is stale"
    FROZEN_FRAME = "camera is frozen"
    LATE_TICKS = "ticks are late"
    GOAL_TIMEOUT = "goal not reached in time"
    NO_COMMAND = "policy gave no command"
    COMMAND_NOT_FINITE = "command is not finite"
    OBSTACLE_AHEAD = "too close ahead"
    OBSTACLE_BEHIND = "too close behind"
    GEOFENCE = "edge of the geofence"

    __str__ = str.__str__


TURNING_ALLOWED = frozenset({Reason.OBSTACLE_AHEAD, Reason.OBSTACLE_BEHIND, Reason.GEOFENCE})
"""These stop the driving and leave the turning, so that the robot can find another way."""


SIDE_MARGIN_M = 0.01
"""Air kept to what the robot drives past.  As much as ahead would close every gap that it fits through: seen as robots
that stood for a minute beside something 3 cm away."""


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """The limits; all numbers positive, SI units.

    Attributes:
        max_v, max_reverse_v, max_w: speeds forward (m/s), backward (m/s) and of turning (rad/s).
        accel, decel: of driving, m/s^2; ``decel`` also gives the braking distance.
        max_w_accel: of turning, rad/s^2.
        latency_s: from a range reading to the first braking effect.
        radius_m: of the circle that the robot fits in.
        margin_m: air left between that circle and what the robot stops for, along its way; beside it,
            ``SIDE_MARGIN_M``.
        beam_half_angle_rad: a beam reports the nearest thing within this angle of its bearing.
        blind_v: greatest speed while a beam in the direction of motion has no reading, m/s.
        dropout_hold_ticks: ticks for which the last good reading stands in for a drop-out.
        frame_stale_s: an older camera frame is stale.
        frozen_ticks: ticks in a row without a new frame that make the camera frozen.
        late_ticks: deadlines missed in a row that stop the robot.
        recover_ticks: good ticks in a row after which a frozen camera or late ticks are forgiven.
        goal_timeout_s: time for one goal; None for no limit.
        geofence: where the robot's centre may be; None for anywhere.
    """

    max_v: float = 0.5
    max_reverse_v: float = 0.15
    max_w: float = 2.5
    accel: float = 1.0
    decel: float = 1.5
    max_w_accel: float = 15.0
    latency_s: float = 0.15
    radius_m: float = 0.12
    margin_m: float = 0.02
    beam_half_angle_rad: float = math.radians(8.0)
    blind_v: float = 0.15
    dropout_hold_ticks: int = 3
    frame_stale_s: float = 0.25
    frozen_ticks: int = 4
    late_ticks: int = 3
    recover_ticks: int = 10
    goal_timeout_s: float | None = 60.0
    geofence: Box | Circle | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            number = getattr(self, item.name)
            if isinstance(number, (int, float)) and not (math.isfinite(number) and number >= 0.0):
                raise BadInput(f"supervisor: {item.name} is {number}: it must be finite and not negative")
        for name in ("accel", "decel", "max_w_accel", "frozen_ticks", "late_ticks", "recover_ticks"):
            if not getattr(self, name) > 0:
                raise BadInput(f"supervisor: {name} must be above 0")

    @classmethod
    def from_robot(cls, robot: Robot, goal_timeout_s: float | None = 60.0) -> SupervisorConfig:
        """The limits that a robot file sets."""
        limits, supervisor = robot.limits, robot.supervisor
        return cls(
            max_v=limits.max_v,
            max_reverse_v=limits.max_reverse_v,
            max_w=limits.max_w,
            accel=limits.accel,
            decel=limits.decel,
            max_w_accel=limits.angular_accel,
            latency_s=supervisor.reaction_s,
            radius_m=robot.geometry.radius_m,
            margin_m=supervisor.margin_m,
            frame_stale_s=supervisor.max_frame_age_s,
            frozen_ticks=math.ceil(supervisor.max_frozen_s / robot.rates.tick_s),
            late_ticks=supervisor.max_late_ticks,
            goal_timeout_s=goal_timeout_s,
            geofence=Box(*supervisor.geofence) if supervisor.geofence else None,
        )


@dataclass(frozen=True, slots=True)
class SupervisedCommand:
    """What may be sent.

    Attributes:
        command: finite and inside every limit and ramp.
        reason: why the robot is being stopped; None while it may drive.
        limited: names of the limits that changed the command: ``speed``, ``reverse``, ``turn``,
            ``braking distance``, ``range unknown``, ``geofence``, ``ramp``.
    """

    command: Command
    reason: Reason | None
    limited: tuple[str, ...]

    @property
    def halted(self) -> bool:
        """Whether the robot may neither drive nor turn."""
        return self.reason is not None and self.reason not in TURNING_ALLOWED


class Supervisor:
    """Checks every command before it is sent.  Call ``start`` for each goal and ``check`` once a tick."""

    def __init__(self, config: SupervisorConfig, tick_s: float) -> None:
        self.config = config
        self._tick_s = tick_s
        self._driven = DeadReckoning()
        self.start(0.0)

    def start(self, now: float) -> None:
        """Begin a run at ``now``: the robot is at rest at the origin of the odometry frame, no fault is known."""
        c = self.config
        self._started = self._last_check = now
        self._driven.reset()
        self._emergency = False
        self._frozen = Latch(c.frozen_ticks, c.recover_ticks)
        self._late = Latch(c.late_ticks, c.recover_ticks)
        self._sequence: int | None = None
        self._checksum = 0
        self._side_m = min(SIDE_MARGIN_M, c.margin_m)
        self._free_space = FreeSpace(
            radius_m=c.radius_m + self._side_m,
            beam_half_angle_rad=c.beam_half_angle_rad,
            hold_ticks=c.dropout_hold_ticks,
        )

    def emergency_stop(self) -> None:
        """From now on only rest is sent, at once and without a ramp, until ``start``."""
        self._emergency = True

    def check(
        self,
        wanted: Command | None,
        observation: Observation | None,
        *,
        now: float,
        applied: Command,
        late: bool = False,
    ) -> SupervisedCommand:
        """Turn what the policy wants into what may be sent.

        Args:
            wanted: the policy's command, None if it has none.
            observation: of this tick, None if the sensors failed; one of bad form counts as none.
            now: monotonic seconds.
            applied: what was really sent in the last tick; the ramp starts there.
            late: whether the last tick missed its deadline.
        """
        if not (math.isfinite(applied.v) and math.isfinite(applied.w)):
            applied = NEUTRAL
        if malformed(observation):
            observation = None
        finite = observation is not None and all_finite(observation)
        self._driven.update(observation if finite else None, applied, now - self._last_check)
        ring = observation.arrays.get("range") if observation is not None and finite else None
        self._free_space.update(ring, abs(applied.v) * self._tick_s)
        reason = self._fault(observation, now, applied, late)
        self._last_check = now
        if self._emergency:
            return SupervisedCommand(NEUTRAL, Reason.EMERGENCY_STOP, ())
        if reason is None and wanted is None:
            reason = Reason.NO_COMMAND
        elif reason is None and wanted and not (math.isfinite(wanted.v) and math.isfinite(wanted.w)):
            reason = Reason.COMMAND_NOT_FINITE
        limited: list[str] = []
        target = NEUTRAL
        if reason is None and wanted is not None:
            target = self._within_speeds(wanted, limited)
            target, reason = self._within_free_space(target, limited)
        command = self._ramp(target, applied)
        if command != target:
            limited.append("ramp")
        return SupervisedCommand(command, reason, tuple(limited))

    def _fault(
        self, observation: Observation | None, now: float, applied: Command, late: bool
    ) -> Reason | None:
        """The first fault of this tick.  Every latch sees every tick, whatever else is wrong."""
        is_late = self._late.update(late)
        if observation is None:
            return Reason.NO_OBSERVATION
        is_frozen = self._frozen.update(self._same_frame(observation, applied))
        if not all_finite(observation):
            return Reason.OBSERVATION_NOT_FINITE
        if not abs(now - observation.time) <= self.config.frame_stale_s:  # a frame of the future is no better
            return Reason.STALE_FRAME
        if is_frozen:
            return Reason.FROZEN_FRAME
        if is_late:
            return Reason.LATE_TICKS
        timeout = self.config.goal_timeout_s
        return Reason.GOAL_TIMEOUT if timeout is not None and now - self._started > timeout else None

    def _same_frame(self, observation: Observation, applied: Command) -> bool:
        """Whether this is the last frame again, by its counter or, while the robot moves, by its pixels."""
        camera = observation.arrays.get("camera")
        checksum = 0 if camera is None else zlib.crc32(np.ascontiguousarray(camera).data)
        same_pixels = camera is not None and checksum == self._checksum
        repeated = self._sequence is not None and observation.sequence <= self._sequence
        first = self._sequence is None
        self._sequence, self._checksum = observation.sequence, checksum
        # A robot at rest before a noiseless camera sees the same picture with good reason; once the camera
        # counts as frozen, though, only a new picture is proof.
        expect_change = self._frozen.tripped or abs(applied.v) > MOVING.v or abs(applied.w) > MOVING.w
        return repeated or (same_pixels and expect_change and not first)

    def _within_speeds(self, wanted: Command, limited: list[str]) -> Command:
        c = self.config
        v = min(max(wanted.v, -c.max_reverse_v), c.max_v)
        w = min(max(wanted.w, -c.max_w), c.max_w)
        if v != wanted.v:
            limited.append("reverse" if wanted.v < 0.0 else "speed")
        if w != wanted.w:
            limited.append("turn")
        return Command(v, w)

    def _within_free_space(self, target: Command, limited: list[str]) -> tuple[Command, Reason | None]:
        """Drive no faster than the robot can brake before the nearest thing in its way and before the fence."""
        if target.v == 0.0:
            return target, None
        forward = target.v > 0.0
        free_range, blind = self._free_space.along(target)
        free_range = max(0.0, free_range - (self.config.margin_m - self._side_m))
        x, y, yaw = self._driven.pose
        sign = 1.0 if forward else -1.0
        fence = self.config.geofence
        free_fence = (
            fence.free_distance(x, y, sign * math.cos(yaw), sign * math.sin(yaw)) if fence else math.inf
        )
        speed = abs(target.v)
        reason: Reason | None = None
        for name, allowed, stop in (
            ("range unknown", self.config.blind_v if blind else math.inf, None),
            (
                "braking distance",
                self._speed_to_stop_in(free_range),
                Reason.OBSTACLE_AHEAD if forward else Reason.OBSTACLE_BEHIND,
            ),
            ("geofence", self._speed_to_stop_in(free_fence), Reason.GEOFENCE),
        ):
            if allowed < speed:
                limited.append(name)
                speed, reason = (allowed, None) if allowed >= CREEP_MPS else (0.0, stop)
        return Command(sign * speed, target.w), reason

    def _speed_to_stop_in(self, distance: float) -> float:
        """The speed v with ``v * latency + v^2 / (2 * decel) = distance``."""
        if math.isinf(distance):
            return math.inf
        late = self.config.decel * self.config.latency_s
        return math.sqrt(late * late + 2.0 * self.config.decel * distance) - late if distance > 0.0 else 0.0

    def _ramp(self, target: Command, applied: Command) -> Command:
        c, tick = self.config, self._tick_s
        turn = c.max_w_accel * tick
        w = min(max(target.w, applied.w - turn), applied.w + turn)
        return Command(approach(applied.v, target.v, c.accel * tick, c.decel * tick), w)


class Latch:
    """Trips after some bad ticks in a row and lets go only after some good ticks in a row."""

    def __init__(self, trip: int, recover: int) -> None:
        self._trip, self._recover = trip, recover
        self._run = 0
        self.tripped = False

    def update(self, bad: bool) -> bool:
        """Take in one tick; return whether the fault stands."""
        self._run = self._run + 1 if bad != self.tripped else 0
        if self._run >= (self._recover if self.tripped else self._trip):
            self.tripped, self._run = not self.tripped, 0
        return self.tripped
