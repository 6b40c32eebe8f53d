"""Runs one of our modules on what a stranger sent, in a process that can do nothing but compute and answer.

The process may use so much memory and time and no more, reads files and writes none, has no network, starts no other
process, stands back for everybody else, and ends with the one that started it; see ``confined.py`` and ``seccomp.py``.  It
needs Linux 5.3 or newer and no privileges, and works in containers that allow seccomp.

What it answers is believed as much as the code that ran: whoever takes over the engine inside of it can say that a model is
good.  He cannot do more than that.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import msgspec

from edge_wm.errors import one_line
from edge_wm.stop_signals import without_stop_signals
from edge_wm.update.confined import (
    Answer,
    Failed,
    Finished,
    Limits,
    NotConfined,
    Order,
    OutOfMemory,
)

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "XDG_CONFIG_HOME", "TMPDIR")
"""Of the environment, which may hold secrets, what Python and the engines need."""
SET_VARIABLES = {
    # Or libraries start a thread for every core, each with its stack and its heap.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Or ONNX Runtime 1.32 opens a database in the home folder, and sockets, to report home.
    "ORT_DISABLE_TELEMETRY": "1",
}
MAX_REQUEST_BYTES = 48 << 10
"""What a pipe takes without a reader."""
COMPLAINT_BYTES = 4096
MEMORY_COMPLAINTS = (b"bad_alloc", b"MemoryError", b"out of memory", b"Cannot allocate memory")
"""What C++, Python, and the C library say when they have no memory left."""


class End(str, Enum):
    """How a sandboxed process ended."""

    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed by a signal"
    OUT_OF_MEMORY = "out of memory"
    OUT_OF_CPU_TIME = "out of CPU time"
    OUT_OF_TIME = "out of time"
    FORBIDDEN = "did what the sandbox forbids"
    NOT_CONFINED = "the sandbox could not be set up"
    NO_ANSWER = "gave no answer that can be read"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Ended:
    """A sandboxed process that has ended.

    Attributes:
        end: how.
        why: one line for a person; empty if it finished.
        result: JSON that the module returned; whoever reads it checks it.  Empty unless it finished.
        cpu_s: CPU time of all its threads.
        wall_s: from its start.
    """

    end: End
    why: str
    result: bytes
    cpu_s: float
    wall_s: float


class Sandboxed:
    """A process that runs ``module.main(request)`` in the sandbox.  ``close`` ends it, as does the end of a ``with`` block.

    The kernel kills it when the thread that started it ends.

    Args:
        module: ours: it has ``main(request: bytes) -> bytes``, one line of JSON each.
        request: what ``main`` is called with.
        limits: what it may use.
        descriptors: open files that it inherits, under the same numbers.
        beside: whether this very process drives, and is the one that it must not disturb.

    Raises:
        OSError: no process can be started.
    """

    def __init__(
        self,
        module: str,
        request: bytes,
        limits: Limits | None = None,
        *,
        descriptors: Iterable[int] = (),
        beside: bool = False,
    ) -> None:
        self._limits = limits or Limits()
        order = msgspec.json.encode(Order(self._limits, os.getpid(), beside)) + b"\n" + request + b"\n"
        assert len(order) <= MAX_REQUEST_BYTES and b"\n" not in request
        self._began = time.monotonic()
        with without_stop_signals():  # they are the business of this process, which ends the other one
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", "edge_wm.update.confined", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_environment(),
                pass_fds=tuple(descriptors),
                bufsize=0,
            )
        self._answer, self._complaint, self._written = bytearray(), bytearray(), 0
        self._ended: Ended | None = None
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            raise
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        for pipe, kept in ((self._process.stdout, self._answer), (self._process.stderr, self._complaint)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, kept)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already: ``wait`` says why
            self._process.stdin.write(order)
        self._process.stdin.close()

    def __enter__(self) -> Sandboxed:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def wait(self) -> Ended:
        """Wait until the process has ended, by itself or at its limits."""
        while (ended := self.poll(timeout_s=1.0)) is None:
            pass
        return ended

    def poll(self, timeout_s: float = 0.0) -> Ended | None:
        """How the process ended; None while it runs.  Call it now and then: it is what ends one at its limits.

        Args:
            timeout_s: how long to wait for something to happen.
        """
        if self._ended is not None:
            return self._ended
        left_s = self._began + self._limits.wall_s - time.monotonic()
        ready = self._selector.select(max(0.0, min(timeout_s, left_s)))
        self._read()
        if any(key.fileobj == self._pidfd for key, _ in ready):
            return self._end(None)
        if self._written > self._limits.answer_bytes:
            return self._end(End.NO_ANSWER, f"wrote more than {self._limits.answer_bytes >> 10} KiB")
        if left_s <= 0.0:
            return self._end(End.OUT_OF_TIME)
        return None

    def close(self) -> None:
        """End the process if it still runs.  Safe to call twice."""
        if self._ended is None:
            self._end(End.KILLED, "ended by edge-wm")

    def _read(self) -> None:
        """Take what the process wrote: no more of each pipe than it holds."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj == self._pidfd:
                continue
            try:
                data = os.read(key.fd, 1 << 20)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fileobj)
            self._written += len(data)
            key.data.extend(data)
        del self._complaint[:-COMPLAINT_BYTES]

    def _end(self, end: End | None, why: str = "") -> Ended:
        """Kill what is left, and say how the process ended: as the caller knows, or as its status and its answer say."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._read()
        cpu_s, wall_s = used.ru_utime + used.ru_stime, time.monotonic() - self._began
        result = b""
        if end is None:
            end, why, result = self._by_itself(self._process.returncode, cpu_s)
        if end is End.OUT_OF_TIME:
            why = f"still at work after {wall_s:.0f} s, of which it computed for {cpu_s:.1f} s"
        self._selector.close()
        os.close(self._pidfd)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._ended = Ended(end, why, result, cpu_s, wall_s)
        return self._ended

    def _by_itself(self, code: int, cpu_s: float) -> tuple[End, str, bytes]:
        """How a process ended that nobody here killed, why, and its result."""
        no_memory = f"needs more than {self._limits.memory_bytes >> 20} MiB of memory"
        complaint = one_line(bytes(self._complaint[-300:]).decode(errors="replace"))
        if code == -signal.SIGSYS:
            return End.FORBIDDEN, "asked the kernel for what no model needs", b""
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and cpu_s >= self._limits.cpu_s):
            return End.OUT_OF_CPU_TIME, f"still at work after {self._limits.cpu_s} s of CPU time", b""
        if code == -signal.SIGKILL:  # nobody else would
            return End.OUT_OF_MEMORY, "the machine ran out of memory", b""
        if code != 0 and any(words in self._complaint for words in MEMORY_COMPLAINTS):
            return End.OUT_OF_MEMORY, no_memory, b""
        if code < 0:
            return End.KILLED, f"{signal.Signals(-code).name} {complaint}".strip(), b""
        if code > 0:
            return End.FAILED, f"exit code {code} {complaint}".strip(), b""
        try:
            answer = msgspec.json.decode(self._answer, type=Answer)
        except (msgspec.DecodeError, RecursionError):
            return End.NO_ANSWER, f"{len(self._answer)} bytes that are no answer", b""
        if isinstance(answer, Finished):
            return End.FINISHED, "", bytes(answer.result)
        if isinstance(answer, OutOfMemory):
            return End.OUT_OF_MEMORY, no_memory, b""
        if isinstance(answer, NotConfined):
            return End.NOT_CONFINED, answer.why, b""
        assert isinstance(answer, Failed)
        return End.FAILED, one_line(answer.why)[:1000], b""


def _environment() -> dict[str, str]:
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, **SET_VARIABLES, "PYTHONPATH": path}
