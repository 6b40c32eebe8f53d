"""The exported graphs are the model: same numbers as PyTorch, static shapes, named tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export.graphs import CANDIDATES, DECODED, IMAGINED, OBSERVATION, STATE, Decode, Imagine, Observe
from export.rollouts import Inputs
from export.world_model import WorldModel
from tests.export.tiny import TINY

GRAPHS = {"observe": Observe, "imagine": Imagine, "decode": Decode}
MAX_ERROR = 1e-4
"""In the output's unit, or as a share of outputs larger than 1: cost-to-go is 60 m beside what can be reached."""
OUTPUTS = {"observe": tuple(f"next_{name}" for name in STATE), "imagine": IMAGINED, "decode": DECODED}
INPUTS = {
    "observe": (*STATE, *OBSERVATION, "applied_action"),
    "imagine": (*STATE, "actions", "goal"),
    "decode": STATE,
}
CELLS, HORIZON = TINY.cells, TINY.horizon
OUTPUT_SHAPES = {
    "next_map": [TINY.map_channels, CELLS, CELLS],
    "next_context": [TINY.context_channels, CELLS, CELLS],
    "next_motion": [TINY.motion],
    "next_pose": [3],
    "imagined_pose": [CANDIDATES, HORIZON, 3],
    "collision": [CANDIDATES, HORIZON],
    "clearance": [CANDIDATES, HORIZON],
    "uncertainty": [CANDIDATES, HORIZON],
    "value": [CANDIDATES],
    "cost_to_go": [CANDIDATES, HORIZON],
    "policy": [HORIZON, 2],
    "local_map": [CELLS, CELLS],
    "known": [CELLS, CELLS],
    "range_imagined": [8],
}


def shape(value: onnx.ValueInfoProto) -> list[int]:
    """Static dimensions; 0 for one that has only a name."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def largest_error(graph: bytes, model: WorldModel, role: str, cases: list[Inputs]) -> float:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    module = GRAPHS[role](model).eval()
    worst = 0.0
    for case in cases:
        with torch.no_grad():
            truth = module(*(torch.from_numpy(array) for array in case.values()))
        for found, expected in zip(session.run(OUTPUTS[role], case), truth, strict=True):
            size = max(1.0, float(expected.abs().max()))
            worst = max(worst, float(np.abs(found - expected.numpy()).max()) / size)
    return worst


@pytest.mark.parametrize("role", GRAPHS)
def test_the_fp32_graph_is_pytorch(
    role: str, bundle: Path, model: WorldModel, driven: dict[str, list[Inputs]]
) -> None:
    graph = (bundle / f"{role}.fp32.onnx").read_bytes()
    cases = driven[role][::3]
    assert largest_error(graph, model, role, cases) < MAX_ERROR
    # The control: other weights are another model.
    torch.manual_seed(1)
    assert largest_error(graph, WorldModel(TINY), role, cases) > 100 * MAX_ERROR


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("role", GRAPHS)
def test_tensors_are_named_and_their_shapes_are_static(
    role: str, precision: str, bundle: Path, driven: dict[str, list[Inputs]]
) -> None:
    graph = onnx.load(bundle / f"{role}.{precision}.onnx").graph
    assert [value.name for value in graph.input] == list(INPUTS[role])
    assert {value.name: shape(value) for value in graph.input} == {
        name: list(array.shape) for name, array in driven[role][0].items()
    }
    assert [value.name for value in graph.output] == list(OUTPUTS[role])
    assert {value.name: shape(value) for value in graph.output} == {
        name: OUTPUT_SHAPES[name] for name in OUTPUTS[role]
    }


@pytest.mark.parametrize("role", GRAPHS)
def test_weights_are_inside_and_notes_are_not(role: str, bundle: Path) -> None:
    model = onnx.load(bundle / f"{role}.fp32.onnx", load_external_data=False)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_outcomes_are_in_their_units(model: WorldModel, driven: dict[str, list[Inputs]]) -> None:
    case = driven["imagine"][5]
    with torch.no_grad():
        out = GRAPHS["imagine"](model)(*(torch.from_numpy(array) for array in case.values()))
    outcomes = dict(zip(IMAGINED, out, strict=True))
    assert ((outcomes["collision"] >= 0) & (outcomes["collision"] <= 1)).all()
    assert (outcomes["clearance"] >= 0).all()
    assert (outcomes["value"] >= 0).all()
    assert torch.equal(outcomes["value"], outcomes["cost_to_go"][:, -1])
    assert outcomes["policy"][:, 0].abs().max() <= 0.5
    assert outcomes["policy"][:, 1].abs().max() <= 2.5
