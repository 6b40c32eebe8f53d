"""Changes what is in a bundle beside its graphs: the manifest as JSON, golden vectors and initial values as arrays."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec

SCALARS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 0.5, -0.0, 1e-9, 1e9, 1e308, -1e308, 1e-320, 255, 1 << 16, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 53,
    1 << 63, 1 << 64, -(1 << 63), 1 << 200, True, None, "", "N", "H", "A", "x", "..", "../x", "/etc/passwd", "a/../../b",
    "\u0000", "é", "*", "fp32", "int8", "float64", "bool", "int64", "decode", "imagine", "observe", "onnx", "tflite",
    "manifest.json", "golden.npz", "mppi", "cem", [], {}, [0], [[]], {"": 0},
)  # fmt: skip
RAW = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-",
    b'"\\ud800"',
    b"[" * 5000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"\xff",
    b"\0",
    b"",
)
DESCRIPTIONS = (
    "<f4",
    "<f8",
    ">f4",
    "|O",
    "<U3",
    "|V4",
    "<i8",
    "|u1",
    "|b1",
    "<f2",
    "(2,)<f4",
    "<M8[s]",
    "<f4,<f4",
    "x" * 999,
)
SHAPES = (
    "()",
    "(0,)",
    "(1,)",
    "(3,)",
    "(-1,)",
    "(16000000,)",
    "(2**40,)",
    "(1,)*40",
    "[1]",
    "None",
    "(1.0,)",
    "(True,)",
)
SHAPES += (
    "(4294967296, 4294967296)",
    "(0, 18446744073709551616)",
    "((1,),)",
    "(" * 200 + ")" * 200,
    "-" * 3000 + "1",
    "'1'",
)


def manifest(chance: Random, data: bytes) -> bytes:
    """A manifest with a few values changed, or its text."""
    if chance.random() < 0.25:
        return _text(chance, data)
    facts = msgspec.json.decode(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        places = list(_places(facts))
        holder, key = chance.choice(places)
        way = chance.randrange(10)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif way == 1:
            holder[chance.choice(("extra", "", "name", "files", str(key).upper()))] = holder[key]
        elif way == 2:
            other, there = chance.choice(places)
            holder[key], other[there] = other[there], holder[key]
        elif way == 3 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * chance.choice((-1, 2, 0.5, 10, 1000))
        elif way == 4 and isinstance(holder[key], str):
            holder[key] = chance.choice(
                (holder[key] * 2, holder[key][:-1], holder[key] + "\n", holder[key] * 300)
            )
        elif way == 5 and isinstance(holder[key], list):
            holder[key] = holder[key] * chance.choice((0, 2, 70))
        else:
            holder[key] = chance.choice(SCALARS)
    try:
        return msgspec.json.encode(facts)
    except (ValueError, RecursionError, OverflowError):
        return data + b" "


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value with what holds it and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _text(chance: Random, data: bytes) -> bytes:
    way = chance.randrange(5)
    start = chance.randrange(len(data))
    if way == 0:
        return data[:start]
    if way == 1:
        return data[:start] + chance.choice(RAW) + data[start:]
    if way == 2:  # a value becomes something that JSON does not know
        at = data.find(b":", start) + 1
        return data[:at] + chance.choice(RAW) + data[at:] if at else data[:-1]
    if way == 3:
        end = min(len(data), start + chance.randrange(1, 200))
        return data[:end] + data[start:]
    return data[:start] + bytes([data[start] ^ 1 << chance.randrange(8)]) + data[start + 1 :]


def npy(chance: Random, data: bytes) -> bytes:
    """An array with another header, or other bytes."""
    way = chance.randrange(6)
    if way == 0:
        return data[: chance.randrange(len(data) + 1)]
    if way == 1:
        place = chance.randrange(len(data))
        return data[:place] + bytes([chance.choice((0, 1, 2, 3, 127, 128, 255))]) + data[place + 1 :]
    if way == 2:
        return data + bytes(chance.randrange(1, 9))
    start = 10
    end = start + int.from_bytes(data[8:10], "little")
    header = data[start:end].decode("latin-1")
    kind, _, rest = header.partition("'fortran_order'")
    order, _, shape = rest.partition("'shape': ")
    if way == 3:
        kind = f"{{'descr': {chance.choice(DESCRIPTIONS)!r}, "
    elif way == 4:
        shape = chance.choice(SHAPES) + ", }"
    else:
        order = chance.choice((": True, ", ": 0, ", ": None, ", "", ": __import__('os'), "))
    made = f"{kind}'fortran_order'{order}'shape': {shape}".encode("latin-1")
    version = chance.choice((1, 1, 1, 2, 3, 0))
    size = struct.pack("<H" if version == 1 else "<I", len(made) % (1 << 16))
    return data[:6] + bytes([version, 0]) + size + made + data[end:]


def npz(chance: Random, data: bytes) -> bytes:
    """An archive with one array changed, one renamed, doubled or removed, or other bytes in its tables."""
    way = chance.randrange(8)
    if way >= 6:
        changed = bytearray(data)
        tables = [at for at in range(len(data) - 4) if data[at : at + 2] == b"PK"]
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = min(len(data) - 1, chance.choice(tables) + chance.randrange(46))
            changed[at] = chance.choice((0, 1, 8, 9, 12, 14, 127, 128, 255))
        return bytes(changed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    place = chance.randrange(len(members))
    name, content = members[place]
    if way <= 2:
        members[place] = name, npy(chance, content)
    elif way == 3:
        members[place] = (
            chance.choice(("x.npy", "../x.npy", name.upper(), "", name + "\0", "a" * 70_000)),
            content,
        )
    elif way == 4:
        members.insert(place, members[chance.randrange(len(members))])
    else:
        del members[place]
    return packed(members)


def packed(members: list[tuple[str, bytes]]) -> bytes:
    """An archive of these, at a time of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name[:60_000]), content)
    return buffer.getvalue()
