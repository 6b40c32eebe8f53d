"""What the range ring has seen lately: points in the odometry frame, with the free cones wiped clean."""

from __future__ import annotations

import math

import numpy as np

from edge_wm.sensors.observation import NO_READING, Array

FAR_M = 2.0
"""Hits further away are not kept: a beam's cone is too wide there to say where the thing is."""
WIPE_HALF_RAD = math.radians(6.0)
"""Half opening of the cone that a reading proves to be empty; the sensor's own is 8 degrees."""
WIPE_SHORT_OF_M = 0.12
"""Points are wiped up to this far before the reading."""
SAME_PLACE_M = 0.04


class RingMemory:
    """Remembered hits.

    Args:
        keep_s: seconds after which a hit is forgotten; dead reckoning drifts, and things move.
        tick_s: seconds between updates.
        beams: evenly spaced counter-clockwise, the first one straight ahead.
        reach_m: a reading from here on means that nothing is in sight.
    """

    def __init__(self, keep_s: float, tick_s: float = 0.1, beams: int = 8, reach_m: float = 4.0) -> None:
        self._keep_ticks = round(keep_s / tick_s)
        self._bearings = np.arange(beams) * (math.tau / beams)
        self._reach_m = reach_m
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._points = np.empty((0, 2))
        self._age = np.empty(0, dtype=np.int64)

    @property
    def points(self) -> Array:
        """Remembered hits float64[P, 2], odometry frame."""
        return self._points

    def update(self, ranges: Array, pose: tuple[float, float, float]) -> None:
        """Take in one reading of the ring, float[beams], made at ``pose``.  Drop-outs say nothing."""
        x, y, yaw = pose
        self._age += 1
        seen = ranges != NO_READING
        keep = self._age < self._keep_ticks
        if len(self._points):
            dx, dy = self._points[:, 0] - x, self._points[:, 1] - y
            distance, bearing = np.hypot(dx, dy), np.arctan2(dy, dx) - yaw
            off = np.abs(np.mod(bearing[:, None] - self._bearings + math.pi, math.tau) - math.pi)
            empty = (off < WIPE_HALF_RAD) & (distance[:, None] < ranges - WIPE_SHORT_OF_M) & seen
            keep &= ~empty.any(axis=1)
        hit = seen & (ranges < min(FAR_M, self._reach_m - 0.05))
        angle = self._bearings[hit] + yaw
        new = np.array([x, y]) + ranges[hit, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        if len(new) and len(self._points):
            gap = self._points[:, None] - new
            keep &= (np.hypot(gap[..., 0], gap[..., 1]) > SAME_PLACE_M).all(axis=1)
        self._points = np.concatenate([self._points[keep], new])
        self._age = np.concatenate([self._age[keep], np.zeros(len(new), dtype=np.int64)])
