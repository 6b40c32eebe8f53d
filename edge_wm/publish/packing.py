"""The forms in which a file travels, chosen by their measured size.

Whole: compressed with zstandard, or plain if that is not smaller.  Besides, a binary delta (bsdiff) to each file that a
robot may have in its place, if it is clearly smaller than the whole.  Every form is turned back into the file as a robot
does it before it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bsdiff4
import zstandard

from edge_wm.update.forms import restore
from edge_wm.update.release import Form, ReleasedFile

LEVEL = 19
MAX_DELTA_BYTES = 64 << 20
"""bsdiff needs 17 times the old file and 9 times the new one as memory: larger files travel whole."""
WORTH = 0.9
"""A delta is kept if it is smaller than this part of the whole form."""
MAX_DELTAS = 24
"""Of one file: a release has room for 32 forms."""


def whole_form(file: ReleasedFile, content: bytes) -> tuple[Form, bytes]:
    """The smaller of compressed and plain, with its bytes.

    Args:
        file: path, size and hash; its forms do not matter.
        content: of the file.
    """
    packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(content)
    if len(packed) < len(content):
        return _verified(file, Form("zstd", len(packed)), packed)
    return _verified(file, Form("plain", len(content)), content)


def deltas(
    file: ReleasedFile, content: bytes, bases: Iterable[tuple[str, bytes]], whole_bytes: int
) -> Iterator[tuple[Form, bytes]]:
    """The deltas to this file that are worth it, with their bytes.

    Args:
        file: path, size and hash.
        content: of the file.
        bases: hashes and contents of files that robots may have.
        whole_bytes: of its whole form.
    """
    if len(content) > MAX_DELTA_BYTES:
        return
    for base, old in bases:
        if len(old) > MAX_DELTA_BYTES:
            continue
        delta = bsdiff4.diff(old, content)
        if len(delta) < WORTH * whole_bytes:
            yield _verified(file, Form("bsdiff", len(delta), base), delta, old)


def _verified(file: ReleasedFile, form: Form, packed: bytes, base: bytes | None = None) -> tuple[Form, bytes]:
    restore(file, form, packed, base)
    return form, packed
