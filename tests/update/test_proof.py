from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from edge_wm.bundle.load import load_bundle
from edge_wm.engines.execution import Execution
from edge_wm.paths import shipped
from edge_wm.robot import load_robot
from edge_wm.update import proof
from edge_wm.update.confined import Limits
from edge_wm.update.proof import Proof, prove
from edge_wm.update.sandbox import End, Ended
from edge_wm.update.sandboxed import Findings, Times
from tests.tiny_model import replace_file, write_tiny
from tests.update.provable import large, slow, write_provable

TICKS = 12
ROBOT = load_robot()
LIMITS = Limits(cpu_s=60, wall_s=100.0, stand_back=False)
"""Tests wait for it, and share the machine with others."""
ENDLESS = slow(15_000, 512)
"""A graph of two minutes: what takes so long to load or to run that nobody waits for it."""


def proven(bundle: Path, limits: Limits | None = None, **options: Any) -> Proof:
    return prove(bundle, ROBOT, limits=limits or LIMITS, ticks=TICKS, **options)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_provable(tmp_path_factory.mktemp("bundles") / "good")


def test_a_good_bundle_is_proven(good: Path) -> None:
    result = proven(good)
    found, times = result.findings, result.findings.times
    assert result.passed and not result.undecided
    assert (found.model, found.name, found.version) == (load_bundle(good).sha256, "blind", "0.1.0")
    assert found.execution == ROBOT.board.engine
    assert times is not None and times.ticks == TICKS
    assert 0.0 < times.p50_ms <= times.p99_ms <= 30.0
    assert found.peak_bytes is not None and 20 << 20 < found.peak_bytes < 384 << 20
    assert str(result).startswith("blind 0.1.0 proven in ")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_shipped_bundle_is_proven(format: Any) -> None:
    bundle = shipped("models", "rooms-student")
    result = prove(bundle, ROBOT, Execution(format, "int8"), LIMITS)
    assert result.passed, str(result)
    assert result.findings.times is not None and result.findings.times.ticks == proof.TICKS


def test_without_a_robot_every_model_may_be_proven(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "tiny")
    assert prove(bundle, execution=Execution(precision="fp32"), limits=LIMITS, ticks=TICKS).passed
    assert "robot sim" in str(prove(bundle, ROBOT, Execution(precision="fp32"), LIMITS, ticks=TICKS).refusal)


# --- what is wrong with a bundle -------------------------------------------------------------------------------------


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "damaged")
    (bundle / "MODEL_CARD.md").write_bytes(b"# Blind\n")
    result = proven(bundle)
    assert result.refusal == (
        f"{bundle / 'MODEL_CARD.md'}: SHA-256 differs from the manifest: damaged or altered, copy it again"
    )
    assert not result.undecided


def test_no_bundle_is_refused(tmp_path: Path) -> None:
    assert "no such bundle directory" in str(proven(tmp_path / "nothing").refusal)


def test_a_model_for_another_rate_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "rate", tick_s=0.2)
    assert "ticks every 0.2 s" in str(proven(bundle).refusal)


def test_another_model_than_was_trained_is_refused(tmp_path: Path) -> None:
    result = proven(write_provable(tmp_path / "other", off=0.01))
    assert "is another model here" in str(result.refusal)
    assert "max 0.01" in str(result.refusal)


def test_a_graph_that_the_engine_refuses_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "refused")
    replace_file(bundle, "observe.int8.onnx", b"\x00" * 100)
    assert str(proven(bundle).refusal).startswith(f"{bundle / 'observe.int8.onnx'}: ")


def test_a_model_that_passes_its_golden_vectors_and_is_too_slow_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "slow", imagine=slow(5, 512))
    result = proven(bundle)
    times = result.findings.times
    assert result.refusal is not None and not result.passed
    assert result.refusal.startswith(f"{bundle}: too slow here: a tick takes ")
    assert "its budget is 30 ms (onnx int8, 1 thread)" in result.refusal
    assert times is not None and times.p99_ms > 30.0
    assert times.ticks < TICKS  # it is not timed for longer than that needs


def test_the_same_model_with_the_time_that_it_needs_is_proven(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "patient", imagine=slow(5, 512), latency_budget_ms=60_000.0)
    assert proven(bundle).passed


def test_a_model_that_needs_minutes_runs_out_of_cpu_time(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "endless", imagine=ENDLESS)
    result = proven(bundle, replace(LIMITS, cpu_s=3))
    assert result.refusal == (
        f"{bundle}: in the sandbox: out of CPU time: still at work after 3 s of CPU time"
    )
    assert not result.undecided


