"""Every linear layer is a Gemm by one stored weight under its own name, and the numbers stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.onnx_export import to_onnx
from export.quantise import quantise

WIDTH = 64


class Layers(nn.Module):
    """Layers without and with a bias, called twice."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.plain = nn.Linear(width, 2 * width, bias=False)
        self.biased = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.biased(self.plain(x).relu())
        return x


class Geometry(nn.Module):
    """A product by a fixed matrix, which is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("turn", torch.eye(WIDTH).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.turn


def outputs(model: bytes, x: Tensor) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(model).run(None, {"x": x.numpy()})[0]
    return found


def operators(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


@pytest.mark.parametrize("shape", [(WIDTH,), (5, WIDTH), (3, 5, WIDTH)], ids=str)
def test_a_layer_is_a_gemm_and_its_weight_is_stored_once(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = Layers().eval(), torch.randn(shape)
    model = to_onnx(module, {"x": x}, ("y",))
    assert operators(model)["Gemm"] == 4
    assert "MatMul" not in operators(model)
    names = [
        tensor.name for tensor in onnx.load_from_string(model).graph.initializer if len(tensor.dims) == 2
    ]
    assert sorted(names) == ["biased.weight", "plain.weight"]
    with torch.no_grad():
        np.testing.assert_allclose(outputs(model, x), module(x).numpy(), atol=1e-5, rtol=0)


def test_a_large_weight_is_stored_as_in_pytorch() -> None:
    """The exporter leaves the transposition of one to the engine."""
    torch.manual_seed(0)
    module, x = Layers(512).eval(), torch.randn(2, 3, 512)
    model = to_onnx(module, {"x": x}, ("y",))
    assert operators(model)["Gemm"] == 4
    assert "Transpose" not in operators(model)
    with torch.no_grad():
        np.testing.assert_allclose(outputs(model, x), module(x).numpy(), atol=1e-5, rtol=0)


def test_a_product_that_is_no_layer_stays_one() -> None:
    assert operators(to_onnx(Geometry().eval(), {"x": torch.randn(4, WIDTH)}, ("y",))) == {"MatMul": 1}


@pytest.mark.parametrize(("skip", "in_float"), [((), 0), (("plain",), 2)])
def test_int8_reaches_layers_without_a_bias_unless_they_are_named(
    skip: tuple[str, ...], in_float: int
) -> None:
    torch.manual_seed(0)
    module, x = Layers().eval(), torch.randn(3, 5, WIDTH)
    cases = [{"x": torch.randn(3, 5, WIDTH).numpy()} for _ in range(16)]
    model = quantise(to_onnx(module, {"x": x}, ("y",)), cases, skip)
    graph = onnx.load_from_string(model).graph
    stored = {tensor.name for tensor in graph.initializer}
    assert sum(node.op_type == "Gemm" and node.input[1] in stored for node in graph.node) == in_float
    with torch.no_grad():
        np.testing.assert_allclose(outputs(model, x), module(x).numpy(), atol=0.05, rtol=0)
