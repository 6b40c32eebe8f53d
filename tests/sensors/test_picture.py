"""From a driver's bytes to the small RGB picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edge_wm.sensors.picture import BT709, Coding, Layout, MalformedPicture, Picture, fitted

COLOURS = {
    # RGB: Y, U, V of BT.601 in limited range, as Rec. ITU-R BT.601-7 2.5 has them
    (255, 255, 255): (235, 128, 128),
    (0, 0, 0): (16, 128, 128),
    (255, 0, 0): (81, 90, 240),
    (0, 255, 0): (145, 54, 34),
    (0, 0, 255): (41, 240, 110),
}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rgb(image: np.ndarray, padding: int = 0) -> Picture:
    height, width, _ = image.shape
    rows = np.full((height, 3 * width + padding), 0xAA, dtype=np.uint8)
    rows[:, : 3 * width] = image.reshape(height, -1)
    return Picture(rows.reshape(-1), Layout.RGB, width, height, rows.shape[1])


def plain(layout: Layout, width: int, height: int, y: int, u: int, v: int, coding: Coding) -> Picture:
    """One colour all over."""
    if layout is Layout.YUYV:
        pixels = np.tile(np.array([y, u, y, v], dtype=np.uint8), width * height // 2)
        return Picture(pixels, layout, width, height, 2 * width, coding)
    pixels = np.concatenate(
        [
            np.full(width * height, y, dtype=np.uint8),
            np.tile(np.array([u, v], dtype=np.uint8), width * height // 4),
        ]
    )
    return Picture(pixels, layout, width, height, width, coding)


@pytest.mark.parametrize("padding", [0, 64])
def test_each_pixel_is_the_mean_of_the_area_under_it(padding: int) -> None:
    image = noise(480, 640)
    means = image.reshape(48, 10, 64, 10, 3).mean(axis=(1, 3))
    assert np.abs(fitted(rgb(image, padding), 64, 48) - means).max() <= 0.51


def test_areas_that_are_no_whole_pixels_are_shared_out() -> None:
    image = noise(2, 3)
    image[:] = np.array([0, 90, 180])[None, :, None]
    # Three columns make two: the middle one is half of either.
    assert fitted(rgb(np.repeat(image, 2, axis=0)[:2]), 2, 1)[0, :, 0].tolist() == [30, 150]


def test_a_picture_of_another_shape_loses_its_sides_evenly() -> None:
    image = np.zeros((48, 128, 3), dtype=np.uint8)
    image[:, 32:96] = 200  # the middle, which has the shape 4:3
    assert (fitted(rgb(image), 64, 48) == 200).all()
    image = np.zeros((128, 64, 3), dtype=np.uint8)
    image[40:88] = 200
    assert (fitted(rgb(image), 64, 48) == 200).all()
    image[39] = image[88] = 255  # control: what is cut off is not seen, and one row more would be
    assert (fitted(rgb(image), 64, 48) == 200).all()
    image[40] = 255
    assert (fitted(rgb(image), 64, 48)[0] == 255).all()


def test_a_picture_that_fits_already_stays_as_it_is() -> None:
    image = noise(48, 64)
    assert (fitted(rgb(image), 64, 48) == image).all()


@pytest.mark.parametrize("layout", [Layout.YUYV, Layout.NV12])
@pytest.mark.parametrize("colour", COLOURS)
def test_yuv_has_the_colours_of_its_standard(layout: Layout, colour: tuple[int, int, int]) -> None:
    found = fitted(plain(layout, 64, 48, *COLOURS[colour], Coding()), 16, 12)
    assert np.abs(found.astype(int) - colour).max() <= 3


@pytest.mark.parametrize("coding", [Coding(full_range=True), Coding(*BT709), Coding(*BT709, full_range=True)])
def test_yuv_of_another_coding_is_read_by_that(coding: Coding) -> None:
    red = coding.red * 100.0
    u, v = -0.5 * red / (1.0 - coding.blue), 50.0  # of (100, 0, 0)
    y, scale = (red, 1.0) if coding.full_range else (16.0 + red * 219.0 / 255.0, 224.0 / 255.0)
    numbers = (round(y), round(128.0 + scale * u), round(128.0 + scale * v))
    right = fitted(plain(Layout.NV12, 64, 48, *numbers, coding), 16, 12)
    assert np.abs(right.astype(int) - (100, 0, 0)).max() <= 3
    wrong = fitted(plain(Layout.NV12, 64, 48, *numbers, Coding()), 16, 12)  # control
    assert np.abs(wrong.astype(int) - (100, 0, 0)).max() > 3


def test_pixels_of_yuv_are_where_they_belong() -> None:
    y = np.full((48, 64), 16, dtype=np.uint8)
    y[:24, :32] = 235  # the upper left is white
    yuyv = np.full((48, 64, 2), 128, dtype=np.uint8)
    yuyv[:, :, 0] = y
    nv12 = np.vstack((y, np.full((24, 64), 128, dtype=np.uint8)))
    for picture in (
        Picture(yuyv.reshape(-1), Layout.YUYV, 64, 48, 128),
        Picture(nv12.reshape(-1), Layout.NV12, 64, 48, 64),
    ):
        small = fitted(picture, 4, 4 * 48 // 64)
        assert small[0, 0].tolist() == [255, 255, 255]
        assert small[-1, -1].tolist() == small[0, -1].tolist() == small[-1, 0].tolist() == [0, 0, 0]


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return np.frombuffer(file.getvalue(), dtype=np.uint8)


def test_a_jpeg_is_decoded_and_averaged() -> None:
    image = np.kron(noise(6, 8), np.ones((80, 80, 1), dtype=np.uint8))
    small = fitted(Picture(jpeg(image), Layout.JPEG, 640, 480, 0), 8, 6)
    assert np.abs(small.astype(int) - noise(6, 8)).max() <= 12


@pytest.mark.parametrize(
    "picture",
    [
        Picture(np.zeros(99, dtype=np.uint8), Layout.RGB, 64, 48, 192),
        Picture(np.zeros(64 * 48, dtype=np.uint8), Layout.NV12, 64, 48, 64),  # the colours are missing
        Picture(np.zeros(64 * 48 * 3, dtype=np.uint8), Layout.RGB, 64, 48, 100),
        Picture(np.zeros(0, dtype=np.uint8), Layout.RGB, 0, 0, 0),
        Picture(jpeg(noise(48, 64))[:200], Layout.JPEG, 64, 48, 0),
        Picture(np.zeros(0, dtype=np.uint8), Layout.JPEG, 64, 48, 0),
    ],
    ids=["short", "half", "stride", "empty", "cut JPEG", "empty JPEG"],
)
def test_bytes_that_are_no_picture_are_said_to_be_none(picture: Picture) -> None:
    with pytest.raises(MalformedPicture):
        fitted(picture, 64, 48)
