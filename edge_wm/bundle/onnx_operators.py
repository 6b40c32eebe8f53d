"""Which operators a bundle's ONNX graphs may use.

Deterministic arithmetic on tensors of static shape: what belongs on a control path.  Adding one is a reviewed
line here, not an option.
"""

from __future__ import annotations

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

# What ONNX Runtime's quantiser and its offline optimiser write.
_MICROSOFT = """
Attention BiasGelu BiasSoftmax BiasSplitGelu ConvTransposeWithDynamicPads DequantizeLinear DynamicQuantizeLSTM
DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul Gelu GridSample Inverse
MatMulInteger16 MatMulIntegerToFloat MatMulNBits MultiHeadAttention Pad QAttention QEmbedLayerNormalization QGemm
QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu
SkipLayerNormalization SkipSimplifiedLayerNormalization
"""

ALLOWED: dict[str, frozenset[str]] = {
    "": frozenset(_ONNX.split()),
    "com.microsoft": frozenset(_MICROSOFT.split()),
}
"""Operator names by domain; the empty domain is ONNX's own."""

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
