"""``[sensors]`` of the robot file: the simulated robot's, each on an interface of its own, or those of a replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from edge_wm.robot_bridge import (
    BridgeTable,
    DeviceFile,
    MavlinkTable,
    RecordedTable,
    SerialTable,
    SimavrTable,
    SimTable,
    Text,
)

Pixels = Annotated[int, Meta(ge=8, le=4096)]
Count = Annotated[int, Meta(ge=0, le=1000)]
FramesPerSecond = Annotated[float, Meta(ge=1.0, le=240.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=2.0)]
Metres = Annotated[float, Meta(gt=0.0, le=100.0)]
Bus = Annotated[int, Meta(ge=0, le=255)]
Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
MultiplexerChannel = Annotated[int, Meta(ge=0, le=7)]

FRAMES_A_TICK = 2.0
"""Frames there must at least be in one tick: with fewer, a tick may find the frame of the last one."""


# --- without interfaces: of the simulated robot, of a replay ---------------------------------------------------------


class CameraFrames(Struct, frozen=True, forbid_unknown_fields=True):
    """Frames as uint8[height, width, 3], RGB."""

    height: Pixels
    width: Pixels


class RangeRow(Struct, frozen=True, forbid_unknown_fields=True):
    """Distance sensors, evenly spaced counter-clockwise from straight ahead; beyond ``reach_m`` they see nothing."""

    beams: Annotated[int, Meta(ge=1, le=1024)]
    reach_m: Metres


class SimSensors(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sim"):
    """The sensors of the simulated robot."""

    camera: CameraFrames
    range: RangeRow


class ReplaySensors(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"):
    """What the sensors said in a recorded drive: the one that ``bridge.file`` and ``bridge.goal`` name.

    Attributes:
        camera, range: of the recorded robot.
        wheels: whether it measured the speeds of its wheels.
        gyro: whether it measured how fast it turned.
    """

    camera: CameraFrames
    range: RangeRow
    wheels: bool = True
    gyro: bool = True


# --- cameras ---------------------------------------------------------------------------------------------------------


class CameraTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all cameras have in common.

    Attributes:
        height, width: of what the model is given: uint8[height, width, 3], RGB.
        capture: width and height that the driver is asked for; its pictures are cropped in the middle and averaged.
        upside_down: how it is mounted; its pictures are turned by half a turn.
        frozen_frames: so many frames with the same bytes count as none; 0 for a camera without noise.
    """

    height: Pixels
    width: Pixels
    capture: tuple[Pixels, Pixels] = (320, 240)
    fps: FramesPerSecond = 30.0
    upside_down: bool = False
    frozen_frames: Count = 5


class Picamera2Table(
    CameraTable, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="picamera2"
):
    """A camera of a Raspberry Pi, through Raspberry Pi OS' package ``python3-picamera2``.

    Attributes:
        number: of the camera, as ``rpicam-hello --list-cameras`` counts them.
        sensor: width and height of the sensor's mode, which that lists too.  Left out, libcamera takes the mode nearest to ``capture``,
            which on some sensors sees only their middle.
    """

    number: Annotated[int, Meta(ge=0, le=15)] = 0
    sensor: tuple[Pixels, Pixels] | None = None


class V4l2Table(
    CameraTable, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="v4l2"
):
    """A USB camera, or whatever else the kernel has at ``/dev/video*``.

    Attributes:
        device: its file; the names in ``/dev/v4l/by-id/`` stay the same when it is plugged in elsewhere.
    """

    device: DeviceFile = "/dev/video0"
    capture: tuple[Pixels, Pixels] = (640, 480)


class GstreamerTable(
    CameraTable, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="gstreamer"
):
    """What GStreamer can read, such as a CSI camera of a Jetson.

    Attributes:
        source: the beginning of a pipeline, in the words of ``gst-launch-1.0``.
        python: has GStreamer's bindings: the system's, for which there is the package ``python3-gst-1.0``.
    """

    source: Text
    python: Text = "/usr/bin/python3"


