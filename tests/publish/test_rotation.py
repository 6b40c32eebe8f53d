from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from edge_wm.errors import BadInput
from edge_wm.publish import publisher as publisher_module
from edge_wm.publish.publisher import open_publisher
from edge_wm.publish.rotate import sign_waiting
from tests.publish.repositories import KIND, Keeper, Robot, bundle

ROLES = ("root", "targets", "snapshot", "timestamp", KIND)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    keeper.publish(bundle(tmp_path / "one"))
    return keeper


@pytest.mark.parametrize("role", ROLES)
def test_robots_old_and_new_follow_a_rotation(tmp_path: Path, keeper: Keeper, role: str) -> None:
    old = Robot(keeper.folders.public, tmp_path / "old")
    old.look()
    rotated = keeper.rotate(role)
    assert not rotated.outcome.waiting and len(rotated.gone) == (3 if role == "root" else 1)
    for robot in (old, Robot(keeper.folders.public, tmp_path / "new")):
        assert len(robot.channel().releases) == 1
    keeper.publish(bundle(tmp_path / "two", "0.2.0"))
    assert len(old.channel().releases) == 2


@pytest.mark.parametrize("role", ROLES)
def test_the_old_key_signs_nothing_any_more(tmp_path: Path, keeper: Keeper, role: str) -> None:
    gone = keeper.rotate(role).gone
    for keyid in gone:
        (path,) = keeper.folders.private.glob(f"{role}-{keyid[:12]}.pem")
        path.unlink()
    keeper.refresh("root", "targets", "snapshot", KIND)
    roots = sorted(
        keeper.folders.metadata.glob("*.root.json"), key=lambda path: int(path.name.partition(".")[0])
    )
    root = Metadata.from_file(str(roots[-1])).signed
    assert not set(gone) & set(root.keys)
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 1


def test_a_robot_that_missed_three_root_rotations_follows_them_one_by_one(
    tmp_path: Path, keeper: Keeper
) -> None:
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    robot.look()
    for _ in range(3):
        keeper.rotate("root")
    assert robot.look()._trusted_set.root.version == 4
    # Without the second one it would not believe the rest.
    late = Robot(keeper.folders.public, tmp_path / "late")
    (keeper.folders.metadata / "3.root.json").unlink()
    assert late.look()._trusted_set.root.version == 2


def test_one_lost_root_key_is_replaced_with_the_other_two(tmp_path: Path, keeper: Keeper) -> None:
    lost = keeper.take_away("root-*.pem", tmp_path / "lost")
    for path in lost[1:]:
        path.rename(keeper.folders.private / path.name)
    keyid = lost[0].stem.rpartition("-")[2]
    rotated = keeper.rotate("root", keyid)
    assert [gone[:12] for gone in rotated.gone] == [keyid] and rotated.outcome.published["root"] == 2
    root = Metadata.from_file(str(keeper.folders.metadata / "2.root.json")).signed
    assert len(root.roles["root"].keyids) == 3 and root.roles["root"].threshold == 2
    assert Robot(keeper.folders.public, tmp_path / "robot").look()._trusted_set.root.version == 2


def test_a_new_root_waits_until_enough_of_the_old_keys_have_signed_it(tmp_path: Path, keeper: Keeper) -> None:
    keeper.take_away("root-*.pem", tmp_path / "safes")
    one, other, _ = sorted((tmp_path / "safes").iterdir())
    shutil.copy(one, keeper.folders.private)
    outcome = keeper.rotate("root").outcome
    assert not outcome.published and outcome.waiting[0].startswith("root 2: waits for 1 more signature")
    assert Robot(keeper.folders.public, tmp_path / "before").look()._trusted_set.root.version == 1
    keeper.publish(bundle(tmp_path / "two", "0.2.0"))  # life goes on meanwhile
    shutil.copy(other, keeper.folders.private)
    with open_publisher(keeper.access) as publisher:
        assert sign_waiting(publisher, "root")[1].published == {"root": 2}
    assert Robot(keeper.folders.public, tmp_path / "after").look()._trusted_set.root.version == 2


def test_a_new_targets_key_waits_for_its_root(tmp_path: Path, keeper: Keeper) -> None:
    """What the new key signed is public no earlier than the root that says so."""
    keeper.take_away("root-*.pem", tmp_path / "safes")
    one, other, _ = sorted((tmp_path / "safes").iterdir())
    shutil.copy(one, keeper.folders.private)
    keeper.take_away("targets-*.pem", tmp_path / "gone")
    outcome = keeper.rotate("targets").outcome
    assert not outcome.published and len(outcome.waiting) == 2
    assert len(Robot(keeper.folders.public, tmp_path / "before").channel().releases) == 1
    shutil.copy(other, keeper.folders.private)
    with open_publisher(keeper.access) as publisher:
        published = sign_waiting(publisher, "root")[1].published
    assert published["root"] == 2 and published["targets"] == 2
    assert len(Robot(keeper.folders.public, tmp_path / "after").channel().releases) == 1


