"""The robot's camera in simulation: one shared off-screen context, and what a cheap sensor does to a picture."""

from __future__ import annotations

import functools
from typing import Any

import mujoco
import numpy as np

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm

TOP_VIEW_SIZE = 512


@functools.cache
def _graphics() -> Any:
    """One OpenGL context for the process: making one takes longer than driving a whole episode."""
    try:
        context = mujoco.GLContext(TOP_VIEW_SIZE, TOP_VIEW_SIZE)
        context.make_current()
    except Exception as error:  # whatever the driver raises, the cure is the same
        raise _no_graphics(error) from error
    return context


def _no_graphics(error: Exception) -> BadInput:
    return BadInput(
        f"the simulated camera cannot draw ({' '.join(str(error).split())}): run"
        "  sudo apt install libegl1 libgl1 libegl-mesa0  and leave MUJOCO_GL unset, or set it to egl"
    )


class _OffscreenView:
    """Renders one fixed camera of one model to arrays."""

    def __init__(self, model: Any, width: int, height: int) -> None:
        self._gl = _graphics()
        self.model = model
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        model.vis.quality.offsamples = 0
        model.light_castshadow[:] = 0
        model.mat_reflectance[:] = 0.0
        try:
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except mujoco.FatalError as error:
            raise _no_graphics(error) from error
        self._scene = mujoco.MjvScene(model, maxgeom=max(2000, 2 * model.ngeom))
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 1
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.empty((height, width, 3), dtype=np.uint8)
        self._depth = np.empty((height, width), dtype=np.float32)

    def render(self, data: Any, camera: Any) -> Array:
        """Return uint8[height, width, 3], the top row first, fresh memory."""
        mujoco.mjv_updateScene(
            self.model, data, self._options, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._depth, self._viewport, self._context)
        upright: Array = self._rgb[::-1].copy()  # OpenGL's first row is the lowest
        return upright

    def close(self) -> None:
        self._context.free()


class WorldCamera:
    """The clean picture that the robot's camera would take."""

    def __init__(self, model: Any) -> None:
        self._view = _OffscreenView(model, rm.CAMERA_WIDTH, rm.CAMERA_HEIGHT)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera(rm.CAMERA_NAME).id

    def frame(self, data: Any) -> Array:
        """Render uint8[48, 64, 3]."""
        return self._view.render(data, self._camera)

    def depth(self) -> Array:
        """Distance along the optical axis of the last frame, float32[48, 64] in metres."""
        visual, extent = self._view.model.vis.map, self._view.model.stat.extent
        near, far = visual.znear * extent, visual.zfar * extent
        buffer = self._view._depth[::-1].astype(np.float64)
        metres: Array = (near / (1.0 - buffer * (1.0 - near / far))).astype(np.float32)
        return metres

    def close(self) -> None:
        """Free the graphics memory."""
        self._view.close()


def top_view(model: Any, data: Any, bounds: tuple[float, float, float, float]) -> Array:
    """Look straight down on the rectangle ``bounds`` (x_min, y_min, x_max, y_max).

    Returns:
        uint8[512, 512, 3] of the square around the rectangle's centre; north (+y) up.  Pixel (row, column) of a
        world point follows from :func:`top_view_scale`.
    """
    view = _OffscreenView(model, TOP_VIEW_SIZE, TOP_VIEW_SIZE)
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.orthographic = 1
    camera.azimuth, camera.elevation, camera.distance = 90.0, -90.0, 8.0
    centre_x, centre_y, side = top_view_square(bounds)
    camera.lookat[:] = (centre_x, centre_y, 0.0)
    saved = float(model.vis.global_.fovy)
    model.vis.global_.fovy = side  # of an orthographic camera, fovy is the height of the picture in metres
    try:
        return view.render(data, camera)
    finally:
        model.vis.global_.fovy = saved
        view.close()


def top_view_square(bounds: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Centre x, centre y and side length (m) of the square that :func:`top_view` shows."""
    x_min, y_min, x_max, y_max = bounds
    return (x_min + x_max) / 2, (y_min + y_max) / 2, max(x_max - x_min, y_max - y_min) + 0.4


class CameraEffects:
    """Exposure, colour cast, blur and noise of one cheap camera, drawn once an episode."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._gain = rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)
        self._gamma = rng.uniform(0.85, 1.2)
        self._offset = rng.uniform(-10.0, 10.0)
        self._noise = rng.uniform(1.0, 7.0)
        self._blur = rng.uniform(0.0, 0.25)

    def apply(self, frame: Array) -> Array:
        """Return ``frame`` uint8[H, W, 3] as this camera would have delivered it."""
        picture = 255.0 * (frame / 255.0) ** self._gamma * self._gain + self._offset
        side = self._blur
        picture[:, 1:-1] = (1 - 2 * side) * picture[:, 1:-1] + side * (picture[:, :-2] + picture[:, 2:])
        picture[1:-1] = (1 - 2 * side) * picture[1:-1] + side * (picture[:-2] + picture[2:])
        picture += self._rng.normal(0.0, self._noise, frame.shape)
        return np.clip(picture, 0, 255).astype(np.uint8)
