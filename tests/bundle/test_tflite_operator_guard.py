"""One operator by itself: what an engine computes with and does not look at is refused, and its nearest neighbour is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from edge_wm.bundle.tflite_operator_guard import GEOMETRY, misfit
from edge_wm.engines.engine import TensorSpec

COMPUTED = None


def said(
    name: str,
    inputs: Sequence[tuple[tuple[int, ...], str]],
    stored: Mapping[int, Sequence[int]] | None = None,
    **options: int,
) -> str | None:
    """What is wrong with it."""
    specs = [TensorSpec(f"input{number}", shape, dtype) for number, (shape, dtype) in enumerate(inputs)]
    return misfit(name, specs, (stored or {}).get, options)


INTEGERS = [((4,), "int32"), ((4,), "int32")]
FLOATS = [((4,), "float32"), ((4,), "float32")]
PART = [((5, 3), "float32"), ((2,), "int32"), ((2,), "int32")]
GREATEST = [((2, 7), "float32"), ((), "int32")]
IMAGE = ((1, 8, 8, 3), "float32")


@pytest.mark.parametrize("name", ["DIV", "FLOOR_DIV", "FLOOR_MOD"])
@pytest.mark.parametrize(
    ("divisor", "sound"),
    [([1, 2, 3, -2], True), ([1, 0, 3, 4], False), ([1, 2, -1, 4], False), (COMPUTED, False)],
)
def test_integers_are_divided_by_stored_ones_other_than_0_and_minus_1(
    name: str, divisor: list[int] | None, sound: bool
) -> None:
    stored = {} if divisor is None else {1: divisor}
    why = said(name, INTEGERS, stored)
    assert (why is None) == sound
    assert sound or why == (
        f"{name} divides integers by 'input1', which is not a stored integer other than 0 and -1"
    )


@pytest.mark.parametrize("name", ["DIV", "FLOOR_DIV", "FLOOR_MOD"])
def test_numbers_with_a_point_are_divided_by_anything(name: str) -> None:
    assert said(name, FLOATS) is None


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_quantised_numbers_are_divided_by_anything_and_not_with_a_rest(dtype: str) -> None:
    quantised = [((4,), dtype), ((4,), dtype)]
    assert said("DIV", quantised) is None
    assert said("FLOOR_MOD", quantised) is not None


@pytest.mark.parametrize(
    ("begin", "size", "sound"),
    [
        ([0, 0], [5, 3], True),
        ([4, 2], [1, 1], True),
        ([5, 3], [0, 0], True),
        ([1, 1], [-1, -1], True),
        ([-1, 0], [1, 1], False),
        ([6, 0], [0, 1], False),
        ([3, 0], [3, 3], False),
        ([1, 0], [2**31 - 1, 1], False),
        ([0, 0], [-2, 3], False),
        ([0], [5], False),
        ([0, 0], [5], False),
        (COMPUTED, [5, 3], False),
        ([0, 0], COMPUTED, False),
    ],
)
def test_a_slice_lies_within_its_tensor(begin: list[int] | None, size: list[int] | None, sound: bool) -> None:
    stored = {number: values for number, values in ((1, begin), (2, size)) if values is not None}
    why = said("SLICE", PART, stored)
    assert (why is None) == sound
    assert sound or (why is not None and why.startswith("SLICE takes "))


@pytest.mark.parametrize(
    ("most", "sound"),
    [([7], True), ([0], True), ([8], False), ([-1], False), ([1, 1], False), (COMPUTED, False)],
)
def test_no_more_are_the_greatest_than_there_are(most: list[int] | None, sound: bool) -> None:
    why = said("TOPK_V2", GREATEST, {} if most is None else {1: most})
    assert (why is None) == sound


def test_of_a_single_number_none_is_the_greatest() -> None:
    assert said("TOPK_V2", [((), "float32"), ((), "int32")], {1: [0]}) is not None


def _sound(name: str) -> dict[str, int]:
    return {field.name: 1 for field in GEOMETRY[name][1] if field.kind == "i"}


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name in GEOMETRY for field in _sound(name)], ids=str
)
@pytest.mark.parametrize("value", [0, -1, -(2**31)])
def test_no_part_of_a_geometry_is_below_1(name: str, field: str, value: int) -> None:
    inputs = [IMAGE, ((1, 2, 2, 3), "float32")]
    assert said(name, inputs, **_sound(name)) is None, "the control"
    assert said(name, inputs, **{**_sound(name), field: value}) == f"{name} has {field} {value}"


@pytest.mark.parametrize("name", sorted(GEOMETRY))
def test_what_is_left_out_is_0_but_for_dilations(name: str) -> None:
    inputs = [IMAGE, ((1, 2, 2, 3), "float32")]
    for field in _sound(name):
        less = {other: 1 for other in _sound(name) if other != field}
        assert (said(name, inputs, **less) is None) == field.startswith("dilation")


@pytest.mark.parametrize(
    ("multiplier", "channels", "sound"), [(1, 3, True), (2, 6, True), (2, 3, False), (2**30, 3, False)]
)
def test_a_depthwise_filter_has_its_channels_times_the_multiplier(
    multiplier: int, channels: int, sound: bool
) -> None:
    options = {**_sound("DEPTHWISE_CONV_2D"), "depth_multiplier": multiplier}
    why = said("DEPTHWISE_CONV_2D", [IMAGE, ((1, 2, 2, channels), "float32")], **options)
    assert (why is None) == sound


def test_other_operators_are_not_looked_at() -> None:
    assert said("ADD", INTEGERS) is None
