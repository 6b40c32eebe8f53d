"""The inside of the sandbox: ``python -m edge_wm.update.confined MODULE`` gives up what it may do, then calls ``MODULE.main``.

The order: limits first, privileges next, the system call filter last; only then is ``MODULE`` imported, and with it whatever
reads a stranger's files.  If the kernel refuses any of it, ``MODULE`` never runs.

Standard input brings one line, an ``Order``, and a second one, the request for ``MODULE``.  Standard output takes one ``Answer``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import resource
import signal
import sys
import threading
from pathlib import Path

import msgspec

from edge_wm.errors import one_line
from edge_wm.update import seccomp

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
NICE = 19
OOM_SCORE_ADJ = 1000
"""Of all processes this one is the first to end when the machine runs out of memory."""
STACK_BYTES = 1 << 20
"""Of each thread that an engine starts; usual are 8 MiB, which count as used."""
CPU_GRACE_S = 2
"""From the signal that says that the CPU time is used up to the one that cannot be caught."""
CAPABILITIES = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process (linux/capability.h)


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sandboxed process may use.

    Attributes:
        memory_bytes: of its own: heap, stacks, tensors (``RLIMIT_DATA``).  The shipped model's proof takes 130 MB, and
            none takes from a driving process on a board of 1 GB what it needs.
        address_space_bytes: memory and all that is mapped (``RLIMIT_AS``): the libraries of the engine take 200 MB, and
            each of its threads reserves 64 MB that it does not use.
        cpu_s: CPU seconds of all its threads.
        wall_s: seconds until it is killed.  Behind a driving process it waits for most of them.
        descriptors: open files.
        answer_bytes: what it may write.
        devices: whether it may talk to drivers, as those of accelerators need: then nothing bounds the address space,
            which they reserve without end, and existing files can be opened to write.
        stand_back: whether every other process comes first; not where nothing drives and somebody waits.
    """

    memory_bytes: int = 384 << 20
    address_space_bytes: int = 1 << 30
    cpu_s: int = 120
    wall_s: float = 900.0
    descriptors: int = 64
    answer_bytes: int = 1 << 20
    devices: bool = False
    stand_back: bool = True


class Order(msgspec.Struct, frozen=True):
    """What the process is told before its request.

    Attributes:
        limits: what it may use.
        parent: the process that started it, and that it must not outlive.
        beside: whether the parent is whom it must not disturb; else it is whoever drives, somewhere else.
    """

    limits: Limits
    parent: int
    beside: bool


class Finished(msgspec.Struct, tag="finished", frozen=True):
    """What ``MODULE.main`` returned."""

    result: msgspec.Raw


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """It raised an exception, in one line."""

    why: str


class OutOfMemory(msgspec.Struct, tag="out of memory", frozen=True):
    """It raised MemoryError."""


class NotConfined(msgspec.Struct, tag="not confined", frozen=True):
    """The sandbox could not be set up, and ``MODULE`` was not run."""

    why: str


Answer = Finished | Failed | OutOfMemory | NotConfined


def confine(order: Order) -> None:
    """Give up, for the rest of this process, everything that the order's limits do not leave.

    Raises:
        OSError: the kernel refuses a part of it.
    """
    limits = order.limits
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
    if os.getppid() != order.parent:
        raise OSError(errno.ESRCH, "the process that started this one is gone")
    if limits.stand_back:
        _stand_back(order.beside)
    _small_stacks(libc)
    for what, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NOFILE, limits.descriptors, limits.descriptors),
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + CPU_GRACE_S),
        (resource.RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes),
        *(() if limits.devices else ((resource.RLIMIT_AS, *(limits.address_space_bytes,) * 2),)),
    ):
        most = resource.getrlimit(what)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(what, (soft, hard))
    # Or one that root started could raise its limits again.
    _checked(libc.capset(CAPABILITIES, (ctypes.c_uint32 * 6)()), "capset")
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    machine = os.uname().machine
    if machine not in seccomp.ARCHITECTURES or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"there is no system call filter for this Python on {machine}")
    seccomp.install(seccomp.program(machine, os.getpid(), devices=limits.devices), machine)


def _stand_back(beside: bool) -> None:
    """Leave CPU and memory to the others.  Where it cannot be had, the limits hold all the same.

    Many kernels share the CPU between sessions (``autogroup``), whoever is how idle within them: in a session of its own
    this process counts little against all others, but for moments it can come before any of them.  In that of its parent
    it never comes before it: seen as ticks of a driving process that a shadow held up for 3 ms.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    if not beside:
        with contextlib.suppress(OSError):
            os.setsid()
            Path("/proc/self/autogroup").write_text(str(NICE))


def _small_stacks(libc: ctypes.CDLL) -> None:
    """Give threads to come ``STACK_BYTES``.  Only the GNU C library can; others give less than it by themselves."""
    attributes = ctypes.create_string_buffer(256)  # pthread_attr_t is 56 or 64 bytes
    with contextlib.suppress(AttributeError):
        libc.pthread_getattr_default_np(attributes)
        libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(STACK_BYTES))
        libc.pthread_setattr_default_np(attributes)


def _checked(returned: int, what: str) -> None:
    if returned != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _answer(module: str) -> Answer:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    try:
        confine(order)
    except OSError as error:
        return NotConfined(one_line(str(error.strerror)))
    try:
        result: bytes = importlib.import_module(module).main(sys.stdin.buffer.readline())
        return Finished(msgspec.Raw(result))
    except MemoryError:
        return OutOfMemory()
    except Exception as error:
        return Failed(one_line(f"{type(error).__name__}: {error}"))


def main() -> None:
    """See the top of the file."""
    assert threading.active_count() == 1
    # Libraries print what they like on standard output: to standard error with it.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    answer = msgspec.json.encode(_answer(sys.argv[1]))
    while answer:
        answer = answer[os.write(answer_to, answer) :]
    os._exit(0)  # the threads of an engine may not end, and nothing is left to be tidied up


if __name__ == "__main__":
    main()
