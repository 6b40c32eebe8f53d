"""The robot file: board, sensors, bridge, geometry, limits and rates of one robot, read from TOML.

`boards/robots/sim.toml` describes the simulated robot and is the commented example to copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from msgspec import Meta, Struct

from edge_wm.board import Board, Name, board_file_of, load_board
from edge_wm.errors import BadInput
from edge_wm.output_file import write_atomically
from edge_wm.paths import shipped
from edge_wm.robot_bridge import (
    BridgeTable,
    DifferentialTable,
    DriveTable,
    SerialTable,
    SimavrTable,
    why_not,
)
from edge_wm.robot_sensors import (
    AnyCamera,
    RealSensors,
    SensorsTable,
    sensors_contradict,
)
from edge_wm.toml_file import checked, read_table
from firmware_bridge.chassis import Chassis

DEFAULT_ROBOT = shipped("boards", "robots", "sim.toml")
"""Robot file of the simulated robot."""

# Upper bounds catch a wrong unit (mm for m, degrees for radians), not a fast robot.
Length = Annotated[float, Meta(gt=0.0, le=10.0)]
Speed = Annotated[float, Meta(gt=0.0, le=20.0)]
Acceleration = Annotated[float, Meta(gt=0.0, le=100.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=10.0)]


class Geometry(Struct, frozen=True, forbid_unknown_fields=True):
    """Size of the robot: the circle it fits in, the distance between its wheels, their radius."""

    radius_m: Length
    track_m: Length
    wheel_radius_m: Length


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be asked of the motors; all positive.

    Attributes:
        max_v: forward speed, m/s.
        max_reverse_v: backward speed, m/s; 0 for a robot that must not reverse.
        max_w: yaw rate either way, rad/s.
        accel: speeding up, m/s^2.
        decel: slowing down, m/s^2; the supervisor's braking distance relies on it.
        angular_accel: change of yaw rate either way, rad/s^2.
    """

    max_v: Speed
    max_reverse_v: Annotated[float, Meta(ge=0.0, le=20.0)]
    max_w: Annotated[float, Meta(gt=0.0, le=30.0)]
    accel: Acceleration
    decel: Acceleration
    angular_accel: Annotated[float, Meta(gt=0.0, le=1000.0)]


class Rates(Struct, frozen=True, forbid_unknown_fields=True):
    """``tick_s``: one observation, one plan, one command, in seconds."""

    tick_s: Annotated[float, Meta(ge=0.01, le=1.0)]


class Supervision(Struct, frozen=True, forbid_unknown_fields=True):
    """When the supervisor steps in.

    Attributes:
        max_frame_age_s: an older camera frame is stale.
        max_frozen_s: a frame counter that stands still for this long means a frozen camera.
        max_late_ticks: deadlines missed in a row before the robot stops.
        reaction_s: from a range reading to the first braking effect.
        margin_m: air left between the robot and whatever it stops for.
        geofence: x_min, y_min, x_max, y_max in metres, in the odometry frame; none for no fence.
    """

    max_frame_age_s: Seconds = 0.25
    max_frozen_s: Seconds = 0.35
    max_late_ticks: Annotated[int, Meta(ge=1, le=100)] = 3
    reaction_s: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.15
    margin_m: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.03
    geofence: tuple[float, float, float, float] | None = None


class Robot(Struct, frozen=True, forbid_unknown_fields=True):
    """One robot: board + sensors + bridge + geometry, with its limits and rates.

    Attributes:
        drive: the motors; the simulated robot and an autopilot know their own.
    """

    name: Name
    board: Board
    sensors: SensorsTable
    bridge: BridgeTable
    geometry: Geometry
    limits: Limits
    rates: Rates
    supervisor: Supervision = Supervision()
    drive: DriveTable | None = None

    @property
    def stopping_distance_m(self) -> float:
        """Metres from the reading that shows an obstacle at full forward speed until the robot stands."""
        limits = self.limits
        return limits.max_v * self.supervisor.reaction_s + limits.max_v**2 / (2 * limits.decel)


def load_robot(path: str | Path = DEFAULT_ROBOT) -> Robot:
    """Read a robot file and the board file it names.

    Raises:
        BadInput: one line with the file and the key, if the file is missing, is not TOML, has a key too many, too
            few or out of range, or contradicts itself.
    """
    path = Path(path)
    table = read_table(path, "robot file")
    for key, kinds in (("bridge", BridgeTable), ("drive", DriveTable), ("sensors", SensorsTable)):
        _refuse_unknown_kind(table.get(key), key, kinds, path)
    sensors = table.get("sensors")
    if isinstance(sensors, dict) and sensors.get("kind") == RealSensors.__struct_config__.tag:
        _refuse_unknown_kind(sensors.get("camera"), "sensors.camera", AnyCamera, path)
    board = load_board(board_file_of(path, table.get("board")))
    # The board is named in the robot file and described in its own: put the description where the name was.
    robot = checked({**table, "board": board}, Robot, path)
    for key, contradiction in _contradictions(robot):
        raise BadInput(f"{path}: {key}: {contradiction}")
    return robot


