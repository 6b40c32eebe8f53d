"""The board with the project on it: ``install.sh`` ran on it, from an offline bundle, as it would on a real one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.arm64.root import REPOSITORY
from tests.emulated_board.image import CACHE, SYSTEM, make_system
from tests.emulated_board.machine import SHARED, Board

BOARD, PYTHON = "generic-aarch64", "3.11"
INSTALLED = CACHE / "board.img"
BUNDLE = CACHE / "bundle"
SOURCES = ("boards", "edge_wm", "firmware_bridge", "models", "requirements", "pyproject.toml")
INSTALL_S = 2400.0

DROP_IN = """\
[Service]
# Simulated time: an emulated processor is too slow to draw ten pictures a second.
ExecStart=
ExecStart=/opt/edge-wm/venv/bin/edge-wm serve --fast
# The longest that one tick, and a start, may take here, many times over.
WatchdogSec={watchdog_s}
TimeoutStartSec=900
"""
WATCHDOG_S = 60


def make_installed() -> None:
    """Have the disk of an installed board in the cache.

    Raises:
        CalledProcessError: a package or a wheel cannot be had.
        BoardError: it cannot be installed.
    """
    make_system()
    with (CACHE.parent / "emulated-board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be about to do the same
        stamp, wanted = CACHE / "board.stamp", _fingerprint()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        _make_bundle()
        disk = CACHE / "board.unfinished"
        copy(SYSTEM, disk)
        with switched_on(disk, BUNDLE) as board:
            board.do(f"mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=500000 shared {SHARED}")
            board.do(f"{SHARED}/install.sh --robot sim --updates none --start yes", INSTALL_S)
            board.off()
        disk.rename(INSTALLED)
        stamp.write_text(wanted)


def copy(disk: Path, to: Path) -> None:
    """Copy a disk, without what was never written."""
    subprocess.run(["cp", "--sparse=always", str(disk), str(to)], check=True)


@contextmanager
def switched_on(disk: Path, shared: Path) -> Iterator[Board]:
    """A board that has booted from a disk; it is off in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="emulated-board-") as folder,
        Board(disk, Path(folder), shared=shared) as board,
    ):
        board.start()
        yield board


def _fingerprint() -> str:
    told = hashlib.sha256((CACHE / "system.stamp").read_bytes() + repr((BOARD, PYTHON)).encode())
    for name in SOURCES:
        path = REPOSITORY / name
        for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
            if file.is_file() and "__pycache__" not in file.parts:
                told.update(str(file.relative_to(REPOSITORY)).encode() + file.read_bytes())
    return told.hexdigest()


def _make_bundle() -> None:
    """What ``make offline-bundle`` makes."""
    words = ["--board", BOARD, "--python", PYTHON, "--sim", "--to", str(BUNDLE)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(
        [sys.executable, "-m", "export.offline_bundle", *words], check=True, cwd=REPOSITORY, env=environment
    )
