"""Which operators a bundle's ONNX graphs may use.

Deterministic arithmetic on tensors of static shape: what belongs on a control path.  Adding one is a reviewed
line here, not an option.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ONNX = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu CenterCropPad Clip Concat Constant
ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND
Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax LpNormalization MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min
Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range
Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare Relu Reshape Resize ReverseSequence RotaryEmbedding Round ScatterElements ScatterND Selu Shape
Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish
Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""

ALLOWED = frozenset(_ONNX.split())
"""Operators of ONNX's own domain.  Those that an engine adds to it are less tried: several of ONNX Runtime's read and
write beyond their tensors if a graph asks for it."""

SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "CenterCropPad": (1,),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    **{name: (1,) for name in sorted(ALLOWED) if name.startswith("Reduce")},
}
"""The inputs, by number, whose values decide the shape of the result.  They must be stored: then every tick needs the
time and the memory that the first one needed."""

OPTIONAL_INPUTS: dict[str, tuple[int, ...]] = {
    "Attention": (3, 4, 5, 6),
    "Clip": (1, 2),
    "Conv": (2,),
    "ConvInteger": (2, 3),
    "ConvTranspose": (2,),
    "DequantizeLinear": (2,),
    "Dropout": (1, 2),
    "GRU": (3, 4, 5),
    "Gemm": (2,),
    "LSTM": (3, 4, 5, 6, 7),
    "MatMulInteger": (2, 3),
    "Pad": (2, 3),
    "QLinearConv": (8,),
    "QuantizeLinear": (2,),
    "RNN": (3, 4, 5),
    "Resize": (1, 2, 3),
    "RotaryEmbedding": (3,),
    "Slice": (3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Trilu": (1,),
    **{name: (1,) for name in sorted(ALLOWED) if name.startswith("Reduce")},
}
"""The inputs, by number, that may be left out by an empty name.  Engines read others without looking whether they are
there, and ONNX Runtime the bias of LayerNormalization, too."""

_SUBGRAPH = "its running time depends on data; unroll it when exporting"
_RANDOM = "it is random, so golden vectors cannot hold it; pass noise in as an input"
_DYNAMIC = "the shape of its result depends on data"

WHY_REFUSED: dict[str, str] = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _SUBGRAPH),
    **dict.fromkeys(
        (
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Bernoulli",
            "Multinomial",
        ),
        _RANDOM,
    ),
    **dict.fromkeys(("NonZero", "Unique", "Compress", "NonMaxSuppression"), _DYNAMIC),
}
"""The reason for the refusals that exporters meet most."""


class Node(NamedTuple):
    """One node: names of its tensors, and its attributes, of which those that are one integer or one text have a value."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, int | str]


_EQUATION = re.compile(r"[A-Za-z., ]*(->[A-Za-z. ]*)?")


def misfit(node: Node) -> str | None:
    """Why a node by itself is a reason to refuse a graph; None if it is not."""
    optional = OPTIONAL_INPUTS.get(node.operator, ())
    given = node.attributes
    if any(not label and index not in optional for index, label in enumerate(node.inputs)):
        return f"has a {node.operator} that lacks input {node.inputs.index('')}"
    batch = given.get("batch_dims", 0)
    if isinstance(batch, int) and batch >= 1 << 63:
        return "has a negative batch_dims, with which an engine reads beyond its tensors"
    if node.operator == "Dropout" and any(node.inputs[2:]):
        return "has a Dropout that may be in training mode, which is random: export for inference"
    if node.operator == "Split" and given.get("num_outputs", len(node.outputs)) != len(node.outputs):
        return f"has a Split with {len(node.outputs)} outputs that says it has {given['num_outputs']}"
    if node.operator == "Einsum" and not _EQUATION.fullmatch(str(given.get("equation", ""))):
        return "has an Einsum whose equation is none"  # an engine reads some of them for ever
    return None
