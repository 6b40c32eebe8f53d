"""The page of the doctor has every check with the levels that it can have, and none that there is not."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = (
    *(REPOSITORY / "edge_wm" / "doctor").glob("*.py"),
    REPOSITORY / "edge_wm" / "commands" / "doctor.py",
)
MAKERS = {"ok": "ok", "note": "note", "warning": "warning", "error": "ERROR", "_device": "ERROR"}
"""Functions that make findings, and the worst level of what they make."""

Levels = dict[str, set[str]]
"""Those that a check can have but for ok, by its name."""


def made_by(*sources: str) -> Levels:
    """Of the findings that modules make."""
    found: Levels = defaultdict(set)
    for source in sources:
        for call in ast.walk(ast.parse(source)):
            name = getattr(getattr(call, "func", None), "id", "")
            if isinstance(call, ast.Call) and name in MAKERS and isinstance(call.args[0], ast.Constant):
                found[str(call.args[0].value)] |= {MAKERS[name]} - {"ok"}
    return dict(found)


def told_by(page: str) -> Levels:
    """Of the tables: check, what it looks at, warning and note, ERROR, what mends it."""
    found: Levels = {}
    for names, _, milder, worst, _ in re.findall(
        r"^\|((?: `[a-z0-9 ]+`,?)+) \|(.*)\|(.*)\|(.*)\|(.*)\|$", page, flags=re.M
    ):
        warned, noted, _ = milder.partition("*Note:*")
        levels = {"warning": warned.strip(), "note": noted, "ERROR": worst.strip()}
        for name in re.findall(r"`([^`]+)`", names):
            found[name] = {level for level, said in levels.items() if said}
    return found


def test_every_check_is_in_the_table_with_its_levels() -> None:
    made = made_by(*(source.read_text() for source in SOURCES))
    assert {"board", "i2c", "robot", "camera"} <= made.keys()
    assert told_by((REPOSITORY / "docs" / "doctor.md").read_text()) == made


def test_a_check_is_found_in_a_source_and_in_a_table() -> None:
    made = made_by(
        'yield warning("heat", said, cool)\nother("cold")\nnote("heat", said, cool)\nok("rest", said)'
    )
    assert made == {"heat": {"warning", "note"}, "rest": set()}
    assert told_by("| `heat` | of it | some. *Note:* a little | | water |\n| `rest` | of it | | | |") == made
    assert told_by("| `heat` | of it | | too much | |\n| `rest` | of it | | | |") != made
