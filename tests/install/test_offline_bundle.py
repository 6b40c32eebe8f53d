"""Where an offline bundle may be put: it takes the place of an older one, and of nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from export import offline_bundle


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Where bundles would be made, from now on; nothing is fetched."""
    made: list[Path] = []
    monkeypatch.setattr(offline_bundle, "make", lambda *words: made.append(words[-1]))
    monkeypatch.setattr(sys, "argv", ["offline_bundle", "--board", "rpi5", "--to", str(tmp_path / "stick")])
    return made


@pytest.mark.parametrize("there", [[], ["wheels", "boards"], ["wheels", "boards", "LICENSE", "SHA256SUMS"]])
def test_an_empty_folder_and_an_older_bundle_will_do(
    make: list[Path], tmp_path: Path, there: list[str]
) -> None:
    for name in there:
        (tmp_path / "stick" / name).mkdir(parents=True)
    assert offline_bundle.main() == 0
    assert make == [tmp_path / "stick"]


@pytest.mark.parametrize("there", [["holiday.jpg"], ["debian.iso", "SHA256SUMS"], ["boards", "src"]])
def test_a_folder_with_anything_else_in_it_is_refused(
    make: list[Path], tmp_path: Path, there: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in there:
        (tmp_path / "stick" / name).mkdir(parents=True)
    assert offline_bundle.main() == 2
    assert make == []
    said = capsys.readouterr().err
    assert said.startswith(f"error: --to: {tmp_path / 'stick'} holds ") and said.count("\n") == 1
    assert {path.name for path in (tmp_path / "stick").iterdir()} == set(there)


def test_a_file_in_its_place_is_refused(
    make: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stick").touch()
    assert offline_bundle.main() == 2
    assert capsys.readouterr().err == f"error: --to: {tmp_path / 'stick'} is no folder\n"


@pytest.mark.parametrize("content", [None, b"{}", b"[1]", b'{"signed": {"_type": "targets"}}', b"\xff"])
def test_what_is_no_trusted_root_is_refused(
    make: list[Path],
    tmp_path: Path,
    content: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "1.root.json"
    if content is not None:
        root.write_bytes(content)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--trusted-root", str(root)])
    assert offline_bundle.main() == 2
    assert make == []
    said = capsys.readouterr().err
    assert said.startswith(f"error: --trusted-root: {root}") and said.count("\n") == 1
