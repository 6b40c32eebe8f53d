"""The emulated board's own bookkeeping: what it must not take for a pass.  No emulator is needed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulated_board import __main__ as emulated_board
from tests.emulated_board import image, scenarios
from tests.emulated_board.episode import COMPARED, divergence
from tests.emulated_board.image import missing_on_host
from tests.emulated_board.machine import Board, BoardError, Line
from tests.emulated_board.scenarios import Failed, Figures


@contextmanager
def line_to(path: Path, answers: Callable[[dict], list[dict]]) -> Iterator[Line]:
    """One of QEMU's lines, with a program in QEMU's place."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file:
                for asked in file:
                    for answer in answers(json.loads(asked)):
                        file.write(json.dumps(answer).encode() + b"\n")
                    file.flush()

        threading.Thread(target=serve, daemon=True).start()
        line = Line(path)
        try:
            yield line
        finally:
            line.close()


def test_an_answer_is_told_from_the_events_before_it(tmp_path: Path) -> None:
    with line_to(tmp_path / "qmp", lambda asked: [{"event": "RESET"}, {"return": asked["execute"]}]) as line:
        assert line.ask("query-status") == "query-status"


def test_a_request_that_is_refused_or_not_answered_is_an_error(tmp_path: Path) -> None:
    def refuse(asked: dict) -> list[dict]:
        return [{"error": {"desc": "no such command"}}]

    with line_to(tmp_path / "a", refuse) as line, pytest.raises(BoardError, match="exec: no such command"):
        line.ask("guest-exec")
    with line_to(tmp_path / "b", lambda asked: []) as line, pytest.raises(BoardError, match="no answer"):
        line.ask("guest-exec", timeout_s=0.05)


def test_a_command_that_fails_on_the_board_is_an_error_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: dict) -> list[dict]:
        if asked["execute"] == "guest-exec":
            return [{"return": {"pid": 7}}]
        return [{"return": {"exited": True, "exitcode": 3, "err-data": "bm8gcm9vbQ=="}}]

    board = Board(tmp_path / "disk.img", tmp_path)
    with line_to(tmp_path / "agent", answer) as line:
        monkeypatch.setattr(board, "_agent", line)
        assert board.run("false").code == 3
        with pytest.raises(BoardError, match="exit code 3: no room"):
            board.do("false")


@pytest.mark.parametrize("raised", [Failed("no"), BoardError("no"), AssertionError("no")])
def test_a_scenario_that_fails_is_told_and_the_next_one_gets_another_board(
    monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    boards: list[object] = []
    done: list[tuple[str, int]] = []

    @contextmanager
    def ready_board() -> Iterator[object]:
        boards.append(object())
        yield boards[-1]

    def breaks(board: object, figures: Figures) -> None:
        raise raised

    def holds(board: object, figures: Figures) -> None:
        done.append(("holds", len(boards)))

    monkeypatch.setattr(emulated_board, "ready_board", ready_board)
    _, failed = emulated_board.run_scenarios((holds, breaks, holds, holds))
    assert list(failed) == ["breaks"] and "no" in failed["breaks"]
    assert done == [("holds", 1), ("holds", 2), ("holds", 2)]


def test_a_reset_is_told_from_everything_else_that_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: dict) -> list[dict]:
        return [
            {"return": {}},
            {"event": "WATCHDOG"},
            *([{"event": "RESET"}] if asked["execute"] == "hang" else []),
        ]

    board = Board(tmp_path / "disk.img", tmp_path)
    with line_to(tmp_path / "qmp", answer) as line:
        monkeypatch.setattr(board, "_qmp", line)
        line.ask("nothing")
        assert not board.resets(0.05)
        line.ask("hang")
        assert board.resets(5.0)


def test_what_never_comes_is_a_failure() -> None:
    with pytest.raises(Failed, match="ready: not within 0 s"):
        scenarios.until("ready", lambda: False, 0.01, 0.001)


def test_what_the_host_lacks_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda program, path=None: None if program == image.QEMU else f"/usr/bin/{program}"
    )
    line = missing_on_host()
    assert line is not None
    assert "sudo apt install qemu-system-arm" in line
    assert "\n" not in line


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here")
def test_a_package_is_laid_out_where_bin_is_a_link_and_dpkg_is_told(tmp_path: Path) -> None:
    source, tree, info = tmp_path / "source", tmp_path / "tree", tmp_path / "info"
    for folder in (source / "DEBIAN", source / "bin", tree / "usr/bin", info):
        folder.mkdir(parents=True)
    (tree / "bin").symlink_to("usr/bin")
    control = "Package: odd\nVersion: 1\nArchitecture: arm64\nMulti-Arch: same\nMaintainer: A <a@b>\nDescription: odd\n"
    (source / "DEBIAN/control").write_text(control)
    (source / "DEBIAN/postinst").write_text("#!/bin/sh\n")
    (source / "DEBIAN/postinst").chmod(0o755)
    (source / "bin/odd one").write_text("x")
    (source / "bin/odd one").chmod(0o4755)
    package = tmp_path / "odd.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(source), str(package)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    special = image._extract(package, tree)
    assert (tree / "bin").is_symlink() and (tree / "usr/bin/odd one").read_text() == "x"
    assert special == ["chown 0:0 '/bin/odd one'; chmod 4755 '/bin/odd one'"]
    entry = image._register(package, info)
    assert entry.startswith("Package: odd\nStatus: install ok unpacked\nVersion: 1\n") and entry.endswith(
        "\n\n"
    )
    assert (info / "odd:arm64.list").read_text() == "/.\n/bin\n/bin/odd one\n"
    assert (info / "odd:arm64.postinst").is_file()


def tick(**changed: object) -> dict:
    return {name: [0.0, 0.0, 3.141] if "pose" in name else 0.0 for name in COMPARED} | changed


def test_drives_that_part_are_told_apart_and_an_angle_has_no_seam() -> None:
    here = [tick(), tick()]
    assert set(divergence(here, here).values()) == {0.0}
    apart = divergence(here, [tick(), tick(plan_cost=0.5, pose=[0.0, 0.0, -3.141])])
    assert apart["plan_cost"] == 0.5 and apart["pose"] == pytest.approx(0.001185, abs=1e-6)
    assert divergence(here, here[:1])["pose"] == float("inf")
