"""Makes one call after the other fail that changes a file, in a process forked for each.

The shim (``shim.c``) stands before libc in this process; a child arms it and runs a flow, another child looks at what is
left.  Killing a process loses nothing that it wrote: what a power cut loses is for ``tests/power_cuts``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_wm.errors import BadInput

SHIM_SOURCE = Path(__file__).with_name("shim.c")
KILL = -1
TIMEOUT_S = 60

Mark = Callable[[str], None]


class Fault(msgspec.Struct, frozen=True):
    """What happens at a call: the process is killed, or the call fails, once or from then on."""

    name: str
    error: int
    stays: bool


FAULTS = (
    Fault("kill", KILL, False),
    Fault("ENOSPC", errno.ENOSPC, True),
    Fault("EIO", errno.EIO, False),
    Fault("EROFS", errno.EROFS, True),
)


@dataclass(frozen=True)
class Outcome:
    """How a flow ended.

    Attributes:
        ended: ``done``, ``refused`` (one line for a person), ``killed``, or the traceback of anything else.
        marks: what it promised before.
        said: the line.
    """

    ended: str
    marks: tuple[str, ...]
    said: str = ""


def build(folder: Path) -> Path:
    """Compile the shim.  Raises BadInput without a compiler."""
    shim = folder / "shim.so"
    if shutil.which("gcc") is None:
        raise BadInput("gcc is missing: run  sudo apt install gcc libc6-dev")
    command = [
        "gcc",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        shim,
        SHIM_SOURCE,
        "-ldl",
    ]
    subprocess.run(command, check=True)
    return shim


def run_below_shim(shim: Path) -> None:
    """Start this program again with the shim loaded, unless it is."""
    if os.environ.get("LD_PRELOAD") != str(shim):
        environment = {**os.environ, "LD_PRELOAD": str(shim)}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def calls(flow: Callable[[Mark], None], root: Path) -> list[str]:
    """Every call of the flow that can fail, as ``write /slots/b/manifest.json``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _arm(root, 0, 0, False, write)
        _end(lambda: flow(lambda text: None))
    os.close(write)
    with os.fdopen(read) as diary:
        found = diary.read().splitlines()
    if os.waitpid(child, 0)[1] != 0:
        raise AssertionError("the flow fails even if every call goes through")
    return found


def run_with(fault: Fault, call: int, flow: Callable[[Mark], None], root: Path) -> Outcome:
    """Run a flow in which the call of this number, from 1, goes wrong."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(TIMEOUT_S)
        _arm(root, call, fault.error, fault.stays, -1)
        _end(lambda: _tell(flow, write))
    os.close(write)
    with os.fdopen(read, "rb") as told:
        lines = told.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    marks = tuple(line[1:] for line in lines if line.startswith("!"))
    last = lines[-1] if lines else ""
    if os.WIFSIGNALED(status):
        killed = fault.error == KILL and os.WTERMSIG(status) == signal.SIGKILL
        return Outcome("killed" if killed else f"signal {os.WTERMSIG(status)}", marks)
    return Outcome(
        *{"=": ("done", marks), "?": ("refused", marks, last[1:])}.get(last[:1], (last[1:], marks))
    )


def look(check: Callable[[], None]) -> str | None:
    """Run a check in a process of its own; None if all held, otherwise what did not."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(TIMEOUT_S)
        try:
            check()
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-60_000:])
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        said = told.read().decode()
    _, status = os.waitpid(child, 0)
    return None if status == 0 else said or f"ended with status {status}"


def fresh(template: Path, root: Path) -> None:
    """Make ``root`` a copy of ``template``."""
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(template, root)


def every(found: list[str], step: int = 1) -> Iterator[tuple[int, Fault]]:
    """Every fault at every call, or at each ``step``-th of all."""
    pairs = [(call, fault) for fault in FAULTS for call in range(1, len(found) + 1)]
    yield from pairs[::step]


def _arm(root: Path, call: int, error: int, stays: bool, diary: int) -> None:
    shim = ctypes.CDLL(None)
    shim.fault_arm(str(root).encode(), ctypes.c_long(call), error, int(stays), diary)


def _end(run: Callable[[], None]) -> None:
    """Run, and leave the child without what Python does at its end: files of the parent are not this process's."""
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _tell(flow: Callable[[Mark], None], write: int) -> None:
    try:
        flow(lambda text: (os.write(write, f"!{text}\n".encode()), None)[1])
        os.write(write, b"=\n")
    except (BadInput, OSError) as refusal:
        os.write(write, f"?{refusal}\n".encode())
    except BaseException:
        os.write(write, b"#" + traceback.format_exc().replace("\n", " | ").encode() + b"\n")
