"""Reads the flatbuffer of a TFLite file, and verifies all of it that an engine will follow.

LiteRT verifies a buffer itself; tflite-runtime does not, and a wrong offset is a crash there.  Every offset, vtable
and vector is checked here to lie inside the file; a field that is not in the tables below is refused.
The fields are those of TensorFlow Lite's ``schema.fbs``, version 3.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from edge_wm.errors import BadInput

MAX_OBJECTS = 1_000_000
"""Tables, vectors and strings in one file; bounds the time that reading takes."""
MAX_NAME_BYTES = 4096
IDENTIFIER = b"TFL3"

Span = tuple[int, int]
"""Where the elements of a vector start in the file, and how many there are."""


class Field(NamedTuple):
    """Name and kind: a ``struct`` code, ``text``, ``table``, ``tables``, ``*`` and the code of a vector's elements, or ``refused``."""

    name: str
    kind: str


MODEL = (
    Field("version", "I"),
    Field("operator_codes", "tables"),
    Field("subgraphs", "tables"),
    Field("description", "text"),
    Field("buffers", "tables"),
    Field("metadata_buffer", "*i"),
    Field("metadata", "tables"),
    Field("signature_defs", "tables"),
)
OPERATOR_CODE = (
    Field("deprecated_builtin_code", "b"),
    Field("custom_code", "text"),
    Field("version", "i"),
    Field("builtin_code", "i"),
)
SUBGRAPH = (
    Field("tensors", "tables"),
    Field("inputs", "*i"),
    Field("outputs", "*i"),
    Field("operators", "tables"),
    Field("name", "text"),
    Field("debug_metadata_index", "i"),
)
TENSOR = (
    Field("shape", "*i"),
    Field("type", "b"),
    Field("buffer", "I"),
    Field("name", "text"),
    Field("quantization", "table"),
    Field("is_variable", "?"),
    Field("sparsity", "refused"),
    Field("shape_signature", "*i"),
    Field("has_rank", "?"),
    Field("variant_tensors", "tables"),
)
QUANTIZATION = (
    Field("min", "*f"),
    Field("max", "*f"),
    Field("scale", "*f"),
    Field("zero_point", "*q"),
    Field("details_type", "B"),
    Field("details", "refused"),
    Field("quantized_dimension", "i"),
)
OPERATOR = (
    Field("opcode_index", "I"),
    Field("inputs", "*i"),
    Field("outputs", "*i"),
    Field("options_type", "B"),
    Field("options", "table"),
    Field("custom_options", "*B"),
    Field("custom_options_format", "b"),
    Field("mutating_variable_inputs", "*B"),
    Field("intermediates", "*i"),
    Field("large_custom_options_offset", "Q"),
    Field("large_custom_options_size", "Q"),
    Field("options_2_type", "B"),
    Field("options_2", "refused"),
    Field("debug_metadata_index", "i"),
)
BUFFER = (Field("data", "*B"), Field("offset", "Q"), Field("size", "Q"))
METADATA = (Field("name", "text"), Field("buffer", "I"))
SIGNATURE = (
    Field("inputs", "tables"),
    Field("outputs", "tables"),
    Field("signature_key", "text"),
    Field("", "refused"),
    Field("subgraph_index", "I"),
)
TENSOR_MAP = (Field("name", "text"), Field("tensor_index", "I"))
COUNTED = (Field("count", "i"), Field("axis", "i"))
"""The options of SPLIT, SPLIT_V, PACK and UNPACK."""
NEW_SHAPE = (Field("new_shape", "*i"),)
"""The options of RESHAPE and SQUEEZE; all other options that a bundle may use are numbers."""


