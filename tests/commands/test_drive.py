"""`edge-wm drive`: what it writes, how it exits, and what it refuses."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from edge_wm.cli import run
from edge_wm.control.loop import Outcome, RunResult
from edge_wm.drive import run as run_module
from edge_wm.drive.pilot import Pilot
from edge_wm.errors import BadInput
from edge_wm.record.recorder import RunRecorder
from edge_wm.robot import DEFAULT_ROBOT
from edge_wm.sim.drivers import SimulatedBridge
from tests.blind_model import node, observe_graph_with_memory, write_blind

pytestmark = pytest.mark.sim

EDGE_WM = [sys.executable, "-c", "from edge_wm.cli import main; main()"]
WALL = '<geom type="box" pos="{} {} 0.25" size="{} {} 0.25"/>'
OUTER = ((0, -2, 2, 0.1), (0, 2, 2, 0.1), (-2, 0, 0.1, 2), (2, 0, 0.1, 2))
BEHIND_A_TRAP = ((0.5, 0, 0.05, 0.6), (0.2, 0.6, 0.3, 0.05), (0.2, -0.6, 0.3, 0.05))
AROUND_THE_GOAL = ((1.4, 0.5, 0.4, 0.05), (1.4, -0.5, 0.4, 0.05), (1.0, 0, 0.05, 0.5), (1.8, 0, 0.05, 0.5))
TO_GOAL = ["--start", "0,0,0", "--goal", "1.4,0"]


def mjcf(*walls: tuple[float, ...]) -> str:
    floor = '<geom type="plane" size="3 3 0.1"/>'
    return (
        f"<mujoco><worldbody>{floor}{''.join(WALL.format(*w) for w in (*OUTER, *walls))}</worldbody></mujoco>"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "room.xml").write_text(mjcf())
    return tmp_path / "room.xml"


@pytest.fixture
def drive(tmp_path: Path, model: Path) -> Callable[..., int]:
    """Run `edge-wm drive` in simulated time, showing nothing; later words win."""

    def driven(*words: str | Path) -> int:
        quiet = ["--fast", "--no-view", "--no-pictures", "--runs", tmp_path / "runs", "--model", model]
        return run(["drive", *map(str, quiet), *map(str, words)])

    return driven


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[int], str]:
    """Check that a command was refused in one line, before any run began, and return the line."""

    def check(exit_code: int) -> str:
        line = capsys.readouterr().err
        assert exit_code == 2
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        assert not (tmp_path / "runs").exists()
        return line

    return check


def only_run(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def summary_of(tmp_path: Path) -> dict:
    return json.loads((only_run(tmp_path) / "summary.json").read_text())


def test_it_drives_to_the_goal_and_writes_down_how(drive, room: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    assert drive("--world", room, *TO_GOAL, "--json", facts) == 0
    summary = summary_of(tmp_path)
    assert json.loads(facts.read_text()) == summary
    (goal,) = summary["goal_results"]
    assert goal["outcome"] == "reached"
    assert not goal["collision"]
    assert goal["geodesic_m"] == pytest.approx(1.4, abs=0.05)
    assert goal["travelled_m"] == pytest.approx(1.1, abs=0.15)  # reached is 0.3 m before the goal
    assert summary["facts"]["model"] == "blind 0.1.0"
    assert summary["ticks"] == goal["ticks"] > 15


def test_an_accelerator_that_cannot_be_used_is_told_and_written_down(
    drive, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ndescription = ""\n[engine]\naccelerator = "xnnpack"\n'
    )
    robot = tmp_path / "robot.toml"
    robot.write_text(DEFAULT_ROBOT.read_text().replace('board = "sim"', 'board = "mine.toml"'))
    assert drive("--world", room, *TO_GOAL, "--robot", robot) == 0
    facts = summary_of(tmp_path)["facts"]
    assert facts["execution"] == "onnx int8, 1 thread"
    assert facts["fell_back"].startswith("xnnpack is not used, the CPU runs the model instead: ")
    assert f"warning: {facts['fell_back']}\n" in capsys.readouterr().out

    shutil.rmtree(tmp_path / "runs")
    assert drive("--world", room, *TO_GOAL) == 0  # the control
    assert summary_of(tmp_path)["facts"]["fell_back"] is None
    assert "warning" not in capsys.readouterr().out


def test_the_size_of_a_plan_can_be_asked_for_and_is_written_down(
    drive, refused, room: Path, tmp_path: Path
) -> None:
    sized = write_blind(tmp_path / "sized", fewer=8)
    assert "no graph for imagine of 7 candidates (this bundle has: 32, 8)" in refused(
        drive("--model", sized, "--candidates", "7", "--world", room, *TO_GOAL)
    )
    assert drive("--model", sized, "--candidates", "8", "--world", room, *TO_GOAL) == 0
    assert summary_of(tmp_path)["facts"]["execution"] == "onnx int8, 1 thread, 8 candidates"


def test_every_tick_tells_observe_and_plan_as_parts_of_the_whole(drive, room: Path, tmp_path: Path) -> None:
    assert drive("--world", room, *TO_GOAL) == 0
    rows = [json.loads(line) for line in (only_run(tmp_path) / "ticks.jsonl").read_text().splitlines()]
    for row in rows:
        assert 0.0 < row["observe_ms"] < row["tick_ms"]
        assert row["observe_ms"] + row["plan_ms"] == pytest.approx(row["tick_ms"], abs=0.02)
    true, believed = (math.dist(rows[0][frame][:2], rows[-1][frame][:2]) for frame in ("true_pose", "pose"))
    assert true == pytest.approx(believed, abs=0.1)
    assert true > 0.9


def test_a_goal_in_the_world_is_turned_into_the_frame_of_the_start(drive, room: Path, tmp_path: Path) -> None:
    assert drive("--world", room, "--start", "1,-1,2.5", "--goal", "1,0.5") == 0
    row = json.loads((only_run(tmp_path) / "ticks.jsonl").read_text().splitlines()[-1])
    assert math.dist(row["true_pose"][:2], (1.0, 0.5)) < 0.4
    assert math.dist(row["pose"][:2], (0.0, 0.0)) > 1.0


def test_a_fault_says_why(drive, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root_of_less_than_nothing = (
        node("Neg", "brightness", "darkness"),
        node("Sqrt", "darkness", "root"),
        node("Reshape", "root one", "next_memory"),
    )
    fails_in_the_light = write_blind(
        tmp_path / "blinded", observe=observe_graph_with_memory(*root_of_less_than_nothing)
    )
    why = "EngineError: the model's latent state is not finite after observe: memory"
    assert drive("--world", room, *TO_GOAL, "--model", fails_in_the_light) == 1
    (goal,) = summary_of(tmp_path)["goal_results"]
    assert (goal["outcome"], goal["message"]) == ("fault", why)
    assert why in capsys.readouterr().out

    shutil.rmtree(tmp_path / "runs")
    assert drive("--world", room, *TO_GOAL) == 0
    (goal,) = summary_of(tmp_path)["goal_results"]
    assert (goal["outcome"], goal["message"]) == ("reached", "")
    assert "EngineError" not in capsys.readouterr().out


def test_a_goal_that_is_not_reached_exits_1(drive, room: Path, tmp_path: Path) -> None:
    room.write_text(mjcf(*BEHIND_A_TRAP))
    assert drive("--world", room, *TO_GOAL) == 1
    (goal,) = summary_of(tmp_path)["goal_results"]
    assert (goal["outcome"], goal["reached"]) == ("timeout", False)
    assert goal["time_s"] == pytest.approx(60.0, abs=0.3)


def test_without_a_world_it_drives_a_generated_room_that_can_be_driven_again(drive, tmp_path: Path) -> None:
    first = drive("--seed", "1")
    (world,) = (only_run(tmp_path) / "worlds").glob("*.xml")
    again = tmp_path / "again"
    assert drive("--seed", "1", "--world", world, "--runs", again) == first
    summaries = [
        json.loads((next(runs.iterdir()) / "summary.json").read_text()) for runs in (tmp_path / "runs", again)
    ]
    assert summaries[0]["goal_results"] == summaries[1]["goal_results"]


def test_with_pictures_it_leaves_a_video_a_picture_and_a_report(
    drive, room: Path, tmp_path: Path, model: Path
) -> None:
    quiet = ["--fast", "--no-view", "--runs", str(tmp_path / "runs"), "--model", str(model)]
    assert run(["drive", *quiet, "--world", str(room), *TO_GOAL]) == 0
    folder = only_run(tmp_path)
    assert {file.name for file in folder.iterdir()} == {
        *("summary.json", "ticks.jsonl", "observations-1.npz", "drive.mp4", "picture.png", "report.html")
    }
    assert summary_of(tmp_path)["problem"] == ""


BROKEN_ROBOTS = {
    "unknown key": lambda text: text + "\n[engine]\nturbo = true\n",
    "not TOML": lambda text: "name = = 3",
    "other bridge": lambda text: text.replace('[bridge]\nkind = "sim"', '[bridge]\nkind = "serial"'),
    "other camera": lambda text: text.replace("height = 48", "height = 96"),
    "other rate": lambda text: text.replace("tick_s = 0.1 ", "tick_s = 0.05 "),
}


@pytest.mark.parametrize("broken", BROKEN_ROBOTS)
def test_a_wrong_robot_file_is_refused(drive, refused, tmp_path: Path, broken: str) -> None:
    text = DEFAULT_ROBOT.read_text()
    (tmp_path / "robot.toml").write_text(BROKEN_ROBOTS[broken](text))
    assert BROKEN_ROBOTS[broken](text) != text
    refused(drive("--robot", tmp_path / "robot.toml"))


def test_a_copy_of_the_shipped_robot_file_is_not_refused(drive, room: Path, tmp_path: Path) -> None:
    (tmp_path / "robot.toml").write_text(DEFAULT_ROBOT.read_text())
    assert drive("--robot", tmp_path / "robot.toml", "--world", room, *TO_GOAL) == 0


@pytest.mark.parametrize("goal", ["there", "1", "1,2,3", "nan,0", "1,", ""])
def test_a_goal_that_is_no_point_is_refused(drive, refused, room: Path, goal: str) -> None:
    assert "X,Y" in refused(drive("--world", room, "--start", "0,0,0", "--goal", goal))


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ("2.0,0", "inside a wall"),
        ("-2,0.5", "inside a wall"),
        ("9,9", "outside the world"),
        ("1e300,1", "(1e+300, 1) lies outside the world"),
    ],
)
def test_a_goal_where_no_robot_can_be_is_refused(drive, refused, room: Path, goal: str, says: str) -> None:
    assert says in refused(drive("--world", room, "--goal", goal))


def test_a_goal_that_no_path_leads_to_is_refused(drive, refused, room: Path) -> None:
    room.write_text(mjcf(*AROUND_THE_GOAL))
    assert "no path" in refused(drive("--world", room, *TO_GOAL))


def test_a_world_that_is_none_is_refused(drive, refused, room: Path, tmp_path: Path) -> None:
    room.write_text("<mujoco><worldbody><geom type='blob'/></worldbody></mujoco>")
    assert "MuJoCo refuses" in refused(drive("--world", room, *TO_GOAL))
    assert "no such world" in refused(drive("--world", tmp_path / "none.xml", *TO_GOAL))
    alone = tmp_path / "alone.xml"
    alone.write_text(mjcf())
    assert "--goal" in refused(drive("--world", alone))
    assert "--world" in refused(drive("--start", "0,0,0"))


def test_a_model_that_is_none_is_refused(drive, refused, tmp_path: Path, room: Path) -> None:
    assert "no such bundle" in refused(drive("--model", tmp_path / "none", "--world", room, *TO_GOAL))
    bundle = write_blind(tmp_path / "cut")
    graph = bundle / "imagine.int8.onnx"
    graph.write_bytes(graph.read_bytes()[:-20])
    assert graph.name in refused(drive("--model", bundle, "--world", room, *TO_GOAL))
    whole = write_blind(tmp_path / "whole")
    assert "fp32" in refused(drive("--model", whole, "--precision", "fp32", "--world", room, *TO_GOAL))


def test_a_place_where_nothing_can_be_written_is_refused_before_the_robot_moves(
    drive, refused, room: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(drive("--world", room, *TO_GOAL, "--runs", tmp_path / "file"))
    nowhere = tmp_path / "nowhere" / "facts.json"
    assert "facts.json" in refused(drive("--world", room, *TO_GOAL, "--json", nowhere))
    for something_else in (tmp_path, "", "/dev/null"):
        assert "is a folder or a device" in refused(
            drive("--world", room, *TO_GOAL, "--json", something_else)
        )


def test_a_folder_that_is_read_only_is_refused_before_the_robot_moves(
    drive, refused, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    file = tmp_path / "facts.json"
    assert "is read-only" in refused(drive("--world", room, *TO_GOAL, "--json", file))


def test_facts_that_cannot_be_written_in_the_end_are_one_line_and_the_run_is_kept(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, facts: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run_module, "write_json", full)
    file = tmp_path / "facts.json"
    assert drive("--world", room, *TO_GOAL, "--json", file) == 2
    assert capsys.readouterr().err == f"error: {file}: No space left on device\n"
    assert summary_of(tmp_path)["reached"] == 1


def test_a_run_that_could_not_start_leaves_no_folder(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BadInput("no")

    with monkeypatch.context() as patch:
        patch.setattr(Pilot, "rehearse", refuse)
        assert drive("--world", room, *TO_GOAL) == 2
    assert list((tmp_path / "runs").iterdir()) == []
    assert drive("--world", room, *TO_GOAL) == 0  # the control
    assert only_run(tmp_path).is_dir()


def test_a_reader_that_leaves_takes_nothing_of_the_run_with_it(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(line: str) -> None:
        if line.startswith("goal 1/1"):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    for stream in ("stdout", "stderr"):  # click wraps them
        monkeypatch.setattr(sys, stream, getattr(sys, stream))
    monkeypatch.setattr(click, "echo", gone)
    assert drive("--world", room, *TO_GOAL) == 1
    assert summary_of(tmp_path)["goal_results"][0]["outcome"] == "reached"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--no-pictures"], []])
def test_ctrl_c_stops_the_motors_and_writes_down_what_was_driven(
    room: Path, tmp_path: Path, model: Path, words: list[str]
) -> None:
    room.write_text(mjcf(*BEHIND_A_TRAP))
    runs = tmp_path / "runs"
    command = [*EDGE_WM, "drive", "--model", model, "--runs", runs, "--world", room, *TO_GOAL, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        assert lines[1].startswith("goal 1/1"), process.stderr.read()  # it drives
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "motors at rest" in rest
    assert "Traceback" not in rest + errors
    (goal,) = summary_of(tmp_path)["goal_results"]
    assert goal["outcome"] == "interrupted"
    assert (only_run(tmp_path) / "report.html").is_file() == (not words)
    last = json.loads((only_run(tmp_path) / "ticks.jsonl").read_text().splitlines()[-1])
    assert last["applied"] == [0.0, 0.0]


def test_ctrl_c_while_the_pictures_are_drawn_still_leaves_a_summary(
    model: Path,
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(recorder: RunRecorder, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunRecorder, "_add_pictures", interrupted)
    monkeypatch.setattr(RunRecorder, "_write_report", lambda *_: None)
    runs = tmp_path / "runs"
    words = ["--fast", "--no-view", "--model", str(model), "--runs", str(runs)]
    assert run(["drive", *words, "--world", str(room), *TO_GOAL]) == 130
    assert summary_of(tmp_path)["reached"] == 1
    assert "motors at rest" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_interrupts_letting_go_of_the_robot(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    closed: list[str] = []
    original = SimulatedBridge.close

    def closing(bridge: SimulatedBridge) -> None:
        os.kill(os.getpid(), number)
        original(bridge)
        closed.append("motors at rest")

    monkeypatch.setattr(SimulatedBridge, "close", closing)
    assert drive("--world", room, *TO_GOAL) == 130  # it is heard afterwards
    assert closed == ["motors at rest"]
    assert summary_of(tmp_path)["reached"] == 1


def test_ctrl_c_while_it_brakes_at_the_goal_ends_the_run_and_the_goal_counts(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Pilot.drive

    def stopped(pilot: Pilot, *arguments: object) -> RunResult:
        return dataclasses.replace(original(pilot, *arguments), outcome=Outcome.INTERRUPTED)

    monkeypatch.setattr(Pilot, "drive", stopped)
    assert drive("--world", room, *TO_GOAL) == 130
    assert summary_of(tmp_path)["reached"] == 1


@pytest.mark.parametrize("moment", ["rehearse", "drive"])
def test_ctrl_c_before_the_first_tick_is_a_clean_end_too(
    drive, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pilot, moment, interrupted)
    assert drive("--world", room, *TO_GOAL) == 130
    assert summary_of(tmp_path)["reached"] == 0
