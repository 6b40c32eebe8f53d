"""The sensors of a replay: what those of a recorded drive said, once more.

Each tick gets the observation that the same tick of the recorded drive had, as old as it was then, however long that took: arrays and frame
numbers are the very same.  After the last one there is an error and nothing else: no frame is given twice.
"""

from __future__ import annotations

from edge_wm.clock import Clock
from edge_wm.record.observations import RecordedObservations
from edge_wm.sensors.observation import Observation


class NothingRecorded(Exception):
    """The recorded drive has no observation of this tick; one line that says why."""


class ReplayedSensors:
    """See ``Sensors``.

    Args:
        recorded: the observations.
        clock: the loop's.

    Attributes:
        ended: whether more was asked for than was recorded.
    """

    def __init__(self, recorded: RecordedObservations, clock: Clock) -> None:
        self._recorded, self._clock = recorded, clock
        self._tick, self._next = 0, 0
        self._time = -float("inf")
        self.ended = False

    def read(self) -> Observation:
        """See ``Sensors.read``.  Counts the ticks: one call is one tick.

        Raises:
            NothingRecorded: the sensors failed in this tick when it was recorded, or the recording is over.
        """
        recorded, tick, row = self._recorded, self._tick, self._next
        if row == len(recorded):
            self.ended = True
            raise NothingRecorded(f"the recording ends after {tick} ticks")
        self._tick += 1
        if int(recorded.tick[row]) != tick:
            raise NothingRecorded(f"tick {tick}: the sensors gave nothing when this was recorded")
        self._next += 1
        age_s = float(recorded.tick_time[row] - recorded.time[row])
        # A frame that stood still must not seem to have gone back where this clock's ticks are a little shorter.
        self._time = max(self._time, self._clock.now() - age_s)
        arrays = {name: array[row, ...] for name, array in recorded.arrays.items()}
        return Observation(self._time, int(recorded.sequence[row]), arrays)

    def close(self) -> None:
        """See ``Sensors.close``: there is nothing to release."""
