"""The driver of the camera that a robot file describes."""

from __future__ import annotations

from pathlib import Path

from edge_wm.clock import Clock
from edge_wm.robot_sensors import AnyCamera, FilesTable, GstreamerTable, Picamera2Table
from edge_wm.sensors.camera import Camera, Checks
from edge_wm.sensors.frame import FrameSource


def camera_of(table: AnyCamera, folder: Path, clock: Clock) -> Camera:
    """The camera, not started.

    Args:
        table: of the robot file.
        folder: of the robot file; names of files are relative to it.
        clock: the loop's.
    """
    return Camera(
        _source_of(table, folder, clock),
        table.width,
        table.height,
        clock,
        checks=Checks(frozen_frames=table.frozen_frames),
        upside_down=table.upside_down,
    )


def _source_of(table: AnyCamera, folder: Path, clock: Clock) -> FrameSource:
    width, height = table.capture
    if isinstance(table, Picamera2Table):
        from edge_wm.sensors.picamera2_camera import Picamera2Camera

        return Picamera2Camera(table.number, width, height, table.fps, table.sensor)
    if isinstance(table, GstreamerTable):
        from edge_wm.sensors.gstreamer_camera import GstreamerCamera

        return GstreamerCamera(table.source, width, height, table.python)
    if isinstance(table, FilesTable):
        from edge_wm.sensors.files_camera import FilesCamera

        return FilesCamera(folder / table.path, table.fps, clock)
    from edge_wm.sensors.v4l2_camera import V4l2Camera

    return V4l2Camera(table.device, width, height, table.fps, clock)
