"""One time-stamped reading of all sensors, and what a source of readings must do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NO_READING = 0.0
"""Value of a range beam that dropped out.  Range sensors cannot measure zero distance."""
ROWS = ("range", "wheel", "gyro")
"""Arrays with one axis."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of all sensors.

    Attributes:
        time: monotonic seconds at which the camera frame was captured.
        sequence: counter of camera frames; it does not advance while the camera is frozen.
        arrays: named arrays.  Those of the simulated robot:
            ``camera`` uint8[48, 64, 3], RGB;
            ``range`` float32[8], metres, beam ``i`` at bearing ``i * 45`` degrees counter-clockwise from forward,
            ``NO_READING`` for a drop-out and the sensor's reach for nothing in sight;
            ``wheel`` float32[2], left and right rim speed in m/s, mean over the tick;
            ``gyro`` float32[1], yaw rate in rad/s, mean over the tick.
    """

    time: float
    sequence: int
    arrays: Mapping[str, Array]


class Sensors(Protocol):
    """A source of observations."""

    def read(self) -> Observation:
        """Return the newest observation; never an older one than the last call returned."""

    def close(self) -> None:
        """Release the devices.  Safe to call twice."""


class MalformedReading(Exception):
    """The sensors gave something that is no observation; the message says what is wrong with it."""


def malformed(reading: object) -> str:
    """What is wrong with the form of what a driver gave, in a few words; empty if it is an observation.

    Whoever finds nothing here may compute with the arrays: all hold numbers, none is empty, ``ROWS`` are rows.
    """
    if not isinstance(reading, Observation) or not isinstance(reading.arrays, Mapping):
        return "not an observation"
    if not all(isinstance(number, (int, float, np.number)) for number in (reading.time, reading.sequence)):
        return "time or sequence is not a number"
    for name, array in reading.arrays.items():
        if not (isinstance(array, np.ndarray) and array.dtype.kind in "biuf"):
            return f"{name} is not an array of numbers"
        if array.size == 0 or (name in ROWS and array.ndim != 1):
            return f"{name} has the shape {array.shape}"
    return ""


def all_finite(observation: Observation) -> bool:
    """Whether every floating-point array of the observation is free of NaN and infinity."""
    return all(
        bool(np.isfinite(array).all())
        for array in observation.arrays.values()
        if np.issubdtype(array.dtype, np.floating)
    )
