"""Quantisation: what it is calibrated on is checked first, and the result is in int8 where it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_wm.errors import BadInput
from export.quantise import MINIMUM_CASES, quantise
from export.rollouts import Inputs
from export.shipped import FLOAT_PARTS


def one_layer() -> bytes:
    """A single Gemm."""
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "layer.weight", "layer.bias"], ["y"])],
        "one_layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [
            numpy_helper.from_array(weight, "layer.weight"),
            numpy_helper.from_array(np.zeros(3, dtype=np.float32), "layer.bias"),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()


def cases(count: int = MINIMUM_CASES) -> list[Inputs]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(2, 4)).astype(np.float32)} for _ in range(count)]


def operators(model: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(model).graph.node}


def test_a_layer_becomes_int8_unless_it_is_skipped() -> None:
    assert "QuantizeLinear" in operators(quantise(one_layer(), cases()))
    assert "QuantizeLinear" not in operators(quantise(one_layer(), cases(), skip=["layer"]))


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
