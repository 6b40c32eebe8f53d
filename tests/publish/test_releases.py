from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.publish.publisher import open_publisher
from edge_wm.publish.releases import publish
from edge_wm.publish.tables import update_facts
from edge_wm.update.assemble import files_of
from edge_wm.update.release import Release
from tests import tiny_model
from tests.publish.repositories import KIND, Keeper, Robot, bundle


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    keeper = Keeper(tmp_path / "repo")
    keeper.init()
    return keeper


def newest(robot: Robot, channel: str = "beta") -> Release:
    return robot.channel(channel).releases[0]


def test_a_robot_fetches_a_published_bundle_whole(tmp_path: Path, keeper: Keeper) -> None:
    one = bundle(tmp_path / "one")
    decided = keeper.publish(one, fraction=0.25)
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    release = newest(robot)
    assert (release.model, release.fraction, release.sequence) == (load_bundle(one).sha256, 0.25, 1)
    assert (release.name, release.version, release.requires) == ("tiny", "0.1.0", "0.1.0")
    fetched = robot.install(release)
    assert fetched == update_facts(decided)["whole_bytes"] < release.size


def test_a_robot_with_the_previous_model_fetches_only_what_changed(tmp_path: Path, keeper: Keeper) -> None:
    one, two = bundle(tmp_path / "one", card="first"), bundle(tmp_path / "two", "0.2.0", card="second")
    keeper.publish(one)
    facts = update_facts(keeper.publish(two))
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    fetched = robot.install(newest(robot), files_of(load_bundle(one)))
    assert fetched == facts["update_bytes"] < 0.05 * facts["whole_bytes"]
    how = {file["path"]: file["update"] for file in facts["files"]}
    assert how["MODEL_CARD.md"] == "bsdiff"
    assert how["observe.fp32.onnx"] == "unchanged"


def test_deltas_lead_from_each_of_the_newest_models(tmp_path: Path, keeper: Keeper) -> None:
    made = [bundle(tmp_path / str(number), f"0.{number}.0", card=f"number {number}") for number in range(6)]
    for one in made:
        keeper.publish(one)
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    release = newest(robot)
    whole = robot.install(release)
    fetched = [robot.install(release, files_of(load_bundle(one))) for one in made[:5]]
    assert all(size < 0.05 * whole for size in fetched[2:])
    assert all(
        size > 0.9 * sum(f.forms[0].size for f in release.files if f.path == "MODEL_CARD.md")
        for size in fetched[:2]
    )


def test_every_form_is_a_signed_file_of_its_size(tmp_path: Path, keeper: Keeper) -> None:
    from edge_wm.update.release import form_target

    keeper.publish(bundle(tmp_path / "one"))
    keeper.publish(bundle(tmp_path / "two", "0.2.0", card="other"))
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    updater = robot.look()
    for release in robot.channel().releases:
        for file in release.files:
            for form in file.forms:
                assert len(robot.fetch(form_target(KIND, file, form), updater)) == form.size


def test_publishing_the_same_again_changes_nothing(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    assert not keeper.publish(tmp_path / "one").outcome.published
    assert keeper.publish(tmp_path / "one", fraction=0.5).release.sequence == 1


def test_a_model_goes_to_more_robots_and_then_to_another_channel(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "zero", "0.0.9"), "stable")
    keeper.publish(bundle(tmp_path / "one"), fraction=0.1)
    assert keeper.promote("0.1.0", "beta", 0.5, None).release.sequence == 1
    decided = keeper.promote("0.1.0", "stable", 0.2)
    assert (decided.release.sequence, decided.previous and decided.previous.version) == (2, "0.0.9")
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    assert [(r.version, r.fraction) for r in robot.channel("stable").releases] == [
        ("0.1.0", 0.2),
        ("0.0.9", 1.0),
    ]
    assert robot.install(newest(robot, "stable")) > 0


