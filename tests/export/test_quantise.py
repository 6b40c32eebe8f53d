"""Quantisation: what it is calibrated on is checked first, and the result is in int8 where it should be."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_wm.errors import BadInput
from export.quantise import LEAST_INPUTS, MINIMUM_CASES, quantise
from export.rollouts import Inputs
from export.shipped import FLOAT_PARTS
from tests.emulated_x86 import AVX2, SSE, needs_qemu, run_on

WIDTH = LEAST_INPUTS


def one_layer() -> bytes:
    """A single Gemm."""
    return graph_of([helper.make_node("Gemm", ["x", "layer.weight", "layer.bias"], ["y"])])


def three_layers() -> bytes:
    """A Gemm with ReLU that two others read."""
    return graph_of(
        [
            helper.make_node("Gemm", ["x", "square.weight"], ["a"]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "layer.weight", "layer.bias"], ["c"]),
            helper.make_node("Gemm", ["b", "other.weight", "layer.bias"], ["d"]),
            helper.make_node("Add", ["c", "d"], ["y"]),
        ]
    )


def graph_of(nodes: list[onnx.NodeProto]) -> bytes:
    rng = np.random.default_rng(0)
    weights = {
        "square.weight": rng.normal(size=(WIDTH, WIDTH)),
        "other.weight": rng.normal(size=(WIDTH, 3)),
        "layer.weight": rng.normal(size=(WIDTH, 3)),
        "layer.bias": np.zeros(3),
    }
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()


def cases(count: int = MINIMUM_CASES) -> list[Inputs]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(2, WIDTH)).astype(np.float32)} for _ in range(count)]


def operators(model: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(model).graph.node}


def test_a_layer_becomes_int8_unless_it_is_skipped() -> None:
    assert "QuantizeLinear" in operators(quantise(one_layer(), cases()))
    assert "QuantizeLinear" not in operators(quantise(one_layer(), cases(), skip=["layer"]))


def test_a_layer_of_few_inputs_stays_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.quantise.LEAST_INPUTS", WIDTH + 1)
    assert "QuantizeLinear" not in operators(quantise(one_layer(), cases()))


def test_no_layer_falls_back_to_float_when_the_engine_loads_the_graph(tmp_path: Path) -> None:
    int8 = onnx.load_from_string(quantise(three_layers(), cases()))
    assert [node.op_type for node in loaded(int8, tmp_path)].count("QGemm") == 3


def test_what_a_layer_gives_to_float_operators_is_not_rounded(tmp_path: Path) -> None:
    """What it gives to a ReLU and the next layer is: a second rounding would follow."""
    int8 = onnx.load_from_string(quantise(three_layers(), cases()))
    written = {output: node.op_type for node in int8.graph.node for output in node.output}
    assert [written[name] for node in int8.graph.node if node.op_type == "Add" for name in node.input] == [
        "Gemm",
        "Gemm",
    ]
    assert [node.op_type for node in loaded(int8, tmp_path)].count("QuantizeLinear") == 1
    read = {name for node in int8.graph.node for name in node.input}
    assert all(tensor.name in read for tensor in int8.graph.initializer)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Arm has kernels for signed activations")
def test_signed_activations_would_fall_back_to_float_on_x86(tmp_path: Path) -> None:
    int8 = onnx.load_from_string(quantise(three_layers(), cases()))
    for tensor in int8.graph.initializer:
        if tensor.data_type == TensorProto.UINT8:
            shifted = numpy_helper.to_array(tensor).astype(np.int16) - 128
            tensor.CopyFrom(numpy_helper.from_array(shifted.astype(np.int8), tensor.name))
    del int8.graph.value_info[:]
    assert "Gemm" in {node.op_type for node in loaded(int8, tmp_path)}


def loaded(model: onnx.ModelProto, folder: Path) -> list[onnx.NodeProto]:
    """The nodes that ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(onnx.load(folder / "loaded.onnx").graph.node)


@needs_qemu
@pytest.mark.parametrize("processor", [SSE, AVX2])
def test_a_layer_is_the_same_on_processors_without_vnni(processor: str, tmp_path: Path) -> None:
    assert np.abs(error_on(processor, quantise(extreme_layer(), extreme_cases()), tmp_path)).max() < 0.02


@needs_qemu
def test_weights_of_eight_bits_would_not_be(tmp_path: Path) -> None:
    model = onnx.load_from_string(quantise(extreme_layer(), extreme_cases()))
    scales = {node.input[1] for node in model.graph.node if node.input[0].startswith("layer.weight")}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and tensor.name.startswith("layer.weight"):
            eighth_bit = np.clip(numpy_helper.to_array(tensor).astype(np.int16) * 2, -128, 127)
            tensor.CopyFrom(numpy_helper.from_array(eighth_bit.astype(np.int8), tensor.name))
        elif tensor.name in scales:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 2, tensor.name))
    assert np.abs(error_on(SSE, model.SerializeToString(), tmp_path)).max() < 0.02
    assert np.abs(error_on(AVX2, model.SerializeToString(), tmp_path)).max() > 0.2


def extreme_layer() -> bytes:
    """A Gemm whose weights are all as large as they can be; its output is the mean of its input."""
    model = onnx.load_from_string(one_layer())
    for tensor in model.graph.initializer:
        if tensor.name == "layer.weight":
            tensor.CopyFrom(numpy_helper.from_array(np.full((WIDTH, 3), 1 / WIDTH, np.float32), tensor.name))
    return model.SerializeToString()


def extreme_cases() -> list[Inputs]:
    return [{"x": np.full((2, WIDTH), 1.0 / (1 + number), np.float32)} for number in range(MINIMUM_CASES)]


def error_on(processor: str, model: bytes, folder: Path) -> np.ndarray:
    """How far from 1 the extreme layer's output is for an input of ones, on an emulated processor."""
    (folder / "layer.onnx").write_bytes(model)
    program = (
        "import sys, numpy, onnxruntime; x = numpy.ones((2, int(sys.argv[2])), numpy.float32);"
        "print(*onnxruntime.InferenceSession(sys.argv[1]).run(None, {'x': x})[0].ravel().tolist())"
    )
    done = run_on(processor, program, str(folder / "layer.onnx"), str(WIDTH))
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), dtype=float) - 1.0


def test_too_few_cases_are_refused_in_words() -> None:
    with pytest.raises(BadInput, match=f"at least {MINIMUM_CASES} cases, got {MINIMUM_CASES - 1}"):
        quantise(one_layer(), cases(MINIMUM_CASES - 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_case_with_no_number_in_it_is_refused_and_named(value: float) -> None:
    spoiled = cases()
    spoiled[7]["x"][1, 2] = value
    with pytest.raises(BadInput, match="case 7: x holds NaN or infinity"):
        quantise(one_layer(), spoiled)


def test_the_motion_model_stays_in_float_and_the_map_does_not(bundle: Path) -> None:
    graph = onnx.load(bundle / "observe.int8.onnx").graph
    int8 = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.INT8}
    assert all(any(part in name for name in int8) for part in ("from_memory", "fuse", "gate", "candidate"))
    assert not any(part in name for part in FLOAT_PARTS for name in int8)