def chassis_of(robot: Robot) -> Chassis:
    """The robot as its bridge knows it."""
    limits, drive, bridge = robot.limits, robot.drive, robot.bridge
    # A robot file without motors has not been built from.
    firmware = (
        bridge.firmware if drive is not None and isinstance(bridge, SerialTable | SimavrTable) else None
    )
    return Chassis(
        track_m=robot.geometry.track_m,
        wheel_radius_m=robot.geometry.wheel_radius_m,
        max_v=limits.max_v,
        max_reverse_v=limits.max_reverse_v,
        max_w=limits.max_w,
        accel=limits.accel,
        decel=limits.decel,
        angular_accel=limits.angular_accel,
        tick_s=robot.rates.tick_s,
        trims=(drive.left.trim, drive.right.trim) if isinstance(drive, DifferentialTable) else (1.0, 1.0),
        deadman_s=None if firmware is None else firmware.deadman_s,
        counts_per_turn=None if firmware is None else firmware.counts_per_turn,
    )


def amend_robot(path: Path, numbers: Mapping[str, float]) -> None:
    """Write numbers into a robot file; everything else in it stays as it is, comments too.

    Args:
        path: of the file.
        numbers: by key, such as ``drive.left.trim``; their tables must be there.

    Raises:
        BadInput: the file would no longer hold together, or cannot be written; it is as it was then.
    """
    import tomlkit

    document = tomlkit.parse(path.read_bytes().decode())  # line ends as they are
    for key, number in numbers.items():
        *tables, name = key.split(".")
        table: Any = document
        for part in tables:
            table = table[part]
        table[name] = number
    text = tomlkit.dumps(document).encode()
    trial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write_atomically(trial, text)
        load_robot(trial)
        mode = path.stat().st_mode
        write_atomically(path, text)
        path.chmod(mode)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    except BadInput as error:
        raise BadInput(str(error).replace(str(trial), str(path))) from error
    finally:
        trial.unlink(missing_ok=True)


def _refuse_unknown_kind(table: object, key: str, kinds: object, path: Path) -> None:
    kind = table.get("kind") if isinstance(table, dict) else None
    known = [choice.__struct_config__.tag for choice in get_args(kinds)]
    if isinstance(kind, str) and kind not in known:
        raise BadInput(f"{path}: {key}.kind: no driver for {kind!r}; there is {', '.join(known)}")


def _contradictions(robot: Robot) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for values that are each possible but cannot hold together."""
    geometry, limits, supervisor = robot.geometry, robot.limits, robot.supervisor
    radius, tick, reach = geometry.radius_m, robot.rates.tick_s, robot.sensors.range.reach_m
    yield from why_not(robot.bridge, robot.drive, chassis_of(robot))
    yield from sensors_contradict(robot.sensors, robot.bridge, tick)
    if geometry.track_m > 2 * radius:
        yield (
            "geometry.track_m",
            f"{geometry.track_m} m puts the wheels outside the circle of radius_m = {radius}",
        )
    if geometry.wheel_radius_m > radius:
        yield "geometry.wheel_radius_m", f"{geometry.wheel_radius_m} m is larger than radius_m = {radius}"
    if limits.max_reverse_v > limits.max_v:
        yield "limits.max_reverse_v", f"{limits.max_reverse_v} m/s is more than max_v = {limits.max_v}"
    if supervisor.max_frame_age_s < tick:
        yield (
            "supervisor.max_frame_age_s",
            f"{supervisor.max_frame_age_s} s is less than one tick of {tick} s",
        )
    if supervisor.max_frozen_s < tick:
        yield "supervisor.max_frozen_s", f"{supervisor.max_frozen_s} s is less than one tick of {tick} s"
    needed = radius + robot.stopping_distance_m + supervisor.margin_m
    if needed > reach:
        yield (
            "limits.max_v",
            f"{limits.max_v} m/s needs {needed:.2f} m to stop; sensors.range.reach_m is {reach}",
        )
    if supervisor.geofence is not None:
        x_min, y_min, x_max, y_max = supervisor.geofence
        if not (x_min < 0.0 < x_max and y_min < 0.0 < y_max):
            yield "supervisor.geofence", "x_min, y_min, x_max, y_max must lie around the start (0, 0)"
