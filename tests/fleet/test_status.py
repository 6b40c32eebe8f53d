"""A robot's message, and what is believed of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.errors import BadInput
from edge_wm.fleet.status import (
    MAX_LINE,
    MAX_QUARANTINED,
    MAX_STATUS_BYTES,
    decode_status,
    encode_status,
    robot_status,
)
from edge_wm.update.config import UpdateConfig
from edge_wm.update.status import UpdateStatus
from edge_wm.update.store import Event, Failure, Installed, State, Store
from tests.fleet.robots import KIND, NEW, ON_OLD, failed, passed, trying

CONFIG = UpdateConfig(url="https://models", trusted_root="root.json", robot_kind=KIND, robot_id="r1")
OLD_MODEL = Installed("a" * 64, "rooms", "1.0.0", "stable", 1)
NEW_MODEL = Installed("b" * 64, "rooms", "1.1.0", "stable", 2)


def update_status(**changes: Any) -> UpdateStatus:
    facts: dict[str, Any] = {
        "state": State.IDLE,
        "slot": "a",
        "active": OLD_MODEL,
        "previous": None,
        "coming": None,
        "pin": None,
        "quarantined": (),
        "newest": None,
    }
    return UpdateStatus(**{**facts, **changes})


@pytest.mark.parametrize("status", [ON_OLD, passed(), failed(), trying()])
def test_a_message_says_what_the_robot_said(status: Any) -> None:
    assert decode_status(encode_status(status), KIND, "r1") == status


def test_a_robot_tells_the_newest_trial_of_its_history(tmp_path: Path) -> None:
    with Store(tmp_path / "state.db", wall=lambda: 1e9) as store:
        for model, ends in ((OLD_MODEL, "well"), (NEW_MODEL, "badly")):
            store.begin_fetch(model)
            store.stage(model)
            store.begin_trial()
            store.commit() if ends == "well" else store.fail(model, "3 of 40 ticks\nwere late")
        said = robot_status(CONFIG, update_status(), store.history(), time_trusted=False, wall=5.0)
    assert said.trial is not None
    assert (said.trial.model, said.trial.result) == (NEW_MODEL.model, "failed")
    assert said.trial.reason == "3 of 40 ticks were late", "one line"
    assert (said.at, said.time_trusted) == (5.0, False)
    assert decode_status(encode_status(said), KIND, "r1") == said


def test_a_new_robot_has_no_trial_to_tell() -> None:
    said = robot_status(CONFIG, update_status(), [], time_trusted=True)
    assert said.trial is None
    assert said.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert decode_status(encode_status(said), KIND, "r1") == said


def test_whatever_goes_wrong_on_a_robot_its_message_can_be_read() -> None:
    """The worst that a store can hold is cut to what a fleet keeper takes."""
    noise = "\x1b[31m\x00é\n" * 5000
    status = update_status(
        quarantined=tuple(Failure(f"{n:064x}", 3, True, noise) for n in range(500)), problem=noise, pin=noise
    )
    history = [Event(-5.0, "rolled back", "b" * 64, "1.1.0", 2, noise)]
    said = robot_status(CONFIG, status, history, time_trusted=False, wall=-3.0)
    data = encode_status(said)
    assert len(data) < MAX_STATUS_BYTES
    assert decode_status(data, KIND, "r1") == said
    assert len(said.quarantined) == MAX_QUARANTINED
    assert said.error is not None and len(said.error) == MAX_LINE and said.error.isprintable()


def edited(**changes: Any) -> bytes:
    return json.dumps({**json.loads(encode_status(passed())), **changes}).encode()


NEW_FACTS = json.loads(encode_status(passed()))["active"]

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "truncated"),
    "no JSON": (lambda: b"\xff\xfe\x00", "malformed|invalid"),
    "another type": (lambda: b"[]", "object"),
    "half of it": (lambda: encode_status(passed())[:200], "truncated"),
    "deep": (lambda: b"[" * 30000, "object|recursion|truncated"),
    "too large": (lambda: edited(error="x" * MAX_STATUS_BYTES), "bytes"),
    "a field that is unknown": (lambda: edited(run="rm -rf /"), "run"),
    "a later format": (lambda: edited(format_version=2), "format_version"),
    "another robot": (lambda: edited(robot_id="r2"), "speaks for differential-drive/r2"),
    "another kind": (lambda: edited(robot_kind="car"), "speaks for car/r1"),
    "a path for a name": (lambda: edited(robot_id="../../etc"), "robot_id"),
    "no hash": (lambda: edited(active={**NEW_FACTS, "model": "b" * 63}), "model"),
    "a number for a word": (lambda: edited(state=3), "state"),
    "a word for a number": (lambda: edited(at="now"), "at"),
    "a time that is not finite": (lambda: edited(at=1.5).replace(b"1.5", b"1e999"), "at|number"),
    "a time before all": (lambda: edited(at=-1.0), "at"),
    "a state that is none": (lambda: edited(state="hacked"), "state"),
    "a long line": (lambda: edited(error="x" * (MAX_LINE + 1)), "error"),
    "a long list": (lambda: edited(quarantined=["a" * 64] * (MAX_QUARANTINED + 1)), "quarantined"),
    "a sequence beyond all": (lambda: edited(active={**NEW_FACTS, "sequence": 1 << 60}), "sequence"),
    "a missing field": (lambda: edited().replace(b'"robot_kind"', b'"robot_kin"'), "robot_kin"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_refused_in_one_line(name: str) -> None:
    data, says = HOSTILE[name]
    with pytest.raises(BadInput, match=rf"(?i)^differential-drive/r1: .*({says})") as refused:
        decode_status(data(), KIND, "r1")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


def test_an_unedited_message_is_not_refused() -> None:
    assert decode_status(edited(), KIND, "r1").active == NEW


@given(st.binary(max_size=200), st.integers(0, 700))
def test_noise_is_refused_or_read_and_never_more(noise: bytes, at: int) -> None:
    data = encode_status(passed())
    try:
        decode_status(data[:at] + noise + data[at + len(noise) :], KIND, "r1")
    except BadInput as why:
        assert str(why).isprintable()
