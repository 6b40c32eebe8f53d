"""All sensors of a real robot as one: camera, distances, turning rate and wheel speeds in one observation.

The observation has the camera's time and number.  The other parts have ages of their own, and none is passed off as new:

=========  ================================================================================
camera     the last frame that could be used, with its time; the supervisor knows what is too old
range      a ring whose reading is too old gives drop-outs, and an error if that goes on
gyro       an error if the newest rate is too old
wheel      an error if the bridge has not reported for too long
=========  ================================================================================

An error ends the run: the robot brakes.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock
from edge_wm.sensors.camera import Camera
from edge_wm.sensors.mpu6050 import ImuSample
from edge_wm.sensors.observation import NO_READING, Array, Observation
from edge_wm.sensors.range_ring import RingReading
from edge_wm.sensors.sampler import Sampler, TooOld
from edge_wm.sensors.wheel_speeds import WheelSpeeds

BLIND_S = 0.5
"""Without any distance for so long, the run ends; until then the supervisor lets the robot creep at most."""


class AssembledSensors:
    """See ``Sensors``.  Its parts have been started; they are closed with it.

    Args:
        camera: the camera.
        ring: distances.
        beams: how many.
        imu: turning rates; None if there are none.
        wheels: wheel speeds; None if there are none.
        clock: the loop's.
    """

    def __init__(
        self,
        camera: Camera,
        ring: Sampler[RingReading],
        beams: int,
        imu: Sampler[ImuSample] | None,
        wheels: WheelSpeeds | None,
        clock: Clock,
    ) -> None:
        self._camera, self._ring, self._imu, self._wheels = camera, ring, imu, wheels
        self._beams, self._clock = beams, clock
        self._ring_at = clock.now()

    @property
    def problem(self) -> str:
        """What is wrong with the camera; empty while it gives frames."""
        return self._camera.problem

    @property
    def travelled_m(self) -> float | None:
        """Metres that the wheels have rolled since they were first read; None without encoders."""
        return None if self._wheels is None else self._wheels.travelled_m

    def read(self) -> Observation:
        """See ``Sensors.read``.  Waits for nothing but the bridge's report, which it has.

        Raises:
            TooOld: a part but the camera gives nothing new.
            BridgeError: the link to the wheels is broken.
        """
        frame = self._camera.read()
        arrays: dict[str, Array] = {"camera": frame.image, "range": self._range()}
        if self._wheels is not None:
            arrays["wheel"] = self._wheels.read()
        if self._imu is not None:
            arrays["gyro"] = np.array([self._imu.newest().yaw_rate], dtype=np.float32)
        return Observation(frame.time, frame.sequence, arrays)

    def close(self) -> None:
        """See ``Sensors.close``."""
        self._camera.close()
        for sampler in (self._ring, self._imu):
            if sampler is not None:
                sampler.close()

    def _range(self) -> npt.NDArray[np.float32]:
        now = self._clock.now()
        with suppress(TooOld):
            reading = self._ring.newest()
            self._ring_at = now
            return reading.range_m
        if now - self._ring_at > BLIND_S:
            self._ring.newest()  # says why
        return np.full(self._beams, NO_READING, dtype=np.float32)
