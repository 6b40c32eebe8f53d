"""From what was fetched back to the file: plain, compressed, or a delta to a file that the robot has.

What was fetched is signed, but whoever holds a publisher's key shall not be able to fill a robot's memory either: nothing
is unpacked beyond the size that the release gives, and what comes out must have the release's hash.
"""

from __future__ import annotations

import bz2
import hashlib
import struct

from edge_wm.errors import BadInput
from edge_wm.update.release import Form, ReleasedFile

_BSDIFF_HEADER = struct.Struct("<8sqqq")
"""Magic, compressed bytes of the control block, compressed bytes of the difference, bytes of the result."""
_BSDIFF_MAGIC = b"BSDIFF40"
_TRIPLE_BYTES = 24
"""Of the control block: how many bytes to add, to insert, and to skip."""


def restore(file: ReleasedFile, form: Form, fetched: bytes, base: bytes | None = None) -> bytes:
    """The content of ``file``.

    Args:
        file: what the release says of it.
        form: how ``fetched`` was made.
        fetched: what came over the air.
        base: for a bsdiff, the content of the file it starts from.

    Raises:
        BadInput: it cannot be unpacked, or is not that file.
    """
    try:
        if form.kind == "plain":
            content = fetched
        elif form.kind == "zstd":
            content = _unpack_zstd(fetched, file.size)
        else:
            content = _patch(base or b"", fetched, file.size)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise BadInput(f"{file.path}: what was fetched ({form.kind}) cannot be unpacked: {error}") from None
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise BadInput(f"{file.path}: what was fetched ({form.kind}) does not give the file of the release")
    return content


def _unpack_zstd(packed: bytes, size: int) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed) as reader:
            return reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _patch(base: bytes, patch: bytes, size: int) -> bytes:
    """Apply a bsdiff.  ``bsdiff4.patch`` does the same, but unpacks whatever it is given."""
    from bsdiff4 import core

    if len(patch) < _BSDIFF_HEADER.size:
        raise ValueError("the delta is cut off")
    magic, control_size, difference_size, result_size = _BSDIFF_HEADER.unpack_from(patch)
    if magic != _BSDIFF_MAGIC or result_size != size or control_size < 0 or difference_size < 0:
        raise ValueError("not a delta to this file")
    body = memoryview(patch)[_BSDIFF_HEADER.size :]
    blocks = body[:control_size], body[control_size:][:difference_size], body[control_size:][difference_size:]
    # A triple that adds and inserts nothing would be pointless, so there are no more triples than bytes.
    control = _unpack_bz2(blocks[0], _TRIPLE_BYTES * (size + 1))
    if len(control) % _TRIPLE_BYTES:
        raise ValueError("the delta's control block is cut off")
    result: bytes = core.patch(
        base, size, control, _unpack_bz2(blocks[1], size), _unpack_bz2(blocks[2], size)
    )
    return result


def _unpack_bz2(packed: memoryview, limit: int) -> bytes:
    unpacker = bz2.BZ2Decompressor()
    content = unpacker.decompress(packed, max_length=limit + 1)
    if len(content) > limit or not unpacker.eof:
        raise ValueError("a block of the delta is cut off, or larger than the file")
    return content
