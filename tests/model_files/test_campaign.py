"""A campaign that was stopped goes on, and takes nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model_files.campaign import Campaign
from tests.model_files.few_seeds import save_few


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("campaign")
    save_few(made)
    return made


def test_what_is_known_is_not_taken_again(folder: Path) -> None:
    lines = folder / "verdicts.jsonl"
    with Campaign(folder, 1) as campaign:
        first = {verdict.number: verdict for verdict in campaign.run(range(6))}
        assert sorted(first) == list(range(6))
        known = lines.read_bytes()
        lines.write_bytes(known + b'{"number":99')  # killed while it wrote
        second = {verdict.number: verdict for verdict in campaign.run(range(8))}
    assert {number: second[number] for number in first} == first
    assert lines.read_bytes().startswith(known)
    assert len(lines.read_bytes().splitlines()) == len(second) == 8
