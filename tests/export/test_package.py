"""A bundle is written when every graph is proven, and not at all when one is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import verify_bundle
from edge_wm.errors import BadInput
from export import package as module
from export.package import package
from export.rollouts import Inputs
from export.world_model import WorldModel


def with_spoiled_bias(model: bytes, by: float) -> bytes:
    """The graph with the bias of the local head changed."""
    graph = onnx.load_from_string(model)
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("local.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(by), bias.name))
    return graph.SerializeToString()


@pytest.fixture
def repackage(
    bundle: Path,
    model: WorldModel,
    driven: dict[str, list[Inputs]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Package again, quickly: with the rollouts and the graphs that are there, fp32 ``decode`` spoiled by so much."""

    def again(directory: Path, spoiled_by: float = 0.0) -> None:
        roles: list[str] = []

        def exported(graph: nn.Module, *_: object) -> bytes:
            roles.append(type(graph).__name__.lower())
            found = (bundle / f"{roles[-1]}.fp32.onnx").read_bytes()
            return with_spoiled_bias(found, spoiled_by) if roles[-1] == "decode" else found

        def quantised(*_: object) -> bytes:
            return (bundle / f"{roles[-1]}.int8.onnx").read_bytes()

        monkeypatch.setattr(module, "rollouts", lambda *_: driven)
        monkeypatch.setattr(module, "to_onnx", exported)
        monkeypatch.setattr(module, "quantise", quantised)
        package(model, directory, version="0.0.2", figures={})

    return again


def test_a_packaged_model_loads_and_verifies(bundle: Path) -> None:
    checks = verify_bundle(load_bundle(bundle))
    assert {(check.role, check.precision) for check in checks} == {
        (role, precision) for role in ("observe", "imagine", "decode") for precision in ("fp32", "int8")
    }
    assert all(check.passed for check in checks)


def test_the_card_says_what_was_measured(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| SPL on nothing | 0.5 |" in card
    assert "| imagine | int8 |" in card
    assert "3.0 m from the robot" in card


def test_a_bundle_that_is_there_is_replaced(repackage: Callable[..., None], tmp_path: Path) -> None:
    directory = tmp_path / "tiny"
    repackage(directory)
    repackage(directory)
    assert load_bundle(directory).manifest.version == "0.0.2"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("spoiled_by", [0.1, float("nan")], ids=["another number", "no number"])
def test_a_wrong_graph_is_refused_and_leaves_nothing_behind(
    spoiled_by: float, repackage: Callable[..., None], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"decode fp32: exported but wrong: (local_map|known)"):
        repackage(tmp_path / "tiny", spoiled_by)
    assert not list(tmp_path.iterdir())


def test_a_refusal_leaves_the_old_bundle_as_it_was(repackage: Callable[..., None], tmp_path: Path) -> None:
    repackage(tmp_path / "tiny")
    before = load_bundle(tmp_path / "tiny").sha256
    with pytest.raises(BadInput):
        repackage(tmp_path / "tiny", 0.1)
    assert load_bundle(tmp_path / "tiny").sha256 == before


def test_an_int8_graph_that_ranks_otherwise_is_refused(
    repackage: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INT8_MIN_SPEARMAN", 1.01)
    with pytest.raises(BadInput, match="imagine int8: ranks candidates unlike PyTorch"):
        repackage(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())