class FlatReader:
    """Reads the tables of one file; nothing is copied but names and numbers."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._objects_left = MAX_OBJECTS
        if len(data) < 8 or data[4:8] != IDENTIFIER:
            raise self.bad("is no TFLite file")

    def root(self) -> int:
        """Where the outermost table is."""
        return self._target(0)

    def table(self, position: int, fields: tuple[Field, ...], name: str) -> dict[str, Any]:
        """Read one table: numbers, text, the :data:`Span` of vectors, and the positions of tables within."""
        found: dict[str, Any] = {}
        for number, place in self._slots(position):
            if number >= len(fields) or fields[number].kind == "refused":
                raise self.bad(f"has field {number} of {name}, which a bundle's graph may not have")
            found[fields[number].name] = self._value(place, position, fields[number].kind)
        return found

    def numbers_only(self, position: int) -> None:
        """Check a table all of whose fields are numbers of at most 8 bytes."""
        for _, place in self._slots(position):
            if place + 8 > len(self._data):
                raise self.bad("is cut off inside a number")

    def integers(self, span: Span | None) -> list[int]:
        """The elements of a vector of int32."""
        return self.numbers("i", span)

    def numbers(self, code: str, span: Span | None) -> list[Any]:
        """The elements of a vector, of this ``struct`` code."""
        start, count = span or (0, 0)
        return list(struct.unpack_from(f"<{count}{code}", self._data, start))

    def raw(self, span: Span) -> bytes:
        """The bytes of a vector of them."""
        start, count = span
        return self._data[start : start + count]

    def bad(self, fact: str) -> BadInput:
        """The refusal of this file, for the caller to raise."""
        return BadInput(f"{self._where}: {fact}")

    def _slots(self, position: int) -> list[tuple[int, int]]:
        """Number and place of every field that a table has."""
        self._count()
        vtable = position - self._number("i", position)
        size, length = self._number("H", vtable), self._number("H", vtable + 2)
        if size < 4 or size % 2 or length < 4 or vtable + size > len(self._data):
            raise self.bad("is damaged: a table has an impossible layout")
        if position + length > len(self._data):
            raise self.bad("is cut off inside a table")
        offsets = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, vtable + 4)
        if any(offset >= length for offset in offsets):
            raise self.bad("is damaged: a field lies outside of its table")
        return [(number, position + offset) for number, offset in enumerate(offsets) if offset]

    def _value(self, place: int, table: int, kind: str) -> Any:
        if kind == "table":
            return self._target(place)
        if kind == "text":
            start, count = self._vector(place, 1)
            if count > MAX_NAME_BYTES:
                raise self.bad(f"has a name longer than {MAX_NAME_BYTES} bytes")
            if self._data[start + count : start + count + 1] != b"\0":
                raise self.bad("is damaged: a name does not end")
            try:
                return self._data[start : start + count].decode("utf-8")
            except UnicodeDecodeError:
                raise self.bad("has a name that is not UTF-8") from None
        if kind == "tables":
            start, count = self._vector(place, 4)
            return [self._target(start + 4 * index) for index in range(count)]
        if kind.startswith("*"):
            return self._vector(place, struct.calcsize(kind[1:]))
        return self._number(kind, place)

    def _vector(self, place: int, size: int) -> Span:
        self._count()
        start = self._target(place)
        count = self._number("I", start)
        if count * size > len(self._data) - start - 4:
            raise self.bad("is cut off inside a vector")
        if (start + 4) % min(size, 8):
            raise self.bad("is damaged: a vector is not aligned")
        if size > 1 and count > MAX_OBJECTS:
            raise self.bad(f"has a vector of more than {MAX_OBJECTS} elements")
        return start + 4, count

    def _target(self, place: int) -> int:
        """Where the offset at ``place`` points."""
        offset = self._number("I", place)
        if not 4 <= offset <= len(self._data) - place - 4:
            raise self.bad("is damaged: an offset points outside of the file")
        target: int = place + offset
        return target

    def _number(self, code: str, place: int) -> Any:
        if not 0 <= place <= len(self._data) - struct.calcsize(code):
            raise self.bad("is cut off inside a number")
        if place % struct.calcsize(code):
            raise self.bad("is damaged: a number is not aligned")
        (number,) = struct.unpack_from(f"<{code}", self._data, place)
        return number

    def _count(self) -> None:
        self._objects_left -= 1
        if self._objects_left < 0:
            raise self.bad(f"has more than {MAX_OBJECTS} objects")
