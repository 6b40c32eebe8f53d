"""A camera's picture as its driver gives it, and the small RGB picture that is made of it.

The middle of it that has the shape of the small one is cut out, and every pixel of the small one is the mean of the area under it.
The mean is taken before colours are converted, which is linear but for values that are cut off at 0 and 255: YUV costs no more than RGB.
"""

from __future__ import annotations

import io
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_wm.errors import MissingExtra

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Layout(str, Enum):
    """Bytes in memory, in this order.  V4L2, GStreamer and libcamera each have names of their own for them."""

    RGB = "RGB"
    BGR = "BGR"
    RGBX = "RGBX"
    BGRX = "BGRX"
    GREY = "GREY"
    YUYV = "YUYV"
    """Y U Y V: two pixels in a row share their colours."""
    NV12 = "NV12"
    """All Y, then U V U V: four pixels share their colours."""
    JPEG = "JPEG"

    __str__ = str.__str__


PIXEL_BYTES = {Layout.RGB: 3, Layout.BGR: 3, Layout.RGBX: 4, Layout.BGRX: 4, Layout.GREY: 1, Layout.YUYV: 2}
ORDER = {Layout.RGB: (0, 1, 2), Layout.BGR: (2, 1, 0), Layout.RGBX: (0, 1, 2), Layout.BGRX: (2, 1, 0)}
"""Where red, green and blue are in a pixel."""


class Coding(NamedTuple):
    """How colours are coded as YUV.

    Attributes:
        red, blue: weight of either in Y: those of BT.601 (Rec. ITU-R BT.601-7, 2.5.1), or BT.709.
        full_range: Y from 0 to 255; from 16 to 235 otherwise.
    """

    red: float = 0.299
    blue: float = 0.114
    full_range: bool = False


BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


class Picture(NamedTuple):
    """One picture.

    Attributes:
        pixels: uint8[n]; nobody else writes to them.
        layout: what they mean.
        width, height: in pixels.
        stride: bytes of a row, which may be more than its pixels need; 0 with JPEG.
        coding: of YUV.
    """

    pixels: Bytes
    layout: Layout
    width: int
    height: int
    stride: int
    coding: Coding = Coding()


class MalformedPicture(Exception):
    """The bytes are not the picture that they should be; the message says what is wrong."""


