"""What Linux can do so that a tick begins on time: scheduling, memory, cores, the processor's frequency.

All of it is optional.  What the kernel does not permit is left out, and is one line that says what would permit it.  Garbage
is the loop's business: see ``loop.py``.

A thread that is scheduled by ``SCHED_FIFO`` and never waits keeps everybody else from its core.  So that is for drives only,
not for loading models; what a thread or a process begins does not inherit it; and the kernel ends the process (SIGXCPU) when
one of its threads computes for ``RUNAWAY_S`` without a pause.  The motors then stop as after any crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

RUNAWAY_S = 2
"""Of computing without a pause.  A tick that is too long ends at its deadline, or is late and brakes, long before."""
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # linux/mman.h
POLICIES = "policy[0-9]*"
"""Of the processor's frequencies: a folder for each group of cores that share one."""


class Realtime(Struct, frozen=True, forbid_unknown_fields=True):
    """``[realtime]`` of the service's file.  Nothing of it is on by default.

    Attributes:
        fifo: priority among real-time threads while the robot drives; drivers' interrupt threads have 50.
        lock_memory: keep in memory what has been there once, so that no tick waits for a disk.
        cores: the only ones that this process and its children run on; none for any.
        governor: of the processor's frequency, for the whole board.
    """

    fifo: Annotated[int, Meta(ge=1, le=49)] | None = None
    lock_memory: bool = False
    cores: tuple[Annotated[int, Meta(ge=0, le=1023)], ...] = ()
    governor: Literal["performance", "schedutil", "ondemand", "powersave"] | None = None


class RealtimeSetup:
    """What this process got of it.

    Args:
        wanted: see there.
        frequencies: where the kernel tells of the processor's frequencies.

    Attributes:
        got: what was wanted and is so, a few words each.
        refused: what is not, one line each: why, and what would permit it.
    """

    def __init__(self, wanted: Realtime, frequencies: Path = Path("/sys/devices/system/cpu/cpufreq")) -> None:
        self._wanted, self._frequencies = wanted, frequencies
        self._fifo = False
        self.got: list[str] = []
        self.refused: list[str] = []

    def begin(self) -> None:
        """Call it before anything is loaded: threads that are started later stay on the same cores."""
        wanted = self._wanted
        if wanted.cores:
            self._keep_to(wanted.cores)
        if wanted.governor is not None:
            self._govern(wanted.governor)
        if wanted.fifo is not None:
            self._try_fifo(wanted.fifo)

    def rehearsed(self) -> None:
        """Call it when everything that a tick needs has been in memory once."""
        if self._wanted.lock_memory:
            self._lock_memory()

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Schedule the threads of this process for a drive; as before at the end."""
        if not self._fifo or self._wanted.fifo is None:
            yield
            return
        before = {thread: os.sched_getscheduler(thread) for thread in _threads()}
        for thread in before:
            _schedule(thread, os.SCHED_FIFO, self._wanted.fifo)
        try:
            yield
        finally:
            for thread, policy in before.items():
                _schedule(thread, policy & ~os.SCHED_RESET_ON_FORK, 0)

    def _keep_to(self, cores: tuple[int, ...]) -> None:
        named = ", ".join(map(str, cores))
        try:
            os.sched_setaffinity(0, cores)
        except OSError:
            there = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
            self.refused.append(f"realtime.cores: {named}: this process may run on {there}")
        else:
            self.got.append(f"cores {named}")

    def _govern(self, governor: str) -> None:
        files = [folder / "scaling_governor" for folder in sorted(self._frequencies.glob(POLICIES))]
        if not files:
            self.refused.append(
                f"realtime.governor: {governor}: this kernel sets no frequency of the processor"
            )
            return
        try:
            for file in files:
                if file.read_text().strip() != governor:
                    file.write_text(governor)
        except OSError as error:
            self.refused.append(
                f"realtime.governor: {governor}: {error.strerror}: only root sets it: see docs/install.md"
            )
        else:
            self.got.append(f"governor {governor}")

    def _try_fifo(self, priority: int) -> None:
        try:
            soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
            most = RUNAWAY_S * 1_000_000
            if soft == resource.RLIM_INFINITY or soft > most:
                resource.setrlimit(resource.RLIMIT_RTTIME, (most, hard))
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        except OSError as error:
            self.refused.append(
                f"realtime.fifo: {priority}: {error.strerror}: a systemd unit permits it with LimitRTPRIO={priority}"
            )
            return
        _schedule(0, os.SCHED_OTHER, 0)
        self._fifo = True
        self.got.append(f"SCHED_FIFO {priority} while it drives")

    def _lock_memory(self) -> None:
        # Under a limit the call may be permitted, and a later, larger allocation fail in the middle of a drive.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
            self.refused.append(
                "realtime.lock_memory: this process may lock little memory: a systemd unit permits it with LimitMEMLOCK=infinity"
            )
            return
        # On fault: engines reserve much more than they use, and all of that would be taken at once.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
            self.refused.append(f"realtime.lock_memory: {os.strerror(ctypes.get_errno())}")
            return
        self.got.append("memory locked")


def _threads() -> list[int]:
    """Of this process: the loop's own, those of the engine, and those of a camera."""
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]


def _schedule(thread: int, policy: int, priority: int) -> None:
    # A thread may have ended meanwhile.  Without a right to it the first one would have been refused.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(thread, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
