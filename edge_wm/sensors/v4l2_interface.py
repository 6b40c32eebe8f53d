"""Video4Linux2: the structs and numbers of ``linux/videodev2.h`` that capturing takes, as 64-bit kernels have them.

``tests/sensors/test_v4l2_interface.py`` compares them with the header itself.  Of the libraries on PyPI, linuxpy is GPL-3, the others are
abandoned, and OpenCV is 60 MB.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
from ctypes import c_char, c_int64, c_uint8, c_uint32


class Capability(ctypes.Structure):
    """``struct v4l2_capability``."""

    driver: bytes
    card: bytes
    device_caps: int
    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class PixelFormat(ctypes.Structure):
    """``struct v4l2_pix_format``."""

    width: int
    height: int
    pixelformat: int
    field: int
    bytesperline: int
    sizeimage: int
    colorspace: int
    ycbcr_enc: int
    quantization: int
    _fields_ = tuple(
        (name, c_uint32)
        for name in (
            "width",
            "height",
            "pixelformat",
            "field",
            "bytesperline",
            "sizeimage",
            "colorspace",
            "priv",
            "flags",
            "ycbcr_enc",
            "quantization",
            "xfer_func",
        )
    )


class _FormatUnion(ctypes.Union):
    # The longest member has pointers in it, which is why all of them begin at a multiple of 8.
    _fields_ = (("pix", PixelFormat), ("raw", c_uint8 * 200), ("align", c_int64))


class Format(ctypes.Structure):
    """``struct v4l2_format``."""

    type: int
    fmt: _FormatUnion
    _fields_ = (("type", c_uint32), ("fmt", _FormatUnion))

    @property
    def pix(self) -> PixelFormat:
        """Of a single-planar capture."""
        pix: PixelFormat = self.fmt.pix
        return pix


class FormatDescription(ctypes.Structure):
    """``struct v4l2_fmtdesc``."""

    index: int
    type: int
    pixelformat: int
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_uint8 * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class Fraction(ctypes.Structure):
    """``struct v4l2_fract``."""

    numerator: int
    denominator: int
    _fields_ = (("numerator", c_uint32), ("denominator", c_uint32))


class StreamParameters(ctypes.Structure):
    """``struct v4l2_streamparm``, its union being ``struct v4l2_captureparm``."""

    type: int
    capability: int
    timeperframe: Fraction
    _fields_ = (
        ("type", c_uint32),
        ("capability", c_uint32),
        ("capturemode", c_uint32),
        ("timeperframe", Fraction),
        ("extendedmode", c_uint32),
        ("readbuffers", c_uint32),
        ("rest", c_uint8 * 176),
    )


class RequestBuffers(ctypes.Structure):
    """``struct v4l2_requestbuffers``."""

    count: int
    type: int
    memory: int
    _fields_ = (
        ("count", c_uint32),
        ("type", c_uint32),
        ("memory", c_uint32),
        ("capabilities", c_uint32),
        ("flags", c_uint8),
        ("reserved", c_uint8 * 3),
    )


class Buffer(ctypes.Structure):
    """``struct v4l2_buffer``."""

    index: int
    type: int
    bytesused: int
    flags: int
    seconds: int
    microseconds: int
    sequence: int
    memory: int
    offset: int
    length: int
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("bytesused", c_uint32),
        ("flags", c_uint32),
        ("field", c_uint32),
        ("seconds", c_int64),
        ("microseconds", c_int64),
        ("timecode", c_uint8 * 16),
        ("sequence", c_uint32),
        ("memory", c_uint32),
        ("offset", c_int64),  # a union with pointers in it
        ("length", c_uint32),
        ("reserved2", c_uint32),
        ("request_fd", c_uint32),
    )


def _read_write(number: int, struct: type[ctypes.Structure]) -> int:
    return 3 << 30 | ctypes.sizeof(struct) << 16 | ord("V") << 8 | number


def _write(number: int, size: int) -> int:
    return 1 << 30 | size << 16 | ord("V") << 8 | number


QUERYCAP = 2 << 30 | ctypes.sizeof(Capability) << 16 | ord("V") << 8
ENUM_FMT = _read_write(2, FormatDescription)
S_FMT = _read_write(5, Format)
REQBUFS = _read_write(8, RequestBuffers)
QUERYBUF = _read_write(9, Buffer)
QBUF = _read_write(15, Buffer)
DQBUF = _read_write(17, Buffer)
STREAMON = _write(18, 4)
STREAMOFF = _write(19, 4)
S_PARM = _read_write(22, StreamParameters)

CAP_VIDEO_CAPTURE = 0x00000001
CAP_STREAMING = 0x04000000
BUF_TYPE_VIDEO_CAPTURE = 1
MEMORY_MMAP = 1
BUF_FLAG_ERROR = 0x0040
BUF_FLAG_TIMESTAMP_MASK, BUF_FLAG_TIMESTAMP_MONOTONIC = 0xE000, 0x2000
FIELD_NONE = 1
COLORSPACE_REC709, COLORSPACE_JPEG = 3, 7
YCBCR_ENC_DEFAULT, YCBCR_ENC_709 = 0, 2
QUANTIZATION_DEFAULT, QUANTIZATION_FULL_RANGE = 0, 1


def fourcc(name: str) -> int:
    """The number of a pixel format: ``V4L2_PIX_FMT_YUYV`` is ``fourcc("YUYV")``."""
    return int.from_bytes(name.encode("ascii"), "little")


def control(fd: int, request: int, argument: ctypes.Structure | ctypes.c_uint32) -> None:
    """An ioctl.  Raises OSError."""
    while True:
        try:
            fcntl.ioctl(fd, request, argument)
        except InterruptedError:
            continue
        return


def would_wait(error: OSError) -> bool:
    """Whether it only says that there is nothing yet."""
    return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
