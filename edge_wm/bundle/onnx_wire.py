"""Reads the protobuf wire format of an ONNX file, more strictly than protobuf does.

There is no ``onnx`` package on the board.  A field that is unknown, doubled or of another wire type is refused,
so that no two readers can understand one file differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from edge_wm.errors import BadInput

MAX_FIELDS = 2_000_000
"""Protobuf fields in one file; bounds the time that reading takes (about a second)."""
MAX_NAME_BYTES = 1024

Span = tuple[int, int]
"""Start and end of a message or a string in the file."""

# Wire types of the protobuf encoding.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """Name, wire type, and whether the field may occur more than once."""

    name: str
    wire: int = _LENGTH
    many: bool = False


# Fields of onnx.proto that a bundle may use; everything else is refused by its number.
MODEL = {
    1: Field("ir_version", _VARINT),
    2: Field("producer_name"),
    3: Field("producer_version"),
    4: Field("domain"),
    5: Field("model_version", _VARINT),
    6: Field("doc_string"),
    7: Field("graph"),
    8: Field("opset_import", many=True),
    14: Field("metadata_props", many=True),
    25: Field("functions", many=True),
}
OPSET = {1: Field("domain"), 2: Field("version", _VARINT)}
GRAPH = {
    1: Field("node", many=True),
    2: Field("name"),
    5: Field("initializer", many=True),
    10: Field("doc_string"),
    11: Field("input", many=True),
    12: Field("output", many=True),
    13: Field("value_info", many=True),
    14: Field("quantization_annotation", many=True),
    16: Field("metadata_props", many=True),
}
NODE = {
    1: Field("input", many=True),
    2: Field("output", many=True),
    3: Field("name"),
    4: Field("op_type"),
    5: Field("attribute", many=True),
    6: Field("doc_string"),
    7: Field("domain"),
    9: Field("metadata_props", many=True),
}
ATTRIBUTE = {
    1: Field("name"),
    2: Field("f", _FIXED32),
    3: Field("i", _VARINT),
    4: Field("s"),
    5: Field("t"),
    6: Field("g"),
    7: Field("floats", _FIXED32, many=True),
    8: Field("ints", _VARINT, many=True),
    9: Field("strings", many=True),
    11: Field("graphs", many=True),
    13: Field("doc_string"),
    20: Field("type", _VARINT),
}
TENSOR = {
    1: Field("dims", _VARINT, many=True),
    2: Field("data_type", _VARINT),
    4: Field("float_data", _FIXED32, many=True),
    5: Field("int32_data", _VARINT, many=True),
    7: Field("int64_data", _VARINT, many=True),
    8: Field("name"),
    9: Field("raw_data"),
    10: Field("double_data", _FIXED64, many=True),
    11: Field("uint64_data", _VARINT, many=True),
    12: Field("doc_string"),
    13: Field("external_data", many=True),
    14: Field("data_location", _VARINT),
    16: Field("metadata_props", many=True),
}
VALUE_INFO = {
    1: Field("name"),
    2: Field("type"),
    3: Field("doc_string"),
    4: Field("metadata_props", many=True),
}
TYPE = {1: Field("tensor_type")}
TENSOR_TYPE = {1: Field("elem_type", _VARINT), 2: Field("shape")}
SHAPE = {1: Field("dim", many=True)}
DIMENSION = {1: Field("dim_value", _VARINT), 2: Field("dim_param"), 3: Field("denotation")}


class WireReader:
    """Walks the messages of one file.  Messages are spans of it; nothing is copied but names."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._fields_left = MAX_FIELDS

    @property
    def whole(self) -> Span:
        """The span of the outermost message."""
        return 0, len(self._data)

    def fields(self, span: Span, table: Mapping[int, Field], message: str) -> Iterator[tuple[str, Any]]:
        """Yield ``(name, value)``: an int for a varint, a span for everything else."""
        position, end = span
        seen: set[int] = set()
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise self.bad(f"has more than {MAX_FIELDS} fields")
            key, position = self._varint(position, end)
            number, wire = key >> 3, key & 7
            entry = table.get(number)
            if entry is None:
                raise self.bad(f"is damaged or not ONNX: unknown field {number} in {message}")
            packed = wire == _LENGTH and entry.many
            if wire != entry.wire and not packed:
                raise self.bad(f"is damaged or not ONNX: {message}.{entry.name} has wire type {wire}")
            if not entry.many and number in seen:
                raise self.bad(f"is damaged or not ONNX: {message}.{entry.name} occurs twice")
            seen.add(number)
            if wire == _VARINT:
                value, position = self._varint(position, end)
                yield entry.name, value
                continue
            if wire == _LENGTH:
                size, position = self._varint(position, end)
            else:
                size = 4 if wire == _FIXED32 else 8
            if size > end - position:
                raise self.bad(f"is cut off: {message}.{entry.name} ends beyond its message")
            yield entry.name, (position, position + size)
            position += size

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Read one varint of at most 64 bits; return it and where the next thing starts."""
        if position < end and (byte := self._data[position]) < 0x80:
            return byte, position + 1  # nearly all are so short
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise self.bad("is cut off inside a number")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
        raise self.bad("is damaged or not ONNX: a number is longer than 64 bits")

    def integers(self, value: int | Span) -> list[int]:
        """One unpacked integer, or at most 17 packed ones (a shape that long is refused by the caller)."""
        if isinstance(value, int):
            return [value]
        position, end = value
        found: list[int] = []
        while position < end and len(found) < 17:
            integer, position = self._varint(position, end)
            found.append(integer)
        return found

    def count_numbers(self, name: str, value: int | Span) -> int:
        """How many numbers one occurrence of a typed data field holds."""
        if isinstance(value, int):
            return 1
        start, end = value
        if name == "float_data":
            return (end - start) // 4
        if name == "double_data":
            return (end - start) // 8
        # Each packed varint has exactly one byte without the continuation bit.
        packed = np.frombuffer(self._data, dtype=np.uint8, count=end - start, offset=start)
        return int(np.count_nonzero(packed < 0x80))

    def text(self, span: Span) -> str:
        """The name that a span holds."""
        start, end = span
        if end - start > MAX_NAME_BYTES:
            raise self.bad(f"has a name longer than {MAX_NAME_BYTES} bytes")
        try:
            return self._data[start:end].decode("utf-8")
        except UnicodeDecodeError:
            raise self.bad("has a name that is not UTF-8") from None

    def raw(self, span: Span) -> memoryview:
        """The bytes that a span holds, not copied."""
        return memoryview(self._data)[slice(*span)]

    def bad(self, fact: str) -> BadInput:
        """The refusal of this file, for the caller to raise."""
        return BadInput(f"{self._where}: {fact}")
