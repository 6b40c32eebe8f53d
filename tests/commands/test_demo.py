"""`edge-wm demo`: five goals, one line for machines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_wm.cli import run
from edge_wm.commands import demo
from edge_wm.drive import run as run_module
from edge_wm.drive.run import RunEnd
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.sim.generator import TEST_SEEDS
from tests.blind_model import write_blind

pytestmark = pytest.mark.sim

EASY_SEED = "1"

RESULT = re.compile(
    r"RESULT goals=(\d+) reached=(\d+) collisions=(\d+)"
    r" tick_p50_ms=(\d+\.\d) tick_p99_ms=(\d+\.\d) misses=(\d+)\Z"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


def run_demo(runs: Path, *words: str | Path) -> int:
    quiet = ["--fast", "--no-view", "--no-pictures", "--runs", runs]
    return run(["demo", *map(str, quiet), *map(str, words)])


def summary_in(runs: Path) -> dict:
    (folder,) = runs.iterdir()
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms only, and of them some that can be crossed blind."""
    monkeypatch.setattr(demo, "KINDS", ("rooms",))


def test_the_last_line_sums_up_for_machines(
    easy: None, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(tmp_path / "runs", "--model", model, "--goals", "2", "--seed", EASY_SEED) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    found = RESULT.match(last)
    assert found, last
    summary = summary_in(tmp_path / "runs")
    assert found.groups()[:3] == ("2", "2", "0")
    assert float(found[4]) == pytest.approx(summary["tick_p50_ms"], abs=0.051)
    assert float(found[5]) == pytest.approx(summary["tick_p99_ms"], abs=0.051)
    assert int(found[6]) == summary["misses"] == 0


def test_a_goal_that_is_not_reached_exits_1_and_is_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "KINDS", ("rooms-hard",))  # cannot be crossed blind
    assert run_demo(tmp_path / "runs", "--model", model, "--goals", "1") == 1
    found = RESULT.match(capsys.readouterr().out.splitlines()[-1])
    assert found and found.groups()[:2] == ("1", "0")


def test_collisions_that_nobody_saw_are_not_told_as_none(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {"reached": 0, "collisions": None, "tick_p50_ms": None, "tick_p99_ms": None, "misses": 0}
    monkeypatch.setattr(run_module, "run_tasks", lambda *_: RunEnd(tmp_path, summary, interrupted=True))
    run_demo(tmp_path / "runs", "--model", model, "--goals", "1")
    assert "collisions=nan" in capsys.readouterr().out


@pytest.mark.parametrize("made", [["drive.mp4", "report.html"], ["report.html"], []])
def test_it_names_the_files_that_there_are(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    made: list,
) -> None:
    for name in made:
        (tmp_path / name).write_text("")
    summary = {"reached": 0, "collisions": 0, "tick_p50_ms": None, "tick_p99_ms": None, "misses": 0}
    monkeypatch.setattr(run_module, "run_tasks", lambda *_: RunEnd(tmp_path, summary, interrupted=False))
    run_demo(tmp_path / "runs", "--model", model, "--goals", "1")
    told = capsys.readouterr().out
    assert [name for name in ("drive.mp4", "report.html") if name in told] == made


def test_its_worlds_are_new_to_the_model_and_to_every_reported_figure(
    easy: None, model: Path, tmp_path: Path
) -> None:
    seeds = []
    for seed in (EASY_SEED, "9999"):
        run_demo(tmp_path / seed, "--model", model, "--goals", "1", "--seed", seed)
        seeds += [
            int(name.split("_")[1]) for name in summary_in(tmp_path / seed)["facts"]["worlds"].split(", ")
        ]
    assert len(set(seeds)) == 2
    assert all(seed >= TEST_SEEDS + 900_000 for seed in seeds)


def test_the_same_seed_is_the_same_demo(easy: None, model: Path, tmp_path: Path) -> None:
    for runs in ("one", "two"):
        run_demo(tmp_path / runs, "--model", model, "--goals", "1", "--seed", EASY_SEED)
    assert summary_in(tmp_path / "one")["goal_results"] == summary_in(tmp_path / "two")["goal_results"]


@pytest.mark.parametrize(
    "words", [["--goals", "0"], ["--goals", "many"], ["--seed", "-1"], ["--model", "nowhere"]]
)
def test_bad_words_are_refused_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(tmp_path / "runs", *words) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not DEFAULT_MODEL.is_dir(), reason="no shipped model")
def test_the_shipped_model_reaches_the_goals_of_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(tmp_path / "runs") == 0
    found = RESULT.match(capsys.readouterr().out.splitlines()[-1])
    assert found and found.groups()[:3] == ("5", "5", "0")
