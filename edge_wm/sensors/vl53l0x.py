"""The time-of-flight distance sensor VL53L0X of ST, which measures all the time and is asked for its newest measurement.

The libraries for it on PyPI open a bus of their own and wait for the sensor, or need Blinka.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.sensors.outage import Outage
from edge_wm.sensors.vl53l0x_setup import ADDRESS, NEW_SAMPLE, RESULT_ERROR, Register, Setup
from firmware_bridge.i2c import I2cBus, I2cError

SHORTEST_S, LONGEST_S = 0.02, 0.1
"""A measurement takes this long: the API allows no less; with more, a sensor would be too late for a robot that drives."""
LATE = 3.0
"""Measurements that it must have missed to count as hung."""
REPEATED = 10
"""Measurements in a row that are equal to the last bit: it has hung, though it says that they are new.  Light is never that constant."""
OUT_OF_RANGE_MM = 8190
"""What it gives in place of a distance, and one more."""

# How much light there may be for "nothing in sight" to be believed.  Derived from the datasheet's reach (2 m white and 0.8 m grey in the dark, both at the
# rate limit), which falls with the square of the distance; not measured.
STRONG_SIGNAL_MCPS = 2.0
"""What is beyond 1.2 m sends back less than 0.7, a black thing at 5 cm more than 10: with this much, something is there."""
BRIGHT_KCPS = 1.0
"""Ambient light on one diode, a tenth of an overcast day outdoors in the datasheet, where reach is half of that in the dark."""


class Status(Enum):
    """What the sensor says of a measurement: ``VL53L0X_get_pal_range_status``."""

    VALID = "valid"
    WEAK = "too little light comes back"
    PHASE = "beyond its range"
    TOO_NEAR = "too near"
    BROKEN = "its laser or its supply has failed"
    UNKNOWN = "not valid"


STATUSES = {
    11: Status.VALID,
    4: Status.WEAK,
    6: Status.PHASE,
    9: Status.PHASE,
    8: Status.TOO_NEAR,
    10: Status.TOO_NEAR,
    1: Status.BROKEN,
    2: Status.BROKEN,
    3: Status.BROKEN,
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One distance.

    Attributes:
        time: monotonic seconds at which it was read; it ended at most one measurement's time before.
        distance_m: metres; None if nothing is in reach or the measurement is not valid.
        status: which of the two, as the sensor sees it.
        signal_mcps: light that came back, 10^6 counts a second.
        ambient_kcps: other light, 10^3 counts a second on one diode.
    """

    time: float
    distance_m: float | None
    status: Status
    signal_mcps: float
    ambient_kcps: float

    @property
    def nothing_in_reach(self) -> bool:
        """Whether a thing in reach would have been seen.  Otherwise, without a distance, nobody knows."""
        return (
            self.distance_m is None
            and self.status in (Status.WEAK, Status.PHASE)
            and self.signal_mcps < STRONG_SIGNAL_MCPS
            and self.ambient_kcps < BRIGHT_KCPS
        )


def decode(result: bytes, time: float) -> Measurement:
    """What the 12 bytes from RESULT_RANGE_STATUS on say: VL53L0X_GetRangingMeasurementData.

    ::

        0           2-3           6-7                8-9                 10-11
        . SSSS ...  diodes, 8.8   signal, 9.7 MCPS   ambient, 9.7 MCPS   distance, mm
    """
    spads, signal, ambient, millimetres = (int.from_bytes(result[at : at + 2], "big") for at in (2, 6, 8, 10))
    status = STATUSES.get(result[0] >> 3 & 0x0F, Status.UNKNOWN)
    if status is Status.VALID and millimetres >= OUT_OF_RANGE_MM:
        status = Status.UNKNOWN
    return Measurement(
        time=time,
        distance_m=millimetres / 1000.0 if status is Status.VALID else None,
        status=status,
        signal_mcps=signal / 128.0,
        ambient_kcps=ambient / 128.0 * 1000.0 / (max(spads, 1) / 256.0),
    )


