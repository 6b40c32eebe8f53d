"""Where the files that ship with edge-wm are: `boards/` and `models/`."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. ``shipped("models", "rooms")``.

    In a checkout `boards/` and `models/` stand beside the package; in an installed wheel they are inside it, in
    `edge_wm/_data` (see `sources` in pyproject.toml).  The path is not checked for existence.
    """
    installed = _PACKAGE / "_data"
    root = installed if installed.is_dir() else _PACKAGE.parent
    return root.joinpath(*parts)


DEFAULT_MODEL = shipped("models", "rooms-student")
"""What drives where nobody names a model."""
