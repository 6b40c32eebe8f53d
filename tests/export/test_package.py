"""A bundle is written when every graph is proven, and not at all when one is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from torch import nn

from edge_wm.bundle.golden import Golden
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import Role
from edge_wm.bundle.verify import PlanCheck, verify_bundle
from edge_wm.errors import BadInput
from export import forms, parity
from export import package as module
from export.forms import Form
from export.package import package
from export.rollouts import Inputs
from export.shipped import adapter
from export.world_model import WorldModel
from tests.export.tiny import drive_with


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
    driven: dict[Role, list[Inputs]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Package again, quickly: with the rollouts and the graphs that are there, fp32 ``decode`` spoiled by so much."""

    def again(directory: Path, spoiled_by: float = 0.0, **options: Any) -> None:
        roles: list[str] = []

        def exported(graph: nn.Module, *_: object) -> bytes:
            roles.append(type(graph).__name__.lower())
            found = (bundle / f"{roles[-1]}.fp32.onnx").read_bytes()
            return with_spoiled_bias(found, spoiled_by) if roles[-1] == "decode" else found

        def quantised(*_: object) -> bytes:
            return (bundle / f"{roles[-1]}.int8.onnx").read_bytes()

        drive_with(driven, monkeypatch)
        monkeypatch.setattr(forms, "to_onnx", exported)
        monkeypatch.setattr(forms, "quantise", quantised)
        package(adapter(model), directory, version="0.0.2", **options)

    return again


def test_a_packaged_model_loads_and_verifies(bundle: Path) -> None:
    checks = verify_bundle(load_bundle(bundle))
    assert {(check.role, check.precision) for check in checks} == {
        (role, precision) for role in ("observe", "imagine", "decode") for precision in ("fp32", "int8")
    }
    assert all(check.passed for check in checks)
    plans = [check for check in checks if isinstance(check, PlanCheck)]
    assert {check.precision: check.spearman > 0.9 for check in plans} == {"fp32": True, "int8": True}


def test_golden_vectors_are_of_an_empty_and_of_a_full_memory_and_no_finer_than_a_tolerance_sees(
    bundle: Path, driven: dict[Role, list[Inputs]]
) -> None:
    loaded = load_bundle(bundle)
    first, last = Golden(loaded).cases("observe")
    whole = driven["observe"][-1]
    for name in ("map", "context"):
        assert not first.inputs[name].any()
        assert len(np.unique(last.inputs[name])) > 10
        largest = np.abs(whole[name]).max()
        np.testing.assert_allclose(last.inputs[name], whole[name], atol=largest / 2**module.STATE_BITS)
    np.testing.assert_array_equal(last.inputs["range"], whole["range"])
    for array in last.outputs.values():
        steps = array.astype(np.float64) / module.GOLDEN_STEP
        np.testing.assert_array_equal(steps, np.round(steps))
    assert min(tolerance.max_abs for tolerance in loaded.manifest.golden.tolerances) > 3 * module.GOLDEN_STEP


def test_the_card_says_what_was_measured(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| SPL on nothing | 0.5 |" in card
    assert "| imagine | onnx | int8 |" in card
    assert "| onnx | int8 | clearance |" in card
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
    with pytest.raises(BadInput, match=r"decode onnx fp32: exported but wrong: (local_map|known)"):
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
    monkeypatch.setitem(parity.MIN_SPEARMAN, "int8", 1.01)
    with pytest.raises(
        BadInput, match="imagine onnx int8: exported but wrong: ranks candidates unlike PyTorch"
    ):
        repackage(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_cannot_be_exported_is_told_from_a_wrong_one(
    repackage: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> bytes:
        raise BadInput("decode: no such operator")

    monkeypatch.setattr(forms, "to_fp16", refuse)
    with pytest.raises(
        BadInput, match="observe onnx fp16: failed to export: decode: no such operator; nothing"
    ):
        repackage(tmp_path / "tiny", forms=[Form("onnx", "fp32"), Form("onnx", "fp16")])
    assert "proven" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_half_precision_is_another_form_of_the_same_model(
    repackage: Callable[..., None], tmp_path: Path
) -> None:
    repackage(tmp_path / "tiny", forms=[Form("onnx", "fp16")])
    bundle = load_bundle(tmp_path / "tiny")
    assert {graph.precision for graph in bundle.manifest.graphs} == {"fp16"}
    assert all(check.passed for check in verify_bundle(bundle))
    halves = onnx.load(tmp_path / "tiny" / "observe.fp16.onnx").graph.initializer
    assert any(tensor.data_type == TensorProto.FLOAT16 for tensor in halves)


def test_an_export_goes_on_from_the_graphs_that_were_finished(
    repackage: Callable[..., None], model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repackage(tmp_path / "first", work=tmp_path / "work")

    def again(*_: object) -> bytes:
        raise AssertionError("made anew")

    monkeypatch.setattr(forms, "quantise", again)
    monkeypatch.setattr(forms, "to_onnx", again)
    package(adapter(model), tmp_path / "second", version="0.0.2", work=tmp_path / "work")
    for name in ("observe.int8.onnx", "imagine.fp32.onnx"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    monkeypatch.setattr(forms, "RECIPES", (parity,))
    with pytest.raises(AssertionError, match="made anew"):
        package(adapter(model), tmp_path / "second", version="0.0.2", work=tmp_path / "work")


def test_a_kept_graph_that_is_wrong_is_refused_and_made_anew_the_next_time(
    repackage: Callable[..., None], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="exported but wrong"):
        repackage(tmp_path / "tiny", 0.1, work=tmp_path / "work")
    repackage(tmp_path / "tiny", work=tmp_path / "work")
    assert all(check.passed for check in verify_bundle(load_bundle(tmp_path / "tiny")))


def test_what_cannot_be_exported_is_tried_once_for_all_forms(
    model: WorldModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fails(*_: object) -> bytes:
        tried.append(1)
        raise BadInput("cannot be had")

    monkeypatch.setattr(forms, "to_onnx", fails)
    with pytest.raises(BadInput, match="observe onnx fp32: failed to export: cannot be had"):
        package(adapter(model), tmp_path / "tiny", version="0.0.2")
    assert len(tried) == len(adapter(model).modules)


def test_what_the_modules_return_must_be_what_is_declared(
    repackage: Callable[..., None], model: WorldModel, tmp_path: Path
) -> None:
    heads = adapter(model).heads
    wrong = replace(adapter(model), heads=(heads[1], heads[0], *heads[2:]))
    with pytest.raises(
        BadInput, match=r"imagine returns float32\[64, 12, 3\] where collision .* is declared"
    ):
        package(wrong, tmp_path / "tiny", version="0.0.2")
    assert not list(tmp_path.iterdir())


def test_without_git_the_commit_is_unknown_and_the_export_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert module._commit() == "unknown"
