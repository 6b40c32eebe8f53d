"""Frames: both ends make the same bytes, and nothing that was damaged is taken for one."""

from __future__ import annotations

import ctypes
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.framing import MAX_LINE_BYTES, FrameReader, decode, encode
from firmware_bridge.wire import LAYOUTS, TYPES, Drive, Identity, Message, Status
from tests.firmware_bridge.core import RANGES, c_frames


@st.composite
def messages(draw: st.DrawFn) -> Message:
    message, layout = draw(st.sampled_from(list(LAYOUTS.values())))
    return message(*(draw(st.integers(*RANGES[letter])) for letter in layout.format.strip("<")))


@st.composite
def spoiled_frames(draw: st.DrawFn) -> bytes:
    """A frame in which up to three bytes were lost, and others came in their place."""
    line = encode(draw(messages()), 7)
    at = draw(st.integers(0, len(line) - 1))
    return line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 3)) :]


SEQUENCES = st.integers(0, 0xFFFF)
FRAMES = messages().map(lambda message: encode(message, 7))


@given(messages(), SEQUENCES)
def test_what_is_encoded_is_decoded(message: Message, sequence: int) -> None:
    line = encode(message, sequence)
    assert line.index(0) == len(line) - 1 < MAX_LINE_BYTES
    assert decode(line[:-1]) == (sequence, message)


@given(message=messages(), sequence=SEQUENCES)
def test_both_ends_make_the_same_bytes(shim: ctypes.CDLL, message: Message, sequence: int) -> None:
    kind = TYPES[type(message)]
    fields = LAYOUTS[kind][1].pack(*message)
    line = ctypes.create_string_buffer(64)
    count = shim.shim_encode(kind, sequence, fields, len(fields), line)
    assert line.raw[:count] == encode(message, sequence)
    assert c_frames(shim, encode(message, sequence)) == ([(kind, sequence, fields)], 0)


@given(stream=st.lists(st.one_of(FRAMES, spoiled_frames(), st.binary(max_size=90))).map(b"".join))
def test_both_ends_find_the_same_frames_in_any_stream(shim: ctypes.CDLL, stream: bytes) -> None:
    reader = FrameReader()
    found = [(TYPES[type(message)], sequence) for sequence, message in reader.feed(stream)]
    theirs, damaged = c_frames(shim, stream)
    known = [
        (kind, sequence)
        for kind, sequence, fields in theirs
        if kind in LAYOUTS and len(fields) == LAYOUTS[kind][1].size
    ]
    assert found == known
    assert reader.damaged == damaged + len(theirs) - len(known)


@pytest.mark.parametrize("message", [Drive(300, -1200), Status(*range(12)), Identity(*range(17))])
def test_no_frame_with_one_or_two_wrong_bits_is_taken(shim: ctypes.CDLL, message: Message) -> None:
    line = encode(message, 5)[:-1]
    bits = len(line) * 8
    number = int.from_bytes(line, "big")

    def is_taken(wrong: int) -> bool:
        changed = (number ^ wrong).to_bytes(len(line), "big")
        return bool(c_frames(shim, changed + b"\0")[0]) or (
            b"\0" not in changed and decode(changed) is not None
        )

    assert is_taken(0)
    for first in range(bits):
        assert not is_taken(1 << first)
        second = (first * 7 + 3) % bits
        assert second == first or not is_taken(1 << first | 1 << second)


@given(noise=st.binary(max_size=300), message=messages())
def test_after_any_noise_the_next_frame_is_understood(
    shim: ctypes.CDLL, noise: bytes, message: Message
) -> None:
    stream = noise + b"\0" + encode(message, 9)
    assert [*FrameReader().feed(stream)][-1] == (9, message)
    assert c_frames(shim, stream)[0][-1][:2] == (TYPES[type(message)], 9)


@pytest.mark.parametrize(
    "noise", [b"\x02" * 300, b"\xff" * 64, b"\x40" * 63, b"\x05", b"\x01" * 5, b"\x01" * 63]
)
def test_nor_does_noise_of_any_kind_outlast_its_zero(shim: ctypes.CDLL, noise: bytes) -> None:
    """Too long, cut short, too little, or only zeros inside."""
    stream = noise + b"\0" + encode(Drive(300, 0), 9)
    reader = FrameReader()
    assert [*reader.feed(stream)] == [(9, Drive(300, 0))]
    [(kind, sequence, _)], damaged = c_frames(shim, stream)
    assert (kind, sequence, damaged, reader.damaged) == (3, 9, 1, 1)


def test_a_whole_frame_with_more_behind_it_is_none(shim: ctypes.CDLL) -> None:
    """The longest that there can be fills the firmware's buffer, and its checksum is right: the rest must not get lost."""
    line = ctypes.create_string_buffer(64)
    count = shim.shim_encode(130, 5, b"\x01" * 55, 55, line)
    assert c_frames(shim, line.raw[:count]) == ([(130, 5, b"\x01" * 55)], 0)
    assert c_frames(shim, line.raw[: count - 1] + b"\x03\x01\x01\0") == ([], 1)


@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_the_bytes_arrive(stream: bytes, cuts: list[int]) -> None:
    stream = encode(Drive(1, 2), 3) + stream + b"\0" + encode(Drive(4, 5), 6)
    whole, parts = FrameReader(), FrameReader()
    at, found = 0, []
    for cut in [*sorted(cuts), len(stream)]:
        found += parts.feed(stream[at : max(at, cut)])
        at = max(at, cut)
    assert found == [*whole.feed(stream)]
    assert parts.damaged == whole.damaged


def test_the_checksum_is_that_of_the_specification() -> None:
    assert zlib.crc32(b"123456789") == 0xCBF43926
