"""What a power cut may leave, on a log made by hand; no file system is needed."""

from __future__ import annotations

from tests.power_cuts.block_log import Flush, Image, Mark, Recording, Write
from tests.power_cuts.crash_states import crash_states, crashed

BLOCK = 4096
SIZE = 8 * BLOCK


def block(number: int, content: bytes) -> Write:
    return Write(number * BLOCK, content * BLOCK)


RECORDING = Recording(
    "ext4",
    Image(SIZE, (block(0, b"0"),)),
    (
        block(1, b"a"),
        block(2, b"b"),
        Flush(),
        Mark("a and b"),
        block(1, b"c"),
        block(3, b"d"),
        block(4, b"e"),
        Flush(),
        Mark("all"),
        block(5, b"f"),
    ),
)


def disk(image: Image) -> bytes:
    content = bytearray(image.size)
    for write in image.content:
        content[write.offset : write.offset + len(write.data)] = write.data
    return bytes(content)


def states() -> list[tuple[tuple[str, ...], bytes]]:
    return [
        (RECORDING.marks(state.cut), disk(crashed(RECORDING, state)))
        for state in crash_states(RECORDING, 400)
    ]


def test_what_was_flushed_is_never_lost() -> None:
    for marks, content in states():
        assert content[:BLOCK] == b"0" * BLOCK
        if marks:
            assert content[2 * BLOCK : 3 * BLOCK] == b"b" * BLOCK
        if len(marks) == 2:
            assert content[BLOCK : 5 * BLOCK] == b"".join(
                letter * BLOCK for letter in (b"c", b"b", b"d", b"e")
            )


def test_what_was_not_flushed_is_lost_in_every_way() -> None:
    found = {
        tuple(
            content[at * BLOCK : (at + 1) * BLOCK] == letter * BLOCK
            for at, letter in ((1, b"c"), (3, b"d"), (4, b"e"))
        )
        for marks, content in states()
        if len(marks) == 1
    }
    assert len(found) == 8, "each of three writes is there or not"


def test_a_write_is_torn_between_sectors_and_not_within_one() -> None:
    sectors = {content[at : at + 1024] for _, content in states() for at in range(BLOCK, 2 * BLOCK, 1024)}
    assert sectors == {letter * 1024 for letter in (b"\0", b"a", b"c")}
    assert any(len(set(content[BLOCK : 2 * BLOCK])) > 1 for _, content in states())


def test_all_states_differ_and_are_the_same_every_time() -> None:
    found = states()
    assert len(set(found)) == len(found)
    assert states() == found
    assert crash_states(RECORDING, 400, seed=1) != crash_states(RECORDING, 400)


def test_promises_come_first_when_states_are_few() -> None:
    few = crash_states(RECORDING, 2)
    assert [(state.cut, state.lost) for state in few] == [(4, "everything"), (9, "everything")]
