"""A ring of VL53L0X behind a multiplexer TCA9548A, which lets one of them after the other onto the bus: all have the same address."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import NO_READING
from edge_wm.sensors.outage import Outage
from edge_wm.sensors.vl53l0x import Vl53l0x
from edge_wm.sensors.vl53l0x_setup import ADDRESS, IDENTITY, Register
from firmware_bridge.i2c import I2cBus, I2cError

MULTIPLEXER = 0x70
"""With its pins A0 to A2 low; up to 0x77 otherwise."""
CHANNELS = 8
ALL_OFF = 0
FURTHEST_M = 1.2
"""Reach of a VL53L0X with these settings, of white things in the dark (datasheet, range profiles)."""
NEAREST_M = 0.02
"""What is nearer is said to be here: ``NO_READING`` is 0."""


@dataclass(frozen=True, slots=True)
class RingReading:
    """Of all beams, once.

    Attributes:
        time: monotonic seconds at which reading them began.
        range_m: float32[beams], metres, counter-clockwise from straight ahead: the reach for nothing in sight, ``NO_READING`` for
            a drop-out.
        missing: beams, from 0 on, whose sensor gave nothing at all: it does not answer, has hung, is being set up, or there was no time for it.
    """

    time: float
    range_m: npt.NDArray[np.float32]
    missing: tuple[int, ...]


class RangeRing:
    """The sensors, evenly spaced counter-clockwise from straight ahead.

    Args:
        bus: the bus of the multiplexer.
        channels: of the multiplexer, one a beam: the first looks straight ahead.
        reach_m: what a beam gives when nothing is in sight, and at most; no more than 1.2.
        multiplexer: its address.
        budget_s: time for one ``read``.  Eight sensors take 25 ms at 100 kHz.
        measurement_s: time for one measurement of one sensor.
        clock: time.

    Raises:
        BadInput: channels or reach that cannot be.
    """

    def __init__(
        self,
        bus: I2cBus,
        channels: Sequence[int],
        reach_m: float,
        *,
        multiplexer: int = MULTIPLEXER,
        budget_s: float = 0.04,
        measurement_s: float = 0.033,
        clock: Clock | None = None,
    ) -> None:
        if not channels or len(set(channels)) < len(channels) or not set(channels) <= set(range(CHANNELS)):
            raise BadInput(
                f"range ring: channels are {list(channels)}: one a beam is needed, each from 0 to {CHANNELS - 1} and no two the same"
            )
        if not (math.isfinite(reach_m) and NEAREST_M < reach_m <= FURTHEST_M):
            raise BadInput(f"range ring: reach_m is {reach_m}: a VL53L0X sees no further than {FURTHEST_M}")
        self._bus, self._multiplexer, self._channels = bus, multiplexer, tuple(channels)
        self._reach_m, self._budget_s, self._measurement_s = reach_m, budget_s, measurement_s
        self._clock = clock or MonotonicClock()
        self._outage = Outage("range ring, multiplexer", self._clock)
        self._sensors = [
            Vl53l0x(bus, f"range ring, beam {beam} (channel {channel})", measurement_s, self._clock)
            for beam, channel in enumerate(channels)
        ]
        self._first = 0

    def start(self) -> None:
        """Set all sensors up: 0.1 s each.

        Raises:
            I2cError: the multiplexer or one of the sensors is not there, or another chip is in its place.
        """
        self._select(ALL_OFF)
        if self._answers_before_the_multiplexer():
            raise I2cError(
                f"range ring: a chip before the multiplexer answers at {ADDRESS:#04x}, as each of its sensors does: move it or take it away"
            )
        try:
            for channel, sensor in zip(self._channels, self._sensors, strict=True):
                self._select(1 << channel)
                sensor.start()
        finally:
            self._select(ALL_OFF)
        self._clock.sleep_until(self._clock.now() + 2.0 * self._measurement_s)

    def read(self) -> RingReading:
        """The newest reading of every beam, once a tick.

        A sensor that fails is a drop-out, is said once in the log, and is set up again in the time that the others leave.  A
        transfer that hangs makes this longer than the budget, by what the bus waits for it, and twice that if it is the multiplexer's; beams
        that there is no time for are drop-outs of this tick.

        Raises:
            I2cError: the multiplexer does not answer, or no sensor at all gave anything.
        """
        began = self._clock.now()
        readings = np.full(len(self._sensors), NO_READING, dtype=np.float32)
        missing = set(range(len(self._sensors)))
        # Each tick begins with the next beam, so that none is always the one that there is no time for; those that run come before those that do not.
        order = [(self._first + turn) % len(self._sensors) for turn in range(len(self._sensors))]
        order.sort(key=lambda beam: not self._sensors[beam].running)
        self._first = (self._first + 1) % len(self._sensors)
        for beam in order:
            if self._clock.now() - began >= self._budget_s:
                break
            if self._sensors[beam].outage.resting:
                continue
            self._select(1 << self._channels[beam])
            reading = self._read(beam, began + self._budget_s)
            if reading is not None:
                readings[beam] = reading
                missing.discard(beam)
        self._select(ALL_OFF)
        self._outage.ended()
        if len(missing) == len(self._sensors):
            raise I2cError(f"range ring: no sensor gives anything; {self._why()}")
        return RingReading(began, readings, tuple(sorted(missing)))

    def _read(self, beam: int, until: float) -> float | None:
        """One beam as an observation has it; None if its sensor gave nothing."""
        try:
            measurement = self._sensors[beam].read(until)
        except I2cError:
            return None
        if measurement is None:
            return None
        if measurement.distance_m is not None:
            return min(max(measurement.distance_m, NEAREST_M), self._reach_m)
        return self._reach_m if measurement.nothing_in_reach else NO_READING

    def _select(self, channels: int) -> None:
        """Once more if it fails: without the multiplexer there is no ring at all, and noise may spoil one transfer."""
        try:
            self._bus.send(self._multiplexer, channels)
        except I2cError:
            try:
                self._bus.send(self._multiplexer, channels)
            except I2cError as error:
                raise self._outage.failed(error) from error

    def _why(self) -> str:
        errors = (sensor.outage.why for sensor in self._sensors)
        return next((str(error) for error in errors if error is not None), "there was no time for any")

    def _answers_before_the_multiplexer(self) -> bool:
        try:
            self._bus.read(ADDRESS, Register.IDENTIFICATION_MODEL_ID, len(IDENTITY))
        except I2cError:
            return False
        return True
