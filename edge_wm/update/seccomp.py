"""A system call filter: what a sandboxed process may ask of the kernel, and nothing else (seccomp, Linux 4.14 or newer).

A call that is not in ``ALLOWED`` fails as on a kernel that does not have it, which libraries know how to live with.  One
in ``KILLED`` ends the process: no library of ours makes it, so somebody else is at work.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

ARCHITECTURES = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}
"""By ``uname -m``: AUDIT_ARCH_* (linux/audit.h), column of its numbers in the tables below, number of ``seccomp``."""

ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # name: number on x86_64 and on aarch64 (asm/unistd.h); None where the architecture has no such call
    # What is open already, and files to read.
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "pread64": (17, 67), "readv": (19, 65),
    "writev": (20, 66), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "stat": (4, None), "fstat": (5, 80),
    "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "statfs": (137, 43), "fstatfs": (138, 44),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17), "fadvise64": (221, 223),
    # Waiting.
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "pipe2": (293, 59),
    "eventfd2": (290, 19), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None),
    "epoll_pwait": (281, 22), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "futex": (202, 98),
    "futex_waitv": (449, 449), "sched_yield": (24, 124), "pause": (34, None),
    # Memory.
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "mincore": (27, 232), "membarrier": (324, 283),
    # Threads and signals of its own.
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293), "set_tid_address": (218, 96),
    "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94), "arch_prctl": (158, None),
    # Facts.
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179), "getrlimit": (97, 163),
    "getrusage": (98, 165), "times": (100, 153), "sched_getaffinity": (204, 123), "sched_getscheduler": (145, 120),
    "sched_getparam": (143, 121), "getpriority": (140, 141), "getcpu": (309, 168), "get_mempolicy": (239, 236),
    "getrandom": (318, 278), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "time": (201, None),
}  # fmt: skip

KILLED: dict[str, tuple[int | None, int | None]] = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "reboot": (169, 142), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
}  # fmt: skip

CLONE_THREAD = 0x10000
CLONE_NEW = 0x7E020000  # CLONE_NEW*: a namespace of its own
PR_SET_NAME, PR_SET_VMA = 15, 0x53564D41
TERMINAL_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX
FCNTLS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC

KILL, ALLOW = 0x80000000, 0x7FFF0000  # SECCOMP_RET_* (linux/seccomp.h)
FORBID, MISSING = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


class Bits(NamedTuple):
    """32 bits of an argument that must, under a mask, be one of some values: the low ones, or else the high ones."""

    argument: int
    mask: int
    values: tuple[int, ...]
    low: bool = True


class Conditional(NamedTuple):
    """A call that is allowed if all of ``bits`` are as they must be, else fails with EPERM."""

    numbers: tuple[int | None, int | None]
    bits: tuple[Bits, ...]


def conditional(pid: int, devices: bool) -> dict[str, Conditional]:
    """The calls that depend on their arguments.

    Args:
        pid: of the process, which may signal itself: that is how ``abort`` ends it.
        devices: whether files may be opened to write, and device calls made: an accelerator's driver needs that.
    """
    every, write = 0xFFFFFFFF, os.O_CREAT | os.O_TRUNC | (0 if devices else os.O_ACCMODE)
    return {
        "open": Conditional((2, None), (Bits(1, write, (0,)),)),
        "openat": Conditional((257, 56), (Bits(2, write, (0,)),)),
        "clone": Conditional((56, 220), (Bits(0, CLONE_THREAD, (CLONE_THREAD,)), Bits(0, CLONE_NEW, (0,)))),
        "kill": Conditional((62, 129), (Bits(0, every, (pid,)),)),
        "tgkill": Conditional((234, 131), (Bits(0, every, (pid,)),)),
        "prctl": Conditional((157, 167), (Bits(0, every, (PR_SET_NAME, PR_SET_VMA)),)),
        # To read its limits, not to set them: new ones would come in the third argument, a pointer.
        "prlimit64": Conditional((302, 261), (Bits(2, every, (0,)), Bits(2, every, (0,), low=False))),
        "fcntl": Conditional((72, 25), (Bits(1, every, FCNTLS),)),
        "ioctl": Conditional((16, 29), () if devices else (Bits(1, every, TERMINAL_IOCTLS),)),
    }


LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06  # BPF: LD|W|ABS, JMP|JEQ|K, ALU|AND|K, RET|K
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data

Instruction = tuple[int, int, int, int]
"""Code, jumps if true and if false, constant."""


def program(machine: str, pid: int, *, devices: bool = False) -> list[Instruction]:
    """The filter for one process.

    Args:
        machine: as in ``ARCHITECTURES``.
        pid: see ``conditional``.
        devices: see there, too.

    Raises:
        KeyError: there is no filter for this machine.
    """
    architecture, column, _ = ARCHITECTURES[machine]
    found: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),  # numbers mean other calls there
        (LOAD, 0, 0, NUMBER_AT),
    ]
    for table, action in ((ALLOWED, ALLOW), (KILLED, KILL)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                found += [(EQUAL, 0, 1, number), (RETURN, 0, 0, action)]
    for call in conditional(pid, devices).values():
        number = call.numbers[column]
        if number is not None:
            judged = _judged(call.bits)
            found += [(EQUAL, 0, len(judged), number), *judged]
    return [*found, (RETURN, 0, 0, MISSING)]


def _judged(required: Iterable[Bits]) -> list[Instruction]:
    """Instructions that return in any case: to allow if all of ``required`` are as they must be, else to forbid."""
    found: list[Instruction] = []
    for bits in required:
        half = 8 * bits.argument + (0 if bits.low else 4)
        found += [(LOAD, 0, 0, ARGUMENTS_AT + half), (AND, 0, 0, bits.mask)]
        found += [(EQUAL, len(bits.values) - place, 0, value) for place, value in enumerate(bits.values)]
        found.append((RETURN, 0, 0, FORBID))
    return [*found, (RETURN, 0, 0, ALLOW)]


def install(instructions: Sequence[Instruction], machine: str) -> None:
    """Put the filter on every thread of this process, for ever.  ``PR_SET_NO_NEW_PRIVS`` must be set.

    Raises:
        OSError: the kernel refuses it.
    """
    assert sys.byteorder == "little", "every machine in ARCHITECTURES is"
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *row) for row in instructions))
    table = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    set_mode_filter, on_all_threads = ctypes.c_uint(1), ctypes.c_uint(1)
    number = ctypes.c_long(ARCHITECTURES[machine][2])
    if libc.syscall(number, set_mode_filter, on_all_threads, table) != 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
