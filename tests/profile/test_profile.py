"""The fastest form that is still the same model is chosen for this machine, and for no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import onnxruntime
import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.cli import run
from edge_wm.clock import SimulatedClock
from edge_wm.drive.pilot import Pilot
from edge_wm.engines.execution import Execution
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import Plan
from edge_wm.profile import choice, measure
from edge_wm.profile.choice import choose, remember, remembered
from edge_wm.profile.measure import Measured, ways
from edge_wm.robot import load_robot
from tests.blind_model import write_blind
from tests.engines.accelerators import cuda_is_in_the_list_only, cuda_is_the_cpu
from tests.tiny_model import manifest, read_manifest, write_manifest, write_tiny

pytestmark = pytest.mark.filterwarnings("ignore:.* provider")  # ONNX Runtime's, about providers it drops


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    # A budget that is kept on a busy machine too; those that are about the budget set their own.
    return write_tiny(tmp_path / "tiny", latency_budget_ms=1000.0)


def row(precision: str, threads: int, p50_ms: float | None) -> Measured:
    failure = "no such engine" if p50_ms is None else None
    return Measured(Execution("onnx", precision, threads), failure, p50_ms, p50_ms)  # type: ignore[arg-type]


def test_every_form_is_tried_with_every_power_of_two_of_the_cores() -> None:
    assert ways(manifest(), 6, Execution()) == [
        *(Execution("onnx", "fp32", threads) for threads in (1, 2, 4)),
        *(Execution("onnx", "fp32", threads, spin=True) for threads in (2, 4)),
    ]
    assert ways(manifest("int8"), 1, Execution()) == [Execution("onnx", "int8", 1)]


def test_accelerators_of_this_onnx_runtime_are_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = ["TensorrtExecutionProvider", "XnnpackExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_in)
    board = Execution(accelerator="tensorrt", engine_cache="/cache")
    assert ways(manifest("int8"), 2, board) == [
        Execution("onnx", "int8", 1),
        Execution("onnx", "int8", 2),
        Execution("onnx", "int8", 2, spin=True),
        Execution("onnx", "int8", 1, "xnnpack"),
        Execution("onnx", "int8", 2, "xnnpack"),
        Execution("onnx", "int8", 1, "tensorrt", engine_cache="/cache"),
    ]


def test_the_delegate_that_the_board_file_names_is_tried_on_tflite_graphs() -> None:
    both = manifest()
    forms = [msgspec.structs.replace(graph, format="tflite") for graph in both.graphs]
    both = msgspec.structs.replace(both, graphs=(*both.graphs, *forms))
    board = Execution("tflite", accelerator="delegate", delegate="libedgetpu.so.1")
    tried = ways(both, 1, board)
    assert tried[1:] == [
        Execution("tflite", "fp32"),
        Execution("tflite", "fp32", 1, "delegate", "libedgetpu.so.1"),
    ]
    assert [how.accelerator for how in ways(both, 1, Execution())] == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row("fp32", 1, 10.0), row("int8", 1, 5.0)], 1),
        ([row("fp32", 1, 10.0), row("int8", 1, 9.8)], 0),
        ([row("int8", 1, 10.0), row("fp32", 1, 10.2)], 1),
        ([row("fp32", 1, 10.0), row("fp32", 2, 9.8)], 0),
        ([row("fp32", 1, 10.0), row("fp32", 2, 6.0)], 1),
        ([row("fp32", 1, 10.0), row("int8", 1, None)], 0),
    ],
    ids=["faster int8", "int8 no faster", "fp32 no slower", "idle thread", "useful thread", "int8 fails"],
)
def test_a_less_exact_form_or_another_thread_must_be_worth_it(rows: list[Measured], best: int) -> None:
    assert choose(rows) is rows[best]


def test_spinning_must_be_worth_it() -> None:
    def spinning(p50_ms: float) -> Measured:
        return Measured(Execution("onnx", "fp32", 2, spin=True), None, p50_ms, p50_ms)

    asleep = row("fp32", 2, 10.0)
    no_faster, faster = spinning(9.8), spinning(5.0)
    assert choose([no_faster, asleep]) is asleep
    assert choose([asleep, faster]) is faster


def test_nothing_is_chosen_from_nothing() -> None:
    assert choose([row("fp32", 1, None)]) is None


def test_an_accelerator_must_be_worth_it() -> None:
    def on_cuda(p50_ms: float) -> Measured:
        return Measured(Execution("onnx", "fp32", 1, "cuda"), None, p50_ms, p50_ms)

    cpu = row("int8", 4, 10.0)
    no_faster, faster = on_cuda(9.8), on_cuda(5.0)
    assert choose([no_faster, cpu]) is cpu
    assert choose([faster, cpu]) is faster


def test_the_table_shows_what_ran_on_an_accelerator(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda_is_the_cpu(monkeypatch)
    assert run(["profile", "--quick", "--model", str(bundle), "--json", str(tmp_path / "out.json")]) == 0
    assert "cuda 100%" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [found["accelerated"] for found in rows if found["execution"]["accelerator"] == "cuda"] == [1.0]
    assert all("accelerated" not in found for found in rows if found["execution"]["accelerator"] == "cpu")


def test_an_accelerator_that_ran_nothing_fails_and_is_not_chosen(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cuda_is_in_the_list_only(monkeypatch)
    assert run(["profile", "--quick", "--model", str(bundle)]) == 0
    assert "onnx fp32, 1 thread, cuda: " in (told := capsys.readouterr().out)
    assert "cuda started but ran no node" in told
    chosen = remembered(load_bundle(bundle).sha256)
    assert chosen is not None and chosen.accelerator == "cpu"


def test_a_choice_is_remembered_for_this_model_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Execution("onnx", "fp32", 2)
    file = remember("a" * 64, chosen, [row("fp32", 2, 5.0)])
    assert remembered("a" * 64) == chosen
    assert remembered("b" * 64) is None
    monkeypatch.setattr(choice, "this_machine", lambda: "another board")
    assert remembered("a" * 64) is None
    monkeypatch.undo()
    file.write_bytes(b"{}")
    assert remembered("a" * 64) is None


def test_the_command_remembers_what_it_chose(bundle: Path, tmp_path: Path) -> None:
    assert run(["profile", "--quick", "--model", str(bundle), "--json", str(tmp_path / "out.json")]) == 0
    facts = json.loads((tmp_path / "out.json").read_text())
    chosen = Execution(**facts["chosen"])
    assert remembered(load_bundle(bundle).sha256) == chosen


def test_a_drive_follows_the_choice_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    bundle = write_blind(tmp_path / "blind")
    assert Pilot(load_robot(), bundle, SimulatedClock()).execution == load_robot().board.engine
    chosen = Execution(precision="int8", threads=2)
    remember(load_bundle(bundle).sha256, chosen, [])
    assert Pilot(load_robot(), bundle, SimulatedClock()).execution == chosen
    said = Execution(precision="int8", threads=3)
    assert Pilot(load_robot(), bundle, SimulatedClock(), execution=said).execution == said


def test_a_round_of_slow_ticks_ends_early_with_at_least_one(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = []

    class Counted(ICEM):
        def plan(self, *args: Any, **options: Any) -> Plan:
            planned.append(args)
            return super().plan(*args, **options)

    monkeypatch.setattr(measure, "ICEM", Counted)
    loaded = load_bundle(bundle)
    measure.measure(loaded, [Execution("onnx", "fp32")])
    assert len(planned) == measure.WARM_UP_TICKS + 2
    planned.clear()
    monkeypatch.setattr(measure, "ROUND_S", 0.0)
    (row,) = measure.measure(loaded, [Execution("onnx", "fp32")])
    assert len(planned) == 2
    assert row.tick_p50_ms is not None


def test_nothing_is_remembered_if_that_is_not_wanted(bundle: Path) -> None:
    assert run(["profile", "--quick", "--model", str(bundle), "--no-store"]) == 0
    assert remembered(load_bundle(bundle).sha256) is None


def test_a_form_that_is_another_model_here_is_not_chosen(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = read_manifest(bundle)
    for tolerance in facts["golden"]["tolerances"]:
        tolerance.update(max_abs=0.0, mean_abs=0.0)
    write_manifest(bundle, facts)
    assert run(["profile", "--quick", "--model", str(bundle), "--json", str(tmp_path / "out.json")]) == 1
    assert "no form of it can be used" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert all("is another model here" in found["failure"] for found in rows)


def test_a_budget_that_is_not_kept_is_exit_code_1(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = read_manifest(bundle)
    facts["latency_budget_ms"] = 1e-3
    write_manifest(bundle, facts)
    assert run(["profile", "--quick", "--model", str(bundle)]) == 1
    assert "over the budget of 0.001 ms" in capsys.readouterr().out
