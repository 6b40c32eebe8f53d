"""Changes a flatbuffer where it stands: numbers, offsets, lengths of vectors, entries of vtables, and nothing moves."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import NamedTuple

from edge_wm.bundle import tflite_wire as wire

TABLES: dict[tuple[str, str], str] = {
    ("MODEL", "operator_codes"): "OPERATOR_CODE",
    ("MODEL", "subgraphs"): "SUBGRAPH",
    ("MODEL", "buffers"): "BUFFER",
    ("MODEL", "metadata"): "METADATA",
    ("MODEL", "signature_defs"): "SIGNATURE",
    ("SUBGRAPH", "tensors"): "TENSOR",
    ("SUBGRAPH", "operators"): "OPERATOR",
    ("TENSOR", "quantization"): "QUANTIZATION",
    ("SIGNATURE", "inputs"): "TENSOR_MAP",
    ("SIGNATURE", "outputs"): "TENSOR_MAP",
}
"""What a field of a table holds, by the names of the tables of ``tflite_wire``."""
INTEGERS = (0, 1, -1, 2, 3, 4, 7, 8, 16, 32, 127, 128, 255, 256, 1000, 1 << 15, 1 << 16, 1 << 20, 1 << 24)
INTEGERS += ((1 << 31) - 1, -(1 << 31), (1 << 32) - 1, 1 << 32, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan"))


class Place(NamedTuple):
    """A number in the file: where, of which ``struct`` code, and what it is for."""

    at: int
    code: str
    what: str


def mutated(chance: Random, data: bytes, other: bytes) -> bytes:
    """A file like ``data`` with one to three numbers changed where they stand."""
    places = _places(data)
    changed = bytearray(data)
    kinds = sorted({place.what for place in places})
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kind = chance.choice(kinds)
        place = chance.choice([known for known in places if known.what == kind])
        size = struct.calcsize(place.code)
        (old,) = struct.unpack_from(f"<{place.code}", changed, place.at)
        if place.code in "fd":
            struct.pack_into(f"<{place.code}", changed, place.at, chance.choice(FLOATS))
            continue
        way = chance.randrange(6)
        if way == 0:
            new = int(old) + chance.choice((-1, 1, 2, 4, -4))
        elif way == 1:  # what stands in a similar place
            twin = chance.choice([known for known in places if known.what == kind])
            (new,) = struct.unpack_from(f"<{twin.code}", changed, twin.at)
        elif way == 2:
            new = chance.choice((len(data) - place.at, len(data), -place.at, place.at))
        else:
            new = chance.choice(INTEGERS)
        changed[place.at : place.at + size] = (int(new) % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(changed)


@lru_cache(maxsize=256)
def _places(data: bytes) -> tuple[Place, ...]:
    """All that is known of a sound file."""
    root = struct.unpack_from("<I", data, 0)[0]
    return (Place(0, "I", "root"), *_table(data, root, "MODEL"))


def _table(data: bytes, position: int, name: str) -> Iterator[Place]:
    vtable = position - struct.unpack_from("<i", data, position)[0]
    size, _ = struct.unpack_from("<HH", data, vtable)
    yield Place(position, "i", "vtable of a table")
    yield Place(vtable, "H", "size of a vtable")
    yield Place(vtable + 2, "H", "size of a table")
    fields: tuple[wire.Field, ...] = getattr(wire, name) if name else ()
    for number in range((size - 4) // 2):
        slot = vtable + 4 + 2 * number
        yield Place(slot, "H", "entry of a vtable")
        offset = struct.unpack_from("<H", data, slot)[0]
        if not offset:
            continue
        place = position + offset
        if number >= len(fields):
            yield Place(place, "i", "option of an operator")
            continue
        kind = fields[number].kind
        what = f"{name}.{fields[number].name}"
        if kind in ("table", "tables", "text") or kind.startswith("*"):
            target = place + struct.unpack_from("<I", data, place)[0]
            yield Place(place, "I", f"offset to {what}")
            if kind == "table":
                yield from _table(data, target, TABLES.get((name, fields[number].name), ""))
                continue
            yield Place(target, "I", f"length of {what}")
            count = struct.unpack_from("<I", data, target)[0]
            if kind == "tables":
                for index in range(count):
                    at = target + 4 + 4 * index
                    yield Place(at, "I", f"offset in {what}")
                    inner = TABLES.get((name, fields[number].name), "")
                    yield from _table(data, at + struct.unpack_from("<I", data, at)[0], inner)
            elif kind.startswith("*"):
                code = "i" if what == "BUFFER.data" else kind[1:]
                width = struct.calcsize(code)
                bytes_ = count if what == "BUFFER.data" else count * width
                for at in range(target + 4, target + 4 + bytes_ - width + 1, width)[:64]:
                    yield Place(at, code, what)
        elif kind != "refused":
            yield Place(place, kind, what)
