"""One model, exported for plans of several sizes: each is made, proven and repeated on the board like the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import Role
from edge_wm.bundle.verify import PlanCheck, verify_bundle
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.world_model import WorldModel as Runtime
from export import forms
from export import package as module
from export.forms import Form
from export.package import package
from export.rollouts import Inputs
from export.shipped import adapter
from export.world_model import WorldModel
from tests.export.tiny import drive_with
from tests.tiny_model import replace_file

OWN, FEWER = 64, 16
FP32 = Form("onnx", "fp32")


@pytest.fixture(scope="module")
def sized(
    bundle: Path,
    model: WorldModel,
    driven: dict[Role, list[Inputs]],
    graphs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The model, packaged for plans of two sizes: only the graphs that ``bundle`` lacks are made."""
    directory = tmp_path_factory.mktemp("models") / "sized"
    with pytest.MonkeyPatch.context() as patch:
        drive_with(driven, patch)
        package(adapter(model), directory, version="0.0.1", work=graphs, candidates=[FEWER, OWN])
    return directory


def test_every_size_is_proven_and_repeated_on_the_board(sized: Path) -> None:
    loaded = load_bundle(sized)
    assert loaded.manifest.sizes == (OWN, FEWER)
    checks = verify_bundle(loaded)
    assert all(check.passed for check in checks)
    plans = [check for check in checks if isinstance(check, PlanCheck)]
    assert {(check.precision, check.candidates) for check in plans} == {
        (precision, candidates) for precision in ("fp32", "int8") for candidates in (None, FEWER)
    }
    card = (sized / "MODEL_CARD.md").read_text()
    assert f"{OWN} or {FEWER} candidates of" in card
    assert f"| imagine-{FEWER} | onnx | int8 |" in card and f"| {FEWER} | onnx | int8 | clearance |" in card


def test_another_size_changes_no_graph_that_was_there(bundle: Path, sized: Path) -> None:
    graphs = [graph.file for graph in load_bundle(bundle).manifest.graphs]
    assert len(graphs) == 6
    for file in graphs:
        assert (bundle / file).read_bytes() == (sized / file).read_bytes()


def test_golden_vectors_hold_only_the_outcomes_of_another_size(sized: Path) -> None:
    with np.load(sized / "golden.npz") as golden:
        extra = {name for name in golden.files if f"imagine-{FEWER}" in name}
        outcomes = {name for name in golden.files if name.startswith("imagine/out/")}
        assert extra == {name.replace("imagine/", f"imagine-{FEWER}/") for name in outcomes}
        assert golden[f"imagine-{FEWER}/out/value"].shape == (module.GOLDEN_CASES, FEWER)


def test_a_smaller_graph_with_another_weight_is_found_on_the_board(sized: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in sized.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    name = f"imagine-{FEWER}.fp32.onnx"
    replace_file(copy, name, spoiled((copy / name).read_bytes()))
    failed = [check for check in verify_bundle(load_bundle(copy)) if not check.passed]
    assert failed
    assert {(check.role, check.precision, check.candidates) for check in failed} == {
        ("imagine", "fp32", FEWER)
    }


def test_the_runtime_imagines_the_same_in_both_sizes(sized: Path, driven: dict[Role, list[Inputs]]) -> None:
    case = driven["imagine"][-1]
    state = {name: array for name, array in case.items() if name not in ("actions", "goal")}
    found = {}
    for size in (OWN, FEWER):
        runtime = Runtime(load_bundle(sized), Execution(precision="fp32", candidates=size))
        found[size] = runtime.imagine(state, case["actions"][:size], case["goal"])["value"].copy()
    np.testing.assert_allclose(found[FEWER], found[OWN][:FEWER], rtol=1e-4, atol=1e-5)


def spoiled(graph: bytes) -> bytes:
    """The graph with all of its largest weight moved."""
    loaded = onnx.load_from_string(graph)
    weights = [tensor for tensor in loaded.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    largest = max(weights, key=lambda tensor: int(np.prod(tensor.dims)))
    array = numpy_helper.to_array(largest)
    largest.CopyFrom(numpy_helper.from_array(array + np.float32(0.05), largest.name))
    return loaded.SerializeToString()


@pytest.fixture
def quickly(
    sized: Path, driven: dict[Role, list[Inputs]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[str, bytes], bytes]], None]:
    """Export from the graphs that are there, as ``change`` leaves them."""

    def use(change: Callable[[str, bytes], bytes]) -> None:
        def exported(part: nn.Module, example: dict[str, torch.Tensor], *_: object) -> bytes:
            name = type(part).__name__.lower()
            if name == "imagine" and len(example["actions"]) == FEWER:
                name = f"imagine-{FEWER}"
            return change(name, (sized / f"{name}.fp32.onnx").read_bytes())

        drive_with(driven, monkeypatch)
        monkeypatch.setattr(forms, "to_onnx", exported)

    return use


def test_a_size_that_is_another_model_is_named_and_nothing_is_written(
    model: WorldModel, quickly: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "models" / "tiny"
    quickly(lambda name, graph: graph)
    package(adapter(model), target, version="0.0.2", forms=[FP32], candidates=[OWN, FEWER])
    assert f"imagine-{FEWER}" in capsys.readouterr().out
    before = load_bundle(target).sha256
    quickly(lambda name, graph: spoiled(graph) if name == f"imagine-{FEWER}" else graph)
    with pytest.raises(
        BadInput, match=f"imagine-{FEWER} onnx fp32: exported but wrong: .*nothing is written"
    ):
        package(adapter(model), target, version="0.0.3", forms=[FP32], candidates=[OWN, FEWER])
    assert load_bundle(target).sha256 == before


def test_a_single_size_is_the_bundle_s_own(
    model: WorldModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []

    def fewer(declared: object, split: str) -> dict[Role, list[Inputs]]:
        asked.append(declared.imagine_size.candidates)  # type: ignore[attr-defined]
        raise BadInput("enough")

    monkeypatch.setattr(module, "rollouts", fewer)
    with pytest.raises(BadInput, match="enough"):
        package(adapter(model), tmp_path / "tiny", version="0.0.2", candidates=[FEWER])
    with pytest.raises(BadInput, match="enough"):
        package(adapter(model), tmp_path / "tiny", version="0.0.2")
    assert asked == [FEWER, OWN]


def test_fewer_candidates_than_elites_are_refused_before_anything_is_observed(
    model: WorldModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "rollouts", None)
    with pytest.raises(BadInput, match=r"imagine-4 .* candidates 4 are fewer than the planner's 8 elites"):
        package(adapter(model), tmp_path / "tiny", version="0.0.2", candidates=[OWN, 4])


def test_a_module_that_knows_its_n_is_refused_in_one_line(
    model: WorldModel, driven: dict[Role, list[Inputs]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    declared = adapter(model)

    class Fixed(nn.Module):
        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            *state, actions, goal = inputs
            whole = actions.repeat(OWN // len(actions), 1, 1)
            outcomes: tuple[torch.Tensor, ...] = declared.imagine(*state, whole, goal)
            return outcomes

    drive_with(driven, monkeypatch)
    fixed = replace(declared, imagine=Fixed().eval())
    with pytest.raises(
        BadInput,
        match=rf"returns float32\[{OWN}, .*: for {FEWER} candidates, imagine must take N from actions",
    ) as refusal:
        package(fixed, tmp_path / "tiny", version="0.0.2", candidates=[OWN, FEWER])
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())
