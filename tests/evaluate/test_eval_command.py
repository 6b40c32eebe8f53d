"""`edge-wm eval` from the command line to the JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.cli import EXIT_BAD_INPUT, EXIT_INTERRUPTED, run
from edge_wm.commands import eval as eval_command
from edge_wm.commands import worlds as worlds_command
from edge_wm.evaluate import evaluation, runner
from edge_wm.evaluate.contestants import POLICIES
from edge_wm.evaluate.runner import episode_seed, partial_file
from edge_wm.sim.generator import KINDS
from tests.blind_model import write_blind
from tests.sim.worlds import task, world, write_tasks
from tests.tiny_model import write_tiny

pytestmark = pytest.mark.sim

BLOCK = '<geom type="box" pos="0 0 0.2" size="0.1 0.4 0.2"/>'


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Path]:
    yield write_tasks(
        tmp_path / "worlds", [task("open"), task("blocked")], open=world(), blocked=world(BLOCK)
    )


def evaluate(worlds: Path, file: Path, *more: str, policy: str = "oracle", episodes: int = 4) -> int:
    words = ["eval", "--worlds", str(worlds), "--episodes", str(episodes), "--seed", "5"]
    return run([*words, "--policy", policy, "--json", str(file), "--jobs", "1", *more])


def test_the_result_has_the_promised_form(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(worlds, tmp_path / "out.json") == 0
    result = json.loads((tmp_path / "out.json").read_text())
    summary = result["summary"]
    assert summary["n"] == 4
    assert summary["success_rate"] == 1.0
    assert summary["success_ci95"] == pytest.approx([0.5101, 1.0], abs=1e-4)
    assert summary["collision_rate"] == summary["timeout_rate"] == 0.0
    assert 0.85 < summary["spl"] <= 1.0
    assert result["model_sha256"] is None
    assert result["tasks_sha256"] == hashlib.sha256((worlds / "tasks.json").read_bytes()).hexdigest()
    assert result["seed"] == 5
    assert [episode["world"] for episode in result["episodes"]] == ["open.xml", "blocked.xml"] * 2
    needed = {"world", "success", "collision", "spl", "time_s", "min_clearance_m"}
    assert all(needed <= episode.keys() for episode in result["episodes"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("RESULT n=4 success=1.0000 collision=0.0000")
    assert not partial_file(tmp_path / "out.json").exists()


def test_the_same_seed_gives_the_same_file_and_tasks_come_round_with_another_robot(
    worlds: Path, tmp_path: Path
) -> None:
    for name in ("a.json", "b.json"):
        assert evaluate(worlds, tmp_path / name) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    first, _, third, _ = json.loads((tmp_path / "a.json").read_text())["episodes"]
    assert first["task"] == third["task"]
    assert first["seed"] == episode_seed(5, 0) != third["seed"]
    assert first["path_m"] != third["path_m"]


def test_a_model_plans_with_as_many_candidates_as_are_asked_for(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(write_blind(tmp_path / "blind", fewer=8)), "--candidates"]
    file = tmp_path / "out.json"
    assert evaluate(worlds, file, *words, "8", policy="world-model", episodes=1) == 0
    assert json.loads(file.read_text())["candidates"] == 8
    settings, _ = evaluation.make_settings(
        worlds, "world-model", model=tmp_path / "blind", candidates=8, precision="int8"
    )
    model = runner.load_model(settings)
    assert model is not None and model.manifest.imagine.candidates == 8
    assert evaluate(worlds, file, *words, "7", policy="world-model", episodes=1) == EXIT_BAD_INPUT
    assert "no graph for imagine of 7 candidates" in capsys.readouterr().err


def test_two_processes_find_the_same_as_one(worlds: Path, tmp_path: Path) -> None:
    assert evaluate(worlds, tmp_path / "one.json") == 0
    assert evaluate(worlds, tmp_path / "two.json", "--jobs", "2") == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, whole = tmp_path / "out.json", tmp_path / "whole.json"
    original = runner.run_episode
    ran: list[int] = []

    def interrupted(index: int, *rest: object) -> object:
        if index == 2:
            raise KeyboardInterrupt
        ran.append(index)
        return original(index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_episode", interrupted)
    assert evaluate(worlds, file) == EXIT_INTERRUPTED
    assert not file.exists()
    with partial_file(file).open("ab") as partial:
        partial.write(b'{"index": 2, "wor')  # as if the power had gone in the middle of a line

    def noted(index: int, *rest: object) -> object:
        ran.append(index)
        return original(index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_episode", noted)
    assert evaluate(worlds, file) == 0
    assert ran == [0, 1, 2, 3]
    assert evaluate(worlds, whole) == 0
    assert file.read_bytes() == whole.read_bytes()


def test_episodes_of_other_settings_are_not_mixed_in(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    partial_file(file).write_text('{"policy": "oracle"}\n')
    assert evaluate(worlds, file) == EXIT_BAD_INPUT
    assert "other settings" in capsys.readouterr().err
    assert partial_file(file).exists()
    partial_file(file).write_text("")  # the control: what a full disk leaves holds nothing
    assert evaluate(worlds, file) == 0


def test_a_comparison_is_paired_and_refuses_other_episodes(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, oracle = tmp_path / "straight.json", tmp_path / "oracle.json"
    assert evaluate(worlds, straight, policy="straight", episodes=2) == 0
    assert evaluate(worlds, oracle, "--compare", str(straight), episodes=2) == 0
    comparison = json.loads(oracle.read_text())["comparison"]
    assert (comparison["only_ours"], comparison["only_theirs"], comparison["p"]) == (1, 0, 1.0)
    assert "1 won, 0 lost" in capsys.readouterr().out


def test_a_comparison_with_other_episodes_is_refused_before_the_first(
    worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, oracle = tmp_path / "straight.json", tmp_path / "oracle.json"
    assert evaluate(worlds, straight, policy="straight", episodes=2) == 0
    monkeypatch.setattr(runner, "run_episode", lambda *_: pytest.fail("it drives"))
    assert evaluate(worlds, oracle, "--compare", str(straight), episodes=4) == EXIT_BAD_INPUT
    assert evaluate(worlds, oracle, "--compare", str(straight), "--seed", "6", episodes=2) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.count("has other episodes") == 2


@pytest.mark.parametrize(
    ("entries", "words", "message"),
    [
        ([], [], "holds no task"),
        ([task("blocked", goal=[0.0, 0.0])], [], "task 0: the goal (0, 0) is inside a wall"),
        (
            [task("blocked", goal=[0.0, 0.0])],
            ["--jobs", "2"],
            "task 0: the goal (0, 0) is inside a wall",
        ),
        ([task("blocked")], ["--policy", "world-model"], "name its bundle with --model"),
        ([task("blocked")], ["--policy", "world-model", "--model", "nowhere"], "no such bundle directory"),
        ([task("blocked")], ["--compare", "nowhere.json"], "cannot read the evaluation"),
        ([task("blocked")], ["--policy", "magic"], "is not one of"),
        ([task("blocked")], ["--json", "."], "is a folder or a device"),
        ([task("blocked")], ["--json", "/dev/null"], "is a folder or a device"),
        ([task("blocked")], ["--episodes", "1000000000000"], "is not in the range"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, entries: object, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tasks(tmp_path / "worlds", entries, blocked=world(BLOCK))
    policy = [] if "--policy" in words else ["--policy", "oracle"]
    jobs = [] if "--jobs" in words else ["--jobs", "1"]
    assert run(["eval", "--worlds", str(folder), "--episodes", "2", *policy, *jobs, *words]) == EXIT_BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_model_without_a_policy_head_says_so(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(write_blind(tmp_path / "blind"))]
    assert evaluate(worlds, tmp_path / "out.json", *words, policy="policy-head") == EXIT_BAD_INPUT
    assert "no head 'policy'" in capsys.readouterr().err


def test_a_model_for_another_robot_is_refused_before_anything_is_driven(
    worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(write_tiny(tmp_path / "tiny")), "--precision", "fp32"]
    assert evaluate(worlds, tmp_path / "out.json", *words, policy="world-model") == EXIT_BAD_INPUT
    assert "takes camera uint8[6,8,3], robot sim gives camera uint8[48,64,3]" in capsys.readouterr().err


def test_the_choices_that_help_lists_are_the_ones_there_are() -> None:
    assert eval_command.POLICIES == POLICIES
    assert worlds_command.KINDS == KINDS


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_all_tasks_are_checked_before_the_first_is_driven(
    tmp_path: Path, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [task("open"), task("blocked", goal=[0.0, 0.0]), task("floorless")]
    folder = write_tasks(
        tmp_path / "worlds", entries, open=world(), blocked=world(BLOCK), floorless=world(floor="")
    )
    file = tmp_path / "out.json"
    assert evaluate(folder, file, "--jobs", jobs, episodes=3) == EXIT_BAD_INPUT
    assert "task 1: the goal (0, 0) is inside a wall" in capsys.readouterr().err
    assert partial_file(file).read_bytes().count(b"\n") == 1  # the settings, and no episode
    write_tasks(folder, [task("open"), task("floorless")])
    assert evaluate(folder, tmp_path / "other.json", "--jobs", jobs, episodes=2) == EXIT_BAD_INPUT
    assert "floorless.xml: the robot cannot stand" in capsys.readouterr().err


def test_episodes_in_a_world_that_was_changed_are_not_mixed_in(
    worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, original = tmp_path / "out.json", runner.run_episode

    def interrupted(index: int, *rest: object) -> object:
        if index == 1:
            raise KeyboardInterrupt
        return original(index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "run_episode", interrupted)
    assert evaluate(worlds, file) == EXIT_INTERRUPTED
    monkeypatch.setattr(runner, "run_episode", original)
    same = (worlds / "blocked.xml").read_text()
    (worlds / "blocked.xml").write_text(world())
    assert evaluate(worlds, file) == EXIT_BAD_INPUT
    assert "other settings" in capsys.readouterr().err
    (worlds / "blocked.xml").write_text(same)
    assert evaluate(worlds, file) == 0


def test_tasks_are_read_once(worlds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    original = evaluation.load_tasks

    def noted(directory: Path) -> object:
        reads.append(directory)
        return original(directory)

    monkeypatch.setattr(evaluation, "load_tasks", noted)
    assert evaluate(worlds, tmp_path / "out.json") == 0
    assert reads == [worlds]
