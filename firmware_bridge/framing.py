"""Frames on the serial line: ``docs/wire-protocol.md``, "Frames"."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from firmware_bridge.wire import LAYOUTS, TYPES, Message

MAX_LINE_BYTES = 64
"""Of a frame on the line, its final zero included."""
_HEADER = struct.Struct("<BH")
_CHECKSUM = struct.Struct("<I")


def encode(message: Message, sequence: int) -> bytes:
    """One frame, ready for the line.

    Args:
        message: its fields must fit their types.
        sequence: taken modulo 65,536.

    Raises:
        struct.error: a field does not fit its type.
    """
    kind = TYPES[type(message)]
    covered = _HEADER.pack(kind, sequence & 0xFFFF) + LAYOUTS[kind][1].pack(*message)
    whole = covered + _CHECKSUM.pack(zlib.crc32(covered))
    # COBS.  A frame is shorter than 254 bytes, so that each stretch between zeros has one code byte.
    return b"".join(bytes((len(part) + 1,)) + part for part in whole.split(b"\0")) + b"\0"


def decode(line: bytes) -> tuple[int, Message] | None:
    """Sequence number and message of one frame.

    Args:
        line: the bytes between two zeros, without these.

    Returns:
        None if it was damaged, or is none that we know.
    """
    parts = []
    at = 0
    while at < len(line):
        code = line[at]
        part = line[at + 1 : at + code]
        if len(part) != code - 1 or code == 0xFF:
            return None
        parts.append(part)
        at += code
    whole = b"\0".join(parts)
    if len(whole) < _HEADER.size + _CHECKSUM.size:
        return None
    covered, (checksum,) = whole[: -_CHECKSUM.size], _CHECKSUM.unpack(whole[-_CHECKSUM.size :])
    kind, sequence = _HEADER.unpack_from(covered)
    if zlib.crc32(covered) != checksum or kind not in LAYOUTS:
        return None
    message, layout = LAYOUTS[kind]
    if len(covered) != _HEADER.size + layout.size:
        return None
    return sequence, message(*layout.unpack_from(covered, _HEADER.size))


class FrameReader:
    """Takes the line apart.

    Attributes:
        damaged: stretches between zeros that were no frame.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._begun = bytearray()

    def feed(self, received: bytes) -> Iterator[tuple[int, Message]]:
        """Take in what was received; yield sequence number and message of each whole frame."""
        *ended, rest = received.split(b"\0")
        for tail in ended:
            line = bytes(self._begun) + tail
            self._begun.clear()
            found = decode(line) if len(line) < MAX_LINE_BYTES else None
            if found is not None:
                yield found
            elif line:
                self.damaged += 1
        self._begun += rest
        del self._begun[MAX_LINE_BYTES:]  # too long already: only that it is need be known
