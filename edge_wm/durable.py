"""Files that are still there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from edge_wm.output_file import write_atomically


def write_file(path: Path, content: bytes) -> None:
    """Write a new file whose content is on disk when this returns; its name is there after :func:`sync_folder`."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place whole; a power cut leaves the old one before this returns, and the new one afterwards."""
    write_atomically(path, content)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in this folder are on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
