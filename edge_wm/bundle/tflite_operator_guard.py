"""Why a TFLite operator by itself is a reason to refuse a graph: what engines compute with and do not look at.

What is refused here ended the process, or made it read beyond its tensors, in LiteRT 2.3 (``make model-files``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edge_wm.bundle.tflite_wire import Field
from edge_wm.engines.engine import TensorSpec

_STRIDES = (Field("padding", "b"), Field("stride_w", "i"), Field("stride_h", "i"))
_DILATIONS = (Field("dilation_w", "i"), Field("dilation_h", "i"))
_ACTIVATION = Field("activation", "b")
_POOL = (5, (*_STRIDES, Field("filter_width", "i"), Field("filter_height", "i"), _ACTIVATION))
_BLOCK = (Field("block_size", "i"),)

GEOMETRY: dict[str, tuple[int, tuple[Field, ...]]] = {
    "AVERAGE_POOL_2D": _POOL,
    "CONV_2D": (1, (*_STRIDES, _ACTIVATION, *_DILATIONS, Field("bias_type", "b"))),
    "DEPTHWISE_CONV_2D": (2, (*_STRIDES, Field("depth_multiplier", "i"), _ACTIVATION, *_DILATIONS)),
    "DEPTH_TO_SPACE": (94, _BLOCK),
    "MAX_POOL_2D": _POOL,
    "SPACE_TO_DEPTH": (19, _BLOCK),
    "TRANSPOSE_CONV": (49, (*_STRIDES, _ACTIVATION, Field("bias_type", "b"))),
}
"""Options (BuiltinOptions) whose whole numbers of 32 bits must be there and at least 1, and their fields in ``schema.fbs``."""

_DIVISIONS = frozenset({"DIV", "FLOOR_DIV", "FLOOR_MOD"})

Stored = Callable[[int], Sequence[int] | None]
"""The integers of an input, by its number; None if it is computed or holds none."""


def misfit(name: str, inputs: Sequence[TensorSpec], stored: Stored, options: Mapping[str, int]) -> str | None:
    """What is wrong with one operator; None if nothing is.

    Args:
        name: of it.
        inputs: of it.
        stored: what is in them.
        options: those of ``GEOMETRY``.
    """
    if name in GEOMETRY:
        fields = GEOMETRY[name][1]
        for field in fields:
            least = options.get(field.name, 1 if field in _DILATIONS else 0)
            if field.kind == "i" and least < 1:
                return f"{name} has {field.name} {least}"
    if name == "DEPTHWISE_CONV_2D":
        of, channels = inputs[0].shape[-1:], inputs[1].shape[-1:]
        if channels != tuple(size * options["depth_multiplier"] for size in of):
            return f"{name} has depth_multiplier {options['depth_multiplier']}, which does not fit its filter"
    if name in _DIVISIONS and not inputs[0].dtype.startswith("float"):
        return _division(name, inputs, stored)
    if name == "SLICE":
        return _slice(inputs[0], stored(1), stored(2))
    if name == "TOPK_V2":
        most, size = stored(1), inputs[0].shape[-1:]
        if most is None or len(most) != 1 or not size or not 0 <= most[0] <= size[0]:
            return f"{name} takes the greatest {most} of {inputs[0]}"
    return None


def _division(name: str, inputs: Sequence[TensorSpec], stored: Stored) -> str | None:
    """An integer divided by 0, or the least one by -1, ends the process on many machines; engines look for 0 alone."""
    if name == "DIV" and inputs[0].dtype in ("int8", "uint8", "int16"):
        return None  # they stand for other numbers, and are not divided as they are
    divisor = stored(1)
    if divisor is None or 0 in divisor or -1 in divisor:
        return f"{name} divides integers by {inputs[1].name!r}, which is not a stored integer other than 0 and -1"
    return None


def _slice(tensor: TensorSpec, begin: Sequence[int] | None, size: Sequence[int] | None) -> str | None:
    """An engine's sum of begin and size overflows."""
    shape = tensor.shape
    if begin is None or size is None or not len(begin) == len(size) == len(shape):
        return f"SLICE takes a part of {tensor} that has other dimensions"
    for first, count, length in zip(begin, size, shape, strict=True):
        if not (0 <= first <= length and (count == -1 or 0 <= count <= length - first)):
            return f"SLICE takes {count} numbers from {first} on of {tensor}"
    return None
