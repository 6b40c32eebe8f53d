"""Runs a GStreamer pipeline and writes its frames to the pipe at standard output, each with the moment at which it was captured.

``gstreamer_camera.py`` starts this file with the Python that has GStreamer's bindings, which is the system's: on a Jetson that may be 3.8,
and edge-wm is not in it.  A pipeline that hangs or crashes, as those of CSI cameras do, takes only this process with it.

Usage: python3 gstreamer_process.py "SOURCE" WIDTH HEIGHT
"""

from __future__ import annotations

import importlib
import os
import struct
import sys
from typing import Any

HEADER = struct.Struct("<4sqIIII")
"""b"ewmF", monotonic nanoseconds, width, height, bytes of a row, bytes that follow: R, G, B and one more for each pixel."""
MAGIC = b"ewmF"
CAPS = "video/x-raw,format=RGBA,width={width},height={height},pixel-aspect-ratio=1/1"
"""Of all formats without subsampled colours, a Jetson's ``nvvidconv`` makes this one."""
SINK = "appsink name=sink max-buffers=1 drop=true sync=false"
"""It keeps the newest frame only, and gives it at once."""
WAIT_NS = 500_000_000
ENDED = "edge-wm: "
"""Before the reason for which the process ends: plugins write to standard error too, also after it."""


def main() -> int:
    """Exit code 0: nobody reads any more; 1: the pipeline failed, and why is on standard error."""
    source, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # Plugins print to standard output, as nvarguscamerasrc does: the frames have the pipe for themselves.
    frames = os.dup(1)
    os.dup2(2, 1)
    try:
        gi: Any = importlib.import_module("gi")
        for name in ("Gst", "GstApp", "GstVideo"):
            gi.require_version(name, "1.0")
        glib, gst, _, video = (
            importlib.import_module(f"gi.repository.{name}") for name in ("GLib", "Gst", "GstApp", "GstVideo")
        )
    except (ImportError, ValueError) as error:
        return failed(f"{error}: sudo apt install python3-gst-1.0 gstreamer1.0-plugins-base")
    gst.init(None)
    try:
        pipeline = gst.parse_launch(f"{source} ! {CAPS.format(width=width, height=height)} ! {SINK}")
    except glib.Error as error:
        return failed(error.message)
    # Its running time then counts from the base time of this clock, whatever clock the source would offer.
    clock = gst.SystemClock.obtain()
    clock.set_property("clock-type", gst.ClockType.MONOTONIC)
    pipeline.use_clock(clock)
    pipeline.set_state(gst.State.PLAYING)
    try:
        return send_frames(gst, video, pipeline, frames)
    except BrokenPipeError:
        return 0
    finally:
        pipeline.set_state(gst.State.NULL)


def send_frames(gst: Any, video: Any, pipeline: Any, frames: int) -> int:
    """To the pipe ``frames``, until the pipeline ends."""
    sink, bus = pipeline.get_by_name("sink"), pipeline.get_bus()
    while True:
        message = bus.pop_filtered(gst.MessageType.ERROR | gst.MessageType.EOS)
        if message is not None and message.type == gst.MessageType.EOS:
            return failed("the stream has ended")
        if message is not None:
            return failed(message.parse_error()[0].message)
        sample = sink.try_pull_sample(WAIT_NS)
        if sample is None:
            continue
        buffer = sample.get_buffer()
        info = video.VideoInfo.new_from_caps(sample.get_caps())
        running = sample.get_segment().to_running_time(gst.Format.TIME, buffer.pts)
        is_mapped, mapped = buffer.map(gst.MapFlags.READ)
        if not is_mapped or running == gst.CLOCK_TIME_NONE:
            return failed("a frame cannot be read, or has no time stamp: end the source with  ! videoconvert")
        try:
            time_ns = running + pipeline.get_base_time()
            header = HEADER.pack(MAGIC, time_ns, info.width, info.height, info.stride[0], len(mapped.data))
            write(frames, header)
            write(frames, mapped.data)
        finally:
            buffer.unmap(mapped)


def write(pipe: int, data: bytes) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def failed(why: str) -> int:
    """Say why."""
    print(ENDED + " ".join(why.split()), file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
