"""How much memory this process has and had in use, as the kernel counts it."""

from __future__ import annotations

import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int | None:
    """Resident now; None where the kernel does not tell."""
    return _bytes("VmRSS")


def peak_bytes() -> int | None:
    """The most that was resident since the process began; None where the kernel does not tell.

    Not by getrusage: its peak is inherited from the process that started this one.
    """
    return _bytes("VmHWM")


def _bytes(field: str) -> int | None:
    try:
        found = re.search(rf"{field}:\s*(\d+) kB", STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) << 10 if found else None
