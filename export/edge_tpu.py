"""What keeps a TFLite graph off an Edge TPU, before its compiler is asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

# https://coral.ai/docs/edgetpu/models-intro/#supported-operations
_SUPPORTED = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC LSTM
MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE
RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE
STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV
"""
SUPPORTED = frozenset(_SUPPORTED.split())
"""Operations that an Edge TPU has a form of, by their builtin names."""


def edge_tpu_obstacles(model: bytes) -> list[str]:
    """Name every kind of operator in a graph that an Edge TPU could not run.

    Args:
        model: TFLite bytes with one subgraph.

    Returns:
        One line a reason, with the operators that it is about, most frequent first.  Empty if nothing stands in the
        way; its compiler may still leave an operator to the CPU, for the size of a tensor.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    types = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    m = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for operator in m.subgraphs[0].operators:
        code = m.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name not in SUPPORTED:
            found["not among its operations"][name] += 1
            continue
        strange = sorted(
            types[tensor.type]
            for index in (*operator.inputs, *operator.outputs)
            if index >= 0 and not _is_integer(m, tensor := m.subgraphs[0].tensors[index])
        )
        if strange:
            found[f"on {strange[0]}, not on int8"][name] += 1
    return [
        f"{reason}: {', '.join(f'{count} x {name}' for name, count in operators.most_common())}"
        for reason, operators in sorted(found.items())
    ]


def _is_integer(model: Any, tensor: Any) -> bool:
    """Whether an Edge TPU can hold the tensor: int8 or uint8, and int32 if it is constant (a bias, a shape)."""
    from ai_edge_litert.schema_py_generated import TensorType

    constant = model.buffers[tensor.buffer].data is not None
    return tensor.type in (TensorType.INT8, TensorType.UINT8) or (
        constant and tensor.type == TensorType.INT32
    )
