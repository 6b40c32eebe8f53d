from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.publish.publisher import open_publisher
from edge_wm.publish.status import RepositoryState, prune, read_status
from edge_wm.update.assemble import files_of
from tests.publish.repositories import KIND, Keeper, Robot, bundle


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    return keeper


def soon(state: RepositoryState) -> set[str]:
    return {role.role for role in state.roles if role.expires_soon}


def test_it_shows_roles_keys_channels_and_sizes(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"), fraction=0.5)
    keeper.take_away("root-*.pem", tmp_path / "safe")
    state = read_status(keeper.access)
    roles = {role.role: role for role in state.roles}
    assert set(roles) == {"root", "targets", "snapshot", "timestamp", KIND}
    assert (roles["root"].threshold, [key.here for key in roles["root"].keys]) == (2, [False] * 3)
    assert [key.here for key in roles[KIND].keys] == [True]
    assert (roles[KIND].version, roles["timestamp"].version) == (2, 2)
    (kind,) = state.kinds
    assert kind.channels["beta"].releases[0].fraction == 0.5
    files = [path for path in (keeper.folders.targets / KIND).iterdir() if path.stat().st_size]
    assert kind.files == len(files) - 1 and kind.size > 20_000  # the empty beta channel is no longer listed
    assert state.is_well


def test_what_expires_soon_is_not_well(keeper: Keeper) -> None:
    assert soon(read_status(keeper.access)) == set()
    keeper.days = 6.0
    assert soon(read_status(keeper.access)) == {"timestamp"}
    keeper.days = 7.5
    state = read_status(keeper.access)
    assert soon(state) == {"timestamp"} and not state.is_well
    assert next(role for role in state.roles if role.role == "timestamp").days_left < 0.0
    keeper.days = 0.0
    assert soon(read_status(keeper.access, within_days=31.0)) == {"timestamp", "snapshot"}


def test_looking_changes_nothing(tmp_path: Path, keeper: Keeper) -> None:
    folders = (keeper.folders.public, keeper.folders.private)
    before = [sorted(path for path in folder.rglob("*")) for folder in folders]
    read_status(keeper.access)
    assert before == [sorted(path for path in folder.rglob("*")) for folder in folders]


def test_pruning_leaves_what_robots_fetch_now_and_what_they_fetched_a_moment_ago(
    tmp_path: Path, keeper: Keeper
) -> None:
    for number in range(12):
        keeper.publish(bundle(tmp_path / str(number), f"0.{number}.0", card=f"number {number}"))
    late = Robot(keeper.folders.public, tmp_path / "late")
    begun = late.look()
    keeper.publish(bundle(tmp_path / "12", "0.12.0", card="number 12"))
    with open_publisher(keeper.access) as publisher:
        files, size = prune(publisher)
        assert files > 12 and size > 12 * 1000
        assert prune(publisher) == (0, 0)
    assert late.fetch(f"{KIND}/beta.json", begun)
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    releases = robot.channel().releases
    assert [release.version for release in releases[:2]] == ["0.12.0", "0.11.0"]
    for release in releases:
        robot.install(release)
    robot.install(releases[0], files_of(load_bundle(tmp_path / "11")))
    keeper.rotate("root")
    assert Robot(keeper.folders.public, tmp_path / "first").look()._trusted_set.root.version == 2
    assert read_status(keeper.access).is_well


def test_after_pruning_a_version_still_is_the_model_that_it_was(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "bad", "0.1.0", card="bad"))
    keeper.revoke("0.1.0")
    for number in range(2, 5):
        keeper.publish(bundle(tmp_path / str(number), f"0.{number}.0", card=f"number {number}"))
    with open_publisher(keeper.access) as publisher:
        before = len(list(keeper.folders.targets.glob("*/*.beta.json")))
        prune(publisher)
        assert len(list(keeper.folders.targets.glob("*/*.beta.json"))) < before
        assert prune(publisher) == (0, 0)
    with pytest.raises(BadInput, match=r"tiny 0\.1\.0 was published with other content"):
        keeper.publish(bundle(tmp_path / "other", "0.1.0", card="other"))


def test_pruning_leaves_what_waits_for_signatures(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "repo")
    keeper.init(differential_drive=(2, 2))
    keeper.take_away(sorted(keeper.folders.private.glob(f"{KIND}-*.pem"))[0].name, tmp_path / "stick")
    keeper.publish(bundle(tmp_path / "one"))
    with open_publisher(keeper.access) as publisher:
        prune(publisher)
    keeper.key_folders = (tmp_path / "stick",)
    from edge_wm.publish.rotate import sign_waiting

    with open_publisher(keeper.access) as publisher:
        assert sign_waiting(publisher, KIND)[1].published[KIND] == 2
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    robot.install(robot.channel().releases[0])
