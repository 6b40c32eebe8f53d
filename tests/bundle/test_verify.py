"""Golden vectors: the same model passes, another one fails, unreadable vectors are refused."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from edge_wm.bundle import golden as golden_module
from edge_wm.bundle.golden import read_npz
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.verify import PlanCheck, verify_bundle
from edge_wm.cli import run
from edge_wm.errors import BadInput
from tests.tiny_model import (
    TURN,
    files,
    golden,
    imagine_graph,
    npz,
    observe_graph,
    read_manifest,
    replace_file,
    write_manifest,
    write_tiny,
)


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def turned(by: float) -> bytes:
    """The observe graph with one weight changed."""
    graph = observe_graph()
    weights = TURN.copy()
    weights[0, 0] += by
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "turn"))
    return graph.SerializeToString()


def test_the_model_agrees_with_its_golden_vectors(bundle_dir: Path) -> None:
    checks = verify_bundle(load_bundle(bundle_dir))
    assert [(check.role, check.output) for check in checks] == [
        ("observe", "next_memory"),
        ("observe", "next_pose"),
        ("imagine", "imagined_pose"),
        ("imagine", "value"),
        ("decode", "brightness"),
    ]
    assert all(check.passed and check.cases == 3 for check in checks)


def test_one_changed_weight_fails_the_output_it_feeds(bundle_dir: Path) -> None:
    replace_file(bundle_dir, "observe.fp32.onnx", turned(by=0.01))
    failed = [check for check in verify_bundle(load_bundle(bundle_dir)) if not check.passed]
    assert [check.output for check in failed] == ["next_pose"]
    actions = golden()["observe/in/applied_action"]
    assert failed[0].max_abs == pytest.approx(0.01 * np.abs(actions[:, 0]).max(), rel=1e-3)


def test_the_mean_error_counts_as_well_as_the_largest(bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    facts["golden"]["tolerances"][0].update(max_abs=1.0, mean_abs=1e-4)
    write_manifest(bundle_dir, facts)
    assert all(check.passed for check in verify_bundle(load_bundle(bundle_dir)))
    replace_file(bundle_dir, "observe.fp32.onnx", turned(by=0.01))
    checks = {check.output: check for check in verify_bundle(load_bundle(bundle_dir))}
    assert checks["next_pose"].max_abs < 1.0
    assert not checks["next_pose"].passed


def test_a_tolerance_of_its_own_goes_before_the_one_for_all(bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    own = {"role": "observe", "precision": "fp32", "output": "next_pose", "max_abs": 1.0, "mean_abs": 1.0}
    facts["golden"]["tolerances"].append(own)
    write_manifest(bundle_dir, facts)
    replace_file(bundle_dir, "observe.fp32.onnx", turned(by=0.01))
    assert all(check.passed for check in verify_bundle(load_bundle(bundle_dir)))


def test_an_output_that_is_not_finite_fails_whatever_the_tolerance(bundle_dir: Path) -> None:
    facts = read_manifest(bundle_dir)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance.update(max_abs=1e9, mean_abs=1e9)
    write_manifest(bundle_dir, facts)
    replace_file(bundle_dir, "observe.fp32.onnx", turned(by=np.nan))
    failed = [check for check in verify_bundle(load_bundle(bundle_dir)) if not check.passed]
    assert [check.output for check in failed] == ["next_pose"]


def bound_plans(directory: Path) -> None:
    """Let no number of ``imagine`` matter, only the plans that they lead to."""
    facts = read_manifest(directory)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance.update(max_abs=1e9, mean_abs=1e9)
    plans = {"precision": "fp32", "min_spearman": 0.99, "min_elite_overlap": 0.9, "max_regret": 0.01}
    facts["golden"]["plans"] = [plans]
    facts["planner"]["costs"] = {"terminal": 1.0}
    write_manifest(directory, facts)


def test_the_model_plans_as_its_golden_vectors_say(bundle_dir: Path) -> None:
    bound_plans(bundle_dir)
    (check,) = (check for check in verify_bundle(load_bundle(bundle_dir)) if isinstance(check, PlanCheck))
    assert check.passed
    assert (check.cases, check.spearman, check.elite_overlap, check.regret) == (
        3,
        pytest.approx(1.0),
        1.0,
        0.0,
    )


def test_a_model_that_would_choose_otherwise_fails_though_its_numbers_are_allowed(bundle_dir: Path) -> None:
    bound_plans(bundle_dir)
    graph = imagine_graph()
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(-TURN, "turn"))
    replace_file(bundle_dir, "imagine.fp32.onnx", graph.SerializeToString())
    failed = [check for check in verify_bundle(load_bundle(bundle_dir)) if not check.passed]
    assert [type(check) for check in failed] == [PlanCheck]
    assert "plans" in str(failed[0])


def without(key: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in golden().items() if name != key}


@pytest.mark.parametrize(
    ("vectors", "named"),
    [
        (npz(without("imagine/in/goal")), "lacks imagine/in/goal"),
        (npz({**golden(), "imagine/in/goal": golden()["imagine/in/goal"][:2]}), "different numbers of cases"),
        (npz({**golden(), "imagine/in/goal": np.zeros(2, np.float32)}), "imagine/in/goal"),
        (npz({**golden(), "observe/in/camera": np.zeros((3, 6, 8, 3), np.float32)}), "observe/in/camera"),
        (npz({**golden(), "x": np.array([{}], dtype=object)}), "'x': not a readable array"),
        (npz(golden())[:-30], "not a readable .npz"),
        (b"", "not a readable .npz"),
    ],
)
def test_golden_vectors_that_do_not_fit_are_refused(vectors: bytes, named: str, bundle_dir: Path) -> None:
    replace_file(bundle_dir, "golden.npz", vectors)
    with pytest.raises(BadInput) as refusal:
        verify_bundle(load_bundle(bundle_dir))
    assert "golden.npz" in str(refusal.value) and named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_golden_vectors_are_bounded_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = npz({"a": np.zeros(1000, np.uint8), "b": np.zeros(1000, np.uint8)})
    with zipfile.ZipFile(BytesIO(zeros)) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    assert len(zeros) < unpacked
    for bound, has in (("MAX_ARRAYS", 2), ("MAX_FILE_BYTES", unpacked)):
        with monkeypatch.context() as patch:
            patch.setattr(golden_module, bound, has)
            assert len(read_npz(zeros, "golden.npz")) == 2
            patch.setattr(golden_module, bound, has - 1)
            with pytest.raises(BadInput, match=r"^golden\.npz: more than"):
                read_npz(zeros, "golden.npz")


def test_golden_vectors_without_a_case_prove_nothing(bundle_dir: Path) -> None:
    replace_file(bundle_dir, "golden.npz", npz(golden(cases=1)))
    assert all(check.passed and check.cases == 1 for check in verify_bundle(load_bundle(bundle_dir)))
    replace_file(bundle_dir, "golden.npz", npz(golden(cases=0)))
    with pytest.raises(BadInput, match=r"/tiny/golden\.npz: observe: no case"):
        verify_bundle(load_bundle(bundle_dir))


def test_golden_vectors_that_memory_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> bytes:
        raise MemoryError

    assert read_npz(GOLDEN, "golden.npz")
    monkeypatch.setattr(zipfile.ZipExtFile, "read", no_memory)
    with pytest.raises(BadInput, match=r"^golden\.npz: there is no memory"):
        read_npz(GOLDEN, "golden.npz")


GOLDEN = npz(golden(1))


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255)), max_size=5), st.integers(0, 50)
)
def test_damaged_golden_vectors_do_nothing_but_get_refused(flips: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(GOLDEN)
    for position, byte in flips:
        data[position] = byte
    try:
        read_npz(bytes(data[: len(data) - cut]), "golden.npz")
    except BadInput as refused:
        assert "\n" not in str(refused)


def test_a_graph_that_the_engine_refuses_is_bad_input(bundle_dir: Path) -> None:
    graph = imagine_graph()
    graph.graph.node[0].input[1] = "nowhere"
    replace_file(bundle_dir, "imagine.fp32.onnx", graph.SerializeToString())
    with pytest.raises(BadInput, match=r"imagine\.fp32\.onnx: ONNX Runtime refuses"):
        verify_bundle(load_bundle(bundle_dir))


def test_the_verify_command_exits_0_1_or_2(
    bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verify.json"
    assert run(["model", "verify", str(bundle_dir), "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert facts["passed"] is True and len(facts["checks"]) == 5
    assert facts["model_sha256"] == load_bundle(bundle_dir).sha256
    assert "all 5 checks agree" in capsys.readouterr().out

    replace_file(bundle_dir, "observe.fp32.onnx", turned(by=np.nan))
    assert run(["model", "verify", str(bundle_dir), "--json", str(out)]) == 1
    facts = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert facts["passed"] is False
    assert [check["max_abs"] for check in facts["checks"] if not check["passed"]] == [None]
    assert "FAIL observe" in capsys.readouterr().out

    (bundle_dir / "observe.fp32.onnx").write_bytes(b"")
    assert run(["model", "verify", str(bundle_dir)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "observe.fp32.onnx" in error


def test_the_inspect_command_shows_what_is_inside(
    bundle_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "inspect.json"
    assert run(["model", "inspect", str(bundle_dir), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    for part in (
        "tiny 0.1.0",
        "uint8[6,8,3]",
        "7 nodes, 7 parameters",
        "MatMul 1",
        "imagined_pose",
        "success_rate",
    ):
        assert part in text
    facts = json.loads(out.read_text())
    assert facts["manifest"]["name"] == "tiny"
    assert facts["graphs"][0]["size"] == len(files()["observe.fp32.onnx"])
    assert run(["model", "inspect", str(tmp_path / "nowhere")]) == 2


def test_text_of_a_stranger_cannot_move_the_cursor(
    bundle_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = read_manifest(bundle_dir)
    facts["heads"][0]["description"] = "\x1b[2Jgone"
    facts["provenance"]["commit"] = "\x1b]0;title\x07"
    facts["provenance"]["figures"] = {"\x1b[1m": "\x1b[2J"}
    write_manifest(bundle_dir, facts)
    assert run(["model", "inspect", str(bundle_dir)]) == 0
    text = capsys.readouterr().out
    assert "gone" in text and "\x1b" not in text and "\x07" not in text
