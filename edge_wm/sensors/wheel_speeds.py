"""Speeds of the two wheels, from how far the bridge says that they have turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock
from edge_wm.sensors.sampler import TooOld
from firmware_bridge.bridge import Bridge, Telemetry

MAX_AGE_S = 0.25
"""Without a new report for so long there are no speeds.  A report comes with each command, once a tick."""

PAUSE_S = 1.0
"""Nobody drove for so long: where the wheels were before says nothing, and the microcontroller may be another one."""


class WheelSpeeds:
    """Mean speeds between the reports of two ticks.

    Args:
        bridge: connected, and with encoders.
        max_v: of the robot, m/s.
        clock: the loop's.

    Attributes:
        travelled_m: by the middle of the robot, either way.
    """

    def __init__(self, bridge: Bridge, max_v: float, clock: Clock) -> None:
        self._bridge, self._most_mps, self._clock = bridge, 4.0 * max_v, clock
        self._last: Telemetry | None = None
        self._speeds: npt.NDArray[np.float32] = np.zeros(2, dtype=np.float32)
        self.travelled_m = 0.0

    def read(self) -> npt.NDArray[np.float32]:
        """float32[2], left and right, m/s; 0 until there are two reports of one drive.

        Raises:
            TooOld: there was no new report for too long, or wheels are not reported at all.
            BridgeError: the link is broken.
        """
        report = self._bridge.telemetry()
        if report.wheels_m is None:
            raise TooOld("wheels: the bridge does not say how far they have turned")
        last = self._last
        if last is None or last.wheels_m is None or report.time - last.time > PAUSE_S:
            self._last, self._speeds = report, np.zeros(2, dtype=np.float32)
            return self._speeds
        seconds = report.time - last.time
        if seconds <= 0.0:
            age_s = self._clock.now() - last.time
            if age_s > MAX_AGE_S:
                raise TooOld(f"wheels: the bridge has not reported for {age_s:.2f} s")
            return self._speeds
        self._last = report
        moved = np.subtract(report.wheels_m, last.wheels_m)
        if float(np.abs(moved).max()) / seconds > self._most_mps:
            raise TooOld("wheels: their count has jumped: was the microcontroller reset?")
        self.travelled_m += abs(float(moved.mean()))
        self._speeds = (moved / seconds).astype(np.float32)
        return self._speeds