class FilesTable(
    CameraTable, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="files"
):
    """A video or a folder of pictures in place of a camera, over and over again.

    Attributes:
        path: of the file or folder, relative to the robot file.
    """

    path: Text
    frozen_frames: Count = 0


AnyCamera: TypeAlias = Picamera2Table | V4l2Table | GstreamerTable | FilesTable


# --- chips on I2C ----------------------------------------------------------------------------------------------------


class Vl53l0xTable(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="vl53l0x"):
    """A ring of VL53L0X behind a TCA9548A: docs/sensors.md.

    Attributes:
        bus: number of ``/dev/i2c-N``.
        channels: of the multiplexer, one a beam, counter-clockwise from straight ahead.
        reach_m: what a beam gives when nothing is in sight, and at most.
        multiplexer: its address.
        max_age_s: an older reading is none.
    """

    bus: Bus
    channels: Annotated[tuple[MultiplexerChannel, ...], Meta(min_length=1, max_length=8)]
    reach_m: Annotated[float, Meta(gt=0.02, le=1.2)]
    multiplexer: Annotated[int, Meta(ge=0x70, le=0x77)] = 0x70
    max_age_s: Seconds = 0.2

    @property
    def beams(self) -> int:
        """One a sensor."""
        return len(self.channels)


class Mpu6050Table(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mpu6050"):
    """A gyroscope: docs/sensors.md.

    Attributes:
        bus: number of ``/dev/i2c-N``.
        address: 0x68 or 0x69.
        mounting: which of the chip's axes points along the robot's x, y and z.
        max_age_s: an older reading is none.
    """

    bus: Bus
    address: Annotated[int, Meta(ge=0x68, le=0x69)] = 0x68
    mounting: tuple[Axis, Axis, Axis] = ("x", "y", "z")
    max_age_s: Seconds = 0.2


class RealSensors(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="real"):
    """Sensors that are there.

    Attributes:
        camera: what the model sees.
        range: the ring of distance sensors, without which nothing brakes for an obstacle.
        imu: the gyroscope; none if there is none.
        wheels: whether the bridge measures how far its wheels have turned.
    """

    camera: AnyCamera
    range: Vl53l0xTable
    imu: Mpu6050Table | None = None
    wheels: bool = False


SensorsTable: TypeAlias = SimSensors | RealSensors | ReplaySensors


def sensors_contradict(
    sensors: SensorsTable, bridge: BridgeTable, tick_s: float
) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) where sensors, bridge and tick cannot hold together."""
    if isinstance(sensors, ReplaySensors) and not isinstance(bridge, RecordedTable):
        yield "bridge.kind", "a replay moves nothing: its bridge is 'recorded', whose file names the run"
    if not isinstance(sensors, RealSensors):
        return
    if isinstance(bridge, SimTable | SimavrTable):
        yield "bridge.kind", "simulated motors move only the simulated robot, whose sensors.kind is 'sim'"
    if sensors.wheels and not _measures_wheels(bridge):
        yield (
            "sensors.wheels",
            "this bridge measures no wheels; with a microcontroller it is bridge.firmware.counts_per_turn",
        )
    if len(set(sensors.range.channels)) < len(sensors.range.channels):
        yield (
            "sensors.range.channels",
            f"no two beams are on the same channel: {list(sensors.range.channels)}",
        )
    if sensors.camera.fps * tick_s < FRAMES_A_TICK:
        yield (
            "sensors.camera.fps",
            f"{sensors.camera.fps:g} is too few for a tick of {tick_s:g} s: {FRAMES_A_TICK / tick_s:g} at least",
        )


def _measures_wheels(bridge: BridgeTable) -> bool:
    if isinstance(bridge, SerialTable):
        return bridge.firmware.counts_per_turn > 0
    return isinstance(bridge, MavlinkTable | RecordedTable)
