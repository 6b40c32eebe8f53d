"""Files that people ask for: refused before the work if they cannot be written, then written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from edge_wm.errors import BadInput


def check_output_file(path: Path) -> None:
    """Raise BadInput if no file can be written at ``path``: something else is there, or its folder is not for writing."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise BadInput(f"{path}: is a folder or a device; name a file to write")
    if not target.parent.is_dir():
        raise BadInput(f"{path}: cannot be written: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: cannot be written: the folder {target.parent} is read-only")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds the old one or the new one and nothing between.

    Raises:
        OSError: with ``path`` as its file name; nothing is left behind.
    """
    target = path.resolve()
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        error.filename = str(path)
        raise


def write_json(path: Path, facts: Any) -> None:
    """Write ``facts`` as JSON, see :func:`write_atomically`.  NaN and infinity become null."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")
