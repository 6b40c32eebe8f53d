"""PyTorch to TFLite: the same numbers under the same names; int8 and fp16 forms of it; what cannot be converted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_wm.bundle.tflite_guard import check_graph
from edge_wm.engines.engine import TensorSpec, load_engine
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from export.edge_tpu import edge_tpu_obstacles
from export.quantise import MINIMUM_CASES
from export.tflite_export import halve_tflite, quantise_tflite, to_tflite


class Small(nn.Module):
    """A picture and a vector; outputs in another order than the alphabet's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.see = nn.Conv2d(3, 4, 3, 2, 1)
        self.think = nn.Linear(4 * 4 * 4 + 2, 64)
        self.act = nn.Linear(64, 3)

    def forward(self, picture: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.relu(self.see(picture)).flatten(1)
        thought = torch.relu(self.think(torch.cat([seen, motion], dim=1)))
        return self.act(thought), 2.0 * thought


NAMES = ("wheels", "all_thoughts")
SPECS = (TensorSpec("picture", (1, 3, 8, 8), "float32"), TensorSpec("motion", (1, 2), "float32"))
OUT = (TensorSpec("wheels", (1, 3), "float32"), TensorSpec("all_thoughts", (1, 64), "float32"))


def cases(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        {spec.name: random.uniform(-1, 1, spec.shape).astype(np.float32) for spec in SPECS}
        for _ in range(count)
    ]


def error(data: bytes) -> float:
    """Largest difference from PyTorch, over the largest output."""
    engine, module = load_engine(data, Execution("tflite")), Small().eval()
    worst = 0.0
    for case in cases(5, seed=9):
        with torch.no_grad():
            expected = module(*(torch.from_numpy(array) for array in case.values()))
        found = engine.run(case)
        for name, array in zip(NAMES, expected, strict=True):
            worst = max(worst, float(np.abs(found[name] - array.numpy()).max() / array.abs().max()))
    return worst


@pytest.fixture(scope="module")
def fp32() -> bytes:
    example = {name: torch.from_numpy(array) for name, array in cases(1)[0].items()}
    return to_tflite(Small().eval(), example, NAMES)


def test_the_graph_is_the_module_under_the_names_that_were_asked_for(fp32: bytes) -> None:
    check_graph(fp32, "small.tflite", SPECS, OUT)
    assert error(fp32) < 1e-5


def test_full_int8_has_integers_at_the_border_and_nothing_in_an_edge_tpus_way(fp32: bytes) -> None:
    whole = quantise_tflite(fp32, cases(MINIMUM_CASES))
    check_graph(whole, "small.tflite", SPECS, OUT)
    assert len(whole) < len(fp32)
    assert 1e-5 < error(whole) < 0.1
    assert edge_tpu_obstacles(whole) == []
    assert any(line.startswith("on float32") and "CONV_2D" in line for line in edge_tpu_obstacles(fp32))


def test_named_operators_only_become_int8(fp32: bytes) -> None:
    part = quantise_tflite(fp32, cases(MINIMUM_CASES), ("FULLY_CONNECTED",))
    lines = " ".join(edge_tpu_obstacles(part))
    assert "CONV_2D" in lines and "FULLY_CONNECTED" not in lines and "DEQUANTIZE" in lines
    assert error(part) < 0.1


def test_skipped_layers_stay_in_float(fp32: bytes) -> None:
    both = ("FULLY_CONNECTED", "CONV_2D")
    kept = "1 x FULLY_CONNECTED"
    assert kept in " ".join(
        edge_tpu_obstacles(quantise_tflite(fp32, cases(MINIMUM_CASES), both, skip=("Linear_think",)))
    )
    assert kept not in " ".join(edge_tpu_obstacles(quantise_tflite(fp32, cases(MINIMUM_CASES), both)))


class Sorts(nn.Module):
    """The kind of thing that a vector is, as a one-hot vector."""

    def forward(self, scores: Tensor) -> Tensor:
        return F.one_hot(scores.argmax(dim=-1), 4).float()


def test_one_hot_vectors_are_converted() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    data = to_tflite(Sorts().eval(), {"scores": torch.from_numpy(scores)}, ("kind",))
    engine = load_engine(data, Execution("tflite"))
    found = engine.run({"scores": scores})["kind"]
    np.testing.assert_array_equal(found, np.eye(4, dtype=np.float32)[scores.argmax(axis=1)])


def test_fp16_halves_the_weights(fp32: bytes) -> None:
    half = halve_tflite(fp32)
    check_graph(half, "small.tflite", SPECS, OUT)
    assert len(half) < 0.75 * len(fp32)
    assert error(half) < 1e-2


def test_a_calibration_set_that_cannot_set_a_scale_is_refused(fp32: bytes) -> None:
    with pytest.raises(BadInput, match=f"at least {MINIMUM_CASES} cases"):
        quantise_tflite(fp32, cases(3))
    bad = cases(MINIMUM_CASES)
    bad[4]["motion"][0, 1] = np.nan
    with pytest.raises(BadInput, match="case 4: motion holds NaN"):
        quantise_tflite(fp32, bad)


class Samples(nn.Module):
    def __init__(self, padding: str, corners: bool) -> None:
        super().__init__()
        self.padding, self.corners = padding, corners

    def forward(self, grid: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        return (F.grid_sample(grid, points, padding_mode=self.padding, align_corners=self.corners),)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("corners", [False, True])
def test_sampling_inside_outside_and_on_the_edge_is_grid_samples(padding: str, corners: bool) -> None:
    random = torch.Generator().manual_seed(4)
    points = torch.rand((1, 50, 3, 2), generator=random) * 4 - 2
    edges = torch.cartesian_prod(*[torch.tensor([-1e6, -1.0, -0.8, 0.8, 1.0, 1e6])] * 2)
    points = torch.cat([points, edges.reshape(1, 12, 3, 2)], dim=1)
    example = {"grid": torch.rand((1, 4, 5, 7), generator=random), "points": points}
    module = Samples(padding, corners).eval()
    data = to_tflite(module, example, ("found",))
    engine = load_engine(data, Execution("tflite"))
    found = engine.run({name: tensor.numpy() for name, tensor in example.items()})["found"]
    np.testing.assert_allclose(found, module(**example)[0].numpy(), atol=1e-5)
    assert check_graph(data, "samples.tflite", engine.inputs, engine.outputs).operators["GATHER_ND"] == 4


class Decomposes(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.linalg.svd(x)[1],)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x + 1 if x.sum() > 0 else x,)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (
            Decomposes(),
            r"Decomposes: .* operator aten\._linalg_svd\.default at test_tflite_export\.py:\d+; TFLite has no",
        ),
        (Branches(), r"Branches: .* at test_tflite_export\.py:\d+; .*torch\.where"),
    ],
)
def test_what_cannot_be_converted_is_named_in_one_line(module: nn.Module, named: str) -> None:
    with pytest.raises(BadInput, match=named) as refusal:
        to_tflite(module.eval(), {"x": torch.ones(4, 4)}, ("y",))
    assert "\n" not in str(refusal.value)
