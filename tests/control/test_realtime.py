"""What the kernel gives to a process that asks for real time, and what it says where it gives nothing.

Each test runs in a process of its own: limits that were lowered stay lowered.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.control.realtime import RUNAWAY_S, Realtime, RealtimeSetup

PRELUDE = """
import os, resource, subprocess, sys, threading, time
from edge_wm.control.realtime import *
def policy(of=0): return os.sched_getscheduler(of) & ~os.SCHED_RESET_ON_FORK
"""
NOBODY = 65534


def may_use_fifo() -> bool:
    probe = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    return (
        subprocess.run([sys.executable, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


needs_fifo = pytest.mark.skipif(not may_use_fifo(), reason="SCHED_FIFO is not permitted here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


def python(code: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
    )


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that other users can look into, as into the kernel's; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_nothing_is_asked_for_unless_somebody_says_so() -> None:
    done = python(
        "setup = RealtimeSetup(Realtime())\nsetup.begin(); setup.rehearsed()\n"
        "with setup.driving(): print(policy() == os.SCHED_OTHER, setup.got, setup.refused)"
    )
    assert done.stdout == "True [] []\n", done.stderr


@needs_fifo
def test_only_drives_are_scheduled_by_fifo_and_with_them_the_threads_of_the_engine() -> None:
    done = python(
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "setup = RealtimeSetup(Realtime(fifo=7))\nsetup.begin()\n"
        "threads = [int(name) for name in os.listdir('/proc/self/task')]\n"
        "def policies(): return [policy(thread) for thread in threads]\n"
        "print(len(threads), policies(), setup.got)\n"
        "with setup.driving(): print(policies(), os.sched_getparam(0).sched_priority)\n"
        "print(policies())"
    )
    other, fifo = [os.SCHED_OTHER] * 2, [os.SCHED_FIFO] * 2
    assert done.stdout == f"2 {other} ['SCHED_FIFO 7 while it drives']\n{fifo} 7\n{other}\n", done.stderr


@needs_fifo
def test_what_a_drive_starts_does_not_compete_with_it() -> None:
    child = "import os; print(os.sched_getscheduler(0) == os.SCHED_OTHER)"
    done = python(
        "setup = RealtimeSetup(Realtime(fifo=7))\nsetup.begin()\n"
        f"with setup.driving(): subprocess.run([sys.executable, '-c', {child!r}])\n"
    )
    assert done.stdout == "True\n", done.stderr
    control = python(
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(7))\n"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert control.stdout == "False\n", control.stderr


@needs_fifo
def test_the_kernel_ends_a_drive_that_computes_without_a_pause_and_no_other() -> None:
    spin = f"""
setup = RealtimeSetup(Realtime(fifo=7))
setup.begin()
with setup.driving():
    end = time.process_time() + {RUNAWAY_S + 1.5}
    while time.process_time() < end:
        PAUSE
print("alive")
"""
    assert python(spin.replace("PAUSE", "pass")).returncode == -signal.SIGXCPU
    control = python(spin.replace("PAUSE", "time.sleep(0.0005); [0 for _ in range(200000)]"))
    assert control.stdout == "alive\n", control


@needs_root
def test_what_is_not_permitted_is_one_line_each_that_says_what_would_permit_it(everybodys: Path) -> None:
    (everybodys / "policy0").mkdir()
    (everybodys / "policy0/scaling_governor").write_text("ondemand\n")
    done = python(
        "from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))\n"
        f"os.setuid({NOBODY})\n"
        f"setup = RealtimeSetup(Realtime(7, True, (1000,), 'performance'), Path({str(everybodys)!r}))\n"
        "setup.begin(); setup.rehearsed()\n"
        "with setup.driving(): print(policy() == os.SCHED_OTHER, setup.got)\n"
        "print(*setup.refused, sep='\\n')"
    )
    first, cores, governor, fifo, memory = done.stdout.splitlines()
    assert first == "True []"
    assert cores.startswith("realtime.cores: 1000: this process may run on ")
    assert governor.startswith("realtime.governor: performance: ") and "only root" in governor
    assert "LimitRTPRIO=7" in fifo
    assert "LimitMEMLOCK=infinity" in memory


def test_a_governor_that_can_be_set_is_set_for_all_cores(tmp_path: Path) -> None:
    for number in (0, 4):
        (tmp_path / f"policy{number}").mkdir()
        (tmp_path / f"policy{number}/scaling_governor").write_text("ondemand\n")
    setup = RealtimeSetup(Realtime(governor="performance"), tmp_path)
    setup.begin()
    assert (setup.got, setup.refused) == (["governor performance"], [])
    assert [file.read_text() for file in tmp_path.glob("*/*")] == ["performance"] * 2
    without = RealtimeSetup(Realtime(governor="performance"), tmp_path / "nothing")
    without.begin()
    assert "sets no frequency" in without.refused[0]


def test_cores_are_kept_to_by_whatever_is_started_later() -> None:
    done = python(
        "core = min(os.sched_getaffinity(0))\nsetup = RealtimeSetup(Realtime(cores=(core,)))\nsetup.begin()\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(len(os.sched_getaffinity(0)))'])"
    )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY,
    reason="no memory may be locked here",
)
def test_memory_is_locked_without_taking_what_is_only_reserved() -> None:
    done = python(
        "import mmap\nsetup = RealtimeSetup(Realtime(lock_memory=True))\nsetup.begin(); setup.rehearsed()\n"
        "def locked(): return int(open('/proc/self/status').read().split('VmLck:')[1].split()[0])\n"
        "def used(): return int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])\n"
        "before = used(); reserved = mmap.mmap(-1, 256 << 20)\n"
        "print(setup.got, locked() > 0, used() - before < 8192)"
    )
    assert done.stdout == "['memory locked'] True True\n", done.stderr
