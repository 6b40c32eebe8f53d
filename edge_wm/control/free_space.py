"""How far the robot may move: to the nearest thing that the range ring has seen, and to the geofence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_wm.sensors.observation import NO_READING, Array
from firmware_bridge.bridge import Command

STRAIGHT_RADPS = 0.01
"""Turning slower than this, the robot drives straight."""
AHEAD_RAD = math.radians(50.0)
"""Beams within this angle of the direction of motion must see for full speed."""


@dataclass(frozen=True, slots=True)
class Box:
    """A geofence with sides along the axes of the odometry frame, metres."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def free_distance(self, x: float, y: float, dx: float, dy: float) -> float:
        """Metres from (x, y) along the unit vector (dx, dy) to the fence; 0 if outside and leaving further."""
        ways = ((x, dx, self.x_min, self.x_max), (y, dy, self.y_min, self.y_max))
        return min(
            (max(0.0, ((high if d > 0.0 else low) - p) / d) for p, d, low, high in ways if d),
            default=math.inf,
        )


@dataclass(frozen=True, slots=True)
class Circle:
    """A round geofence about the start of the run, metres."""

    radius: float

    def free_distance(self, x: float, y: float, dx: float, dy: float) -> float:
        """As ``Box.free_distance``."""
        outwards = x * dx + y * dy
        square = outwards**2 - (x * x + y * y - self.radius**2)
        return max(0.0, math.sqrt(square) - outwards) if square > 0.0 else 0.0


class FreeSpace:
    """The last good reading of each beam, and what is free between them and the robot.

    Args:
        radius_m: of the disc that must stay free.
        beam_half_angle_rad: a beam reports the nearest thing within this angle of its bearing.
        hold_ticks: ticks for which the last good reading stands in for a drop-out.
    """

    def __init__(self, radius_m: float, beam_half_angle_rad: float, hold_ticks: int) -> None:
        self._radius_m = radius_m
        self._beam_half_angle_rad = beam_half_angle_rad
        self._hold_ticks = hold_ticks
        self._readings: list[float] = []
        self._ages: list[int] = []

    def update(self, ring: Array | None, travelled_m: float) -> None:
        """Take in one tick.

        Args:
            ring: float32[beams], metres, evenly spaced counter-clockwise from straight ahead; None if there is none.
            travelled_m: how much nearer the robot may have come to what it saw in the last tick.
        """
        if ring is None:
            ring = np.full(len(self._readings), NO_READING)
        if len(self._readings) != len(ring):
            self._readings, self._ages = [0.0] * len(ring), [self._hold_ticks + 1] * len(ring)
        for beam, reading in enumerate(ring.tolist()):
            if reading != NO_READING:
                self._readings[beam], self._ages[beam] = reading, 0
            else:
                self._readings[beam] = max(0.0, self._readings[beam] - travelled_m)
                self._ages[beam] += 1

    def along(self, motion: Command) -> tuple[float, bool]:
        """Metres free along the arc of ``motion``, and whether a beam that must see has nothing to say."""
        free, blind = math.inf, False
        for beam, (reading, age) in enumerate(zip(self._readings, self._ages, strict=True)):
            bearing = math.remainder(2.0 * math.pi * beam / len(self._readings), 2.0 * math.pi)
            if age > self._hold_ticks:
                off = abs(bearing) if motion.v > 0.0 else math.pi - abs(bearing)
                blind = blind or off <= AHEAD_RAD
                continue
            # What was seen may stand anywhere across the cone of the beam: take the worst place.
            for angle in (bearing - self._beam_half_angle_rad, bearing, bearing + self._beam_half_angle_rad):
                x, y = reading * math.cos(angle), reading * math.sin(angle)
                free = min(free, free_along_arc(x, y, motion, self._radius_m))
        return free, blind


def free_along_arc(x: float, y: float, motion: Command, radius: float) -> float:
    """Metres that a disc can move along an arc until it touches a point.

    Args:
        x: the point in the frame of the robot, forward, metres.
        y: and to its left.
        motion: body velocity with v not zero; its curvature w / v is the arc's.
        radius: of the disc.

    Returns:
        0 if they touch and the motion presses on; infinity if the disc passes by.
    """
    if motion.v < 0.0:  # seen from behind, a reversing robot drives forward and turns the same way
        x, y = -x, -y
    if x * x + y * y <= radius * radius:
        return 0.0 if x > 0.0 else math.inf
    if abs(motion.w) < STRAIGHT_RADPS:
        return x - math.sqrt(radius * radius - y * y) if x > 0.0 and abs(y) < radius else math.inf
    turn_radius = abs(motion.v / motion.w)
    to_centre = turn_radius - (y if motion.w > 0.0 else -y)
    distance = math.hypot(x, to_centre)
    if abs(distance - turn_radius) >= radius:
        return math.inf
    cosine = (distance**2 + turn_radius**2 - radius**2) / (2.0 * distance * turn_radius)
    angle = math.atan2(x, to_centre) % (2.0 * math.pi) - math.acos(min(1.0, max(-1.0, cosine)))
    return turn_radius * max(0.0, angle)
