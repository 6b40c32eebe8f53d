"""A bundle may plan with fewer candidates than its own number: one model, every size held to the same checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import Tolerance
from edge_wm.bundle.verify import verify_bundle
from edge_wm.cli import run
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from edge_wm.world_model import WorldModel
from tests.tiny_model import (
    FEWER,
    TURN,
    H,
    N,
    golden_with_fewer,
    imagine_graph,
    npz,
    read_manifest,
    replace_file,
    write_manifest,
    write_tiny,
    write_tiny_with_fewer,
)

FILE = f"imagine-{FEWER}.fp32.onnx"
Facts = dict[str, Any]


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return write_tiny_with_fewer(tmp_path / "tiny")


def smaller(facts: Facts) -> Facts:
    """What the manifest says of the smaller graph."""
    return next(graph for graph in facts["graphs"] if graph["file"] == FILE)


def test_a_bundle_says_its_sizes_the_largest_first(bundle_dir: Path, tmp_path: Path) -> None:
    assert load_bundle(bundle_dir).manifest.sizes == (N, FEWER)
    assert load_bundle(write_tiny(tmp_path / "one")).manifest.sizes == (N,)


def test_a_bundle_of_one_size_says_nothing_of_sizes(tmp_path: Path) -> None:
    assert "candidates" not in json.dumps(read_manifest(write_tiny(tmp_path / "one"))["graphs"])
    assert Tolerance("imagine", "fp32", "*", 1.0, 1.0).candidates is None


def larger_than_the_bundle(facts: Facts) -> None:
    smaller(facts)["candidates"] = N + 1


def as_many_as_the_bundle(facts: Facts) -> None:
    smaller(facts)["candidates"] = N


def fewer_than_elites(facts: Facts) -> None:
    smaller(facts)["candidates"] = 1


def of_observe(facts: Facts) -> None:
    facts["graphs"][0]["candidates"] = FEWER


def twice(facts: Facts) -> None:
    facts["graphs"].append(smaller(facts) | {"file": "MODEL_CARD.md"})


def the_own_size_is_missing(facts: Facts) -> None:
    facts["graphs"] = [graph for graph in facts["graphs"] if graph["file"] != "imagine.fp32.onnx"]


def without_tolerance(facts: Facts) -> None:
    facts["golden"]["tolerances"] = [t for t in facts["golden"]["tolerances"] if "candidates" not in t]


def value_of_a_fixed_length(facts: Facts) -> None:
    next(head for head in facts["heads"] if head["name"] == "value")["shape"] = [N]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (larger_than_the_bundle, f"candidates {N + 1} must be below imagine.candidates {N}"),
        (as_many_as_the_bundle, f"candidates {N} must be below imagine.candidates {N}"),
        (fewer_than_elites, "imagine-1 onnx fp32: candidates 1 are fewer than the planner's 2 elites"),
        (of_observe, "only imagine takes candidates"),
        (twice, f"imagine-{FEWER} onnx fp32 is listed twice"),
        (the_own_size_is_missing, "there is no imagine graph"),
        (without_tolerance, f"golden.tolerances: none for imagine-{FEWER} fp32 output imagined_pose"),
        (value_of_a_fixed_length, f"the planner reads it as [{FEWER}]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    spoil: Callable[[Facts], None], says: str, bundle_dir: Path
) -> None:
    facts = read_manifest(bundle_dir)
    spoil(facts)
    write_manifest(bundle_dir, facts)
    with pytest.raises(BadInput) as refusal:
        load_bundle(bundle_dir)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_graph_of_another_size_than_it_says_is_refused(bundle_dir: Path) -> None:
    replace_file(bundle_dir, FILE, imagine_graph(FEWER + 1).SerializeToString())
    wrong, right = (rf"actions float32\[{n},{H},2\]" for n in (FEWER + 1, FEWER))
    with pytest.raises(BadInput, match=f"{FILE}: input is {wrong}, the manifest says {right}"):
        load_bundle(bundle_dir)
    replace_file(bundle_dir, FILE, imagine_graph(FEWER).SerializeToString())
    load_bundle(bundle_dir)


def test_every_size_is_verified_and_one_changed_weight_is_found(bundle_dir: Path) -> None:
    checks = verify_bundle(load_bundle(bundle_dir))
    assert all(check.passed for check in checks)
    assert [check.output for check in checks if check.candidates == FEWER] == ["imagined_pose", "value"]
    graph = imagine_graph(FEWER)
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(TURN + np.float32(0.01), "turn"))
    replace_file(bundle_dir, FILE, graph.SerializeToString())
    failed = [check for check in verify_bundle(load_bundle(bundle_dir)) if not check.passed]
    assert {(check.role, check.candidates) for check in failed} == {("imagine", FEWER)}
    assert str(failed[0]).startswith(f"imagine-{FEWER} ")


def test_a_size_is_held_to_outputs_of_its_own(bundle_dir: Path) -> None:
    """What is imagined of one candidate may depend on the others."""
    arrays = golden_with_fewer()
    arrays[f"imagine-{FEWER}/out/value"] = arrays[f"imagine-{FEWER}/out/value"] + 1
    replace_file(bundle_dir, "golden.npz", npz(arrays))
    failed = [check for check in verify_bundle(load_bundle(bundle_dir)) if not check.passed]
    assert [(check.candidates, check.output) for check in failed] == [(FEWER, "value")]
    del arrays[f"imagine-{FEWER}/out/value"]
    replace_file(bundle_dir, "golden.npz", npz(arrays))
    with pytest.raises(BadInput, match=f"lacks imagine-{FEWER}/out/value"):
        verify_bundle(load_bundle(bundle_dir))


@pytest.mark.parametrize(("asked", "planned"), [(None, N), (N, N), (FEWER, FEWER)])
def test_a_plan_has_as_many_candidates_as_the_graph_that_was_chosen(
    asked: int | None, planned: int, bundle_dir: Path
) -> None:
    bundle = load_bundle(bundle_dir).only("fp32", "onnx", asked)
    assert bundle.keeps(FILE) == (planned == FEWER)
    model = WorldModel(bundle, Execution(precision="fp32", candidates=asked))
    manifest = model.manifest
    assert manifest.imagine.candidates == planned
    limits = ActionLimits(manifest.action.low, manifest.action.high)
    planner = ICEM(model, PlannerConfig.from_manifest(manifest), limits)
    plan = planner.plan(model.initial_state(), np.ones(2, dtype=np.float32))
    assert plan.candidates is not None and plan.candidates.shape == (planned, H, 3)
    assert plan.candidate_costs.shape == (planned,)


def test_a_size_that_the_bundle_lacks_is_one_line_with_those_that_it_has(bundle_dir: Path) -> None:
    with pytest.raises(
        BadInput, match=rf"no graph for imagine of 3 candidates \(this bundle has: {N}, {FEWER}\)"
    ):
        WorldModel(load_bundle(bundle_dir), Execution(precision="fp32", candidates=3))
    with pytest.raises(BadInput, match=r"no int8 onnx graph for observe"):
        WorldModel(load_bundle(bundle_dir), Execution(precision="int8", candidates=FEWER))


def test_inspect_shows_the_sizes(bundle_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "inspect", str(bundle_dir)]) == 0
    text = capsys.readouterr().out
    assert f"{N} candidates x {H} steps of 0.2 s, or {FEWER} candidates" in text
    assert f"imagine-{FEWER} " in text
