"""Changes a protobuf as what it is on the wire: fields of any message changed, doubled, removed, swapped, of another wire type."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from edge_wm.bundle import onnx_wire
from edge_wm.bundle.onnx_wire import Field

VARINTS = (0, 1, 2, 3, 5, 7, 8, 16, 127, 128, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 62)
VARINTS += ((1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2, 1 << 64, 1 << 69)
MESSAGES: dict[tuple[str, str], str] = {
    ("MODEL", "graph"): "GRAPH",
    ("MODEL", "opset_import"): "OPSET",
    ("GRAPH", "node"): "NODE",
    ("GRAPH", "initializer"): "TENSOR",
    ("GRAPH", "input"): "VALUE_INFO",
    ("GRAPH", "output"): "VALUE_INFO",
    ("GRAPH", "value_info"): "VALUE_INFO",
    ("NODE", "attribute"): "ATTRIBUTE",
    ("ATTRIBUTE", "t"): "TENSOR",
    ("VALUE_INFO", "type"): "TYPE",
    ("TYPE", "tensor_type"): "TENSOR_TYPE",
    ("TENSOR_TYPE", "shape"): "SHAPE",
    ("SHAPE", "dim"): "DIMENSION",
}
"""What a field of a message holds, by the names of the tables of ``onnx_wire``."""
NESTED = 3_000


class _Part(NamedTuple):
    """One field where it stands: its number, wire type, value (an integer or bytes), and the message that it is."""

    number: int
    wire: int
    value: int | bytes
    message: str | None


def mutated(chance: Random, data: bytes, other: bytes) -> bytes:
    """A file like ``data`` with one or two fields changed on the wire; one may come from ``other``."""
    for _ in range(chance.choice((1, 1, 2))):
        data = _changed(chance, data, "MODEL", other)
    return data


def _changed(chance: Random, data: bytes, message: str, other: bytes) -> bytes:
    parts = _parts(data, message)
    if not parts:
        return data + _written(_Part(chance.randrange(1, 30), 0, chance.choice(VARINTS), None))
    place = chance.randrange(len(parts))
    part = parts[place]
    if part.message is not None and isinstance(part.value, bytes) and chance.random() < 0.9:
        parts[place] = part._replace(value=_changed(chance, part.value, part.message, other))
        return b"".join(map(_written, parts))
    way = chance.randrange(9)
    if way == 0:
        parts.insert(chance.randrange(len(parts) + 1), part)
    elif way == 1:
        del parts[place]
    elif way == 2:
        where = chance.randrange(len(parts))
        parts[place], parts[where] = parts[where], parts[place]
    elif way == 3:
        parts[place] = part._replace(number=chance.choice((0, 1, *range(1, 30), (1 << 29) - 1)))
    elif way == 4:
        parts[place] = part._replace(wire=chance.randrange(8))
    elif way == 5 and isinstance(part.value, bytes):
        nested = part.value
        for _ in range(chance.choice((1, 40, NESTED))):
            nested = _written(_Part(part.number, 2, nested, None))
        parts[place] = part._replace(value=nested)
    elif way == 6:
        donors = _parts(other, "MODEL")
        parts.insert(place, chance.choice(donors)) if donors else None
    else:
        parts[place] = part._replace(value=_value(chance, part.value))
    return b"".join(map(_written, parts))


def _value(chance: Random, value: int | bytes) -> int | bytes:
    if isinstance(value, int):
        return max(0, value + chance.choice((-1, 1))) if chance.random() < 0.3 else chance.choice(VARINTS)
    way = chance.randrange(6)
    if way == 0 or not value:
        return value * 2 + b"\0" * (1 + chance.randrange(3))
    if way == 1:
        return value[: chance.randrange(len(value))]
    if way == 2:
        return b""
    if way == 3:  # packed numbers, an element of eight or four bytes
        size = chance.choice((4, 8))
        place = chance.randrange(max(1, len(value) // size)) * size
        number = chance.choice(VARINTS) % (1 << 8 * size)
        return value[:place] + number.to_bytes(size, "little") + value[place + size :]
    place = chance.randrange(len(value))
    return value[:place] + bytes([chance.randrange(256)]) + value[place + 1 :]


def _parts(data: bytes, message: str) -> list[_Part]:
    """The fields of one message, as far as they can be read."""
    table: Mapping[int, Field] = getattr(onnx_wire, message)
    found: list[_Part] = []
    position = 0
    try:
        while position < len(data):
            key, position = _varint(data, position)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, position = _varint(data, position)
                found.append(_Part(number, wire, value, None))
                continue
            if wire == 2:
                size, position = _varint(data, position)
            else:
                size = {1: 8, 5: 4}.get(wire, 0)
            entry = table.get(number)
            known = MESSAGES.get((message, entry.name)) if entry is not None else None
            found.append(_Part(number, wire, data[position : position + size], known))
            position += size
    except IndexError:
        pass
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _written(part: _Part) -> bytes:
    head = _as_varint(part.number << 3 | part.wire)
    if isinstance(part.value, int):
        return head + (_as_varint(part.value) if part.wire == 0 else part.value.to_bytes(16, "little")[:8])
    return head + (_as_varint(len(part.value)) if part.wire == 2 else b"") + part.value


def _as_varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
