"""picamera2's surface, with a camera that a test has in its hands: names, checks and bytes are those of the real one.

As in raspberrypi/picamera2: ``picamera2/picamera2.py`` (``_make_initial_stream_config``, ``align_stream``, ``check_stream_config``,
``configure_``, ``start``, ``process_requests``, ``stop``, ``close``), ``request.py`` (``CompletedRequest``) and ``formats.py``::

    format      bytes of a pixel      (formats are DRM's: the first letter is the highest byte)
    BGR888      R G B
    RGB888      B G R
    XBGR8888    R G B X
    XRGB8888    B G R X

A row is padded to a multiple of 64 bytes, as the Raspberry Pi 5's hardware does it.  ``post_callback`` runs in the thread of the event loop, which
ends if it raises, and a request's buffer is the camera's again once it was released.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

ALIGNMENT = 64
CHANNELS = {"BGR888": (0, 1, 2), "RGB888": (2, 1, 0), "XBGR8888": (0, 1, 2, 3), "XRGB8888": (2, 1, 0, 3)}
YUV = {"NV21", "NV12", "YUV420", "YVU420", "YVYU", "YUYV", "UYVY", "VYUY"}
NOT_COMPLETE = "Camera __init__ sequence did not complete."


class Bench:
    """What a test does to the camera.

    Attributes:
        scene: uint8[h, w, 3], RGB, of a frame's number and size.
        plugged: whether there is a camera.
        silent: its cable is loose: no frame is ever completed, and nothing says so.
        timestamp_ns: the clock of ``SensorTimestamp``.
        age_s: of a frame when it is completed.
        metadata: added to that of each frame; None takes a key away.
        made: all instances, in order.
    """

    def __init__(self) -> None:
        self.noise = np.random.default_rng(0)
        self.scene: Callable[[int, int, int], np.ndarray] = lambda number, width, height: self.noise.integers(
            0, 256, (height, width, 3), dtype=np.uint8
        )
        self.plugged, self.silent = True, False
        self.timestamp_ns: Callable[[], int] = time.monotonic_ns
        self.age_s = 0.02
        self.metadata: dict[str, Any] = {}
        self.made: list[Any] = []

    def module(self) -> ModuleType:
        """To be ``sys.modules["picamera2"]``."""
        module = ModuleType("picamera2")
        module.Picamera2 = type("Picamera2", (FakePicamera2,), {"bench": self})  # type: ignore[attr-defined]
        return module


class CompletedRequest:
    def __init__(self, camera: FakePicamera2, buffer: bytearray, metadata: dict[str, Any]) -> None:
        self.ref_count = 1
        self.stream_map: dict[str, object] | None = {"main": object(), "lores": None, "raw": None}
        self._camera, self._buffer, self._metadata = camera, buffer, metadata

    def release(self) -> None:
        self.ref_count -= 1
        if self.ref_count < 0:
            raise RuntimeError("CompletedRequest: lock now has negative ref_count")
        if self.ref_count == 0:
            self._buffer[:] = b"\xee" * len(self._buffer)  # the camera writes its next frame there
            self._camera.free.append(self._buffer)
            self.stream_map = None

    def make_buffer(self, name: str) -> np.ndarray:
        assert self.stream_map is not None, "used after its release"
        if self.stream_map.get(name) is None:
            raise RuntimeError(f"Stream {name!r} is not defined")
        return np.array(self._buffer, dtype=np.uint8)

    def get_metadata(self) -> dict[str, Any]:
        assert self.stream_map is not None, "used after its release"
        return dict(self._metadata)


class FakePicamera2:
    bench: Bench

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        if not cls.bench.plugged:
            return []
        identity = "/base/axi/pcie@1000120000/rp1/i2c@88000/imx708@1a"
        return [{"Model": "imx708_wide", "Location": 2, "Rotation": 180, "Id": identity, "Num": 0}]

    def __init__(self, camera_num: int = 0) -> None:
        busy = any(camera.is_open for camera in self.bench.made)
        if camera_num >= len(self.global_camera_info()) or busy:
            raise RuntimeError(NOT_COMPLETE)
        self.is_open, self.started = True, False
        self.post_callback: Callable[[CompletedRequest], None] | None = None
        self.camera_config: dict[str, Any] | None = None
        self.free: list[bytearray] = []
        self.lock = threading.Lock()
        self._loop: threading.Thread | None = None
        self._number = 0
        self.bench.made.append(self)

    def create_video_configuration(
        self,
        main: dict[str, Any] = {},  # noqa: B006 - as the real one
        lores: dict[str, Any] | None = None,
        raw: dict[str, Any] | None = {},  # noqa: B006
        transform: object = None,
        colour_space: object = None,
        buffer_count: int = 6,
        controls: dict[str, Any] = {},  # noqa: B006
        display: str | None = "main",
        encode: str | None = "main",
        queue: bool = True,
        sensor: dict[str, Any] | None = {},  # noqa: B006
        use_case: str = "video",
    ) -> dict[str, Any]:
        stream = {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True}
        for key, value in main.items():
            if key not in ("format", "size", "stride", "preserve_ar"):
                raise ValueError(f"Bad key {key!r}: valid stream configuration keys are ...")
            stream[key] = value
        width, height = stream["size"]
        stream["size"] = (width - width % 2, height - height % 2)
        return {
            "use_case": use_case,
            "transform": transform,
            "colour_space": colour_space,
            "buffer_count": buffer_count,
            "queue": queue,
            "main": stream,
            "lores": lores,
            "raw": raw,
            "controls": {"FrameDurationLimits": (33333, 33333)} | controls,
            "sensor": sensor,
            "display": display,
            "encode": encode,
        }

    def configure(self, camera_config: dict[str, Any]) -> None:
        if self.started:
            raise RuntimeError("Camera must be stopped before configuring")
        sensor = camera_config["sensor"]
        if sensor is not None and set(sensor) - {"bit_depth", "output_size"}:
            raise RuntimeError("Unexpected keys in sensor configuration")
        main = dict(camera_config["main"])
        if main["format"] not in CHANNELS and main["format"] not in YUV:
            raise RuntimeError("Bad format " + main["format"] + " in stream main")
        if type(main["size"]) is not tuple or len(main["size"]) != 2:
            raise RuntimeError("size in main stream should be (width, height)")
        width, height = main["size"]
        row = width * len(CHANNELS[main["format"]])
        main["stride"] = -(-row // ALIGNMENT) * ALIGNMENT
        main["framesize"] = main["stride"] * height
        self.camera_config = {**camera_config, "main": main}
        self.free = [bytearray(main["framesize"]) for _ in range(camera_config["buffer_count"])]

    def stream_configuration(self, name: str = "main") -> dict[str, Any]:
        assert self.camera_config is not None
        return self.camera_config[name]

    def start(self) -> None:
        if self.camera_config is None:
            raise RuntimeError("Camera has not been configured")
        self.started = True
        self._loop = threading.Thread(target=self._run, daemon=True)
        self._loop.start()

    def stop(self) -> None:
        self.started = False
        if self._loop is not None:
            self._loop.join(5.0)

    def close(self) -> None:
        if self.is_open:
            self.stop()
            self.is_open = False

    def _run(self) -> None:
        assert self.camera_config is not None
        period_s = self.camera_config["controls"]["FrameDurationLimits"][0] / 1e6
        while self.started:
            time.sleep(period_s)
            if self.bench.silent or not self.bench.plugged or not self.free:
                continue
            request = self._completed()
            with self.lock:
                if self.post_callback:
                    self.post_callback(request)
                request.release()

    def _completed(self) -> CompletedRequest:
        bench, main = self.bench, self.stream_configuration()
        width, height = main["size"]
        image = bench.scene(self._number, width, height)
        self._number += 1
        pixels = np.dstack((image, np.full((height, width), 255, np.uint8)))[:, :, CHANNELS[main["format"]]]
        buffer = self.free.pop(0)
        rows = np.frombuffer(buffer, dtype=np.uint8).reshape(height, main["stride"])
        rows[:] = 0xAA  # whatever was there: padding is not cleared
        rows[:, : pixels.shape[1] * pixels.shape[2]] = pixels.reshape(height, -1)
        metadata = {
            "SensorTimestamp": bench.timestamp_ns() - round(bench.age_s * 1e9),
            "ExposureTime": 9998,
            "FrameDuration": 33333,
            "AnalogueGain": 1.1228070259094238,
            "DigitalGain": 1.0,
            "Lux": 412.7,
            "ColourTemperature": 4640,
            "ScalerCrop": (768, 432, 3072, 1728),
            "SensorBlackLevels": (4096, 4096, 4096, 4096),
        } | bench.metadata
        return CompletedRequest(self, buffer, {k: v for k, v in metadata.items() if v is not None})
