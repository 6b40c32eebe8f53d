"""Which way of running a model is the best on this machine, and where that is remembered."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import click
import msgspec

from edge_wm.engines.execution import Execution
from edge_wm.output_file import write_json
from edge_wm.profile.measure import Measured

NOTICEABLY_FASTER = 0.95
"""An accelerator, a less precise form, more threads, or spinning must take at most this share of the time to be worth it."""

ENGINES = ("onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "tflite-runtime")
EXACTNESS = ("fp32", "fp16", "int8")


class Choice(msgspec.Struct, frozen=True):
    """What was chosen for one model on one machine, and from what.

    Attributes:
        execution: form and threads to drive with.
        model_sha256: of the model.
        machine: processor, cores and engines that the times are of.
        measured_at: date and time, UTC.
        rows: everything that was measured.
    """

    execution: Execution
    model_sha256: str
    machine: str
    measured_at: str
    rows: tuple[Measured, ...]


def choose(rows: Iterable[Measured]) -> Measured | None:
    """The fastest row; of rows that are as good as equally fast, the one on the CPU, with fewer threads that do not spin, more exact.

    Returns:
        None if nothing can be used.
    """
    best: Measured | None = None
    for row in sorted(rows, key=_plainness):
        if row.tick_p50_ms is None:
            continue
        if best is None or row.tick_p50_ms < NOTICEABLY_FASTER * (best.tick_p50_ms or 0.0):
            best = row
    return best


def _plainness(row: Measured) -> tuple[bool, int, bool, int]:
    how = row.execution
    return how.accelerator != "cpu", how.threads, how.spin, EXACTNESS.index(how.precision)


def this_machine() -> str:
    """What the times depend on: they are not believed on another."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            processor = value.strip()
    engines = [f"{name} {version}" for name in ENGINES if (version := _version(name))]
    return ", ".join([processor, f"{os.cpu_count()} cores", *engines])


def remember(model_sha256: str, chosen: Execution, rows: Iterable[Measured]) -> Path:
    """Keep the choice for this machine and return the file."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    choice = Choice(chosen, model_sha256, this_machine(), now, tuple(rows))
    file = _file(model_sha256)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, choice)
    return file


def remembered(model_sha256: str) -> Execution | None:
    """The engine chosen for this model on this machine, or None: never profiled, or not here, or not as it is now."""
    try:
        choice = msgspec.json.decode(_file(model_sha256).read_bytes(), type=Choice)
    except (OSError, msgspec.DecodeError):
        return None
    return (
        choice.execution if (choice.model_sha256, choice.machine) == (model_sha256, this_machine()) else None
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _file(model_sha256: str) -> Path:
    return Path(click.get_app_dir("edge-wm")) / "profiles" / f"{model_sha256[:16]}.json"
