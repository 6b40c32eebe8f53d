"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations


class BadInput(Exception):
    """Something the user gave us cannot be used.

    The message is a single line that says what is wrong, where, and what to do.  Commands print it without a
    traceback and exit with code 2.
    """


class MissingExtra(BadInput):
    """An optional library is not installed; the message names the command that installs it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: run  pip install 'edge-wm[{extra}]'")


def one_line(text: str) -> str:
    """``text`` as one line without control characters: what a stranger wrote must not move the terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
