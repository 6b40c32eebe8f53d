"""The newest runs are kept, so that a robot that drives for months does not fill its disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

RUN_FOLDER = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")
"""See ``create_run_folder``.  Whatever else lies there is somebody's, and stays."""


def prune(folder: Path, keep: int, most_bytes: int) -> None:
    """Remove the oldest runs in ``folder`` beyond the newest ``keep``, and beyond ``most_bytes`` together.

    The newest one of these stays, whatever its size.  A disk that lets nothing be removed is none of this function's business.
    """
    try:
        runs = sorted((run for run in folder.iterdir() if RUN_FOLDER.fullmatch(run.name)), key=_age)
    except OSError:
        return
    total = 0
    for number, run in enumerate(reversed(runs)):
        total += _size(run)
        if number >= keep or (number > 0 and total > most_bytes):
            shutil.rmtree(run, ignore_errors=True)


def _age(run: Path) -> tuple[str, int]:
    """By the time in the name, and within one second by the number behind it."""
    moment, _, number = run.name.partition("Z-")
    return moment.rstrip("Z"), int(number or 1)


def _size(run: Path) -> int:
    total = 0
    for path in run.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
