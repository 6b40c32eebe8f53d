"""Every TFLite operator that a bundle may use, with tensors that fit it, some for several types: what mutants begin as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.tiny_tflite import options

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "int16": schema.TensorType.INT16,
    "int8": schema.TensorType.INT8,
}


class Part(NamedTuple):
    """A tensor: an input or output if it has no ``content``, else a stored one."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scales: Sequence[float] = ()
    axis: int = 0
    zero: int = 0
    content: np.ndarray | None = None


def f(*shape: int) -> Part:
    return Part(shape)


def i(*shape: int) -> Part:
    return Part(shape, "int32")


def b(*shape: int) -> Part:
    return Part(shape, "bool")


def q(*shape: int) -> Part:
    """Quantised to int8."""
    return Part(shape, "int8", (0.1,))


def c(values: Any, dtype: str = "int32") -> Part:
    """Stored."""
    array = np.array(values, dtype)
    return Part(array.shape, dtype, content=array)


def w(*shape: int, dtype: str = "float32", scales: Sequence[float] = (), axis: int = 0) -> Part:
    """Weights."""
    array = (np.arange(np.prod(shape)) % 7 - 3).reshape(shape).astype(dtype)
    return Part(shape, dtype, scales, axis, content=array)


class Operator(NamedTuple):
    """One operator with its tensors; optional tensors that are left out are None."""

    name: str
    inputs: Sequence[Part | None]
    outputs: Sequence[Part]
    options: Any = None


