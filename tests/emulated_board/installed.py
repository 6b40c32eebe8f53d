"""The board with the project on it: a card that ``edge-wm flash`` wrote has booted, and nobody has touched it since."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_wm.cli import run
from tests.arm64.root import REPOSITORY
from tests.emulated_board.image import CACHE, SYSTEM, make_system
from tests.emulated_board.machine import Board, BoardError

BOARD, PYTHON = "generic-aarch64", "3.11"
INSTALLED = CACHE / "board.img"
BUNDLE = CACHE / "bundle"
SOURCES = ("boards", "edge_wm", "export", "firmware_bridge", "models", "requirements", "pyproject.toml")
INSTALL_S = 2400.0
FINISHED = "/var/lib/edge-wm-first-boot/finished"

DROP_IN = """\
[Service]
# Simulated time: an emulated processor is too slow to draw ten pictures a second.
ExecStart=
ExecStart=/opt/edge-wm/venv/bin/edge-wm serve --fast
# Nor can it make a world in a minute while this machine has other things to do.
WatchdogSec=600
TimeoutStartSec=900
"""


def make_installed() -> None:
    """Have the disk of an installed board in the cache.

    Raises:
        CalledProcessError: a package or a wheel cannot be had.
        BoardError: a card cannot be made of it, or its first boot does not end in a service that is ready.
    """
    make_system()
    with (CACHE.parent / "emulated-board.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be about to do the same
        stamp, wanted = CACHE / "board.stamp", _fingerprint()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        _make_bundle()
        card = CACHE / "board.unfinished"
        card.unlink(missing_ok=True)
        _flash(card)
        with switched_on(card) as board:
            _wait_until_installed(board)
            board.off()
        card.rename(INSTALLED)
        stamp.write_text(wanted)


def _flash(card: Path) -> None:
    words = ["--board", BOARD, "--image", SYSTEM, "--bundle", BUNDLE, "--device", card, "--yes"]
    if (code := run(["flash", *map(str, words)])) != 0:
        raise BoardError(f"edge-wm flash: exit code {code}")


def _wait_until_installed(board: Board) -> None:
    """Nobody does anything but look."""
    began = time.monotonic()
    while board.run(f"test -e {FINISHED} && systemctl is-active edge-wm").code != 0:
        if time.monotonic() - began > INSTALL_S:
            said = board.run("journalctl -u edge-wm-first-boot -u edge-wm -o cat -n 15").out
            raise BoardError(f"not ready after {INSTALL_S:.0f} s: {said}")
        time.sleep(5.0)
    print(f"a blank file became a board that is ready ({time.monotonic() - began:.0f} s)", flush=True)


def copy(disk: Path, to: Path) -> None:
    """Copy a disk, without what was never written."""
    subprocess.run(["cp", "--sparse=always", str(disk), str(to)], check=True)


@contextmanager
def switched_on(disk: Path) -> Iterator[Board]:
    """A board that has booted from a disk; it is off in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="emulated-board-") as folder,
        Board(disk, Path(folder)) as board,
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
