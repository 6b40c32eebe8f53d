"""x86-64 processors other than this machine's, emulated by QEMU: each multiplies int8 in its own way."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys

import pytest

QEMU = shutil.which("qemu-x86_64-static") or "qemu-x86_64-static"
OLDEST_QEMU = (7, 2)
"""The first one that emulates AVX2."""
SSE, AVX2 = "Nehalem", "Haswell-noTSX"
"""Neither has VNNI, the instructions that add products of int8 in 32 bits."""


def _is_missing() -> str | None:
    """Why nothing can be emulated here; None if it can."""
    if platform.machine() != "x86_64":
        return "this machine's Python is not for x86-64"
    if shutil.which(QEMU) is None:
        return "qemu-user-static is not installed"
    said = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < OLDEST_QEMU:
        return f"QEMU is older than {'.'.join(map(str, OLDEST_QEMU))}"
    return None


needs_qemu = pytest.mark.skipif((why := _is_missing()) is not None, reason=str(why))


def run_on(processor: str, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program on that processor with this environment's libraries; sys.argv[1:] are ``words``.

    The engines are what is tried; numpy 2.2's own code for AVX2 crashes in QEMU 7.2, and stays out.
    """
    command = [QEMU, "-cpu", processor, sys.executable, "-c", program, *words]
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": "FMA3 AVX2"}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
