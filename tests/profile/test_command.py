"""``edge-wm profile`` from the command line: what it measures, writes and answers."""

from __future__ import annotations

import datetime
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_wm.board import board_files, load_board
from edge_wm.bundle.load import load_bundle
from edge_wm.cli import run
from edge_wm.engines.execution import Execution
from edge_wm.output_file import write_json
from edge_wm.profile import take
from edge_wm.profile.choice import remembered, this_machine
from edge_wm.profile.measure import plausible, ways
from edge_wm.profile.profile_file import FORMAT_VERSION, read_profile
from edge_wm.profile.tables import WIDTH
from tests.profile.samples import profile, row
from tests.tiny_model import manifest, read_manifest, write_manifest, write_tiny, write_tiny_with_fewer

PATIENT_MS = 1000.0
"""A budget that is kept on a busy machine too."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny", latency_budget_ms=PATIENT_MS)


def run_profile(bundle: Path, *options: str) -> int:
    return run(["profile", "--model", str(bundle), *options])


def test_a_whole_profile_measures_every_way_at_the_robots_rate(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(take, "cores", lambda: 1)
    file, page = tmp_path / "out.json", tmp_path / "out.html"
    assert run_profile(bundle, "--json", str(file), "--html", str(page)) == 0
    found = read_profile(file)
    assert [each.execution for each in found.rows] == ways(manifest(), 1, Execution())
    for each in found.rows:
        assert each.alone is not None and each.alone.idle is not None and each.alone.loaded is not None
        assert each.alone.idle.ticks == found.ticks == 2
    assert not found.quick
    assert [form.failure for form in found.accuracy] == [None]
    assert found.model_sha256 == load_bundle(bundle).sha256
    told = capsys.readouterr().out
    assert max(map(len, told[: told.index("onnx fp32, 1 thread")].splitlines())) <= WIDTH
    assert "iteration 1" in told and "camera to motor" in told
    assert "iteration 1" in page.read_text()


def test_a_quick_profile_tries_each_form_on_one_thread_and_the_boards_own_way() -> None:
    int8 = [msgspec.structs.replace(graph, precision="int8") for graph in manifest().graphs]
    both = msgspec.structs.replace(manifest(), graphs=(*manifest().graphs, *int8))
    every = ways(both, 4, Execution())
    fp32, int8_1 = Execution("onnx", "fp32"), Execution("onnx", "int8")
    assert plausible(every, Execution()) == [fp32, int8_1]
    board = Execution("onnx", "int8", 4, candidates=8)
    assert plausible(every, board) == [fp32, int8_1, Execution("onnx", "int8", 4)]


def test_a_quick_profile_says_so_and_measures_the_choice_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, file = write_tiny_with_fewer(tmp_path / "two"), tmp_path / "out.json"
    facts = read_manifest(bundle)
    facts["latency_budget_ms"] = 1e-3  # so that both sizes are tried
    write_manifest(bundle, facts)
    assert run_profile(bundle, "--quick", "--json", str(file)) == 1
    assert "quick: only the plausible ways" in capsys.readouterr().out
    found = read_profile(file)
    assert found.quick and len(found.rows) == 2
    assert [each.execution for each in found.rows if each.alone is not None] == [found.chosen]


def test_a_simulated_robot_cannot_be_measured_on_the_robot(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_profile(bundle, "--on-robot") == 2
    assert "sensors.kind: a robot that is there has 'real' ones" in capsys.readouterr().err


@pytest.fixture
def at_the_rate(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how long the slowest ticks are at the robot's rate, whatever they really are."""

    def are_so_slow(p99_ms: float) -> None:
        monkeypatch.setattr(take, "measure_alone", lambda *_: row(Execution(), p99_ms).alone)

    return are_so_slow


def test_a_budget_that_is_kept_one_after_another_only_is_exit_code_1(
    bundle: Path, at_the_rate: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    at_the_rate(PATIENT_MS + 1)
    assert run_profile(bundle, "--quick") == 1
    assert f"p99 1001.0 ms a tick, over the budget of {PATIENT_MS:g} ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("machine", "was_ms", "is_ms", "code"),
    [(None, 10.0, 100.0, 1), (None, 100.0, 10.0, 0), ("another", 10.0, 100.0, 0)],
    ids=["slower", "faster", "another machine"],
)
def test_a_choice_that_has_become_slower_here_is_exit_code_1(
    machine: str | None,
    was_ms: float,
    is_ms: float,
    code: int,
    bundle: Path,
    tmp_path: Path,
    at_the_rate: Callable[[float], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    way, old = Execution("onnx", "fp32"), tmp_path / "old.json"
    rows = (row(way, was_ms),)
    write_json(old, profile(machine=machine or this_machine(), chosen=way, rows=rows))
    at_the_rate(is_ms)
    assert run_profile(bundle, "--quick", "--compare", str(old)) == code
    told = capsys.readouterr().out
    assert ("worse: the chosen way's p99 is 100.0 ms, it was 10.0 ms" in told) is bool(code)
    assert f"{is_ms / was_ms:.2f}" in told
    assert ("not the same: machine: another" in told) is (machine is not None)


def test_a_profile_of_another_format_is_refused_before_anything_is_measured(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.json"
    old.write_text(f'{{"format_version": {FORMAT_VERSION + 1}}}')
    began = time.monotonic()
    assert run_profile(bundle, "--compare", str(old)) == 2
    assert time.monotonic() - began < 5.0
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "format_version" in told.err
    assert remembered(load_bundle(bundle).sha256) is None


def test_a_contribution_is_written_or_refused_before_anything_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board = load_board(board_files()["rpi4"])
    monkeypatch.setattr(take, "board_of", lambda robot: board)
    assert run_profile(bundle, "--contribute", str(tmp_path / "missing")) == 2
    folder = tmp_path / "profiles"
    folder.mkdir()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    options = ("--quick", "--no-store", "--contribute", str(folder), "--note", "a shared machine")
    assert run_profile(bundle, *options) == 0
    (file,) = folder.iterdir()
    assert f"contributed as {file}" in capsys.readouterr().out
    found = read_profile(file)
    assert found.note == "a shared machine" and found.robot is None
    for day in (today, today + datetime.timedelta(days=1)):  # if midnight comes meanwhile
        (folder / f"rpi4-{found.model}-{day}.json").touch()
    monkeypatch.setattr(take, "take_profile", None)
    assert run_profile(bundle, *options) == 2
    assert "is there" in capsys.readouterr().err
    assert remembered(load_bundle(bundle).sha256) is None


def test_an_interrupt_leaves_nothing_stored_and_nobody_running(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path / "tiny")
    file = tmp_path / "out.json"
    command = [
        sys.executable,
        "-c",
        "from edge_wm.entry import main; main()",
        "profile",
        "--model",
        str(bundle),
        "--json",
        str(file),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    children = _wait_for_children(process.pid)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert not file.exists()
    assert remembered(load_bundle(bundle).sha256) is None
    until = time.monotonic() + 20.0
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _wait_for_children(pid: int) -> list[int]:
    """Those of a process, once it has begun to measure in others."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(found) >= 2:  # the tracker of its resources, and one that measures
            return [int(child) for child in found]
        time.sleep(0.05)
    raise AssertionError("no process measures")
