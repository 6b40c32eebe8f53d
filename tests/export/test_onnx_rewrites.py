"""What a graph calculates more often or more slowly than it must is rewritten, and gives the same numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from export.onnx_export import to_fp16, to_onnx

ROWS, WIDTH, ACTIONS = 48, 16, 3
MAX_ERROR = 2e-6


class Rollout(nn.Module):
    """One layer over latent state and action, two steps; all candidates start in one latent state."""

    def __init__(self, latent_shape: tuple[int, ...], *, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(WIDTH + ACTIONS, WIDTH, bias=bias)
        self.latent_shape = latent_shape

    def forward(self, latent: Tensor, actions: Tensor) -> Tensor:
        z = latent.reshape(self.latent_shape).expand(len(actions), -1)
        for action in actions.unbind(1):
            z = torch.tanh(self.layer(torch.cat([z, action], dim=-1)))
        return z


class OfThree(Rollout):
    """A task that is the same for all candidates at every step; a concatenation of a concatenation."""

    def __init__(self, latent_shape: tuple[int, ...]) -> None:
        super().__init__(latent_shape)
        self.layer = nn.Linear(WIDTH + 2 + ACTIONS, WIDTH)
        self.task = nn.Parameter(torch.randn(1, 2))

    def forward(self, latent: Tensor, actions: Tensor) -> Tensor:
        z = latent.expand(len(actions), -1)
        for action in actions.unbind(1):
            with_task = torch.cat([z, self.task.repeat(len(actions), 1)], dim=-1)
            z = torch.tanh(self.layer(torch.cat([with_task, action], dim=-1)))
        return z


class Alone(Rollout):
    """Nothing but the latent state goes in: the layer itself is calculated once."""

    def forward(self, latent: Tensor, actions: Tensor) -> Tensor:
        alone = torch.cat([latent, latent[:ACTIONS]]).expand(len(actions), -1)
        return torch.tanh(self.layer(alone)) + actions.sum((1, 2))[:, None]


INPUTS = {"latent": torch.randn(WIDTH), "actions": torch.randn(ROWS, 2, ACTIONS)}


def outputs(model: bytes, inputs: dict[str, Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model)
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    return found


def operators(model: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(model).graph.node)


def rows_of_gemms(model: bytes) -> list[int]:
    graph = onnx.load_from_string(model).graph
    rows = {value.name: value.type.tensor_type.shape.dim[0].dim_value for value in graph.value_info}
    return [rows.get(node.output[0], ROWS) for node in graph.node if node.op_type == "Gemm"]


@pytest.mark.parametrize(
    "module",
    [Rollout((-1,)), Rollout((1, -1)), Rollout((-1,), bias=False), OfThree((-1,)), Alone((-1,))],
    ids=["one-axis", "one-row", "no-bias", "three-parts", "alone"],
)
def test_what_all_candidates_share_is_multiplied_once(module: Rollout) -> None:
    model = to_onnx(module.eval(), INPUTS, ("y",))
    assert "Concat" not in operators(model) or isinstance(module, Alone)
    assert 1 in rows_of_gemms(model)
    with torch.no_grad():
        expected = module(*INPUTS.values()).numpy()
    np.testing.assert_allclose(outputs(model, INPUTS), expected, atol=MAX_ERROR, rtol=0)


def test_weights_that_were_taken_apart_are_stored_once() -> None:
    stored = onnx.load_from_string(to_onnx(Rollout((-1,)).eval(), INPUTS, ("y",))).graph.initializer
    numbers = sum(
        int(np.prod(tensor.dims)) for tensor in stored if tensor.data_type == onnx.TensorProto.FLOAT
    )
    assert numbers == (WIDTH + ACTIONS) * WIDTH + WIDTH


def test_layers_that_share_nothing_are_left_alone() -> None:
    class Free(Rollout):
        def forward(self, latent: Tensor, actions: Tensor) -> Tensor:
            return self.layer(torch.cat([latent[None] * actions.sum((1, 2))[:, None], actions[:, 0]], dim=-1))

    found = operators(to_onnx(Free((-1,)).eval(), INPUTS, ("y",)))
    assert (found["Concat"], found["Gemm"]) == (1, 1)


@pytest.mark.parametrize("activation", [nn.Mish(), nn.Softplus()], ids=["mish", "softplus"])
def test_slow_operators_are_spelled_out(activation: nn.Module) -> None:
    x = {"x": torch.cat([torch.linspace(-120.0, 120.0, 4001), torch.tensor([0.0, -0.0, 1e-20, 3e4, -3e4])])}
    model = to_onnx(nn.Sequential(activation).eval(), x, ("y",))
    assert not {"Mish", "Softplus"} & operators(model).keys()
    with torch.no_grad():
        expected = activation(x["x"].double()).numpy()
    np.testing.assert_allclose(outputs(model, x), expected, atol=2e-6, rtol=1e-6)
    # In half precision e**x is soon infinite.
    np.testing.assert_allclose(outputs(to_fp16(model), x), expected, atol=0.02, rtol=2e-3)


class SimNorm(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(64)
        self.norm.weight.data.mul_(scale)
        self.norm.bias.data.normal_()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x).unflatten(-1, (-1, 8)).softmax(-1).flatten(-2)


@pytest.mark.parametrize(("scale", "rewritten"), [(1.0, True), (9.0, True), (11.0, False)])
def test_a_softmax_over_a_few_bounded_numbers_becomes_a_product(scale: float, rewritten: bool) -> None:
    """Not where an exponential could overflow."""
    extreme = torch.zeros(2, 64)
    extreme[0, 0], extreme[1, 63] = 1e6, -1e6
    x = {"x": torch.cat([torch.randn(30, 64), extreme])}
    module = SimNorm(scale).eval()
    model = to_onnx(module, x, ("y",))
    assert ("Softmax" in operators(model)) is not rewritten
    with torch.no_grad():
        expected = module(x["x"]).numpy()
    np.testing.assert_allclose(outputs(model, x), expected, atol=2e-5, rtol=0)
    # In half precision, whose range the two last rows leave, and exponentials would.
    half = outputs(to_fp16(model), x)[:-2]
    np.testing.assert_allclose(half, expected[:-2], atol=0.01 * scale, rtol=0)


def test_a_softmax_of_unbounded_numbers_is_left_alone() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.softmax(-1)

    assert operators(to_onnx(Attention().eval(), {"x": torch.randn(4, 8)}, ("y",)))["Softmax"] == 1
