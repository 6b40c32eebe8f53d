"""The sensors of a real robot: frames at its rate, and an answer from every chip.  It has to stand for some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.doctor.finding import Finding, error, ok, warning
from edge_wm.doctor.remedy import remedy_for
from edge_wm.drive.real import I2cBuses, gyroscope, range_ring
from edge_wm.errors import BadInput, one_line
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
    """Yield what is found of the sensors; nothing where they are simulated."""
    if not isinstance(robot.sensors, RealSensors):
        return
    clock = MonotonicClock()
    try:
        seen = camera(camera_of(robot.sensors.camera, file.parent, clock), robot, clock)
    except BadInput as why:
        seen = error("camera", str(why), "docs/sensors.md")
    yield seen
    yield chips(robot.sensors, robot.rates.tick_s, clock)


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
        return error("camera", str(why), remedy_for(str(why), "is it plugged in?  docs/sensors.md"))
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


def chips(sensors: RealSensors, tick_s: float, clock: Clock) -> Finding:
    """Whether every chip gives a reading.  Of one that does not, the others are looked at all the same.

    Args:
        sensors: of the robot file.
        tick_s: of the robot, seconds.
        clock: time.
    """
    said, problems = [], []
    for look in (_distances, _turning_rate):
        try:
            with ExitStack() as stack:
                said += look(sensors, I2cBuses(stack), tick_s, clock)
        except (BadInput, TooOld, BridgeError) as why:
            problems.append(one_line(str(why)))
    if problems:
        # Chips on a bus that is not there all say the same.
        complaint = "; ".join(dict.fromkeys(problems))
        return error("sensors", complaint, remedy_for(complaint, "docs/sensors.md"))
    return ok("sensors", ", ".join(said))


def _distances(sensors: RealSensors, buses: I2cBuses, tick_s: float, clock: Clock) -> list[str]:
    ring = range_ring(sensors.range, buses, tick_s, clock).newest().range_m
    return [f"{np.count_nonzero(ring != NO_READING)} of {len(ring)} distances"]


def _turning_rate(sensors: RealSensors, buses: I2cBuses, tick_s: float, clock: Clock) -> list[str]:
    if sensors.imu is None:
        return []
    return [f"turning at {gyroscope(sensors.imu, buses, tick_s, clock).newest().yaw_rate:.3f} rad/s"]
