from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from edge_wm.errors import BadInput
from edge_wm.publish.folders import Folders
from tests.publish.repositories import KIND, PASSPHRASE, Keeper, Robot, bundle


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "repo")


def test_a_robot_reads_a_new_repository_and_finds_empty_channels(tmp_path: Path, keeper: Keeper) -> None:
    keeper.init()
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    for name in ("stable", "beta"):
        assert robot.channel(name).releases == ()
        assert robot.channel(name).channel == name


def test_root_needs_two_of_three_keys_and_nobody_else_may_read_a_key(keeper: Keeper) -> None:
    keeper.init()
    root = Metadata.from_file(str(keeper.folders.metadata / "1.root.json")).signed
    assert {role: (r.threshold, len(r.keyids)) for role, r in root.roles.items()} == {
        "root": (2, 3),
        "targets": (1, 1),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }
    assert root.consistent_snapshot
    assert len({keyid for role in root.roles.values() for keyid in role.keyids}) == 6
    keys = list(keeper.folders.private.glob("*.pem"))
    assert len(keys) == 7
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert stat.S_IMODE(keeper.folders.private.stat().st_mode) == 0o700


def test_no_key_is_in_the_public_part(keeper: Keeper, tmp_path: Path) -> None:
    keeper.init()
    keeper.publish(bundle(tmp_path / "one"))
    for path in keeper.folders.public.rglob("*"):
        assert not path.is_file() or b"PRIVATE" not in path.read_bytes()


@pytest.mark.parametrize("private", ["repo", "repo/keys", "repo/targets/../keys"])
def test_a_private_folder_inside_the_public_one_is_refused(tmp_path: Path, private: str) -> None:
    with pytest.raises(BadInput, match="must not be published"):
        Folders.of(tmp_path / "repo", tmp_path / private)


def test_running_it_again_changes_nothing(keeper: Keeper) -> None:
    keeper.init()
    before = {path: path.read_bytes() for path in keeper.folders.public.rglob("*") if path.is_file()}
    assert not keeper.init().published
    assert before == {path: path.read_bytes() for path in keeper.folders.public.rglob("*") if path.is_file()}


def test_running_it_with_another_robot_kind_adds_that(tmp_path: Path, keeper: Keeper) -> None:
    keeper.init()
    keeper.publish(bundle(tmp_path / "one"))
    assert set(keeper.init("rover").published) == {"targets", "rover", "snapshot", "timestamp"}
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    assert robot.channel("beta", "rover").releases == ()
    assert len(robot.channel("beta").releases) == 1
    keeper.publish(bundle(tmp_path / "two", kind="rover"))
    assert len(robot.channel("beta", "rover").releases) == 1


def test_the_key_of_one_kind_signs_for_no_other(tmp_path: Path, keeper: Keeper) -> None:
    keeper.init(KIND, "rover")
    targets = Metadata.from_file(str(keeper.folders.metadata / "1.targets.json")).signed
    assert targets.delegations is not None and targets.delegations.roles is not None
    one, other = targets.delegations.roles.values()
    assert not set(one.keyids) & set(other.keyids)
    assert one.terminating and one.paths == [f"{KIND}/*"]
    assert one.is_delegated_path(f"{KIND}/stable.json")
    assert not one.is_delegated_path("rover/stable.json")


def test_encrypted_keys_are_used_with_their_passphrase_and_not_without(
    tmp_path: Path, keeper: Keeper
) -> None:
    keeper.init(source=keeper.source(encrypt_with=PASSPHRASE))
    assert all(b"ENCRYPTED" in path.read_bytes() for path in keeper.folders.private.glob("*.pem"))
    keeper.publish(bundle(tmp_path / "one"))
    keeper.passphrase = "wrong"
    with pytest.raises(BadInput, match=r"\.pem: cannot be read as a key"):
        keeper.publish(bundle(tmp_path / "two", "0.2.0"))


def test_keys_that_are_there_already_are_taken(tmp_path: Path) -> None:
    other = Keeper(tmp_path / "other")
    other.init()
    (mine,) = other.folders.private.glob("targets-*.pem")
    keeper = Keeper(tmp_path / "repo")
    keeper.init(source=keeper.source({"targets": [f"file2:{mine}"]}))
    assert not list(keeper.folders.private.glob("targets-*.pem"))
    assert keeper.refresh("targets").published["targets"] == 2
    mine.unlink()
    with pytest.raises(BadInput, match=f"no {mine.name} in {mine.parent}"):
        keeper.refresh("targets")


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ((), "name a kind of robots"),
        (("root",), "the name of a role"),
        (("Rover 2",), "not a name for a kind of robots"),
        (("../up",), "not a name for a kind of robots"),
    ],
)
def test_a_kind_that_will_not_do_is_refused(keeper: Keeper, kinds: tuple[str, ...], problem: str) -> None:
    from edge_wm.publish.setup import init_repository

    with pytest.raises(BadInput, match=problem):
        init_repository(keeper.source(), kinds)


def test_more_signatures_than_keys_are_refused(keeper: Keeper) -> None:
    with pytest.raises(BadInput, match="4 of 3 keys cannot sign"):
        keeper.init(root=(4, 3))
    assert not keeper.folders.private.exists()


def test_a_repository_of_somebody_else_is_left_alone(tmp_path: Path, keeper: Keeper) -> None:
    keeper.init()
    with pytest.raises(BadInput, match="a repository already"):
        Keeper(tmp_path / "repo", tmp_path / "mine").init()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(BadInput, match="holds other things"):
        Keeper(tmp_path, tmp_path.parent / "mine").init()


def test_a_folder_that_is_no_repository_is_named(tmp_path: Path, keeper: Keeper) -> None:
    with pytest.raises(BadInput, match="no repository of yours"):
        keeper.publish(bundle(tmp_path / "one"))
