"""``python -m export``: one line and exit code 2 for what it cannot use, and ``all`` is every stage in order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import export.__main__ as module


def export(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    monkeypatch.setattr(module.torch, "set_num_threads", lambda _: None)
    try:
        module.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_a_configuration_that_is_not_there_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "export", "collect", "--config", "nonsense", "--work", str(tmp_path / "work")],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: nonsense: ")
    assert found.stderr.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_an_unknown_stage_names_the_stages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(["dream"], monkeypatch) == 2
    assert "'distil'" in capsys.readouterr().err


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that ran; they do nothing."""
    names: list[str] = []

    def note(name: str) -> Callable[[module.Work], None]:
        return lambda _work: names.append(name)

    monkeypatch.setattr(module, "STAGES", {name: note(name) for name in module.STAGES})
    return names


def test_all_runs_every_stage_in_order(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(["all", "--work", str(tmp_path)], monkeypatch) == 0
    assert ran == ["collect", "teacher", "student", "on-policy", "distil", "evaluate", "package"]
    assert (tmp_path / "config.json").exists()


def test_a_single_stage_runs_alone(ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export(["distil", "--work", str(tmp_path)], monkeypatch) == 0
    assert ran == ["distil"]


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_work: module.Work) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(module.STAGES, "teacher", interrupted)
    assert export(["teacher", "--work", str(tmp_path)], monkeypatch) == 130
    assert "start the same command again" in capsys.readouterr().err
