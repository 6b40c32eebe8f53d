"""The sensors of a real robot: frames at its rate, and an answer from every chip.  It has to stand for some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.doctor.finding import Finding, Level, error, ok, warning
from edge_wm.drive.real import hardware
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.robot_sensors import RealSensors
from edge_wm.sensors.camera import Camera
from edge_wm.sensors.cameras import camera_of
from edge_wm.sensors.frame import CameraError
from edge_wm.sensors.observation import NO_READING
from edge_wm.sensors.sampler import TooOld
from firmware_bridge.bridge import BridgeError

LOOK_S = 2.0
"""So long are frames counted."""
POLL_S = 0.002
ENOUGH = 0.95
"""Of the robot's rate: frames and ticks do not begin together."""


def sensors(robot: Robot, file: Path) -> Iterator[Finding]:
    """Yield what is found of the sensors; nothing where they are simulated.  The bridge is connected, and disarmed."""
    if not isinstance(robot.sensors, RealSensors):
        return
    clock = MonotonicClock()
    try:
        seen = camera(camera_of(robot.sensors.camera, file.parent, clock), robot, clock)
    except BadInput as why:
        seen = error("camera", str(why), "docs/sensors.md")
    yield seen
    if seen.level is not Level.ERROR:
        yield _chips(robot, file, clock)


def camera(of: Camera, robot: Robot, clock: Clock) -> Finding:
    """Start it, count the frames that can be used, close it.

    Args:
        of: the camera, not started.
        robot: whose rate it must keep.
        clock: the camera's.
    """
    try:
        of.start()
        first = newest = of.read()
        began, oldest_s = clock.now(), 0.0
        while (now := clock.now()) < began + LOOK_S:
            newest = of.read()
            oldest_s = max(oldest_s, now - newest.time)
            clock.sleep_until(now + POLL_S)
        rate = (newest.sequence - first.sequence) / (now - began)
        problem = of.problem
    except (CameraError, BadInput) as why:
        return error("camera", str(why), "is it plugged in, and used by nobody else?  docs/sensors.md")
    finally:
        of.close()
    wanted = 1.0 / robot.rates.tick_s
    said = f"{rate:.1f} frames a second, the oldest {oldest_s * 1e3:.0f} ms old; the robot ticks {wanted:g} times"
    if problem:
        return error(
            "camera", f"{problem}; {said}", "look at what it sees, and at its cable; docs/sensors.md"
        )
    if oldest_s > robot.supervisor.max_frame_age_s:
        return error(
            "camera", said, "the supervisor would stop the robot: more light, fewer pixels, or another cable"
        )
    if rate < ENOUGH * wanted:
        return warning(
            "camera", said, "more light (a long exposure takes time), or a higher sensors.camera.fps"
        )
    return ok("camera", said)


def _chips(robot: Robot, file: Path, clock: Clock) -> Finding:
    """Whether everything together gives one observation."""
    try:
        with hardware(robot, file, clock) as parts:
            arrays = parts.sensors.read().arrays
    except (BadInput, TooOld, BridgeError) as why:
        return error("sensors", str(why), "docs/sensors.md")
    ring = arrays["range"]
    seen = int(np.count_nonzero(ring != NO_READING))
    others = [f"{name} {np.round(arrays[name], 3).tolist()}" for name in ("gyro", "wheel") if name in arrays]
    return ok("sensors", ", ".join([f"{seen} of {len(ring)} distances", *others]))