class Vl53l0x:
    """One sensor, at 0x29.  Does nothing until ``start`` or ``read``.

    Args:
        bus: its bus; the multiplexer before it, if there is one, has to be set by the caller.
        name: of the sensor, in messages.
        measurement_s: time for one measurement, 0.02 to 0.1; longer ones are less noisy.
        clock: time.

    Raises:
        BadInput: ``measurement_s`` is out of range.
    """

    def __init__(
        self, bus: I2cBus, name: str = "VL53L0X", measurement_s: float = 0.033, clock: Clock | None = None
    ) -> None:
        if not SHORTEST_S <= measurement_s <= LONGEST_S:
            raise BadInput(
                f"{name}: measurement_s is {measurement_s}: {SHORTEST_S} to {LONGEST_S} can be had"
            )
        self._bus, self._measurement_s = bus, measurement_s
        self._clock = clock or MonotonicClock()
        self.outage = Outage(name, self._clock)
        self._newest: Measurement | None = None
        self._last_result, self._repeated, self._heard_at = b"", 0, 0.0
        self._begin()

    @property
    def running(self) -> bool:
        """Whether it has been set up and measures, as far as is known."""
        return self._steps is None

    def start(self) -> None:
        """Set it up and wait for that: 0.1 s.

        Raises:
            I2cError: it does not answer, is another chip, or does not do what it should.
        """
        self._begin()
        assert self._steps is not None
        try:
            for _ in self._steps:
                self._clock.sleep_until(self._clock.now() + 0.001)
        except I2cError as error:
            self._begin()
            raise self.outage.named(error) from error
        self._started()

    def read(self, until: float = 0.0) -> Measurement | None:
        """The newest measurement; never waits for one.

        A sensor that has hung or lost its settings is set up again, a few transfers with every call.

        Args:
            until: go on with setting it up until then, on the clock.

        Returns:
            The same one again, if it is called more often than the sensor measures.  None while it is set up.

        Raises:
            I2cError: it does not answer, is another chip, or has not measured for three times as long as it should.  It is then
                left alone for a while, during which the same error is raised.
        """
        if self.outage.why is not None and self.outage.resting:
            raise self.outage.why
        try:
            if self._steps is not None:
                for _ in self._steps:
                    if self._clock.now() >= until:
                        return None
                self._started()
            self._look()
        except I2cError as error:
            if self._steps is not None or self.outage.why is not None:  # twice in a row: not just noise
                self._begin()
            raise self.outage.failed(error) from error
        return self._newest

    def _look(self) -> None:
        """Fetch a new measurement, if there is one."""
        result = self._bus.read(ADDRESS, Register.RESULT_INTERRUPT_STATUS, 13)
        now = self._clock.now()
        if result[0] & RESULT_ERROR:
            raise self._set_up_again("its status says that measuring failed")
        if not result[0] & NEW_SAMPLE:
            if now - self._heard_at > LATE * self._measurement_s:
                raise self._set_up_again(f"no new measurement for {now - self._heard_at:.2f} s")
            return
        if not self._cleared():
            raise self._set_up_again("the same measurement is new for ever")
        self._heard_at = now
        newest = decode(result[1:], now)
        if newest.status is Status.BROKEN:
            raise self._set_up_again(newest.status.value)
        self._repeated = self._repeated + 1 if result == self._last_result else 0
        self._last_result = result
        if newest.distance_m is not None and self._repeated >= REPEATED - 1:
            raise self._set_up_again(f"gave the same measurement {REPEATED} times")
        self._newest = newest
        self.outage.ended()

    def _cleared(self) -> bool:
        """Take note of a measurement, so that the next one can be told from it: VL53L0X_ClearInterruptMask."""
        for _ in range(3):  # the next measurement may have ended just now
            self._bus.write(ADDRESS, Register.SYSTEM_INTERRUPT_CLEAR, b"\x01")
            if not self._bus.read(ADDRESS, Register.RESULT_INTERRUPT_STATUS, 1)[0] & NEW_SAMPLE:
                return True
        return False

    def _set_up_again(self, why: str) -> I2cError:
        self._begin()
        return I2cError(f"chip {ADDRESS:#04x}: {why}: it has hung, or its supply dropped")

    def _begin(self) -> None:
        self._steps: Iterator[None] | None = Setup(self._bus, self._measurement_s, self._clock).steps()

    def _started(self) -> None:
        self._steps, self._newest, self._last_result, self._repeated = None, None, b"", 0
        self._heard_at = self._clock.now()