def fitted(picture: Picture, width: int, height: int) -> Bytes:
    """uint8[height, width, 3], RGB.

    Raises:
        MalformedPicture: there are not enough bytes, or they are no JPEG.
        MissingExtra: JPEG, and Pillow is not installed.
    """
    if picture.layout is Layout.JPEG:
        picture = _decoded(picture, width, height)
    needed = _bytes_needed(picture)
    if picture.pixels.size < needed:
        raise MalformedPicture(
            f"{picture.pixels.size} bytes of {needed} for {picture.width}x{picture.height} {picture.layout}"
        )
    rows = picture.pixels[: picture.stride * (needed // picture.stride)].reshape(-1, picture.stride)
    cut = _Cut.of(picture, width, height)
    if picture.layout is Layout.NV12:
        grey, colours = (
            _rows_averaged(half, cut.rows, picture.height, height)
            for half in (rows[: picture.height], rows[picture.height :])
        )
        samples: tuple[Floats, ...] = (grey, colours[:, 0::2], colours[:, 1::2])
        counts: tuple[int, ...] = (picture.width, picture.width // 2, picture.width // 2)
    else:
        means = _rows_averaged(rows, cut.rows, picture.height, height)
        samples, counts = _split(means, picture)
    small = [
        plane[:, :count] @ _weights(count, picture.width, cut.columns, width).T
        for plane, count in zip(samples, counts, strict=True)
    ]
    rgb = (
        _from_yuv(small, picture.coding)
        if picture.layout in (Layout.YUYV, Layout.NV12)
        else np.stack(small, axis=-1)
    )
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


class _Cut(NamedTuple):
    """What of a picture is used: first and last row and column, in pixels and parts of them."""

    rows: tuple[float, float]
    columns: tuple[float, float]

    @classmethod
    def of(cls, picture: Picture, width: int, height: int) -> _Cut:
        """The largest part in its middle that has the shape ``width`` x ``height``."""
        rows = min(float(picture.height), picture.width * height / width)
        columns = min(float(picture.width), picture.height * width / height)
        return cls(
            ((picture.height - rows) / 2, (picture.height + rows) / 2),
            ((picture.width - columns) / 2, (picture.width + columns) / 2),
        )


def _split(means: Floats, picture: Picture) -> tuple[tuple[Floats, ...], tuple[int, ...]]:
    """The channels of rows in which they take turns, and how many samples of each are of the picture."""
    width = picture.width
    if picture.layout is Layout.YUYV:
        return (means[:, 0::2], means[:, 1::4], means[:, 3::4]), (width, width // 2, width // 2)
    if picture.layout is Layout.GREY:
        return (means, means, means), (width, width, width)
    pixel = PIXEL_BYTES[picture.layout]
    red, green, blue = (means[:, first::pixel] for first in ORDER[picture.layout])
    return (red, green, blue), (width, width, width)


def _bytes_needed(picture: Picture) -> int:
    """Of its rows, the last one without what is behind its pixels: some drivers leave that out."""
    width, height, stride = picture.width, picture.height, picture.stride
    if width < 2 or height < 2 or stride < width * PIXEL_BYTES.get(picture.layout, 1):
        raise MalformedPicture(f"{width}x{height} pixels in rows of {stride} bytes")
    return stride * (height + height // 2 if picture.layout is Layout.NV12 else height)


def _rows_averaged(rows: Bytes, cut: tuple[float, float], pixels: int, wanted: int) -> Floats:
    """float32[wanted, stride]: means over rows, each over the few that it is of."""
    weights = _weights(rows.shape[0], pixels, cut, wanted)
    means = np.empty((wanted, rows.shape[1]), dtype=np.float32)
    for row, share in enumerate(weights):
        used = np.flatnonzero(share)
        first, last = used[0], used[-1] + 1
        np.dot(share[first:last], rows[first:last].astype(np.float32), out=means[row])
    return means


@lru_cache(maxsize=64)
def _weights(samples: int, pixels: int, cut: tuple[float, float], wanted: int) -> Floats:
    """float32[wanted, samples], rows sum to 1: the share of each sample in each of the means.

    Args:
        samples: of the channel along this side.
        pixels: of the picture along this side.
        cut: first and last pixel that count.
        wanted: means.
    """
    edges = np.linspace(cut[0], cut[1], wanted + 1) * samples / pixels
    first = np.arange(samples)
    overlap = np.minimum(edges[1:, None], first + 1.0) - np.maximum(edges[:-1, None], first)
    overlap = np.maximum(overlap, 0.0)
    weights: Floats = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _from_yuv(planes: list[Floats], coding: Coding) -> Floats:
    """float32[height, width, 3], RGB, from Y, U and V.  BT.601-7, 2.5."""
    y, u, v = planes[0], planes[1] - 128.0, planes[2] - 128.0
    if not coding.full_range:
        y, u, v = (y - 16.0) * (255.0 / 219.0), u * (255.0 / 224.0), v * (255.0 / 224.0)
    red = y + 2.0 * (1.0 - coding.red) * v
    blue = y + 2.0 * (1.0 - coding.blue) * u
    green = (y - coding.red * red - coding.blue * blue) / (1.0 - coding.red - coding.blue)
    rgb: Floats = np.stack((red, green, blue), axis=-1)
    return rgb


def _decoded(picture: Picture, width: int, height: int) -> Picture:
    """Of a JPEG.  It is decoded no larger than needed, which takes a fraction of the time."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("Pillow", "camera") from None
    try:
        image: Any = Image.open(io.BytesIO(picture.pixels.tobytes()), formats=("JPEG",))
        image.draft("RGB", (width, height))
        pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises what it meets, of many kinds
        raise MalformedPicture(f"no JPEG: {error}") from error
    rows, columns, _ = pixels.shape
    return Picture(pixels.reshape(-1), Layout.RGB, columns, rows, 3 * columns)
