"""Streams for the codec in Python and the parser in C, of which every frame is known to be as it was sent or not; and what both make of them.

Part of ``make fuzz``: see `benchmarks.fuzz`.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import timeit
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from random import Random

from firmware_bridge.framing import FrameReader, decode, encode
from firmware_bridge.simulator.avr_bench import FIRMWARE
from firmware_bridge.wire import LAYOUTS, TYPES, Drive, Message, Status
from tests.firmware_bridge.core import RANGES, SHIM, STRICT, c_frames, library

Plain = tuple[int, int, bytes]
"""Type, sequence number and fields of a frame."""
COUNTED = ("bytes", "taken", "dropped", "accepted_bad", "failed", "crashes")


def _other_bit(random: Random, line: bytes) -> bytes:
    number = int.from_bytes(line, "big") ^ 1 << random.randrange(8 * len(line))
    return number.to_bytes(len(line), "big")


def _other_bytes(random: Random, line: bytes) -> bytes:
    at = random.randrange(len(line))
    return line[:at] + random.randbytes(random.randrange(1, 5)) + line[at + 1 :]


def _lost(random: Random, line: bytes) -> bytes:
    at = random.randrange(len(line))
    return line[:at] + line[at + random.randrange(1, 5) :]


def _twice(random: Random, line: bytes) -> bytes:
    at = random.randrange(len(line))
    return line[:at] + line[max(0, at - 3) :]


SPOILERS: dict[str, Callable[[Random, bytes], bytes]] = {
    "not at all": lambda random, line: line,
    "again": lambda random, line: line + line,
    "a wrong bit": _other_bit,
    "two wrong bits": lambda random, line: _other_bit(random, _other_bit(random, line)),
    "wrong bytes": _other_bytes,
    "bytes lost": _lost,
    "bytes twice": _twice,
    "cut short": lambda random, line: line[: random.randrange(len(line))],
    "a zero within": lambda random, line: line[: (at := random.randrange(len(line)))] + b"\0" + line[at:],
    "noise before it": lambda random, line: random.randbytes(random.randrange(1, 80)) + line,
    "noise instead": lambda random, line: random.randbytes(random.randrange(1, 80)),
}
"""What the line does to a frame."""


def codec(wanted: int, seed: int, jobs: int) -> Counter[str]:
    """`compare` at least so many bytes, in several processes."""
    counts = Counter(dict.fromkeys(COUNTED, 0))
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
    ):
        shim = shim_built(Path(folder))
        asked = [pool.submit(compare, shim, -(-wanted // jobs), 1_000 * seed + job) for job in range(jobs)]
        for one in asked:
            try:
                counts.update(one.result())
            except BrokenProcessPool:  # undefined behaviour in C ends the process
                counts["crashes"] += 1
    return counts


def shim_built(folder: Path, core: Path = FIRMWARE / "core") -> Path:
    """The core as a library, as the tests have it."""
    output = folder / "core.so"
    trap = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    sources = [*map(str, core.glob("*.c")), str(SHIM)]
    command = ["cc", "-O1", *STRICT, *trap, f"-I{core}", "-shared", "-fPIC", *sources, "-o", str(output)]
    subprocess.run(command, check=True)
    return output


def compare(shim: Path, wanted: int, seed: int) -> Counter[str]:
    """Give both parsers the same streams, and count what they make of them.

    Args:
        shim: of `shim_built`.
        wanted: bytes, at least.
        seed: of the streams.

    Returns:
        ``bytes``; ``taken`` and ``dropped``, frames of the Python codec; and what must be zero: ``accepted_bad``, frames that either
        end took and nobody sent; ``failed``, streams in which either did not take a frame that arrived as it was sent, the one at the end
        among them, or did not count what it dropped; ``crashes``, of the Python codec.
    """
    parser = library(shim)
    random = Random(seed)
    counts = Counter(dict.fromkeys(COUNTED, 0))
    while counts["bytes"] < wanted:
        sent, stream = _drawn_stream(parser, random)
        counts["bytes"] += len(stream)
        lines = [line for line in stream.split(b"\0") if line]
        whole = [sent[line] for line in lines if line in sent]
        known = [(kind, number, fields) for kind, number, fields in whole if _is_known(kind, fields)]
        reader = FrameReader()
        try:
            taken = _fed(reader, stream, random)
        except Exception as error:
            counts["crashes"] += 1
            print(f"{type(error).__name__}: {error} at {stream.hex()}")
            continue
        theirs, damaged = c_frames(parser, stream)
        bad = (Counter(taken) - Counter(known)) + (Counter(theirs) - Counter(whole))
        sound = (known, len(lines) - len(known), whole, len(lines) - len(whole))
        counts["accepted_bad"] += sum(bad.values())
        counts["failed"] += not bad and (taken, reader.damaged, theirs, damaged) != sound
        counts["taken"] += len(taken)
        counts["dropped"] += reader.damaged
    return counts


def drawn_message(random: Random, kind: int) -> Message:
    """A message of a type, of any numbers that its fields can hold, zeros among them more often than by chance."""
    message, layout = LAYOUTS[kind]
    letters = layout.format.strip("<")
    return message(*(random.choice([0, random.randint(*RANGES[letter])]) for letter in letters))


def codec_us() -> float:
    """Microseconds for a Drive and its Status to be encoded and decoded, all four in Python: the best of 20 rounds."""
    drive, status = (
        Drive(300, -1_200),
        Status(0, 1, 0, 123_456_789, 4_000, 300, -1_200, -1_234, 5_678, 430, 520, 7_400),
    )

    def round_trip() -> None:
        assert decode(encode(drive, 7)[:-1]) is not None
        assert decode(encode(status, 7)[:-1]) is not None

    return min(timeit.repeat(round_trip, number=500, repeat=20)) / 500 * 1e6


def _drawn_stream(parser: ctypes.CDLL, random: Random) -> tuple[dict[bytes, Plain], bytes]:
    """All frames that were sent, by their lines without the zero; and what came of them.  A good one is at its end."""
    sent: dict[bytes, Plain] = {}
    stream = b""
    for _ in range(random.randrange(1, 30)):
        kind = random.choice([*LAYOUTS, random.randrange(256)])
        if kind in LAYOUTS and random.random() < 0.9:
            fields = LAYOUTS[kind][1].pack(*drawn_message(random, kind))
        else:
            fields = random.randbytes(random.randrange(56))
        line = _line(parser, (kind, random.randrange(65_536), fields), sent)
        stream += random.choice(list(SPOILERS.values()))(random, line)
    good = (TYPES[Drive], 9, LAYOUTS[TYPES[Drive]][1].pack(300, -1_200))
    return sent, stream + b"\0" + _line(parser, good, sent)


def _line(parser: ctypes.CDLL, frame: Plain, sent: dict[bytes, Plain]) -> bytes:
    kind, sequence, fields = frame
    buffer = ctypes.create_string_buffer(64)
    size = parser.shim_encode(kind, sequence, fields, len(fields), buffer)
    line = buffer.raw[:size]
    sent[line[:-1]] = frame
    return line


def _is_known(kind: int, fields: bytes) -> bool:
    return kind in LAYOUTS and len(fields) == LAYOUTS[kind][1].size


def _fed(reader: FrameReader, stream: bytes, random: Random) -> list[Plain]:
    """What the reader finds in the stream, which comes in parts."""
    found: list[tuple[int, Message]] = []
    at = 0
    while at < len(stream):
        part = stream[at : at + random.randrange(1, 100)]
        found += reader.feed(part)
        at += len(part)
    kinds = ((TYPES[type(message)], sequence, message) for sequence, message in found)
    return [(kind, sequence, LAYOUTS[kind][1].pack(*message)) for kind, sequence, message in kinds]
