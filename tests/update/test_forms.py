"""What was fetched gives the file of the release, or is refused before it fills the memory."""

from __future__ import annotations

import bz2
import hashlib
import struct
import tracemalloc

import bsdiff4
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wm.errors import BadInput
from edge_wm.update.forms import restore
from edge_wm.update.release import Form, FormKind, ReleasedFile

OLD = bytes(range(256)) * 40
NEW = OLD[:5000] + b"something else" + OLD[5003:]


def released(content: bytes) -> ReleasedFile:
    return ReleasedFile(
        "a.onnx", len(content), hashlib.sha256(content).hexdigest(), (Form("plain", len(content)),)
    )


def form(kind: FormKind, fetched: bytes) -> Form:
    return Form(kind, len(fetched), hashlib.sha256(OLD).hexdigest() if kind == "bsdiff" else None)


MADE = {
    "plain": NEW,
    "zstd": zstandard.ZstdCompressor(19).compress(NEW),
    "bsdiff": bsdiff4.diff(OLD, NEW),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_form_gives_the_file(kind: FormKind) -> None:
    assert restore(released(NEW), form(kind, MADE[kind]), MADE[kind], OLD) == NEW


@given(st.binary(max_size=3000), st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_deltas_between_any_two_files_do_what_bsdiff4_does(old: bytes, new: bytes) -> None:
    patch = bsdiff4.diff(old, new)
    assert restore(released(new), form("bsdiff", patch), patch, old) == new == bsdiff4.patch(old, patch)


@pytest.mark.parametrize("kind", MADE)
def test_a_byte_that_changed_is_refused(kind: FormKind) -> None:
    for position in range(0, len(MADE[kind]), max(1, len(MADE[kind]) // 97)):
        damaged = bytearray(MADE[kind])
        damaged[position] ^= 0x40
        try:
            content = restore(released(NEW), form(kind, MADE[kind]), bytes(damaged), OLD)
        except BadInput as refusal:
            assert str(refusal).startswith("a.onnx: what was fetched")
        else:
            assert content == NEW  # such as a bit of the frame header that nobody reads


@pytest.mark.parametrize("kind", MADE)
def test_what_is_cut_off_is_refused(kind: FormKind) -> None:
    for size in (0, 1, 7, 31, len(MADE[kind]) - 1):
        with pytest.raises(BadInput):
            restore(released(NEW), form(kind, MADE[kind]), MADE[kind][:size], OLD)


def test_a_delta_needs_the_file_it_starts_from() -> None:
    with pytest.raises(BadInput):
        restore(released(NEW), form("bsdiff", MADE["bsdiff"]), MADE["bsdiff"], OLD[1:])


def bomb_of_zeros(size: int) -> bytes:
    """A bsdiff whose blocks unpack to ``size`` bytes each, for a result as large as NEW."""
    block = bz2.compress(bytes(size))
    return struct.pack("<8sqqq", b"BSDIFF40", len(block), len(block), len(NEW)) + block + block + block


@pytest.mark.parametrize(
    ("kind", "bomb"),
    [
        ("zstd", zstandard.ZstdCompressor(19).compress(bytes(1 << 28))),
        ("bsdiff", bomb_of_zeros(1 << 26)),
        ("bsdiff", struct.pack("<8sqqq", b"BSDIFF40", 0, 0, 1 << 60)),
        ("bsdiff", struct.pack("<8sqqq", b"BSDIFF40", -1, -1, len(NEW))),
        ("bsdiff", struct.pack("<8sqqq", b"BSDIFF40", 1 << 60, 1 << 60, len(NEW))),
    ],
    ids=["zstd", "blocks", "result", "negative", "beyond the end"],
)
def test_a_bomb_does_not_go_off(kind: FormKind, bomb: bytes) -> None:
    assert len(bomb) < 1 << 17
    tracemalloc.start()
    with pytest.raises(BadInput):
        restore(released(NEW), form(kind, bomb), bomb, OLD)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_bsdiff4_itself_would_unpack_the_bomb() -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="control block"):
        bsdiff4.patch(OLD, bomb_of_zeros(1 << 25))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak > 16 << 20
