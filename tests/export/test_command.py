"""``python -m export``: one line and exit code 2 for what it cannot use, and ``all`` is every stage in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edge_wm.cli import run
from export import stages
from export.__main__ import STAGES, command

ROOT = Path(__file__).parents[2]


def export(*arguments: str) -> int:
    """Exit code of the command in this process."""
    return run(arguments, command, "python -m export")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def test_a_configuration_that_is_not_there_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "export", "collect", "--config", "nonsense", "--work", str(tmp_path / "work")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: nonsense: ")
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_an_unknown_stage_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert export("dream") == 2
    assert "'dream'" in capsys.readouterr().err


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that ran; they do nothing."""
    names: list[str] = []

    def note(name: str) -> Callable[[stages.Work], None]:
        return lambda _work: names.append(name)

    monkeypatch.setattr(stages, "STAGES", {name: note(name) for name in stages.STAGES})
    return names


def test_all_runs_every_stage_in_order(ran: list[str], tmp_path: Path) -> None:
    assert export("all", "--work", str(tmp_path)) == 0
    assert ran == ["collect", "teacher", "student", "on-policy", "distil", "evaluate", "package"]
    assert (tmp_path / "config.json").exists()


def test_the_stages_that_help_lists_are_the_ones_there_are() -> None:
    assert tuple(stages.STAGES) == STAGES


def test_a_single_stage_runs_alone(ran: list[str], tmp_path: Path) -> None:
    assert export("distil", "--work", str(tmp_path)) == 0
    assert ran == ["distil"]


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_work: stages.Work) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(stages.STAGES, "teacher", interrupted)
    assert export("teacher", "--work", str(tmp_path)) == 130
    assert "start the same command again" in capsys.readouterr().err


def test_a_folder_to_work_in_that_is_a_file_is_one_line_and_exit_code_2(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert export("collect", "--work", str(tmp_path / "file")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file'}: File exists\n"
    assert ran == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_pytorch_is_imported_leaves_no_traceback(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "export", "collect", "--work", str(tmp_path / "work")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "importing\n", process.stderr.read()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if line] == [
        "start the same command again to go on",
        "interrupted",
    ]
