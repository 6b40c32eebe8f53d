"""The computer's software: which board it is, system, Python, memory, disk, clock, watchdog, the services.

Every function takes the ``root`` of the file system with `/proc` and `/sys`, so that a recorded machine can be examined.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge_wm.board import Board
from edge_wm.doctor.finding import Finding, error, note, ok, warning
from edge_wm.errors import BadInput, one_line
from edge_wm.recognise import recognise
from edge_wm.update.time_trust import time_source, trusted_time

NEWEST_PYTHON = (3, 13)
LITTLE_DISK_MB, NO_DISK_MB = 500, 50
LITTLE_INODES = 0.02
SYSTEMCTL_S = 5.0


def board(named: Board, root: Path) -> Finding:
    """Whether this machine is the board that the robot file names."""
    try:
        found = recognise(root)
    except BadInput as why:
        return error("board", str(why), "docs/boards/README.md")
    is_it = f"{found.board.name} ({found.why})"
    if named.recognised is None or named.name == found.board.name:
        return ok("board", is_it)
    return warning(
        "board", f"this is {is_it}, and the robot file says {named.name}", f'board = "{found.board.name}"'
    )


def system(root: Path) -> Finding:
    """Which Linux it is, and whether engines can be had for its C library."""
    facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', _text(root / "etc/os-release"), flags=re.M))
    name = facts.get("PRETTY_NAME", "unknown Linux")
    kernel = _text(root / "proc/sys/kernel/osrelease").strip() or "unknown"
    if any((root / "lib").glob("ld-musl-*")):
        return error(
            "system",
            f"{name}: its C library is musl, for which there are no engines",
            "install Debian, Ubuntu or Raspberry Pi OS, 64-bit",
        )
    return ok("system", f"{name}, kernel {kernel}")


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Which Python runs, and whether it is one that was tested."""
    said = ".".join(map(str, version))
    if version[:2] > NEWEST_PYTHON:
        return warning(
            "python", f"{said}: never tried", f"use {'.'.join(map(str, NEWEST_PYTHON))} or an older one"
        )
    return ok("python", said)


def memory(needed_mb: int, root: Path) -> Finding:
    """Whether the process that drives has the memory that it may use."""
    found = dict(re.findall(r"^(\w+):\s*(\d+) kB", _text(root / "proc/meminfo"), flags=re.M))
    if "MemAvailable" not in found:
        return ok("memory", "unknown")
    available, total = int(found["MemAvailable"]) >> 10, int(found["MemTotal"]) >> 10
    said = f"{available} of {total} MiB available"
    if available < needed_mb:
        return error("memory", f"{said}, {needed_mb} are needed", "ps -eo rss,comm --sort=-rss | head")
    return ok("memory", said)


def disk(folder: Path) -> Finding:
    """Whether there is room for records and updates, where they go."""
    while not folder.exists():
        folder = folder.parent
    facts = os.statvfs(folder)
    free_mb = facts.f_bavail * facts.f_frsize >> 20
    said = f"{free_mb:,} MiB free at {folder}"
    largest = f"sudo du -xh --max-depth=2 {folder} | sort -h | tail"
    if facts.f_flag & os.ST_RDONLY:
        return error(
            "disk",
            f"{folder} cannot be written",
            f'sudo mount -o remount,rw "$(findmnt -no TARGET --target {folder})"; dmesg | tail',
        )
    if free_mb < NO_DISK_MB:
        return error("disk", said, largest)
    if facts.f_files and facts.f_favail < LITTLE_INODES * facts.f_files:
        return warning("disk", f"{facts.f_favail:,} of {facts.f_files:,} files left at {folder}", largest)
    if free_mb < LITTLE_DISK_MB:
        return warning("disk", said, largest)
    return ok("disk", said)


def disk_errors(root: Path) -> Finding:
    """Whether a file system has met errors: cards wear out."""
    counts = {
        file.parent.name: int(_text(file).strip() or 0)
        for file in sorted((root / "sys/fs/ext4").glob("*/errors_count"))
    }
    failing = [f"{name}: {count} errors" for name, count in counts.items() if count]
    if failing:
        return error(
            "disk errors", ", ".join(failing), "save what is on it, and use a new card; dmesg | grep -i ext4"
        )
    return ok("disk errors", "none")


