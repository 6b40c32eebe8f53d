"""What cannot be exported is one line: which part of the model, which operator, what to write instead."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edge_wm.errors import BadInput
from export.onnx_export import to_onnx


class Decides(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Masks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x[:, 0] > 0].sum(0)


class Sizes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(int(x.abs().sum()), 3)


class Searches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.searchsorted(torch.linspace(-1, 1, 5), x).float()


class Inverts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x @ x.T)


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Mismatches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(5, 5)


class Attends(nn.Module):
    """A transformer of torch.nn, whose layers are one operator each in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x[None], mask=self.mask, is_causal=True)[0]


class TensorDictParams(nn.ParameterList):
    """Stands for the one of tensordict, whose parameters PyTorch's exporter takes for constants."""


class Ensemble(nn.Module):
    """As TD-MPC2's: the exporter meets weights of which only a part is there."""

    def __init__(self) -> None:
        super().__init__()
        self.params = TensorDictParams([nn.Parameter(torch.randn(3, 8, 8))])

    def forward(self, x: Tensor) -> Tensor:
        raise AttributeError("'Tensor' object has no attribute 'constant'")


class Part(nn.Module):
    """The culprit two levels down."""

    def __init__(self, culprit: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 8), culprit)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


def export(culprit: nn.Module) -> bytes:
    return to_onnx(Part(culprit).eval(), {"x": torch.randn(4, 8)}, ("y",))


@pytest.mark.parametrize(
    ("culprit", "said"),
    [
        (Decides(), r"\(Decides\), test_refusals.py:\d+: a decision depends .* write torch\.where"),
        (Masks(), r"\(Masks\): aten.index.* NonZero: .* write torch\.where"),
        (Sizes(), r"\(Sizes\): aten\.zeros\.default has a shape that depends on data: give it a fixed size"),
        (Searches(), r"\(Searches\): ONNX has no aten\.searchsorted\.Tensor: write \(edges < x"),
        (Inverts(), r"\(Inverts\): ONNX has no aten\.linalg_inv_ex.*: calculate it when the model is built"),
        (Draws(), r"\(Draws\): aten\.randn_like\.default .* it is random, .*: take the mean"),
        (
            Ensemble(),
            r"\(Ensemble\): TensorDictParams cannot be traced: make one module of each set of weights",
        ),
        (Mismatches(), r"\(Mismatches\), test_refusals.py:\d+: RuntimeError: shape '\[5, 5\]' is invalid"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_line_names_the_part_the_operator_and_what_to_write(
    culprit: nn.Module, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=rf"^Part: encoder\.1 {said}") as found:
        export(culprit)
    assert "\n" not in str(found.value)
    assert "def forward" not in capfd.readouterr().err


def test_a_transformer_of_pytorch_is_taken_apart() -> None:
    """The control: what can be exported is, and it is the same model."""
    torch.manual_seed(0)
    module, x = Part(Attends()).eval(), torch.randn(4, 8)
    session = onnxruntime.InferenceSession(to_onnx(module, {"x": x}, ("y",)))
    (found,) = session.run(None, {"x": x.numpy()})
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), module(x), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_that_is_compiled_already_is_named() -> None:
    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.jit.script(nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x)
            return y

    with pytest.raises(BadInput, match=r"^Part: encoder\.1\.layer \(.*\): a ScriptModule .* PYTORCH_JIT=0"):
        export(Compiled())