def test_promotion_makes_the_deltas_that_robots_of_the_other_channel_need(
    tmp_path: Path, keeper: Keeper
) -> None:
    old = bundle(tmp_path / "old", "0.0.1", card="very old")
    keeper.publish(old, "stable")
    new = bundle(tmp_path / "new", "0.9.0", card="new")
    with open_publisher(keeper.access) as publisher:  # without any delta
        publish(publisher, new, "beta", fraction=1.0, requires="0.1.0", delta_models=0)
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    before = robot.install(newest(robot), files_of(load_bundle(old)))
    keeper.promote("0.9.0")
    after = robot.install(newest(robot, "stable"), files_of(load_bundle(old)))
    assert after < 0.1 * before


def test_a_revoked_model_is_gone_and_named(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    two = keeper.publish(bundle(tmp_path / "two", "0.2.0", card="bad")).release.model
    keeper.promote("0.2.0")
    keeper.revoke("0.2.0", "beta")
    robot = Robot(keeper.folders.public, tmp_path / "robot")
    assert [r.version for r in robot.channel("beta").releases] == ["0.1.0"]
    assert robot.channel("beta").revoked == (two,)
    assert robot.channel("stable").revoked == ()
    keeper.revoke(two[:12])
    assert robot.channel("stable").releases == () and robot.channel("stable").revoked == (two,)
    assert not keeper.revoke("0.2.0").published  # it is done, and can be said again
    with pytest.raises(BadInput, match="was revoked"):
        keeper.publish(tmp_path / "two")


def test_files_that_only_a_revoked_model_had_are_no_longer_signed(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    before = set(Robot(keeper.folders.public, tmp_path / "a").look()._trusted_set[KIND].targets)  # type: ignore[attr-defined]
    keeper.publish(bundle(tmp_path / "two", "0.2.0", card="bad"))
    keeper.revoke("0.2.0")
    after = set(Robot(keeper.folders.public, tmp_path / "b").look()._trusted_set[KIND].targets)  # type: ignore[attr-defined]
    assert after == before


def test_one_version_is_one_content_also_after_it_was_revoked(tmp_path: Path, keeper: Keeper) -> None:
    keeper.publish(bundle(tmp_path / "one"))
    other = bundle(tmp_path / "other", card="other")
    with pytest.raises(BadInput, match=r"tiny 0\.1\.0 was published with other content"):
        keeper.publish(other)
    keeper.revoke("0.1.0")
    with pytest.raises(BadInput, match="was published with other content"):
        keeper.publish(other)
    assert keeper.publish(bundle(tmp_path / "namesake", name="other")).release.sequence == 2


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (lambda k, b: k.publish(b, "betta"), "betta: no such channel, there is beta, stable"),
        (lambda k, b: k.promote("0.1.0", "stabel"), "stabel: no such channel"),
        (lambda k, b: k.promote("0.1.0", source="gamma"), "gamma: no such channel"),
        (lambda k, b: k.promote("7.0.0"), r"7\.0\.0: no model of channel beta"),
        (lambda k, b: k.revoke("7.0.0"), r"7\.0\.0: no model of channels beta, stable"),
        (lambda k, b: k.publish(b / "nothing"), "no such bundle directory"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, keeper: Keeper, command: object, problem: str) -> None:
    one = bundle(tmp_path / "one")
    keeper.publish(one)
    with pytest.raises(BadInput, match=problem):
        command(keeper, one)  # type: ignore[operator]


def test_a_bundle_for_another_kind_of_robots_is_refused(tmp_path: Path, keeper: Keeper) -> None:
    with pytest.raises(BadInput, match=f"has no models for walker, only for {KIND}"):
        keeper.publish(bundle(tmp_path / "one", kind="walker"))


def test_a_damaged_bundle_is_refused(tmp_path: Path, keeper: Keeper) -> None:
    one = bundle(tmp_path / "one")
    (one / "observe.fp32.onnx").write_bytes(b"other")
    with pytest.raises(BadInput, match=r"observe\.fp32\.onnx"):
        keeper.publish(one)
    assert not Robot(keeper.folders.public, tmp_path / "robot").channel().releases


def test_a_graph_that_only_looks_sound_is_refused(tmp_path: Path, keeper: Keeper) -> None:
    """The hashes fit, for whoever made the bundle wrote them."""
    one = bundle(tmp_path / "one")
    tiny_model.replace_file(one, "observe.fp32.onnx", b"\x08\x09not a graph")
    with pytest.raises(BadInput, match=r"observe\.fp32\.onnx"):
        keeper.publish(one)
