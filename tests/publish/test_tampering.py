"""The repository lies where others can write: nothing they put there gets signed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.publish.status import read_status
from tests.publish.repositories import KIND, Keeper, Robot, bundle


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    keeper.publish(bundle(tmp_path / "one"))
    return keeper


def refused(keeper: Keeper, problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as refusal:
        keeper.publish(bundle(keeper.folders.public.parent / "next", "0.2.0"))
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadInput, match=problem):
        read_status(keeper.access)


@pytest.mark.parametrize("name", [f"2.{KIND}.json", "1.targets.json", "2.snapshot.json"])
def test_metadata_that_somebody_changed_is_not_built_on(keeper: Keeper, name: str) -> None:
    path = keeper.folders.metadata / name
    facts = json.loads(path.read_bytes())
    facts["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(facts))
    refused(keeper, f"{name}: .*somebody changed the repository")


def test_a_timestamp_that_somebody_changed_is_not_built_on(keeper: Keeper) -> None:
    path = keeper.folders.metadata / "timestamp.json"
    facts = json.loads(path.read_bytes())
    facts["signed"]["expires"] = "2099-01-01T00:00:00Z"
    path.write_text(json.dumps(facts))
    refused(keeper, r"timestamp\.json: .*signed by 0/1 keys: somebody changed the repository")


def test_an_old_state_that_was_put_back_is_not_built_on(tmp_path: Path, keeper: Keeper) -> None:
    """All of it is signed: without the memory of the keeper, what was revoked since would come back."""
    shutil.copytree(keeper.folders.public, tmp_path / "old")
    keeper.revoke("0.1.0")
    shutil.rmtree(keeper.folders.public)
    shutil.copytree(tmp_path / "old", keeper.folders.public)
    refused(keeper, r"timestamp\.json: is version 2, 3 was published")
    keeper.folders.seen.unlink()
    keeper.publish(bundle(tmp_path / "two", "0.2.0"))
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 2


def test_a_root_of_somebody_else_is_not_believed(tmp_path: Path, keeper: Keeper) -> None:
    other = Keeper(tmp_path / "other")
    other.init()
    other.rotate("root")
    shutil.copy(other.folders.metadata / "2.root.json", keeper.folders.metadata)
    refused(keeper, r"2\.root\.json: not signed as the root before it asks")


METADATA = ["timestamp.json", "2.snapshot.json", "1.targets.json", f"2.{KIND}.json"]


@pytest.mark.parametrize("name", METADATA)
def test_damaged_metadata_is_named(keeper: Keeper, name: str) -> None:
    (keeper.folders.metadata / name).write_bytes(b"{")
    refused(keeper, name)


@pytest.mark.parametrize("name", [*METADATA, "1.root.json"])
def test_missing_metadata_is_named(keeper: Keeper, name: str) -> None:
    (keeper.folders.metadata / name).unlink()
    refused(keeper, name)


def test_a_damaged_file_is_found_before_a_delta_is_made_from_it(tmp_path: Path, keeper: Keeper) -> None:
    largest = max((keeper.folders.targets / KIND).iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match=f"{largest.name}: damaged: restore it from a backup"):
        keeper.publish(bundle(tmp_path / "two", "0.2.0", card="other"))


def test_a_missing_file_is_named_and_nothing_is_published(tmp_path: Path, keeper: Keeper) -> None:
    largest = max((keeper.folders.targets / KIND).iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    with pytest.raises(BadInput, match=f"{largest.name}: missing or cut off"):
        keeper.promote("0.1.0", "beta", 0.5, None)
    state = read_status(keeper.access)
    assert not state.is_well and state.kinds[0].missing == (str(largest),)


def test_without_the_root_that_it_trusts_a_private_folder_believes_nothing(keeper: Keeper) -> None:
    keeper.folders.trusted_root.unlink()
    refused(keeper, r"root\.json: missing: put the newest root of the repository there")
