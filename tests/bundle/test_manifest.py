"""A manifest is refused with one line that names the field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wm.bundle.manifest import FileEntry
from edge_wm.bundle.manifest_file import decode_manifest, encode_manifest
from edge_wm.errors import BadInput
from tests.tiny_model import files, manifest

Facts = dict[str, Any]


@pytest.fixture
def facts() -> Facts:
    entries = tuple(FileEntry(path, len(data), "0" * 64) for path, data in files().items())
    return json.loads(encode_manifest(msgspec.structs.replace(manifest(), files=entries)))


def decode(facts: Facts) -> object:
    return decode_manifest(json.dumps(facts).encode())


def test_a_manifest_survives_encoding(facts: Facts) -> None:
    decoded = decode_manifest(json.dumps(facts).encode())
    assert json.loads(encode_manifest(decoded)) == facts
    assert decoded.state[1].initial == "initial_pose.npy"
    assert decoded.ticks_per_step == 2


def test_planner_settings_that_a_manifest_leaves_out_have_defaults(facts: Facts) -> None:
    optional = ("std_floor", "policy_copies", "comfort_m", "touch_m", "touch_discount")
    short = {name: value for name, value in facts["planner"].items() if name not in optional}
    assert len(short) == len(facts["planner"]) - len(optional)
    assert decode(facts | {"planner": short}) == decode(facts)


def test_graph_shapes_follow_from_the_manifest() -> None:
    assert [str(spec) for spec in manifest().graph_inputs("imagine")] == [
        "memory float32[5]",
        "pose float32[3]",
        "actions float32[4,3,2]",
        "goal float32[2]",
    ]
    assert [str(spec) for spec in manifest().graph_outputs("observe")] == [
        "next_memory float32[5]",
        "next_pose float32[3]",
    ]
    assert [str(spec) for spec in manifest().graph_outputs("imagine")] == [
        "imagined_pose float32[4,3,3]",
        "value float32[4]",
    ]


def put(value: object, *where: str | int) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        for key in where[:-1]:
            facts = facts[key]
        facts[where[-1]] = value  # type: ignore[index]

    return change


def drop(*where: str | int) -> Callable[[Facts], None]:
    def change(facts: Facts) -> None:
        for key in where[:-1]:
            facts = facts[key]
        del facts[where[-1]]  # type: ignore[arg-type]

    return change


REFUSALS: dict[str, tuple[Callable[[Facts], None], str]] = {
    "another format version": (put(2, "format_version"), "format version 2, this edge-wm reads version 1"),
    "no format version": (drop("format_version"), "format_version"),
    "an unknown field": (put(1, "surprise"), "surprise"),
    "a field that would move the cursor": (put(1, "\x1b[2Jgone"), "[2Jgone"),
    "a missing field": (drop("tick_s"), "tick_s"),
    "a wrong type": (put("fast", "tick_s"), "$.tick_s"),
    "no time between ticks": (put(0, "tick_s"), "$.tick_s"),
    "a step that is no whole number of ticks": (put(0.25, "imagine", "step_s"), "imagine.step_s"),
    "a tick so short that a division by it overflows": (put(1e-308, "tick_s"), "$.tick_s"),
    "a cost that there is not": (
        put({"speed": 1.0}, "planner", "costs"),
        "no cost is called speed: use value",
    ),
    "a cost that rewards": (put({"value": -1.0}, "planner", "costs"), "$.planner.costs"),
    "no candidates": (put(0, "imagine", "candidates"), "$.imagine.candidates"),
    "more elites than candidates": (put(5, "planner", "elites"), "planner.elites"),
    "a comfortable clearance that touches": (
        put(0.12, "planner", "comfort_m"),
        "planner.touch_m 0.12 must be",
    ),
    "a touch that counts for nothing": (put(0, "planner", "touch_discount"), "$.planner.touch_discount"),
    "a deviation too many": (put([1, 1, 1], "planner", "initial_std"), "planner.initial_std"),
    "a limit too few": (put([0], "action", "low"), "action.low"),
    "limits the wrong way round": (put([1.0, 0.0], "action", "low"), "action v"),
    "a method that there is not": (put("annealing", "planner", "method"), "$.planner.method"),
    "a policy in another shape than the planner tries": (
        put({"name": "policy", "shape": [3, 1]}, "state", 0),
        "state policy: the planner tries it",
    ),
    "an unknown dtype": (put("complex64", "state", 0, "dtype"), "$.state[0].dtype"),
    "an impossible dimension": (put([0], "state", 0, "shape"), "$.state[0].shape"),
    "a tensor beyond all bounds": (put([65536, 65536], "state", 0, "shape"), "more than"),
    "an unknown symbol": (put(["Q"], "heads", 1, "shape"), "$.heads[1].shape"),
    "an outcome in another shape than the planner reads": (
        put(["N", "H", 2], "heads", 0, "shape"),
        "imagine gives imagined_pose float32[4,3,2]; the planner reads it as [4, 3, 3]",
    ),
    "a value for each step": (put(["N", 1], "heads", 1, "shape"), "the planner reads it as [4]"),
    "a distance to no goal": (
        lambda facts: facts.update(goal=None, planner={**facts["planner"], "costs": {"terminal": 1.0}}),
        "planner.costs: terminal is the distance to a goal",
    ),
    "a tensor name used twice": (
        put("pose", "observation", 1, "name"),
        "observe: tensor name used twice: pose",
    ),
    "a name that is no identifier": (put("a b", "observation", 1, "name"), "$.observation[1].name"),
    "the same graph twice": (put("observe", "graphs", 1, "role"), "listed twice"),
    "one file for two graphs": (put("decode.fp32.onnx", "graphs", 0, "file"), "named by two graphs"),
    "no imagine graph": (drop("graphs", 1), "no imagine graph"),
    "a decode graph without heads": (drop("heads", 2), "heads: none for role decode"),
    "an output without tolerance": (drop("golden", "tolerances", 0), "golden.tolerances: none for observe"),
    "a graph that files does not list": (put("other.onnx", "graphs", 0, "file"), "graphs names 'other.onnx'"),
    "a golden file that files does not list": (put("x.npz", "golden", "file"), "golden.file names 'x.npz'"),
    "an initial file that files does not list": (
        put("x.npy", "state", 1, "initial"),
        "state pose names 'x.npy'",
    ),
    "a model card that files does not list": (put("x.md", "model_card"), "model_card names 'x.md'"),
    "a malformed hash": (put("abc", "files", 0, "sha256"), "$.files[0].sha256"),
    "a negative size": (put(-1, "files", 0, "size"), "$.files[0].size"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_refuses(case: str, facts: Facts) -> None:
    decode(facts)  # the control: unchanged, it is accepted
    change, named = REFUSALS[case]
    change(facts)
    with pytest.raises(BadInput) as refusal:
        decode(facts)
    assert named in str(refusal.value)
    assert str(refusal.value).isprintable()
    assert str(refusal.value).startswith("manifest.json: ")


def many_states(number: int) -> list[Facts]:
    """Each crosses four borders with 8 MiB: into observe and out of it, into imagine and decode."""
    return [{"name": f"s{index}", "shape": [2**21], "dtype": "float32"} for index in range(number)]


@pytest.mark.parametrize(
    ("under", "over", "named"),
    [
        (put(many_states(7), "state"), put(many_states(8), "state"), "add up to more than 256 MiB"),
        # 2**26 numbers = 4 plans x iterations x 4096 candidates x 3 steps x 2 numbers
        (put(682, "planner", "iterations"), put(683, "planner", "iterations"), "must not exceed 16777216"),
    ],
)
def test_what_a_model_allocates_is_bounded(
    under: Callable[[Facts], None], over: Callable[[Facts], None], named: str, facts: Facts
) -> None:
    facts["imagine"]["candidates"] = 4096
    under(facts)
    decode(facts)
    over(facts)
    with pytest.raises(BadInput, match=named):
        decode(facts)


@pytest.mark.parametrize("key", ['"version"', '"unit"', '"success_rate"'])
def test_a_key_that_occurs_twice_is_refused(facts: Facts, key: str) -> None:
    text = json.dumps(facts)
    decode_manifest(text.encode())
    with pytest.raises(BadInput, match=f"key '{key[1:-1]}' occurs twice"):
        decode_manifest(
            text.replace(
                f"{key}: ", f"{key}: 0, {key}: " if "rate" in key else f'{key}: "1.0.0", {key}: '
            ).encode()
        )


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format_version": "1"}']
)
def test_it_refuses_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(BadInput):
        decode_manifest(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    with pytest.raises(BadInput):
        decode_manifest(data)


@pytest.mark.parametrize("number", ["1e999", "NaN", "Infinity"])
def test_a_number_that_is_not_finite_is_refused(facts: Facts, number: str) -> None:
    text = json.dumps(facts).replace(f'"tick_s": {facts["tick_s"]}', f'"tick_s": {number}')
    assert math.isfinite(facts["tick_s"]) and number in text
    with pytest.raises(BadInput):
        decode_manifest(text.encode())
