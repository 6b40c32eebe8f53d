"""The page of the doctor has every check, and none that there is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = (
    *(REPOSITORY / "edge_wm" / "doctor").glob("*.py"),
    REPOSITORY / "edge_wm" / "commands" / "doctor.py",
)
MAKERS = {"ok", "warning", "error", "_device"}


def checks_of(source: str) -> set[str]:
    """Names of the checks that a module makes findings of."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args)
    return {
        str(call.args[0].value)
        for call in calls
        if getattr(call.func, "id", "") in MAKERS and isinstance(call.args[0], ast.Constant)
    }


def test_every_check_is_in_the_table() -> None:
    page = (REPOSITORY / "docs" / "doctor.md").read_text()
    firsts = re.findall(r"^\| ((?:`[a-z0-9 ]+`(?:, )?)+) \|", page, flags=re.M)
    told = {name for cell in firsts for name in re.findall(r"`([^`]+)`", cell)}
    made = {check for source in SOURCES for check in checks_of(source.read_text())}
    assert {"board", "i2c", "robot", "camera"} <= made
    assert told == made


def test_a_check_is_found_in_a_source() -> None:
    assert checks_of('yield warning("heat", said, cool)\nother("cold")') == {"heat"}
