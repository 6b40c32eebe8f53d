"""Do something in a forked process that may crash, and say how that ended: a fork has all that was imported, and is there at once."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_wm.errors import BadInput, one_line
from edge_wm.update import confined
from tests.power_cuts.private import die_with_parent

MAX_ANSWER_BYTES = 1 << 16
_PASSED, _REFUSED, _RAISED = b"P", b"R", b"X"
_ENDS = {_PASSED: "passed", _REFUSED: "refused", _RAISED: "raised"}


class Bounds(NamedTuple):
    """What a child may use: CPU seconds, seconds on the wall, and bytes of memory of its own with what it has of its parent."""

    cpu_s: int
    wall_s: float
    memory_bytes: int


class Outcome(NamedTuple):
    """How it ended.

    Attributes:
        end: ``passed``, ``refused`` (BadInput), or what became of the process instead: ``raised``, ``hung``, ``exit code N`` or
            the name of a signal.
        said: what the work returned, or the one line of the exception.
    """

    end: str
    said: str = ""

    @property
    def crashed(self) -> bool:
        """Whether it did neither of what it may do."""
        return self.end not in ("passed", "refused")

    def __str__(self) -> str:
        return f"{self.end}: {self.said}" if self.said else self.end


def in_child(work: Callable[[], str], bounds: Bounds) -> Outcome:
    """Do some work in a child.  It can write to no file.

    Only for a process of one thread that has run no engine.
    """
    answers, answer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _life(work, bounds, answers, answer)
    os.close(answer)
    deadline = time.monotonic() + bounds.wall_s
    said = b""
    try:
        while len(said) <= MAX_ANSWER_BYTES:
            if not select.select([answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return Outcome("hung", f"no answer in {bounds.wall_s:.0f} s")
            more = os.read(answers, 1 << 16)
            if not more:
                break
            said += more
    finally:
        os.close(answers)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == -signal.SIGXCPU:
        return Outcome("hung", f"still at work after {bounds.cpu_s} s of CPU time")
    if code != 0:
        return Outcome(signal.Signals(-code).name if code < 0 else f"exit code {code}")
    return Outcome(_ENDS.get(said[:1], "no answer"), said[1:].decode(errors="replace"))


def _life(work: Callable[[], str], bounds: Bounds, answers: int, answer: int) -> None:
    """The whole life of a child."""
    try:
        die_with_parent()
        os.close(answers)
        _silence()
        for what, most in (
            (resource.RLIMIT_CPU, bounds.cpu_s),
            (resource.RLIMIT_DATA, bounds.memory_bytes),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (most, most + (what == resource.RLIMIT_CPU)))
        end, said = _done(work)
        os.write(answer, end + said.encode(errors="replace")[: MAX_ANSWER_BYTES // 2])
    finally:
        os._exit(0)  # the threads of an engine may not end


def _silence() -> None:
    """What engines print is not what this is about."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


class Series:
    """Does some work on one thing after the other in a child, which lives as long as that goes well.

    Args:
        work: what is done, with what is asked for; what it returns is what is said.
        bounds: of the child; the times are for one thing.
        start: what a child does first; it is told the process that forked it.
        length: of so many things a child sees no more.
    """

    def __init__(
        self,
        work: Callable[[bytes], str],
        bounds: Bounds,
        start: Callable[[int], object] = lambda parent: None,
        length: int = 120,
    ) -> None:
        self._work, self._bounds, self._start, self._length = work, bounds, start, length
        self._asked = self._pid = self._asks = self._answers = 0

    def ask(self, about: bytes) -> Outcome:
        """How the work on one thing ended, which is not always its own doing: that a child dies can come from one before."""
        if not self._pid:
            self._fork()
        self._asked += 1
        with contextlib.suppress(BrokenPipeError):  # it is gone, and its status says how
            os.write(self._asks, struct.pack("<I", len(about)) + about)
        said = self._answer()
        if said is None or said[:1] not in _ENDS:
            outcome = self._ended("hung" if said is None else "no answer")
        else:
            outcome = Outcome(_ENDS[said[:1]], said[1:].decode(errors="replace"))
        if self._asked >= self._length or outcome.crashed:
            self.close()
        return outcome

    def close(self) -> None:
        """End the child."""
        if self._pid:
            self._ended("")

    def _answer(self) -> bytes | None:
        """What the child says: all that came before it died, None if it has to be killed."""
        began, cpu_s = time.monotonic(), self._cpu_s()
        said = b""
        while len(said) < 4 or len(said) < 4 + struct.unpack_from("<I", said)[0]:
            if not select.select([self._answers], [], [], 0.25)[0]:
                late = time.monotonic() - began > self._bounds.wall_s
                if late or self._cpu_s() - cpu_s > self._bounds.cpu_s:
                    return None
                continue
            more = os.read(self._answers, 1 << 16)
            if not more:
                return b""
            said += more
        return said[4:]

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ended(self, why: str) -> Outcome:
        """Kill the child if it still lives, and say how it ended."""
        os.close(self._asks)
        os.close(self._answers)
        if why != "no answer":
            os.kill(self._pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._pid = self._asked = 0
        if why != "no answer":
            return Outcome(why)
        return Outcome(signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _fork(self) -> None:
        parent = os.getpid()
        read_asks, self._asks = os.pipe()
        self._answers, write_answers = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._asks)
            os.close(self._answers)
            try:
                die_with_parent()
                _silence()
                resource.setrlimit(resource.RLIMIT_DATA, (self._bounds.memory_bytes,) * 2)
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                self._start(parent)
                while header := os.read(read_asks, 4):
                    about = os.read(read_asks, *struct.unpack("<I", header))
                    end, said = _done(lambda about=about: self._work(about))  # type: ignore[misc]
                    answer = end + said.encode(errors="replace")[: MAX_ANSWER_BYTES // 2]
                    os.write(write_answers, struct.pack("<I", len(answer)) + answer)
            finally:
                os._exit(3)
        os.close(read_asks)
        os.close(write_answers)


def _done(work: Callable[[], str]) -> tuple[bytes, str]:
    """Do it, and say how that ended."""
    try:
        return _PASSED, work()
    except BadInput as refusal:
        return _REFUSED, str(refusal)
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return _RAISED, one_line(f"{type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})")


class ForkedProcess:
    """Stands in for ``subprocess.Popen`` where the sandbox is started: a fork, not a fresh interpreter, which takes half a second.

    What it runs is the same: ``edge_wm.update.confined.main``, which gives up the same.
    """

    def __init__(self, command: Sequence[str], *, cwd: str, **unused: Any) -> None:
        ins, outs, errors = os.pipe(), os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for here, there in ((ins[0], 0), (outs[1], 1), (errors[1], 2)):
                os.dup2(here, there)
            os.closerange(3, 256)
            os.chdir(cwd)
            _confined(list(command[-2:]))
        for descriptor in (ins[0], outs[1], errors[1]):
            os.close(descriptor)
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(descriptor, mode, buffering=0)
            for descriptor, mode in ((ins[1], "wb"), (outs[0], "rb"), (errors[0], "rb"))
        )
        self.returncode: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _confined(arguments: list[str]) -> None:
    try:
        sys.argv = arguments
        sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w")
        confined.main()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(1)
