from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.errors import BadInput
from edge_wm.publish.channels import find_model, released, revoked
from edge_wm.update.release import Channel, Form, Release, ReleasedFile, decode_channel, encode_channel

EMPTY = Channel(1, "rover", "beta", 0)


def release(model: str, fraction: float = 1.0, version: str = "1.0.0") -> Release:
    files = (ReleasedFile("manifest.json", 1, model * 64, (Form("plain", 1),)),)
    return Release(1, model * 64, "tiny", version, fraction, "0.1.0", files)


def state(channel: Channel) -> list[tuple[int, str, float]]:
    return [(r.sequence, r.model[0], r.fraction) for r in channel.releases]


def after(*decisions: tuple[str, float]) -> Channel:
    channel = EMPTY
    for model, fraction in decisions:
        channel = released(channel, release(model, fraction))
    return channel


def test_another_model_is_a_new_decision() -> None:
    assert state(after(("a", 1.0), ("b", 0.1))) == [(2, "b", 0.1), (1, "a", 1.0)]


def test_more_robots_for_the_newest_model_are_the_same_decision() -> None:
    assert state(after(("a", 1.0), ("b", 0.1), ("b", 0.5))) == [(2, "b", 0.5), (1, "a", 1.0)]


def test_an_older_model_again_is_a_new_decision_which_robots_follow() -> None:
    channel = after(("a", 1.0), ("b", 1.0), ("a", 1.0))
    assert state(channel) == [(3, "a", 1.0), (2, "b", 1.0), (1, "a", 1.0)]
    chosen = channel.release_for("robot")
    assert chosen is not None and (chosen.model[0], chosen.sequence) == ("a", 3)


def test_more_robots_for_a_model_that_is_not_the_newest_is_a_new_decision() -> None:
    assert state(after(("a", 0.2), ("b", 0.1), ("a", 1.0)))[0] == (3, "a", 1.0)


def test_robots_leave_a_revoked_model_for_the_one_below_it_though_that_was_decided_earlier() -> None:
    before = after(("a", 1.0), ("b", 0.5))
    robot = next(name for name in map(str, range(100)) if before.release_for(name) is before.releases[0])
    has = before.releases[0].sequence
    now = revoked(before, "b" * 64).release_for(robot)
    assert now is not None and now.model[0] == "a"
    assert now.sequence > has  # or the robot would call it a step backwards


def test_a_revocation_in_the_middle_keeps_the_order_of_what_remains() -> None:
    channel = revoked(after(("z", 1.0), ("a", 1.0), ("b", 0.1)), "a" * 64)
    assert state(channel) == [(5, "b", 0.1), (4, "z", 1.0)]
    assert channel.revoked == ("a" * 64,)


def test_a_revocation_of_what_nothing_lies_below_changes_no_numbers() -> None:
    channel = revoked(after(("a", 1.0), ("b", 1.0)), "a" * 64)
    assert state(channel) == [(2, "b", 1.0)]
    assert state(revoked(channel, "b" * 64)) == []
    assert revoked(channel, "b" * 64).sequence == 2  # and the next decision is number 3


def test_a_model_can_be_revoked_that_the_channel_no_longer_has() -> None:
    channel = revoked(after(("a", 1.0)), "c" * 64)
    assert state(channel) == [(1, "a", 1.0)]
    assert channel.revoked == ("c" * 64,)
    assert revoked(channel, "c" * 64) == channel


def test_a_revoked_model_does_not_come_back() -> None:
    with pytest.raises(BadInput, match="was revoked"):
        released(revoked(after(("a", 1.0)), "a" * 64), release("a"))


def test_old_releases_are_kept_for_pinned_robots_but_not_for_ever() -> None:
    channel = EMPTY
    for number in range(20):
        channel = released(channel, release("0123456789abcdef"[number % 16], 1.0), kept=5)
    assert [r.sequence for r in channel.releases] == [20, 19, 18, 17, 16]


def test_no_release_is_dropped_that_some_robot_should_run() -> None:
    channel = released(EMPTY, release("f", 1.0))
    for number in range(12):
        channel = released(channel, release("0123456789ab"[number], 0.01), kept=3)
    assert len(channel.releases) == 13
    assert all(channel.release_for(str(robot)) is not None for robot in range(200))


def test_a_model_is_found_by_version_and_by_the_beginning_of_its_hash() -> None:
    channels = {"beta": released(after(("a", 1.0)), release("b", version="2.0.0"))}
    assert find_model(channels, "2.0.0").model[0] == "b"
    assert find_model(channels, "aaaaaaaa").model[0] == "a"
    with pytest.raises(BadInput, match=r"no model of channel beta has this version"):
        find_model(channels, "aaaaaaa")  # too short to be a hash by intent


def test_two_models_of_one_version_are_told_apart_by_hash_only() -> None:
    channels = {"beta": after(("a", 1.0), ("b", 1.0))}
    with pytest.raises(BadInput, match=r"several models of channel beta: .*aaaa.*bbbb"):
        find_model(channels, "1.0.0")


decisions = st.lists(
    st.one_of(
        st.tuples(st.just("release"), st.sampled_from("abcd"), st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        st.tuples(st.just("revoke"), st.sampled_from("abcd"), st.none()),
    ),
    max_size=12,
)


@given(decisions)
def test_whatever_is_decided_no_robot_is_left_on_a_revoked_model_or_sent_back_by_number(
    made: list[tuple[str, str, Any]],
) -> None:
    channel = EMPTY
    robots: dict[str, Release | None] = {str(number): None for number in range(8)}
    for what, model, fraction in made:
        if what == "revoke":
            channel = revoked(channel, model * 64)
        elif model * 64 not in channel.revoked:
            channel = released(channel, release(model, fraction))
        assert decode_channel(encode_channel(channel), "channel") == channel
        for robot, has in robots.items():
            if has is not None and has.model in channel.revoked:
                gone, has = has.sequence, None
            else:
                gone = 0
            offered = channel.release_for(robot)
            if offered is None:
                continue
            if gone:
                assert offered.sequence > gone
            if has is None or offered.sequence > has.sequence or offered.model == has.model:
                robots[robot] = offered
    for robot, has in robots.items():
        offered = channel.release_for(robot)
        if offered is not None and offered.fraction == 1.0 and has is not None:
            assert has.sequence >= offered.sequence or msgspec.structs.replace(has, sequence=1) == offered
