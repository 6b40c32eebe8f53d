"""A camera of the kernel's, at ``/dev/video*``: a USB camera, say.

The driver fills buffers that are mapped into this process.  All that are full are taken, and only the newest is looked at.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from edge_wm.clock import Clock
from edge_wm.sensors import v4l2_interface as v4l2
from edge_wm.sensors.frame import CameraError, Frame
from edge_wm.sensors.picture import BT601, BT709, Coding, Layout, Picture
from edge_wm.sensors.v4l2_interface import control

LAYOUTS = {
    v4l2.fourcc("RGB3"): Layout.RGB,
    v4l2.fourcc("BGR3"): Layout.BGR,
    v4l2.fourcc("NV12"): Layout.NV12,
    v4l2.fourcc("YUYV"): Layout.YUYV,
    v4l2.fourcc("MJPG"): Layout.JPEG,
    v4l2.fourcc("JPEG"): Layout.JPEG,
    v4l2.fourcc("GREY"): Layout.GREY,
}
"""Pixel formats that can be read; of those that a camera has, the first in this order is taken."""
BUFFERS = 4
"""One is being filled, one was just filled; the others are for the time in which this process does not run."""
ENOUGH = 0.9
"""Of the frames a second that it is asked for."""
_REASONS = {
    errno.ENOENT: "there is no such device: is the camera plugged in?  v4l2-ctl --list-devices",
    errno.ENODEV: "it is gone: was it unplugged?",
    errno.ENXIO: "it is gone: was it unplugged?",
    errno.EACCES: "not permitted: sudo usermod -aG video $USER, then log in again",
    errno.EBUSY: "busy: another program has it",
    errno.ENOSPC: "the USB bus has no room for so many bytes a second: a smaller capture, or fewer fps",
    errno.EIO: "it failed: a loose plug, or too little power",
}


class V4l2Camera:
    """See ``FrameSource``.

    Args:
        device: its file.
        width, height: that it is asked for; it may give others, which is as good.
        fps: that it is asked for.
        clock: the loop's, for drivers whose time stamps are not of the machine's monotonic clock.
        formats: that may be asked for, of ``LAYOUTS``.
    """

    def __init__(
        self,
        device: str,
        width: int,
        height: int,
        fps: float,
        clock: Clock,
        formats: tuple[int, ...] = tuple(LAYOUTS),
    ) -> None:
        self._device, self._asked, self._fps, self._clock = device, (width, height), fps, clock
        self._formats = formats
        self._fd: int | None = None
        self._maps: list[mmap.mmap] = []
        self._format = v4l2.Format()

    @property
    def name(self) -> str:
        """See ``FrameSource.name``."""
        return f"camera {self._device}"

    def open(self) -> None:
        """See ``FrameSource.open``."""
        try:
            self._fd = os.open(self._device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._set_up(self._fd)
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except CameraError:
            self.close()
            raise

    def newest(self, wait_s: float) -> Frame | None:
        """See ``FrameSource.newest``."""
        fd = self._fd
        if fd is None:
            raise CameraError(f"{self.name}: not open")
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        events = waiting.poll(1000.0 * wait_s)
        newest: v4l2.Buffer | None = None
        try:
            while (buffer := self._taken(fd)) is not None:
                if buffer.flags & v4l2.BUF_FLAG_ERROR:  # the driver's word that its pixels are wrong
                    control(fd, v4l2.QBUF, buffer)
                    continue
                if newest is not None:
                    control(fd, v4l2.QBUF, newest)
                newest = buffer
            if newest is None and any(event & select.POLLERR for _, event in events):
                raise CameraError(f"{self.name}: its driver has stopped")
            if newest is None:
                return None
            frame = self._frame(newest)
            control(fd, v4l2.QBUF, newest)
        except OSError as error:
            raise self._failed(error) from error
        return frame

    def close(self) -> None:
        """See ``FrameSource.close``."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        with suppress(OSError):
            control(fd, v4l2.STREAMOFF, ctypes.c_uint32(v4l2.BUF_TYPE_VIDEO_CAPTURE))
        for mapped in self._maps:
            with suppress(BufferError, OSError):
                mapped.close()
        self._maps = []
        os.close(fd)

    def _set_up(self, fd: int) -> None:
        capability = v4l2.Capability()
        try:
            control(fd, v4l2.QUERYCAP, capability)
        except OSError as error:
            if error.errno == errno.ENOTTY:
                raise CameraError(f"{self.name}: it is no video device") from error
            raise
        wanted = v4l2.CAP_VIDEO_CAPTURE | v4l2.CAP_STREAMING
        if capability.device_caps & wanted != wanted:
            raise CameraError(
                f"{self.name}: {capability.card.decode(errors='replace')} gives no pictures here: another /dev/video* of it may"
            )
        self._set_format(fd)
        request = v4l2.RequestBuffers(BUFFERS, v4l2.BUF_TYPE_VIDEO_CAPTURE, v4l2.MEMORY_MMAP)
        control(fd, v4l2.REQBUFS, request)
        for index in range(request.count):
            buffer = self._buffer(index)
            control(fd, v4l2.QUERYBUF, buffer)
            self._maps.append(
                mmap.mmap(fd, buffer.length, mmap.MAP_SHARED, mmap.PROT_READ, offset=buffer.offset)
            )
            control(fd, v4l2.QBUF, buffer)
        control(fd, v4l2.STREAMON, ctypes.c_uint32(v4l2.BUF_TYPE_VIDEO_CAPTURE))

    def _set_format(self, fd: int) -> None:
        """Ask for the first of its formats that comes often enough, else for that which comes most often.

        Uncompressed pictures may come five times a second where compressed ones come thirty times.
        """
        offered = self._offered(fd)
        usable = [number for number in self._formats if number in offered]
        if not usable:
            raise CameraError(
                f"{self.name}: it gives {_names(offered)}, and none of {_names(self._formats)}, which can be read"
            )
        rates = {}
        for number in usable:
            rates[number] = self._rate_with(fd, number)
            if rates[number] >= ENOUGH * self._fps:
                return
        self._rate_with(fd, max(rates, key=lambda number: rates[number]))

    def _offered(self, fd: int) -> list[int]:
        """Its pixel formats."""
        offered = []
        description = v4l2.FormatDescription(type=v4l2.BUF_TYPE_VIDEO_CAPTURE)
        with suppress(OSError):  # EINVAL behind the last
            while True:
                control(fd, v4l2.ENUM_FMT, description)
                offered.append(description.pixelformat)
                description.index += 1
        return offered

    def _rate_with(self, fd: int, pixelformat: int) -> float:
        """Set a format, which is in ``_format`` then.  Returns the frames a second that it comes with."""
        self._format = v4l2.Format(type=v4l2.BUF_TYPE_VIDEO_CAPTURE)
        pix = self._format.pix
        pix.width, pix.height = self._asked
        pix.pixelformat, pix.field = pixelformat, v4l2.FIELD_NONE
        control(fd, v4l2.S_FMT, self._format)
        if pix.pixelformat != pixelformat:
            raise CameraError(f"{self.name}: it was asked for {_names([pixelformat])} and gives others")
        parameters = v4l2.StreamParameters(type=v4l2.BUF_TYPE_VIDEO_CAPTURE)
        parameters.timeperframe = v4l2.Fraction(1000, round(1000 * self._fps))
        try:
            control(fd, v4l2.S_PARM, parameters)
        except OSError:
            return self._fps  # it has one rate; whether that is enough, the age of its frames will tell
        period = parameters.timeperframe
        return period.denominator / period.numerator if period.numerator else self._fps

    def _taken(self, fd: int) -> v4l2.Buffer | None:
        """One buffer that is full; None if there is none now."""
        buffer = self._buffer(0)
        try:
            control(fd, v4l2.DQBUF, buffer)
        except OSError as error:
            if v4l2.would_wait(error):
                return None
            raise
        return buffer

    def _buffer(self, index: int) -> v4l2.Buffer:
        return v4l2.Buffer(index=index, type=v4l2.BUF_TYPE_VIDEO_CAPTURE, memory=v4l2.MEMORY_MMAP)

    def _frame(self, buffer: v4l2.Buffer) -> Frame:
        """A copy of what is in the buffer, which the driver gets back."""
        pix = self._format.pix
        pixels: npt.NDArray[np.uint8] = np.frombuffer(
            self._maps[buffer.index], dtype=np.uint8, count=buffer.bytesused
        ).copy()
        layout = LAYOUTS[pix.pixelformat]
        stride = 0 if layout is Layout.JPEG else pix.bytesperline
        picture = Picture(pixels, layout, pix.width, pix.height, stride, _coding(pix))
        if buffer.flags & v4l2.BUF_FLAG_TIMESTAMP_MASK == v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC:
            return Frame(buffer.seconds + buffer.microseconds * 1e-6, picture)
        return Frame(self._clock.now(), picture)  # when it came, for want of better

    def _failed(self, error: OSError) -> CameraError:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        return CameraError(f"{self.name}: {reason}")


def _coding(pix: v4l2.PixelFormat) -> Coding:
    """Of YUV, with the kernel's own defaults (V4L2_MAP_YCBCR_ENC_DEFAULT, V4L2_MAP_QUANTIZATION_DEFAULT)."""
    by_709 = pix.ycbcr_enc == v4l2.YCBCR_ENC_709 or (
        pix.ycbcr_enc == v4l2.YCBCR_ENC_DEFAULT and pix.colorspace == v4l2.COLORSPACE_REC709
    )
    full = pix.quantization == v4l2.QUANTIZATION_FULL_RANGE or (
        pix.quantization == v4l2.QUANTIZATION_DEFAULT and pix.colorspace == v4l2.COLORSPACE_JPEG
    )
    return Coding(*(BT709 if by_709 else BT601), full_range=full)


def _names(formats: list[int] | tuple[int, ...]) -> str:
    names = (number.to_bytes(4, "little").decode("ascii", errors="replace").strip() for number in formats)
    return ", ".join(names) or "nothing"