def clock(
    root: Path,
    *,
    wall: Callable[[], float] = time.time,
    source: Callable[[Path, Callable[[], float]], str | None] = time_source,
) -> Finding:
    """Whether the time can be believed: updates wait until it can."""
    try:
        now = trusted_time(None, wall, unset=True)
    except BadInput as why:
        return error("clock", str(why), "sudo timedatectl set-ntp true")
    said = source(root, wall)
    if said is None:
        return warning(
            "clock",
            "no real-time clock has the time, and no time server is followed: it is a guess, and updates wait",
            "sudo timedatectl set-ntp true",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M} UTC, {said}")


def watchdog(root: Path) -> Finding:
    """Whether hardware restarts a computer that hangs."""
    remedy = "sudo mkdir -p /etc/systemd/system.conf.d; echo -e '[Manager]\\nRuntimeWatchdogSec=10' | sudo tee /etc/systemd/system.conf.d/edge-wm.conf; sudo systemctl daemon-reexec"
    dogs = sorted((root / "sys/class/watchdog").glob("watchdog*"))
    if not dogs:
        return warning(
            "watchdog",
            "no hardware watchdog: a kernel that hangs stays so",
            "sudo modprobe softdog, or the board's own",
        )
    running = [dog for dog in dogs if _text(dog / "state").strip() == "active"]
    if not running:
        return warning(
            "watchdog",
            f"{_text(dogs[0] / 'identity').strip() or dogs[0].name} is there, and nobody feeds it",
            remedy,
        )
    dog = running[0]
    return ok(
        "watchdog", f"{_text(dog / 'identity').strip() or dog.name}, {_text(dog / 'timeout').strip()} s"
    )


def service(unit: str = "edge-wm.service") -> Finding:
    """How the process that drives at boot is."""
    facts = _systemctl(unit)
    if facts is None:
        return ok("service", "no systemd here")
    state, result = facts.get("ActiveState", ""), facts.get("Result", "")
    restarts = int(facts.get("NRestarts") or 0)
    if facts.get("LoadState") != "loaded":
        return ok("service", f"{unit} is not installed: boards/install/install.sh does")
    if state == "failed":
        return error(
            "service",
            f"{unit} has failed: {result}",
            f"journalctl -u {unit} -n 50; sudo systemctl reset-failed {unit}; sudo systemctl start {unit}",
        )
    if state not in ("active", "inactive"):
        return warning("service", f"{unit} is {state}", f"journalctl -u {unit} -n 50")
    if state == "active" and facts.get("WatchdogUSec") in ("0", "infinity"):
        return warning(
            "service", f"{unit}: nobody notices if it hangs", f"set WatchdogSec: sudo systemctl edit {unit}"
        )
    if state == "active" and restarts:
        return warning(
            "service", f"{unit} is active, restarted {restarts} times", f"journalctl -u {unit} -p warning"
        )
    if facts.get("UnitFileState") == "disabled":
        return note(
            "service", f"{unit} is {state} and does not start at boot", f"sudo systemctl enable --now {unit}"
        )
    if state == "inactive":  # as it has to be while somebody else has bridge and camera
        return note("service", f"{unit} is stopped", f"sudo systemctl start {unit}")
    return ok("service", f"{unit} is active")


def _systemctl(unit: str) -> dict[str, str] | None:
    names = "LoadState,ActiveState,Result,NRestarts,WatchdogUSec,UnitFileState"
    if shutil.which("systemctl") is None:
        return None
    try:
        said = subprocess.run(
            ["systemctl", "show", unit, f"--property={names}"],
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if said.returncode:
        return None
    return dict(line.split("=", 1) for line in _pairs(said.stdout))


def _pairs(text: str) -> list[str]:
    """The lines that have a value."""
    return [one_line(line) for line in text.splitlines() if "=" in line]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
