"""Timing that holds on a machine that does other things too.

Everything runs on one thread and is timed in CPU milliseconds, so that another program's turn does not count; on a
quiet core that is the time on the clock.  Contestants take turns within a round, the quickest of a few calls counts,
and ratios are taken within a round: what slows the machine down for a while slows all of them.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

RESULTS = Path(__file__).parent / "results"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment of a process in which numpy and PyTorch use one thread."""


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        low, median, high = np.percentile(values, (25, 50, 75))
        return cls(float(median), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def alternate(
    contestants: Mapping[str, Callable[[], object]], rounds: int, calls: int = 5
) -> dict[str, np.ndarray]:
    """CPU milliseconds float64[rounds] of each contestant: the quickest of ``calls`` calls in each round."""
    spent = {name: np.empty(rounds) for name in contestants}
    for call in contestants.values():
        for _ in range(3):  # caches, compilers, buffers
            call()
    for number in range(rounds):
        for name, call in contestants.items():
            spent[name][number] = min(cpu_ms(call) for _ in range(calls))
    return spent


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    began = time.process_time_ns()
    call()
    return (time.process_time_ns() - began) / 1e6


def machine() -> dict[str, Any]:
    """What a figure must be read with."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "commit": commit.strip() or "unknown",
    }


def record(name: str, facts: Mapping[str, Any]) -> None:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode({**machine(), **facts}), indent=1)
    (RESULTS / f"{name}.json").write_bytes(data + b"\n")


def _processor() -> str:
    """Name and the int8 instructions that decide how fast int8 is."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    dots = [
        flag for flag in ("avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "i8mm") if flag in flags
    ]
    return " ".join([facts.get("model name", "unknown processor"), *dots])
