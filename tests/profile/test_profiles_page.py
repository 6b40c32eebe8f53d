"""The table of measured boards is what was contributed, and empty where nobody measured."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from docs.profiles import BEGIN, COLUMNS, END, PAGE, page, table
from edge_wm.board import board_files
from edge_wm.errors import BadInput
from edge_wm.output_file import write_json
from edge_wm.paths import shipped
from edge_wm.profile.contribute import anonymous
from edge_wm.profile.profile_file import read_profile
from tests.profile.samples import INT8, profile, row

BOARD = 'name = "{}"\ndescription = "a board"\n[recognised]\narchitecture = "aarch64"\n'


@pytest.fixture
def boards(tmp_path: Path) -> dict[str, Path]:
    """Two computers, and a board that is only a name."""
    files = {name: tmp_path / f"{name}.toml" for name in ("fast", "slow", "sim")}
    for name, file in files.items():
        file.write_text(BOARD.format(name))
    files["sim"].write_text('name = "sim"\ndescription = "any"\n')
    return files


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    return folder


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_board_that_nobody_measured_has_empty_cells(boards: dict[str, Path], profiles: Path) -> None:
    write_json(profiles / "fast.json", profile(board="fast"))
    _, _, fast, slow = table(boards, profiles).splitlines()
    shown = dict(zip(COLUMNS, cells(fast), strict=True))
    assert (shown["board"], shown["p50 ms"], shown["p99 ms at the rate"]) == ("fast", "9.0", "15.0")
    assert (shown["missed"], shown["missed loaded"], shown["mJ a tick"]) == ("0 of 200", "4 of 200", "250")
    assert "2026-11-26, edge-wm 0.1.0, Cortex-A76" in shown["measured"]
    assert cells(slow) == ["slow"] + [""] * (len(COLUMNS) - 1)


def test_what_was_not_measured_of_a_board_is_empty_too(boards: dict[str, Path], profiles: Path) -> None:
    alone = row(INT8, 15.0).alone
    assert alone is not None
    bare = msgspec.structs.replace(
        row(INT8, 15.0), alone=msgspec.structs.replace(alone, loaded=None, idle_w=None, peak_bytes=None)
    )
    write_json(profiles / "fast.json", profile(board="fast", rows=(bare,)))
    shown = dict(zip(COLUMNS, cells(table(boards, profiles).splitlines()[2]), strict=True))
    assert [shown[name] for name in ("p99 ms loaded", "missed loaded", "MiB", "mJ a tick")] == [""] * 4


def test_newer_profiles_of_a_board_come_first(boards: dict[str, Path], profiles: Path) -> None:
    for day in ("2026-01-01", "2026-03-01", "2026-02-01"):
        write_json(profiles / f"fast-{day}.json", profile(board="fast", measured_at=f"{day}T00:00:00+00:00"))
    lines = table(boards, profiles).splitlines()[2:5]
    assert [dict(zip(COLUMNS, cells(line), strict=True))["measured"][:10] for line in lines] == [
        "2026-03-01",
        "2026-02-01",
        "2026-01-01",
    ]


def test_a_malformed_profile_is_refused(boards: dict[str, Path], profiles: Path) -> None:
    (profiles / "bad.json").write_text("{}")
    with pytest.raises(BadInput, match=r"bad\.json: is no profile"):
        table(boards, profiles)


def test_the_page_is_in_step_with_what_was_contributed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert BEGIN in text and END in text
    made = table(board_files(), shipped("boards", "profiles"))
    assert page(text, made) == text, "run python -m docs.profiles"
    assert page(text, "| another |") != text


def test_what_was_contributed_is_of_a_board_in_boards_and_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "not-named-in-any")
    for file in shipped("boards", "profiles").glob("*.json"):
        found = read_profile(file)
        assert found.board in board_files()
        assert anonymous(found) == found
        assert file.name == f"{found.board}-{found.model}-{found.measured_at[:10]}.json"
