"""What a check of the doctor's has found."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Level(Enum):
    """How bad it is, the worst last."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "ERROR"


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        check: its name.
        level: how bad it is.
        said: one line, with the measured value if there is one.
        remedy: what to do, a command where there is one; empty if nothing has to be done.
    """

    check: str
    level: Level
    said: str
    remedy: str = ""


def ok(check: str, said: str) -> Finding:
    """Nothing has to be done."""
    return Finding(check, Level.OK, said)


def note(check: str, said: str, remedy: str) -> Finding:
    """Nothing is wrong: somebody chose it so, and may choose otherwise."""
    return Finding(check, Level.NOTE, said, remedy)


def warning(check: str, said: str, remedy: str) -> Finding:
    """The robot drives, but not as well or not for as long as it could."""
    return Finding(check, Level.WARNING, said, remedy)


def error(check: str, said: str, remedy: str) -> Finding:
    """The robot does not drive, or not safely."""
    return Finding(check, Level.ERROR, said, remedy)