SAME = schema.Padding.SAME
CONV = options("Conv2D", padding=SAME, strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
DEPTHWISE = options(
    "DepthwiseConv2D",
    padding=SAME,
    strideW=1,
    strideH=1,
    depthMultiplier=1,
    dilationWFactor=1,
    dilationHFactor=1,
)
POOL = options("Pool2D", padding=SAME, strideW=2, strideH=2, filterWidth=2, filterHeight=2)
KEEP = options("Reducer", keepDims=True)
MIRROR = options("MirrorPad", mode=schema.MirrorPadMode.REFLECT)
_ELEMENTWISE = {
    **dict.fromkeys(("FLOOR", "RELU", "RELU_N1_TO_1", "RELU6", "RELU_0_TO_1", "SIN", "SQRT", "RSQRT", "LOG")),
    **dict.fromkeys(("LOGISTIC", "TANH", "CEIL", "ROUND", "ELU")),
    "EXP": options("Exp"),
    "NEG": options("Neg"),
    "COS": options("Cos"),
    "SQUARE": options("Square"),
    "ABS": options("Abs"),
    "SIGN": options("Sign"),
    "ZEROS_LIKE": options("ZerosLike"),
    "HARD_SWISH": options("HardSwish"),
    "GELU": options("Gelu"),
    "LEAKY_RELU": options("LeakyRelu", alpha=0.1),
    "SOFTMAX": options("Softmax", beta=1.0),
    "LOG_SOFTMAX": options("LogSoftmax"),
    "L2_NORMALIZATION": options("L2Norm"),
}
_OF_TWO = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "POW": "Pow",
    "MAXIMUM": "MaximumMinimum",
    "MINIMUM": "MaximumMinimum",
    "FLOOR_DIV": "FloorDiv",
    "FLOOR_MOD": "FloorMod",
    "SQUARED_DIFFERENCE": "SquaredDifference",
}
_COMPARED = {
    "LESS": "Less",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterEqual",
    "LESS_EQUAL": "LessEqual",
    "EQUAL": "Equal",
    "NOT_EQUAL": "NotEqual",
}
_INTEGERS = {"ADD", "SUB", "MUL", "POW", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"}
_REDUCED = {
    "MEAN": f,
    "SUM": f,
    "REDUCE_PROD": f,
    "REDUCE_MAX": f,
    "REDUCE_MIN": f,
    "REDUCE_ANY": b,
    "REDUCE_ALL": b,
}

OPERATORS: tuple[Operator, ...] = (
    *(Operator(name, [f(2, 3)], [f(2, 3)], made) for name, made in _ELEMENTWISE.items()),
    *(Operator(name, [f(2, 3), f(3)], [f(2, 3)], options(made)) for name, made in _OF_TWO.items()),
    *(Operator(name, [i(2, 3), i(3)], [i(2, 3)], options(_OF_TWO[name])) for name in sorted(_INTEGERS)),
    *(Operator(name, [i(2, 3), c([1, 2, 3])], [i(2, 3)], options(_OF_TWO[name])) for name in ("DIV", "FLOOR_DIV", "FLOOR_MOD")),
    *(Operator(name, [f(2, 3), f(3)], [b(2, 3)], options(made)) for name, made in _COMPARED.items()),
    *(Operator(name, [one(2, 3, 4), c([1])], [one(2, 1, 4)], KEEP) for name, one in _REDUCED.items()),
    *(Operator(name, [q(2, 3), q(2, 3)], [q(2, 3)], options(_OF_TWO[name])) for name in ("ADD", "SUB", "MUL", "MAXIMUM", "SQUARED_DIFFERENCE")),
    *(Operator(name, [q(1, 2, 3)], [Part((1, 2, 3), "int8", (1 / 256,), zero=-128)], _ELEMENTWISE[name]) for name in ("LOGISTIC", "SOFTMAX", "LEAKY_RELU", "HARD_SWISH")),
    Operator("ATAN2", [f(2, 3), f(2, 3)], [f(2, 3)], options("ATan2")),
    Operator("DIV", [Part((2, 3), "uint8", (0.1,)), Part((2, 3), "uint8", (0.2,))], [Part((2, 3), "uint8", (0.1,))], options("Div")),
    Operator("AVERAGE_POOL_2D", [f(1, 4, 4, 2)], [f(1, 2, 2, 2)], POOL),
    Operator("AVERAGE_POOL_2D", [q(1, 4, 4, 2)], [q(1, 2, 2, 2)], POOL),
    Operator("MAX_POOL_2D", [f(1, 4, 4, 2)], [f(1, 2, 2, 2)], POOL),
    Operator("CONCATENATION", [f(2, 3), f(2, 1)], [f(2, 4)], options("Concatenation", axis=1)),
    Operator("CONCATENATION", [q(2, 3), q(2, 1)], [q(2, 4)], options("Concatenation", axis=1)),
    Operator("CONV_2D", [f(1, 4, 4, 2), w(3, 3, 3, 2), w(3)], [f(1, 4, 4, 3)], CONV),
    Operator("CONV_2D", [q(1, 4, 4, 2), w(3, 3, 3, 2, dtype="int8", scales=(0.1, 0.2, 0.1)), w(3, dtype="int32", scales=(0.01, 0.02, 0.01))], [q(1, 4, 4, 3)], CONV),
    Operator("DEPTHWISE_CONV_2D", [f(1, 4, 4, 2), w(1, 3, 3, 2), w(2)], [f(1, 4, 4, 2)], DEPTHWISE),
    Operator("DEPTHWISE_CONV_2D", [q(1, 4, 4, 2), w(1, 3, 3, 2, dtype="int8", scales=(0.1, 0.2), axis=3), w(2, dtype="int32", scales=(0.01, 0.02))], [q(1, 4, 4, 2)], DEPTHWISE),
    Operator("TRANSPOSE_CONV", [c([1, 4, 4, 2]), w(2, 3, 3, 3), f(1, 2, 2, 3), w(2)], [f(1, 4, 4, 2)], options("TransposeConv", padding=SAME, strideW=2, strideH=2)),
    Operator("FULLY_CONNECTED", [f(2, 3), w(4, 3), w(4)], [f(2, 4)], options("FullyConnected")),
    Operator("FULLY_CONNECTED", [f(2, 3), w(4, 3, dtype="int8", scales=(0.1,)), None], [f(2, 4)], options("FullyConnected")),
    Operator("FULLY_CONNECTED", [q(2, 3), w(4, 3, dtype="int8", scales=(0.1,)), w(4, dtype="int32", scales=(0.01,))], [q(2, 4)], options("FullyConnected")),
    Operator("BATCH_MATMUL", [f(2, 3, 4), f(2, 4, 5)], [f(2, 3, 5)], options("BatchMatMul")),
    Operator("DEPTH_TO_SPACE", [f(1, 2, 2, 4)], [f(1, 4, 4, 1)], options("DepthToSpace", blockSize=2)),
    Operator("SPACE_TO_DEPTH", [f(1, 4, 4, 1)], [f(1, 2, 2, 4)], options("SpaceToDepth", blockSize=2)),
    Operator("BATCH_TO_SPACE_ND", [f(4, 2, 2, 1), c([2, 2]), c([[0, 0], [0, 0]])], [f(1, 4, 4, 1)], options("BatchToSpaceND")),
    Operator("SPACE_TO_BATCH_ND", [f(1, 4, 4, 1), c([2, 2]), c([[0, 0], [0, 0]])], [f(4, 2, 2, 1)], options("SpaceToBatchND")),
    Operator("RESHAPE", [f(2, 6), c([3, 4])], [f(3, 4)], options("Reshape", newShape=[3, 4])),
    Operator("RESHAPE", [f(2, 6)], [f(3, 4)], options("Reshape", newShape=[3, 4])),
    Operator("RESIZE_BILINEAR", [f(1, 2, 2, 1), c([4, 4])], [f(1, 4, 4, 1)], options("ResizeBilinear")),
    Operator("RESIZE_BILINEAR", [q(1, 2, 2, 1), c([4, 4])], [q(1, 4, 4, 1)], options("ResizeBilinear", halfPixelCenters=True)),
    Operator("RESIZE_NEAREST_NEIGHBOR", [f(1, 2, 2, 1), c([4, 4])], [f(1, 4, 4, 1)], options("ResizeNearestNeighbor")),
    Operator("PAD", [f(2, 3), c([[1, 0], [0, 2]])], [f(3, 5)], options("Pad")),
    Operator("PADV2", [f(2, 3), c([[1, 0], [0, 2]]), c(0.5, "float32")], [f(3, 5)], options("PadV2")),
    Operator("MIRROR_PAD", [f(2, 3), c([[1, 0], [0, 2]])], [f(3, 5)], MIRROR),
    Operator("GATHER", [f(4, 3), i(2)], [f(2, 3)], options("Gather")),
    Operator("GATHER", [f(2, 4, 3), i(2, 2)], [f(2, 2, 3)], options("Gather", axis=1, batchDims=1)),
    Operator("GATHER", [q(4, 3), Part((2,), "int64")], [q(2, 3)], options("Gather")),
    Operator("GATHER_ND", [f(4, 3), i(2, 1)], [f(2, 3)], options("GatherNd")),
    Operator("SCATTER_ND", [i(2, 1), f(2, 3), c([4, 3])], [f(4, 3)], options("ScatterNd")),
    Operator("ONE_HOT", [i(2), c(3), c(1.0, "float32"), c(0.0, "float32")], [f(2, 3)], options("OneHot", axis=-1)),
    Operator("DYNAMIC_UPDATE_SLICE", [f(4, 3), f(2, 3), i(2)], [f(4, 3)], options("DynamicUpdateSlice")),
    Operator("TRANSPOSE", [f(2, 3, 4), c([2, 0, 1])], [f(4, 2, 3)], options("Transpose")),
    Operator("SQUEEZE", [f(1, 3, 1)], [f(3)], options("Squeeze", squeezeDims=[0, 2])),
    Operator("STRIDED_SLICE", [f(4, 6), c([0, 1]), c([4, 5]), c([2, 1])], [f(2, 4)], options("StridedSlice")),
    Operator("SLICE", [f(4, 6), c([1, 0]), c([2, 3])], [f(2, 3)], options("Slice")),
    Operator("TOPK_V2", [f(2, 6), c(3)], [f(2, 3), i(2, 3)], options("TopKV2")),
    Operator("SPLIT", [c(1), f(2, 6)], [f(2, 3), f(2, 3)], options("Split", numSplits=2)),
    Operator("SPLIT_V", [f(2, 6), c([2, 4]), c(1)], [f(2, 2), f(2, 4)], options("SplitV", numSplits=2)),
    Operator("CAST", [f(2, 3)], [i(2, 3)], options("Cast", inDataType=TYPES["float32"], outDataType=TYPES["int32"])),
    Operator("CAST", [Part((2, 3), "uint8")], [f(2, 3)]),
    Operator("PRELU", [f(2, 3), w(3)], [f(2, 3)]),
    Operator("ARG_MAX", [f(2, 3), c(1)], [i(2)], options("ArgMax", outputType=TYPES["int32"])),
    Operator("ARG_MIN", [f(2, 3), c(1)], [i(2)], options("ArgMin", outputType=TYPES["int32"])),
    Operator("SELECT", [b(2, 3), f(2, 3), f(2, 3)], [f(2, 3)], options("Select")),
    Operator("SELECT_V2", [b(3), f(2, 3), f(1)], [f(2, 3)], options("SelectV2")),
    Operator("TILE", [f(2, 3), c([2, 2])], [f(4, 6)], options("Tile")),
    Operator("EXPAND_DIMS", [f(2, 3), c(1)], [f(2, 1, 3)], options("ExpandDims")),
    Operator("PACK", [f(3), f(3)], [f(2, 3)], options("Pack", valuesCount=2)),
    Operator("UNPACK", [f(2, 3)], [f(3), f(3)], options("Unpack", num=2)),
    Operator("LOGICAL_OR", [b(3), b(3)], [b(3)], options("LogicalOr")),
    Operator("LOGICAL_AND", [b(3), b(3)], [b(3)], options("LogicalAnd")),
    Operator("LOGICAL_NOT", [b(3)], [b(3)], options("LogicalNot")),
    Operator("FILL", [c([2, 3]), c(1.5, "float32")], [f(2, 3)], options("Fill")),
    Operator("REVERSE_V2", [f(2, 3), c([1])], [f(2, 3)], options("ReverseV2")),
    Operator("ADD_N", [f(2, 3), f(2, 3), f(2, 3)], [f(2, 3)], options("AddN")),
    Operator("CUMSUM", [f(2, 3), c(1)], [f(2, 3)], options("Cumsum")),
    Operator("BROADCAST_TO", [f(1, 3), c([2, 3])], [f(2, 3)], options("BroadcastTo")),
    Operator("QUANTIZE", [f(2, 3)], [q(2, 3)], options("Quantize")),
    Operator("DEQUANTIZE", [q(2, 3)], [f(2, 3)], options("Dequantize")),
)  # fmt: skip


VERSIONS = {"BROADCAST_TO": 2}
"""Where the first version of an operator is none that engines know."""
