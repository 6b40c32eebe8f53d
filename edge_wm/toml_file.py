"""TOML files that people write, checked against a struct: what is wrong is one line that names file and key."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge_wm.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound=msgspec.Struct)


def read_table(path: Path, what: str) -> dict[str, Any]:
    """Read ``path``; ``what`` says in errors what the file is.

    Raises:
        BadInput: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot read the {what}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: the {what} is not TOML: {error}") from error


def checked(table: dict[str, Any], kind: type[S], path: Path) -> S:
    """The ``table`` of the file ``path`` as a ``kind``.

    Raises:
        BadInput: naming the key that is unknown, missing, not finite, of the wrong type or out of bounds.
    """
    try:
        _refuse_not_finite(table)
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        # msgspec says "what - at `$.table.key`", or "at `key` in `$.table`"; people look for the key first.
        what, _, where = str(error).partition(" - at ")
        key = where.rpartition("`$")[2].strip("`.")
        raise BadInput(f"{path}: {key + ': ' if key else ''}{what[:1].lower()}{what[1:]}") from error


def _refuse_not_finite(value: object, key: str = "$") -> None:
    """TOML has nan and inf; neither is a measure of anything, and nan passes every bound."""
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_not_finite(item, f"{key}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_not_finite(item, f"{key}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise msgspec.ValidationError(f"expected a finite number, got {value} - at `{key}`")
