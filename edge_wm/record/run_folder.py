"""The folder of one run, ``runs/<UTC time>/``: made and proven writable before the robot moves."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edge_wm.errors import BadInput
from edge_wm.output_file import write_atomically, write_json

MIN_FREE_BYTES = 64 * 2**20
"""Room for about five minutes of video twice over: once as a file, once inside the report."""


def create_run_folder(root: Path, now: datetime | None = None, min_free_bytes: int = MIN_FREE_BYTES) -> Path:
    """Make ``root/<UTC time>/`` and check that it can be written to.

    Raises:
        BadInput: the folder cannot be made or written to, or its disk is nearly full.
    """
    name = (now or datetime.now(timezone.utc)).strftime("%Y-%m-%dT%H-%M-%SZ")
    if root.exists() and not root.is_dir():
        raise BadInput(f"cannot write the run folder: {root} is a file; choose another folder")
    folder = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = _make_unused(root, name)
        probe = folder / "probe"
        write_atomically(probe, b"can this folder be written to?")
        probe.unlink()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        reason = error.strerror or str(error)
        raise BadInput(f"cannot write a run folder under {root}: {reason}; choose another folder") from error
    if free_bytes < min_free_bytes:
        folder.rmdir()
        raise BadInput(
            f"cannot record a run under {root}: only {free_bytes // 2**20} MB free,"
            f" {min_free_bytes // 2**20} MB needed; free some space or choose another folder"
        )
    return folder


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write ``summary.json``.  NaN and infinity become null."""
    path = folder / "summary.json"
    write_json(path, summary)
    return path


def append_ticks(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Append one JSON line a tick to ``ticks.jsonl``."""
    path = folder / "ticks.jsonl"
    with path.open("ab") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    return path


def _make_unused(root: Path, name: str) -> Path:
    """Two runs may start within the same second: the later one gets a number."""
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = root / (name + suffix)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{name} exists already, 99 times")