@pytest.mark.parametrize("role", ROLES)
def test_no_reader_is_refused_while_keys_change(
    tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """A robot looks before and after every single write; it knows today's root or the first one."""
    robot, looks = Robot(keeper.folders.public, tmp_path / "robot"), []
    write = publisher_module.replace_file

    def watched(path: Path, content: bytes) -> None:
        for moment in ("before", "after"):
            robot.look()
            Robot(keeper.folders.public, tmp_path / f"{len(looks)}{moment}").look()
            looks.append(path.name)
            if moment == "before":
                write(path, content)

    monkeypatch.setattr(publisher_module, "replace_file", watched)
    keeper.rotate(role)
    assert looks


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_with_the_old_key_lost_robots_are_refused_only_until_the_last_write(
    tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    keeper.take_away(f"{role}-*.pem", tmp_path / "lost")
    refused = []
    write = publisher_module.replace_file

    def watched(path: Path, content: bytes) -> None:
        write(path, content)
        try:
            Robot(keeper.folders.public, tmp_path / str(len(refused))).look()
            refused.append(False)
        except RepositoryError:
            refused.append(True)

    monkeypatch.setattr(publisher_module, "replace_file", watched)
    keeper.rotate(role)
    assert refused[-1] is False and any(refused)  # the latter shows that the test above can fail
    assert len(Robot(keeper.folders.public, tmp_path / "robot").channel().releases) == 1


def test_a_higher_threshold_is_asked_of_everything_that_follows(tmp_path: Path, keeper: Keeper) -> None:
    keeper.rotate(KIND, threshold=2, existing={KIND: [f"file2:{path}" for path in two_keys(tmp_path)]})
    (tmp_path / "0").rename(tmp_path / "away")
    assert keeper.publish(bundle(tmp_path / "two", "0.2.0")).outcome.waiting
    with pytest.raises(BadInput, match="3 of 1 keys cannot sign"):
        keeper.rotate("timestamp", threshold=3)


def two_keys(folder: Path) -> list[Path]:
    from edge_wm.publish.keys import make_key

    made = []
    for name in ("0", "1"):
        (folder / name).mkdir()
        made.append(folder / name / make_key(KIND, folder / name).uri.partition(":")[2])
    return made


@pytest.mark.parametrize(
    ("role", "replace", "problem"),
    [
        ("walker", (), "walker: no role: there are root, targets, snapshot, timestamp, differential-drive"),
        ("timestamp", ("0000zz",), "'0000zz': timestamp has no such key"),
    ],
)
def test_what_cannot_be_rotated_is_named(
    keeper: Keeper, role: str, replace: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        keeper.rotate(role, *replace)


def test_signing_anew_prolongs_what_is_about_to_expire(tmp_path: Path, keeper: Keeper) -> None:
    keeper.days = 6.0
    assert keeper.refresh().published == {"timestamp": 3}
    keeper.days = 20.0
    assert keeper.refresh().published == {"snapshot": 3, "timestamp": 4}
    keeper.days = 170.0
    assert set(keeper.refresh(KIND).published) == {KIND, "snapshot", "timestamp"}


def test_what_has_expired_can_still_be_signed_anew(tmp_path: Path, keeper: Keeper) -> None:
    keeper.days = -400.0
    keeper.refresh("root", "targets", KIND, "snapshot")
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    with pytest.raises(RepositoryError, match="expired"):
        robot.look()
    keeper.days = 0.0
    keeper.refresh("root", "targets", KIND, "snapshot")
    assert len(Robot(keeper.folders.public, tmp_path / "other").channel().releases) == 1


def test_a_kind_that_has_expired_keeps_no_other_from_being_refreshed(tmp_path: Path, keeper: Keeper) -> None:
    keeper.init("rover")
    keeper.days = -170.0
    keeper.refresh("rover")
    keeper.days = 20.0
    outcome = keeper.refresh()
    assert outcome.published["timestamp"] == 5
    (line,) = outcome.waiting
    assert line.startswith("rover: expired: edge-wm update refresh")


def test_what_every_robot_would_refuse_is_not_published(keeper: Keeper) -> None:
    keeper.days = 400.0
    with pytest.raises(BadInput, match=r"nothing is published: robots would refuse it: .*expired"):
        keeper.refresh()
