from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from tuf.api.metadata import MetaFile, TargetFile

from edge_wm.errors import BadInput
from edge_wm.update import tuf_client
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.release import MAX_CHANNEL_BYTES, Channel, encode_channel
from edge_wm.update.store import Store
from edge_wm.update.trust import MAX_VERSION, TrustedRepository, TrustState
from tests.update.tuf_repository import NOW, VALID, TufRepository, new_key

KIND, OTHER = "rover", "boat"
ROLES = ("timestamp", "snapshot", "targets", KIND)
HIGHEST = 2**31


class Robot:
    """What a robot has of a repository: the root it came with, and what it trusts."""

    def __init__(self, shipped: bytes) -> None:
        self.shipped = shipped
        self.state = TrustState()
        self.now = NOW

    def look(self, url: str, kind: str = KIND) -> TrustedRepository:
        """Refresh, and keep what is trusted then.  Raises BadInput."""
        repository = TrustedRepository(url, self.shipped, self.state, RobotFetcher(), now=self.now)
        repository.refresh(kind)
        self.state = repository.state
        return repository

    def refused(self, url: str, *said: str, kind: str = KIND) -> None:
        """A look is refused in one line with these words, and nothing is trusted that was not before but a newer root."""
        repository = TrustedRepository(url, self.shipped, self.state, RobotFetcher(), now=self.now)
        with pytest.raises(BadInput) as refusal:
            repository.refresh(kind)
        line = str(refusal.value)
        if repository.state.root == self.state.root:
            assert repository.state is self.state
        trusted = replace(repository.state, root=None, floors={**repository.state.floors, "root": None})
        assert trusted == replace(self.state, root=None, floors={**self.state.floors, "root": None})
        self.state = repository.state
        assert "\n" not in line
        for words in said:
            assert words in line

    def lose_metadata(self) -> None:
        """What is left when the metadata's rows are lost, and the floors are not."""
        self.state = replace(self.state, root=None, metadata={})

    def lose_floors(self) -> None:
        self.state = replace(self.state, floors={})

    def versions(self) -> dict[str, int]:
        return {role: floor.version for role, floor in self.state.floors.items()}


def channel(name: str = "stable", kind: str = KIND, sequence: int = 0) -> bytes:
    return encode_channel(Channel(1, kind, name, sequence))


@pytest.fixture
def repository(tmp_path: Path) -> TufRepository:
    made = TufRepository(tmp_path / "repository", (KIND, OTHER))
    for kind in (KIND, OTHER):
        made.add(kind, "stable.json", channel(kind=kind))
    made.publish(KIND, OTHER)
    return made


@pytest.fixture
def robot(repository: TufRepository) -> Robot:
    return Robot(repository.root())


# --- what is right ---------------------------------------------------------------------------------------------------


def test_a_new_robot_believes_what_its_root_leads_to(repository: TufRepository, robot: Robot) -> None:
    seen = robot.look(repository.url)
    assert seen.channel(KIND, "stable") == Channel(1, KIND, "stable", 0)
    assert robot.versions() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 1, KIND: 2}
    assert robot.state.root == repository.root()
    assert set(robot.state.metadata) == set(ROLES)
    assert robot.state.time_floor == NOW


def test_a_target_is_where_its_hash_says(repository: TufRepository, robot: Robot) -> None:
    file = repository.add(KIND, "file", b"content")
    repository.publish(KIND)
    target = robot.look(repository.url).target(f"{KIND}/file")
    assert (target.url, target.size) == (file.as_uri(), 7)


def test_a_repository_without_consistent_snapshots_names_its_files_plainly(
    repository: TufRepository, robot: Robot
) -> None:
    repository.add(KIND, "file", b"content")
    repository.roles["root"].signed.consistent_snapshot = False
    repository.publish("root", KIND)
    for role in ("snapshot", "targets", KIND):
        repository.path(role).rename(repository.folder / "metadata" / f"{role}.json")
    target = robot.look(repository.url).target(f"{KIND}/file")
    assert target.url == f"{repository.url}/targets/{KIND}/file"


