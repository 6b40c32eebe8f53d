"""Static int8 quantisation of an ONNX graph, calibrated on what the graph meets while driving."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from export.onnx_graph import drop_unused
from export.quiet import quiet

MINIMUM_CASES = 16
QUANTISED = ["Conv", "Gemm", "Relu"]
"""The operators with the work in them, and the ReLU after them: it becomes the lower bound of the layer's own scale
instead of a second rounding.  Geometry and value iteration stay in float: they are cheap, and a pose rounded to eight
bits is not a pose."""
LEAST_INPUTS = 64
"""A Gemm of fewer inputs stays in float: rounding what goes in and comes out costs more than its products save."""


class _Cases(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, cases: list[dict[str, Array]]) -> None:
        self._cases = cases
        self._next = iter(cases)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._next, None)

    def rewind(self) -> None:
        self._next = iter(self._cases)


def quantise(model: bytes, cases: list[dict[str, Array]], skip: Iterable[str] = ()) -> bytes:
    """Quantise to int8 in QDQ form: weights signed, per channel and of seven bits, activations unsigned.

    Unsigned, because ONNX Runtime's fast x86-64 kernels multiply unsigned by signed: with signed activations it leaves
    most layers in float there (1.45 against 0.72 ms for 64 x 10 steps of the latent MLP in ``benchmarks``).  Its Arm
    kernels take both, and the numbers are the same: the two forms differ by a constant in the zero point.

    Seven bits, because x86-64 processors without VNNI add two such products in 16 bits, where two of eight bits do not
    fit: a graph would compute something else there, without a word.

    Args:
        model: fp32 ONNX bytes.
        cases: calibration inputs by name.
        skip: parts of the names of weights whose layers stay in float.

    Raises:
        BadInput: too few calibration cases, or a number in them is not finite.
    """
    check_cases(cases)
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        plain, prepared, result = (Path(scratch) / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
        plain.write_bytes(model)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        quantize_static(
            prepared,
            result,
            _Cases(cases),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            nodes_to_exclude=[
                node.name
                for node in graph.node
                if any(part in name for part in skip for name in node.input) or _is_small(node, sizes)
            ],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantised = onnx.load(result)
    _keep_float(quantised.graph)
    quantised = onnx.shape_inference.infer_shapes(quantised)
    return quantised.SerializeToString()


def _keep_float(graph: onnx.GraphProto) -> None:
    """Drop the rounding of what a Gemm gives where float operators read it: the engine's int8 product can give float.

    It costs time twice, there and back, and digits once.
    """
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    dropped: list[onnx.NodeProto] = []
    for gemm in graph.node:
        if gemm.op_type != "Gemm" or not gemm.input[0].endswith("DequantizeLinear_Output"):
            continue
        (rounded, *others), back = readers[gemm.output[0]] or [gemm], []
        if rounded.op_type == "QuantizeLinear" and not others:
            back = readers[rounded.output[0]]
        if len(back) == 1 and not any(node.op_type in QUANTISED for node in readers[back[0].output[0]]):
            gemm.output[0] = back[0].output[0]
            dropped += [rounded, back[0]]
    for node in dropped:
        graph.node.remove(node)
    drop_unused(graph)


def _is_small(node: onnx.NodeProto, sizes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether this is a Gemm of few inputs; ``sizes`` are the shapes of the weights by name."""
    if node.op_type != "Gemm" or node.input[1] not in sizes:
        return False
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return sizes[node.input[1]][1 if is_transposed else 0] < LEAST_INPUTS


def check_cases(cases: list[dict[str, Array]]) -> None:
    """Refuse a calibration set that cannot set a scale.  Raises BadInput."""
    if len(cases) < MINIMUM_CASES:
        raise BadInput(
            f"int8 calibration needs at least {MINIMUM_CASES} cases, got {len(cases)}; drive more episodes"
        )
    for number, case in enumerate(cases):
        for name, array in case.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BadInput(f"int8 calibration: case {number}: {name} holds NaN or infinity")
