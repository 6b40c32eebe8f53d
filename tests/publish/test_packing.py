from __future__ import annotations

import hashlib
import random

import bsdiff4
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_wm.paths import shipped
from edge_wm.publish import packing
from edge_wm.publish.packing import deltas, whole_form
from edge_wm.update.forms import restore
from edge_wm.update.release import Form, ReleasedFile

NOISE = random.Random(3).randbytes(50_000)


def file_of(content: bytes) -> ReleasedFile:
    return ReleasedFile("a.bin", len(content), hashlib.sha256(content).hexdigest(), (Form("plain", 0),))


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_can_be_compressed_travels_compressed() -> None:
    content = b"weights " * 1000
    form, packed = whole_form(file_of(content), content)
    assert form.kind == "zstd" and form.size == len(packed) < 200
    assert restore(file_of(content), form, packed) == content


@pytest.mark.parametrize("content", [NOISE, b"", b"x"])
def test_what_cannot_be_compressed_travels_plain(content: bytes) -> None:
    form, packed = whole_form(file_of(content), content)
    assert form == Form("plain", len(content)) and packed == content


def test_a_small_change_travels_as_a_small_delta() -> None:
    new = NOISE[:20_000] + b"CHANGED" + NOISE[20_007:]
    ((form, packed),) = deltas(file_of(new), new, [(sha(NOISE), NOISE)], len(new))
    assert (form.kind, form.base, form.size) == ("bsdiff", sha(NOISE), len(packed))
    assert len(packed) < 0.02 * len(new)
    assert restore(file_of(new), form, packed, NOISE) == new


def test_a_delta_that_saves_less_than_a_tenth_is_not_kept() -> None:
    other = random.Random(4).randbytes(50_000)
    assert len(bsdiff4.diff(NOISE, other)) > packing.WORTH * len(other)
    assert list(deltas(file_of(other), other, [(sha(NOISE), NOISE)], len(other))) == []


def test_of_several_files_each_gets_its_own_delta() -> None:
    bases = [NOISE[:100] + bytes([number]) + NOISE[101:] for number in range(3)]
    made = list(deltas(file_of(NOISE), NOISE, [(sha(base), base) for base in bases], len(NOISE)))
    assert [form.base for form, _ in made] == [sha(base) for base in bases]


@pytest.mark.parametrize("limit_on", ["new", "old"])
def test_large_files_get_no_delta_for_bsdiff_needs_many_times_their_memory(
    monkeypatch: pytest.MonkeyPatch, limit_on: str
) -> None:
    new, old = (NOISE, NOISE[:40_000]) if limit_on == "new" else (NOISE[:40_000], NOISE)
    assert list(deltas(file_of(new), new, [(sha(old), old)], len(new)))
    monkeypatch.setattr(packing, "MAX_DELTA_BYTES", 45_000)
    assert list(deltas(file_of(new), new, [(sha(old), old)], len(new))) == []


def with_few_weights_changed(graph: bytes) -> bytes:
    """The same graph with another number for 1 % of the weights of each tensor."""
    model, chance = onnx.load_from_string(graph), np.random.default_rng(5)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor).copy()
        if weights.dtype in (np.float32, np.int8) and weights.size >= 100:
            chosen = chance.random(weights.shape) < 0.01
            weights[chosen] = chance.permutation(weights[chosen]) + weights.dtype.type(1)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return model.SerializeToString()


@pytest.mark.parametrize("name", ["observe.fp32", "observe.int8", "imagine.fp32", "imagine.int8"])
def test_of_a_graph_of_the_shipped_model_one_weight_in_a_hundred_travels_as_a_tenth_at_most(
    name: str,
) -> None:
    """What an update of the whole bundle carries is measured by benchmarks/update_size.py."""
    old = (shipped("models", "rooms-student") / f"{name}.onnx").read_bytes()
    old = onnx.load_from_string(old).SerializeToString()
    new = with_few_weights_changed(old)
    assert sum(a != b for a, b in zip(old, new, strict=True)) > 0.004 * len(old)
    whole, _ = whole_form(file_of(new), new)
    ((delta, _),) = deltas(file_of(new), new, [(sha(old), old)], whole.size)
    assert delta.size < 0.10 * whole.size