def test_a_second_look_takes_what_is_new(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    repository.add(KIND, "stable.json", channel(sequence=7))
    repository.publish(KIND)
    assert robot.look(repository.url).channel(KIND, "stable").sequence == 7
    assert robot.versions()[KIND] == 3


def test_what_is_known_is_not_fetched_again(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    for role in ("snapshot", "targets", KIND):
        repository.path(role).unlink()
    robot.look(repository.url)


def test_a_name_with_characters_of_urls_is_found(tmp_path: Path) -> None:
    made = TufRepository(tmp_path / "a b%20c", (KIND,))
    Robot(made.root()).look(made.url)


def test_nothing_is_written_outside_the_scratch_folder_and_that_is_gone(
    repository: TufRepository, robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    before = sorted(tmp_path.rglob("*"))
    robot.look(repository.url)
    assert sorted(tmp_path.rglob("*")) == before


# --- old repositories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("lost", [False, True], ids=["metadata kept", "metadata lost"])
def test_an_older_version_of_a_role_is_refused(
    repository: TufRepository, robot: Robot, role: str, lost: bool
) -> None:
    _publish_older(repository, robot, role)
    if lost:
        robot.lose_metadata()
    robot.refused(repository.url, "old repository")


@pytest.mark.parametrize("role", ROLES)
def test_without_floors_lost_metadata_lets_an_older_version_be_believed(
    repository: TufRepository, robot: Robot, role: str
) -> None:
    _publish_older(repository, robot, role)
    robot.lose_metadata()
    robot.lose_floors()
    robot.look(repository.url)
    assert robot.versions()[role] == 1


def _publish_older(repository: TufRepository, robot: Robot, role: str) -> None:
    """Let a robot see version 9 of a role, and then show it version 1, with all others as new as can be."""
    repository.roles[role].signed.version = 8
    repository.publish(*((role,) if role in ("targets", KIND) else ()))
    robot.look(repository.url)
    assert robot.versions()[role] == 9
    repository.roles[role].signed.version = 0
    repository.publish(*((role,) if role in ("targets", KIND) else ()))


def test_a_whole_old_repository_is_refused(repository: TufRepository, robot: Robot, tmp_path: Path) -> None:
    old = repository.copied(tmp_path / "old")
    repository.publish(KIND)
    robot.look(repository.url)
    robot.refused(old.as_uri(), "old repository")
    robot.lose_metadata()
    robot.refused(old.as_uri(), "old repository", "2 of timestamp", "seen 3")


def test_an_old_root_is_refused_when_the_stored_one_is_lost(
    repository: TufRepository, robot: Robot, tmp_path: Path
) -> None:
    old = repository.copied(tmp_path / "old")
    repository.rotate("timestamp")
    robot.look(repository.url)
    robot.lose_metadata()
    robot.refused(old.as_uri(), "version 1 of root", "seen 2")


def test_a_floor_stays_when_keys_are_added(repository: TufRepository, robot: Robot) -> None:
    repository.roles["timestamp"].signed.version = 8
    repository.publish()
    robot.look(repository.url)
    repository.roles["timestamp"].signed.version = 1
    repository.rotate("timestamp", keep=1)
    robot.lose_metadata()
    robot.refused(repository.url, "of timestamp", "seen 9")


def _fast_forward(repository: TufRepository, robot: Robot, *roles: str) -> None:
    """Whoever stole the keys of these roles signs the highest version of each, and the robot sees it."""
    for role in roles:
        repository.roles[role].signed.version = HIGHEST - 2
    repository.publish(*(role for role in roles if role in ("targets", KIND)))
    robot.look(repository.url)
    for role in roles:
        assert robot.versions()[role] == HIGHEST - 1
        repository.roles[role].signed.version = 2


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("version", [MAX_VERSION, 2**63])
def test_a_version_that_no_store_can_hold_is_refused(
    repository: TufRepository, robot: Robot, role: str, version: int
) -> None:
    repository.roles[role].signed.version = version
    repository.publish(*((role,) if role in ("targets", KIND) else ()))
    robot.refused(repository.url, f"version beyond {MAX_VERSION}")


def test_the_highest_version_can_be_stored(repository: TufRepository, robot: Robot, tmp_path: Path) -> None:
    repository.roles["timestamp"].signed.version = MAX_VERSION - 1
    repository.publish()
    robot.look(repository.url)
    with Store(tmp_path / "state.db") as store:
        store.keep_trust(robot.state)
        assert store.trust() == robot.state


RECOVERIES = [("timestamp",), ("timestamp", "snapshot"), ("timestamp", "snapshot", KIND)]


@pytest.mark.parametrize("lost", [False, True], ids=["metadata kept", "metadata lost"])
@pytest.mark.parametrize("roles", RECOVERIES, ids=" ".join)
def test_after_new_keys_a_stolen_keys_high_version_is_forgotten(
    repository: TufRepository, robot: Robot, roles: tuple[str, ...], lost: bool
) -> None:
    _fast_forward(repository, robot, *roles)
    for role in roles:
        repository.rotate(role)
    if lost:
        robot.lose_metadata()
    robot.look(repository.url)
    for role in roles:
        assert robot.versions()[role] < 20


@pytest.mark.parametrize("roles", RECOVERIES, ids=" ".join)
def test_without_new_keys_a_high_version_stays_the_floor(
    repository: TufRepository, robot: Robot, roles: tuple[str, ...]
) -> None:
    _fast_forward(repository, robot, *roles)
    repository.publish(*(role for role in roles if role == KIND))
    robot.lose_metadata()
    robot.refused(repository.url, f"seen {HIGHEST - 1}")


def test_one_of_two_keys_replaced_is_enough_to_forget_what_it_signed_alone(
    tmp_path: Path,
) -> None:
    repository = TufRepository(tmp_path / "two", (KIND,), keys={"timestamp": 2})
    robot = Robot(repository.root())
    stolen, kept = repository.signers["timestamp"]
    repository.signers["timestamp"] = [stolen]
    _fast_forward(repository, robot, "timestamp")
    repository.signers["timestamp"] = [kept]
    repository.rotate("timestamp", keep=1)
    robot.look(repository.url)
    assert robot.versions()["timestamp"] < 20


def test_one_of_two_keys_replaced_is_enough_to_forget_what_both_had_to_sign(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path / "two", (KIND,), keys={"timestamp": 2}, thresholds={"timestamp": 2})
    robot = Robot(repository.root())
    _fast_forward(repository, robot, "timestamp")
    repository.rotate("timestamp", keep=1)
    robot.lose_metadata()
    robot.look(repository.url)
    assert robot.versions()["timestamp"] < 20


def test_a_floor_holds_against_what_another_key_of_the_role_has_signed(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path / "two", (KIND,), keys={"timestamp": 2})
    robot = Robot(repository.root())
    one, other = repository.signers["timestamp"]
    repository.signers["timestamp"] = [one]
    repository.roles["timestamp"].signed.version = 8
    repository.publish()
    robot.look(repository.url)
    repository.signers["timestamp"] = [other]
    repository.roles["timestamp"].signed.version = 1
    repository.publish()
    robot.lose_metadata()
    robot.refused(repository.url, "version 2 of timestamp", "seen 9")


# --- roots -----------------------------------------------------------------------------------------------------------


def test_a_robot_that_missed_three_root_rotations_follows_them(
    repository: TufRepository, robot: Robot
) -> None:
    robot.look(repository.url)
    for _ in range(3):
        repository.rotate("root")
    robot.look(repository.url)
    assert robot.versions()["root"] == 4
    assert robot.state.root == repository.root(4)


def test_a_newer_root_is_kept_when_what_comes_after_it_is_refused(
    repository: TufRepository, robot: Robot, tmp_path: Path
) -> None:
    """Or else whoever has the old keys only needs to disturb each look to be believed for ever."""
    robot.look(repository.url)
    old = repository.copied(tmp_path / "old")
    repository.rotate("timestamp")
    repository.path("timestamp").unlink()
    robot.refused(repository.url, "timestamp.json", "is not there")
    assert robot.state.root == repository.root(2)
    assert robot.versions()["root"] == 2
    kept = robot.state
    robot.refused(old.as_uri(), "timestamp", "not signed by whom this robot trusts")
    robot.state = replace(kept, root=repository.root(1), floors={})  # as if the root had not been kept
    robot.look(old.as_uri())


def test_a_root_below_the_floor_is_not_kept_either(
    repository: TufRepository, robot: Robot, tmp_path: Path
) -> None:
    repository.rotate("timestamp")
    old = repository.copied(tmp_path / "old")
    repository.rotate("timestamp")
    robot.look(repository.url)
    robot.lose_metadata()
    robot.refused(old.as_uri(), "version 2 of root", "seen 3")
    assert robot.state.root is None
    assert robot.versions()["root"] == 3


def test_a_root_that_is_refused_is_not_kept(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    repository.rotate("root", signed_by=[new_key()])
    robot.refused(repository.url, "not signed by whom this robot trusts")
    assert robot.state.root == repository.root(1)


def test_a_root_that_the_old_keys_did_not_sign_is_refused(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    repository.rotate("root", signed_by=[new_key()])
    robot.refused(repository.url, "root", "not signed by whom this robot trusts")


def test_a_root_that_its_own_new_keys_did_not_sign_is_refused(
    repository: TufRepository, robot: Robot
) -> None:
    repository.rotate("root", signed_by=list(repository.signers["root"]))
    robot.refused(repository.url, "root", "not signed by whom this robot trusts")


def test_a_root_of_another_version_than_its_name_is_refused(repository: TufRepository, robot: Robot) -> None:
    repository.write("root", version=5)
    shutil.copy(repository.path("root", 5), repository.path("root", 2))
    robot.refused(repository.url, "Expected root version 2")


def test_a_missing_root_between_two_hides_what_comes_after_it(
    repository: TufRepository, robot: Robot
) -> None:
    for _ in range(3):
        repository.rotate("root")
    repository.path("root", 3).unlink()
    robot.look(repository.url)
    assert robot.versions()["root"] == 2


def test_a_shipped_root_that_is_newer_than_the_stored_one_counts(
    repository: TufRepository, robot: Robot
) -> None:
    robot.look(repository.url)
    for _ in range(3):
        repository.rotate("root")
    for version in (2, 3):
        repository.path("root", version).unlink()
    robot.shipped = repository.root(4)
    robot.look(repository.url)
    assert robot.versions()["root"] == 4


def test_a_stored_root_that_is_newer_than_the_shipped_one_counts(
    repository: TufRepository, robot: Robot
) -> None:
    for _ in range(3):
        repository.rotate("root")
    robot.look(repository.url)
    for version in (1, 2, 3):
        repository.path("root", version).unlink()
    robot.look(repository.url)
    assert robot.versions()["root"] == 4


@pytest.mark.parametrize("shipped", [b"", b"{}", b"\xff", b"[" * 2000, None])
def test_a_shipped_root_that_is_none_is_named(
    repository: TufRepository, robot: Robot, shipped: bytes | None
) -> None:
    robot.shipped = repository.path("timestamp").read_bytes() if shipped is None else shipped
    robot.refused(repository.url, "trusted root of this robot")


def test_a_shipped_root_that_its_keys_did_not_sign_is_named(repository: TufRepository, robot: Robot) -> None:
    repository.signers["root"] = [new_key()]
    repository.write("root", version=1)
    robot.shipped = repository.root()
    robot.refused(repository.url, "trusted root of this robot")


def test_the_root_of_another_repository_leads_nowhere(
    repository: TufRepository, robot: Robot, tmp_path: Path
) -> None:
    other = TufRepository(tmp_path / "other", (KIND,))
    robot.refused(other.url, "right address", "right root")


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ("root", *ROLES))
def test_expired_metadata_is_refused_and_named(repository: TufRepository, robot: Robot, role: str) -> None:
    repository.expires[role] = NOW - timedelta(seconds=1)
    repository.publish(*((role,) if role not in ("timestamp", "snapshot") else ()))
    robot.refused(repository.url, f"{role}", "is expired", "2027-03-01 12:00", "edge-wm update refresh")


@pytest.mark.parametrize("role", ("root", *ROLES))
def test_metadata_that_was_valid_when_it_was_seen_expires_too(
    repository: TufRepository, robot: Robot, role: str
) -> None:
    repository.expires[role] = NOW + timedelta(seconds=1)
    repository.publish(*((role,) if role not in ("timestamp", "snapshot") else ()))
    robot.look(repository.url)
    robot.now = NOW + timedelta(seconds=1)
    robot.refused(repository.url, "is expired")


def test_an_expired_root_is_no_hindrance_if_a_newer_one_is_valid(
    repository: TufRepository, robot: Robot
) -> None:
    repository.expires["root"] = NOW - timedelta(days=1)
    repository.rotate("root")
    repository.expires["root"] = NOW + VALID
    repository.rotate("root")
    robot.look(repository.url)
    assert robot.versions()["root"] == 3


def test_the_time_that_was_given_counts_and_not_the_wall_clock(
    repository: TufRepository, robot: Robot
) -> None:
    for role in repository.expires:
        repository.expires[role] = datetime(2001, 1, 2, tzinfo=timezone.utc)
    repository.publish("root", "targets", KIND, OTHER)
    robot.refused(repository.url, "is expired")
    robot.now = datetime(2001, 1, 1, tzinfo=timezone.utc)
    robot.look(repository.url)


def test_a_tuf_that_keeps_its_time_elsewhere_is_refused() -> None:
    other = SimpleNamespace(_trusted_set=SimpleNamespace())
    with pytest.raises(BadInput, match=r"pip install 'tuf>=7\.0\.1,<8'"):
        tuf_client._set_time(other, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("year", [2038, 9000])
def test_a_clock_that_runs_ahead_is_refused_and_does_not_raise_the_time_floor(
    repository: TufRepository, robot: Robot, year: int
) -> None:
    robot.look(repository.url)
    robot.now = datetime(year, 1, 19, tzinfo=timezone.utc)
    robot.refused(repository.url, "is expired", f"{year}-01-19")
    assert robot.state.time_floor == NOW


def test_the_time_floor_rises_and_never_falls(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    robot.now = NOW + timedelta(days=2)
    robot.look(repository.url)
    assert robot.state.time_floor == NOW + timedelta(days=2)
    robot.now = NOW
    robot.look(repository.url)
    assert robot.state.time_floor == NOW + timedelta(days=2)


def test_a_clock_in_1970_shows_nothing_as_expired_which_is_why_it_is_not_asked(
    repository: TufRepository, robot: Robot
) -> None:
    """See ``test_time_trust.py``: such a time is never given."""
    repository.expires["timestamp"] = NOW - timedelta(days=1)
    repository.publish()
    robot.now = datetime(1970, 1, 1, tzinfo=timezone.utc)
    robot.look(repository.url)


# --- signatures and files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_a_role_signed_by_a_strangers_key_is_refused(
    repository: TufRepository, robot: Robot, role: str
) -> None:
    repository.signers[role] = [new_key()]
    repository.publish(*((role,) if role in ("targets", KIND) else ()))
    robot.refused(repository.url, role, "not signed by whom this robot trusts")


@pytest.mark.parametrize("role", ROLES)
def test_a_changed_role_is_refused(repository: TufRepository, robot: Robot, role: str) -> None:
    file = repository.path(role)
    changed = file.read_bytes().replace(b"2027-", b"2029-")
    assert changed != file.read_bytes()
    file.write_bytes(changed)
    robot.refused(repository.url, role, "not signed by whom this robot trusts")


@pytest.mark.parametrize("role", ROLES)
def test_fewer_signatures_than_the_threshold_are_refused(tmp_path: Path, role: str) -> None:
    repository = TufRepository(tmp_path / "two of three", (KIND,), keys={role: 3}, thresholds={role: 2})
    robot = Robot(repository.root())
    repository.signers[role] = repository.signers[role][:2]
    repository.publish(*((role,) if role in ("targets", KIND) else ()))
    robot.look(repository.url)
    repository.signers[role] = repository.signers[role][:1]
    repository.publish(*((role,) if role in ("targets", KIND) else ()))
    robot.refused(repository.url, role, "1/2 keys")


def test_one_key_signing_twice_counts_once(tmp_path: Path) -> None:
    repository = TufRepository(tmp_path / "two", (KIND,), keys={KIND: 2}, thresholds={KIND: 2})
    robot = Robot(repository.root())
    repository.signers[KIND] = [repository.signers[KIND][0]]
    repository.publish(KIND)
    content = repository.path(KIND).read_text()
    one = content[content.index("[") + 1 : content.index("]")]
    repository.path(KIND).write_text(content.replace(one, f"{one.rstrip()},{one}", 1))
    robot.refused(repository.url, "Multiple signatures", "broken or forged")


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_file_of_metadata_is_named(repository: TufRepository, robot: Robot, role: str) -> None:
    file = repository.path(role)
    file.unlink()
    robot.refused(repository.url, file.name, "is not there", "is the address right")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff\xfe", b"[" * 10_000, b'{"signed": {}}'])
@pytest.mark.parametrize("role", ROLES)
def test_metadata_that_is_none_is_refused(
    repository: TufRepository, robot: Robot, role: str, content: bytes
) -> None:
    repository.path(role).write_bytes(content)
    robot.refused(repository.url, "the repository is broken or forged")


@pytest.mark.parametrize("role", ("root", *ROLES))
def test_metadata_without_end_is_refused(repository: TufRepository, robot: Robot, role: str) -> None:
    file = repository.path(role, 2) if role == "root" else repository.path(role)
    with file.open("ab") as longer:
        longer.truncate(1 << 40)
    robot.refused(repository.url, file.name, "is larger than")


def test_files_of_two_states_of_a_repository_do_not_mix(
    repository: TufRepository, robot: Robot, tmp_path: Path
) -> None:
    robot.look(repository.url)
    old = repository.copied(tmp_path / "old")
    repository.publish(KIND)
    shutil.copy(old / "metadata" / f"2.{KIND}.json", repository.path(KIND))
    robot.refused(repository.url, f"Expected {KIND} v3, got v2", "mixed")


def test_a_role_that_the_snapshot_does_not_list_is_refused(repository: TufRepository, robot: Robot) -> None:
    del repository.roles["snapshot"].signed.meta[f"{KIND}.json"]
    repository.write("snapshot")
    repository.roles["timestamp"].signed.snapshot_meta = MetaFile(repository.version("snapshot"))
    repository.write("timestamp")
    robot.refused(repository.url, KIND, "not part of snapshot")


def test_a_folder_that_is_no_repository_is_named(robot: Robot, tmp_path: Path) -> None:
    robot.refused((tmp_path / "nothing").as_uri(), "timestamp.json", "is not there")


def test_a_full_disk_for_temporary_files_is_named(
    repository: TufRepository, robot: Robot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    robot.refused(repository.url, str(tmp_path / "gone"), "make room")


# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["root", "timestamp", "snapshot", "targets"])
def test_a_robot_kind_with_the_name_of_a_role_is_refused(
    repository: TufRepository, robot: Robot, kind: str
) -> None:
    robot.refused(repository.url, kind, "name it otherwise", kind=kind)


def test_a_kind_that_nobody_signs_for_is_named(repository: TufRepository, robot: Robot) -> None:
    robot.refused(repository.url, "nothing for robots of kind plane", kind="plane")


def test_a_robot_of_another_kind_sees_its_own_role_only(repository: TufRepository, robot: Robot) -> None:
    robot.look(repository.url)
    seen = robot.look(repository.url, OTHER)
    assert set(robot.state.metadata) == {"timestamp", "snapshot", "targets", OTHER}
    assert seen.channel(OTHER, "stable").robot_kind == OTHER


def test_the_floor_of_a_kind_outlasts_that_the_robot_was_of_another_kind(
    repository: TufRepository, robot: Robot
) -> None:
    _publish_older(repository, robot, KIND)
    for kind in (KIND, OTHER):
        robot.lose_metadata()
        if kind == OTHER:
            robot.look(repository.url, OTHER)
        robot.refused(repository.url, f"of {KIND}", "seen 9")


def test_what_is_kept_of_a_kind_is_not_believed_once_nobody_signs_for_it(
    repository: TufRepository, robot: Robot
) -> None:
    robot.look(repository.url)
    repository.remove_kind(KIND)
    repository.publish("targets")
    assert KIND in robot.state.metadata
    robot.refused(repository.url, f"nothing for robots of kind {KIND}")


@pytest.mark.parametrize("hide", ["other paths", "another role before it"])
def test_what_is_kept_of_a_kind_is_not_believed_if_nothing_leads_to_it(
    repository: TufRepository, robot: Robot, hide: str
) -> None:
    robot.look(repository.url)
    roles = repository.roles["targets"].signed.delegations.roles
    if hide == "other paths":
        roles[KIND].paths = ["elsewhere/*"]
        repository.publish("targets")
        robot.refused(repository.url, f"nothing for robots of kind {KIND}")
    else:
        roles[OTHER].paths = ["*/*"]
        roles[KIND] = roles.pop(KIND)  # behind the other
        repository.publish("targets", KIND)
        robot.refused(repository.url, f"{KIND}.json is not the one that snapshot.json lists")


@pytest.mark.parametrize("why", ["is expired", "not signed by whom this robot trusts", None])
def test_what_is_kept_of_a_kind_that_nothing_leads_to_is_checked_as_if_it_came(
    repository: TufRepository, robot: Robot, why: str | None
) -> None:
    repository.expires[KIND] = NOW + timedelta(hours=1)
    repository.publish(KIND)
    robot.look(repository.url)
    roles = repository.roles["targets"].signed.delegations.roles
    roles[OTHER].paths = ["*/*"]
    roles[KIND] = roles.pop(KIND)  # behind the other, which ends the search
    if why == "is expired":
        robot.now = NOW + timedelta(hours=1)
    elif why is not None:
        repository.signers[KIND] = [new_key()]
        repository.tell_keys(KIND)
    repository.publish("targets")
    if why is None:
        robot.look(repository.url)
    else:
        robot.refused(repository.url, KIND, why)


def test_a_role_that_signs_for_another_kind_is_not_asked(repository: TufRepository, robot: Robot) -> None:
    target = TargetFile.from_data(f"{KIND}/evil.json", b"{}", ["sha256"])
    repository.roles[OTHER].signed.targets[target.path] = target
    repository.publish(OTHER)
    with pytest.raises(BadInput, match=f"robots of kind {KIND} have no channel evil"):
        robot.look(repository.url).channel(KIND, "evil")


# --- channels and targets --------------------------------------------------------------------------------------------


def test_a_channel_that_nobody_signed_is_named(repository: TufRepository, robot: Robot) -> None:
    repository.add(KIND, "beta.json", channel("beta"))
    with pytest.raises(BadInput, match="have no channel beta"):
        robot.look(repository.url).channel(KIND, "beta")


@pytest.mark.parametrize("content", [channel("beta"), channel(kind=OTHER)], ids=["channel", "kind"])
def test_a_channel_that_is_another_is_refused(
    repository: TufRepository, robot: Robot, content: bytes
) -> None:
    repository.add(KIND, "stable.json", content)
    repository.publish(KIND)
    with pytest.raises(BadInput, match=f"not stable of {KIND}"):
        robot.look(repository.url).channel(KIND, "stable")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda file: file.write_bytes(file.read_bytes().replace(b"stable", b"STABLE")),
            "not the file that was signed",
        ),
        (lambda file: file.write_bytes(file.read_bytes() + b" "), "is larger than"),
        (lambda file: file.write_bytes(b""), "not the file that was signed"),
        (lambda file: os.truncate(file, 1 << 40), "is larger than"),
        (lambda file: file.unlink(), "is not there"),
    ],
    ids=["changed", "longer", "empty", "endless", "missing"],
)
def test_a_channel_that_is_not_what_was_signed_is_refused(
    repository: TufRepository, robot: Robot, damage: Callable[[Path], object], said: str
) -> None:
    damage(repository.target_path(KIND, "stable.json"))
    with pytest.raises(BadInput, match=said):
        robot.look(repository.url).channel(KIND, "stable")


def test_a_channel_that_is_too_large_is_not_fetched(repository: TufRepository, robot: Robot) -> None:
    repository.add(KIND, "stable.json", bytes(MAX_CHANNEL_BYTES + 1)).unlink()
    repository.publish(KIND)
    with pytest.raises(BadInput, match="larger than 1 MiB"):
        robot.look(repository.url).channel(KIND, "stable")


def test_a_target_that_nobody_signed_is_named(repository: TufRepository, robot: Robot) -> None:
    repository.add(KIND, "file", b"content")
    with pytest.raises(BadInput, match=f"{KIND}/file: nobody has signed it"):
        robot.look(repository.url).target(f"{KIND}/file")


@pytest.mark.parametrize("sha256", [None, "", "0" * 63, "../" * 21 + "x", "A" * 64])
def test_a_target_without_a_sha256_is_refused(
    repository: TufRepository, robot: Robot, sha256: str | None
) -> None:
    target = TargetFile.from_data(f"{KIND}/file", b"content", ["md5"])
    if sha256 is not None:
        target.hashes["sha256"] = sha256
    repository.roles[KIND].signed.targets[target.path] = target
    repository.publish(KIND)
    with pytest.raises(BadInput, match="nobody has signed it"):
        robot.look(repository.url).target(target.path)