def test_a_model_that_needs_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    bundle = write_provable(tmp_path / "large", imagine=large(11_000))  # 484 MB
    result = proven(bundle)
    assert not result.passed and not result.undecided
    assert "it needs more than " in str(result.refusal)
    more = replace(LIMITS, memory_bytes=900 << 20, address_space_bytes=2 << 30)
    assert proven(bundle, more).findings.times


@pytest.mark.slow
def test_a_busy_machine_makes_no_model_slow(good: Path) -> None:
    """Beside processes that burn all cores, time passes on the wall and the CPU time of a tick stays within its budget."""
    burn = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burn) for _ in range(2)]
    try:
        result = prove(good, ROBOT, limits=Limits(wall_s=110.0), ticks=TICKS)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert result.passed or result.undecided
    assert result.ended.wall_s > result.ended.cpu_s


# --- what a process may answer ---------------------------------------------------------------------------------------

TIMES = Times(ticks=TICKS, p50_ms=4.0, p99_ms=5.0, wall_p50_ms=4.0, wall_p99_ms=6.0)
FINDINGS = Findings(
    model="0" * 64,
    name="m",
    version="1.0.0",
    robot_kind="k",
    execution=Execution(),
    budget_ms=30.0,
    times=TIMES,
)
BUNDLE = Path("bundle")


def judged(findings: object, end: End = End.FINISHED) -> Proof:
    result = findings if isinstance(findings, bytes) else msgspec.json.encode(findings)
    return proof._judged(BUNDLE, Ended(end, "why", result, 1.0, 1.0), TICKS)


def changed(**fields: Any) -> Proof:
    return judged(replace(FINDINGS, **fields))


def timed(**fields: Any) -> Proof:
    return changed(times=replace(TIMES, **fields))


def test_findings_without_a_fault_pass() -> None:
    assert judged(FINDINGS).passed


@pytest.mark.parametrize(
    "fields", [{"times": None}, {"budget_ms": None}, {"model": None}, {"execution": None}]
)
def test_findings_that_lack_something_do_not_pass(fields: dict[str, Any]) -> None:
    assert changed(**fields).refusal == "bundle: in the sandbox: gave no answer that can be read"


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"null",
        b"[]",
        b'{"model": "../../x"}',
        b'{"times": {"ticks": 30}}',
        b"[" * 10_000,
        json.dumps(
            {**msgspec.to_builtins(FINDINGS), "execution": {"format": "onnx", "accelerator": "delegate"}}
        ).encode(),
    ],
)
def test_an_answer_of_another_form_does_not_pass(result: bytes) -> None:
    assert not judged(result).passed


def test_what_a_stranger_says_stays_on_one_line_and_short() -> None:
    refusal = changed(refusal="\x1b[2Jcleared\nand more " + "x" * 100_000).refusal
    assert refusal is not None
    assert refusal.startswith("[2Jcleared and more x") and len(refusal) <= proof.MAX_REFUSAL


@pytest.mark.parametrize("end", [end for end in End if end is not End.FINISHED])
def test_only_a_finished_process_passes(end: End) -> None:
    result = judged(FINDINGS, end)
    assert result.refusal == f"bundle: in the sandbox: {end}: why"
    assert result.undecided == (end in (End.NOT_CONFINED, End.OUT_OF_TIME))


def test_the_budget_is_for_the_99th_percentile() -> None:
    assert timed(p99_ms=30.0).passed
    late = timed(p99_ms=30.1)
    assert late.refusal is not None and "30.1 ms at the 99th percentile" in late.refusal
    assert not late.undecided
    assert not timed(p99_ms=float("nan")).passed
    assert not timed(ticks=TICKS - 1).passed


def test_a_little_too_slow_on_a_busy_machine_is_no_verdict() -> None:
    assert timed(p99_ms=40.0, wall_p50_ms=100.0).undecided
    assert not timed(p99_ms=40.0, wall_p50_ms=4.5).undecided
    assert not timed(p99_ms=61.0, wall_p50_ms=1000.0).undecided


def test_an_accelerators_process_may_talk_to_devices() -> None:
    assert not proof.usual_limits(ROBOT, None).devices
    assert proof.usual_limits(ROBOT, Execution(accelerator="cuda", precision="fp32")).devices
    more = proof.usual_limits(None, Execution(threads=4)).memory_bytes
    assert more > proof.usual_limits(None, Execution()).memory_bytes > Limits().memory_bytes


def test_nothing_of_the_model_is_loaded_by_whoever_asks(good: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edge_wm.robot import load_robot; from edge_wm.update.proof import prove; from edge_wm.update.confined import Limits;"
        f"assert prove(Path({str(good)!r}), load_robot(), ticks=3, limits=Limits(stand_back=False)).passed;"
        "print('onnxruntime' in sys.modules, 'ai_edge_litert' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.split() == ["False", "False"]


def test_a_proof_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        judged(FINDINGS, End.FAILED).refusal = None  # type: ignore[misc]
