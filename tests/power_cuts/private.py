"""Mounts that are gone with the process that made them, however it ends: a mount namespace of its own.

Loop devices that ``mount`` sets up let go of their file with the last mount, and a tmpfs is gone with its.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
PR_SET_PDEATHSIG = 1
PR_SET_IO_FLUSHER = 57

SCRATCH = Path("/mnt")
"""After :func:`enter`, a tmpfs that only this process and its children see."""

_libc = ctypes.CDLL(None, use_errno=True)


def enter(size: str = "4g") -> None:
    """Give this process mounts of its own, and die with the parent.  Raises OSError without the right to."""
    die_with_parent()
    part()
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "power-cuts", str(SCRATCH))


def part() -> None:
    """What this process mounts from now on, processes that it has started do not see.

    Who is the last to leave a mount unmounts it.  A server of disks must never have to: it would wait for itself.
    """
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace of its own")


def die_with_parent() -> None:
    """Be killed when the process that started this one ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started here do not hear Ctrl-C: who started them ends them, or dies and they with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def allocate_without_writeback() -> None:
    """A server of disks must never wait, for memory, for a disk that waits for the server."""
    _libc.prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0)


def run(*command: str, timeout_s: float = 60.0) -> str:
    """Run a program and return what it says.  Raises OSError with its complaint if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
