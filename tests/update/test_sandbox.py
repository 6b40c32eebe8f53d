from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from edge_wm.update import seccomp
from edge_wm.update.confined import Limits
from edge_wm.update.sandbox import End, Ended, Sandboxed
from tests.update.misbehaving import request

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.update.misbehaving"
QUICK = Limits(cpu_s=20, wall_s=60.0, stand_back=False)


def sandboxed(deed: str, *arguments: object, limits: Limits = QUICK) -> Ended:
    with Sandboxed(MODULE, request(deed, *arguments), limits) as process:
        return process.wait()


def free(deed: str, *arguments: object) -> str:
    """The same deed in a process without the sandbox."""
    done = subprocess.run(
        [sys.executable, "-m", MODULE, request(deed, *arguments).decode()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1] if done.returncode else done.stdout


# --- what a module of ours needs -------------------------------------------------------------------------------------


def test_a_module_computes_and_its_answer_comes_back() -> None:
    ended = sandboxed("add", 1, 2)
    assert (ended.end, ended.why, ended.result) == (End.FINISHED, "", b"3")
    assert 0.0 < ended.cpu_s < 10.0 and 0.0 < ended.wall_s < 60.0


def test_it_reads_files_and_starts_threads() -> None:
    assert json.loads(sandboxed("read", "/etc/hostname").result) == Path("/etc/hostname").read_text()
    assert json.loads(sandboxed("thread").result) == "a thread ran"


def test_an_exception_is_one_line() -> None:
    ended = sandboxed("raise")
    assert ended.end is End.FAILED
    assert ended.why == r"KeyError: 'no such key\nsecond line'"


def test_it_stands_back_for_everybody_and_has_no_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    inside = json.loads(json.loads(sandboxed("facts", limits=Limits()).result))
    assert (inside["nice"], inside["scheduler"], inside["oom_score_adj"]) == (19, os.SCHED_IDLE, 1000)
    assert (inside["capabilities"], inside["no_new_privs"], inside["seccomp"], inside["core"]) == (0, 1, 2, 0)
    assert "PATH" in inside["variables"] and "MQTT_PASSWORD" not in inside["variables"]
    assert '\\"MQTT_PASSWORD\\"' in free("facts")


# --- time and memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deed", ["loop", "loop deaf"])
def test_one_that_loops_runs_out_of_cpu_time(deed: str) -> None:
    ended = sandboxed(deed, limits=replace(QUICK, cpu_s=1))
    assert ended.end is End.OUT_OF_CPU_TIME
    assert "after 1 s of CPU time" in ended.why
    assert ended.cpu_s > 0.8


def test_one_that_waits_runs_out_of_time() -> None:
    ended = sandboxed("sleep", limits=replace(QUICK, wall_s=0.5))
    assert ended.end is End.OUT_OF_TIME
    assert ended.cpu_s < 0.5 <= ended.wall_s < 20.0


@pytest.mark.parametrize("deed", [("fill", 0), ("fill", 1), ("allocate without end",)])
def test_one_that_allocates_runs_out_of_memory(deed: tuple[object, ...]) -> None:
    ended = sandboxed(*map(str, deed[:1]), *deed[1:])
    assert (ended.end, ended.why) == (End.OUT_OF_MEMORY, "needs more than 384 MiB of memory")


def test_memory_is_there_for_whom_it_is_given() -> None:
    more = replace(QUICK, memory_bytes=700 << 20)
    assert json.loads(sandboxed("fill", 1, limits=more).result) == str(600 << 20)


@pytest.mark.parametrize("descriptor", [1, 2])
def test_one_that_prints_without_end_is_ended(descriptor: int) -> None:
    ended = sandboxed("print", descriptor)
    assert (ended.end, ended.why) == (End.NO_ANSWER, "wrote more than 1024 KiB")


# --- ends ------------------------------------------------------------------------------------------------------------


def test_every_end_is_told_apart() -> None:
    assert sandboxed("exit", 0).end is End.NO_ANSWER
    assert (sandboxed("exit", 3).end, sandboxed("exit", 3).why) == (End.FAILED, "exit code 3")
    assert (sandboxed("abort").end, sandboxed("abort").why) == (End.KILLED, "SIGABRT")
    assert (sandboxed("segfault").end, sandboxed("segfault").why) == (End.KILLED, "SIGSEGV")
    assert Sandboxed("tests.update.no_such_module", b"[]").wait().end is End.FAILED


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        (b"", 1),
        (b"{}", 1),
        (b'{"type":"finished"}', 1),
        (b'{"type":"finished","result":1}{', 1),
        (b'{"type":"no such end"}', 1),
        (b"[", 60_000),
        (b"\xff\x00", 1),
        (b"null", 1),
    ],
)
def test_an_answer_that_cannot_be_read_is_none(answer: bytes, times: int) -> None:
    ended = sandboxed("answer", answer.hex(), times)
    assert (ended.end, ended.result) == (End.NO_ANSWER, b"")
    assert ended.why == f"{len(answer) * times} bytes that are no answer"


def test_closing_ends_it() -> None:
    with Sandboxed(MODULE, request("sleep")) as process:
        pid = process._process.pid
        assert process.poll() is None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert process.wait().end is End.KILLED
    process.close()


def test_it_ends_with_whoever_started_it() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", MODULE, request("child of a child").decode()], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        assert select.select([child], [], [], 0.0)[0] == []
        parent.kill()
        parent.wait()
        assert select.select([child], [], [], 20.0)[0] == [child]
    finally:
        os.close(child)
        parent.stdout.close()


# --- what it must not do ---------------------------------------------------------------------------------------------


@contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


REFUSED = ("Operation not permitted", "Function not implemented", "maximum limit")


@pytest.mark.parametrize("deed", ["fork", "socket"])
def test_it_starts_no_process_and_has_no_network(deed: str) -> None:
    ended = sandboxed(deed)
    assert ended.end is End.FAILED
    assert ended.why.endswith(REFUSED)
    assert free(deed).strip() in ('"child ended"', '"True"')


def test_it_reaches_no_server() -> None:
    with listener() as port:
        assert sandboxed("connect", port).why.endswith(REFUSED)
        assert free("connect", port).strip() == '"connected"'


@pytest.mark.parametrize(
    "deed", ["change", "append", "remove", "rename", "make folder", "change mode", "link", "lock"]
)
def test_it_changes_no_file(tmp_path: Path, deed: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    kept.chmod(0o600)
    ended = sandboxed(deed, str(kept))
    assert ended.end is End.FAILED
    assert ended.why.partition(": '")[0].endswith(REFUSED)
    assert [(path.name, path.read_text(), path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [
        ("kept", "as it was", 0o600)
    ]
    assert "Error" not in free(deed, str(kept))


def test_it_writes_no_new_file(tmp_path: Path) -> None:
    assert sandboxed("change", str(tmp_path / "new")).end is End.FAILED
    assert list(tmp_path.iterdir()) == []
    assert free("change", str(tmp_path / "new")).strip() == '"changed"'


@pytest.mark.parametrize("deed", ["exec", "trace", "namespace"])
def test_what_no_model_needs_ends_it(deed: str) -> None:
    ended = sandboxed(deed)
    assert (ended.end, ended.why) == (End.FORBIDDEN, "asked the kernel for what no model needs")
    if deed == "exec":  # the others need a right that not everybody has
        assert free(deed) == ""


def test_it_signals_nobody_else() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        assert sandboxed("signal", os.getpid()).why.endswith(REFUSED)
        assert heard == []
        free("signal", os.getpid())
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_it_moves_nobody_to_another_core() -> None:
    assert sandboxed("be quick", os.getpid()).why.endswith(REFUSED)


def test_it_keeps_its_limits_and_its_parent() -> None:
    assert sandboxed("own limits").why.endswith(REFUSED)
    assert sandboxed("outlive").why.endswith(REFUSED)
    assert "Too many open files" in sandboxed("descriptors").why
    assert free("outlive").strip() == '"done"'
    assert free("descriptors").strip() == '"True"'


NO_SECCOMP = r"""
import ctypes, os
from edge_wm.update import seccomp
from edge_wm.update.sandbox import Sandboxed
machine = os.uname().machine
number = seccomp.ARCHITECTURES[machine][2]
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
LOAD, EQUAL, RETURN = seccomp.LOAD, seccomp.EQUAL, seccomp.RETURN
seccomp.install([(LOAD, 0, 0, 0), (EQUAL, 0, 1, number), (RETURN, 0, 0, seccomp.FORBID), (RETURN, 0, 0, seccomp.ALLOW)], machine)
ended = Sandboxed("tests.update.misbehaving", b'["add", 1, 2]').wait()
print(ended.end, "|", ended.why, "|", ended.result.decode())
"""


def test_where_the_kernel_refuses_the_filter_nothing_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_SECCOMP], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "the sandbox could not be set up | seccomp: Operation not permitted |"


# --- the filter, on both architectures -------------------------------------------------------------------------------

OPEN_TO_READ = os.O_RDONLY | os.O_CLOEXEC
THREAD = 0x3D0F00  # what pthread_create asks for


def judged(machine: str, name: str, *arguments: int, devices: bool = False, audit: int | None = None) -> int:
    """Run the filter as the kernel would."""
    architecture, column, _ = seccomp.ARCHITECTURES[machine]
    conditional = seccomp.conditional(1000, devices)
    numbers = {
        **seccomp.ALLOWED,
        **seccomp.KILLED,
        **{name: call.numbers for name, call in conditional.items()},
        "socket": (41, 198),
        "clone3": (435, 435),
        "unlinkat": (263, 35),
        "x32 write": (0x40000001, 0x40000001),
    }
    number = numbers[name][column]
    assert number is not None
    words = [number, audit or architecture, 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32]
    place = accumulator = 0
    code = seccomp.program(machine, 1000, devices=devices)
    while True:
        operation, if_true, if_false, constant = code[place]
        place += 1
        if operation == seccomp.RETURN:
            return constant
        if operation == seccomp.LOAD:
            accumulator = words[constant // 4]
        elif operation == seccomp.AND:
            accumulator &= constant
        elif operation == seccomp.EQUAL:
            place += if_true if accumulator == constant else if_false


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_filter_lets_through_what_an_engine_needs(machine: str) -> None:
    for name in ("read", "mmap", "mprotect", "futex", "clock_gettime", "exit_group"):
        assert judged(machine, name) == seccomp.ALLOW
    assert judged(machine, "openat", 3, 0, OPEN_TO_READ) == seccomp.ALLOW
    assert judged(machine, "clone", THREAD) == seccomp.ALLOW
    assert judged(machine, "tgkill", 1000, 1001, signal.SIGABRT) == seccomp.ALLOW
    assert judged(machine, "prlimit64", 0, 7, 0, 0x7FFF00000000) == seccomp.ALLOW
    assert judged(machine, "ioctl", 1, 0x5401) == seccomp.ALLOW


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "arguments", "action"),
    [
        ("execve", (), seccomp.KILL),
        ("ptrace", (), seccomp.KILL),
        ("io_uring_setup", (), seccomp.KILL),
        ("socket", (2, 1), seccomp.MISSING),
        ("unlinkat", (), seccomp.MISSING),
        ("clone3", (), seccomp.MISSING),
        ("x32 write", (), seccomp.MISSING),
        ("openat", (3, 0, os.O_WRONLY), seccomp.FORBID),
        ("openat", (3, 0, os.O_RDWR), seccomp.FORBID),
        ("openat", (3, 0, os.O_RDONLY | os.O_CREAT), seccomp.FORBID),
        ("openat", (3, 0, os.O_RDONLY | os.O_TRUNC), seccomp.FORBID),
        ("clone", (signal.SIGCHLD,), seccomp.FORBID),
        ("clone", (THREAD | 0x10000000,), seccomp.FORBID),  # CLONE_NEWUSER
        ("kill", (999, 9), seccomp.FORBID),
        ("kill", (0xFFFFFFFF, 9), seccomp.FORBID),
        ("prlimit64", (0, 7, 0x1000), seccomp.FORBID),
        ("prlimit64", (0, 7, 0x7FFF00000000), seccomp.FORBID),  # low half zero
        ("prctl", (1, 0), seccomp.FORBID),
        ("fcntl", (3, 8, 999), seccomp.FORBID),  # F_SETOWN: signals to others
        ("ioctl", (0, 0x5412), seccomp.FORBID),  # TIOCSTI: types into a terminal
    ],
)
def test_the_filter_holds_back_everything_else(
    machine: str, name: str, arguments: tuple[int, ...], action: int
) -> None:
    assert judged(machine, name, *arguments) == action


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_another_architectures_calls_end_it(machine: str) -> None:
    assert judged(machine, "read", audit=0x40000003) == seccomp.KILL  # AUDIT_ARCH_I386


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_an_accelerator_may_talk_to_its_driver_but_make_no_file(machine: str) -> None:
    assert judged(machine, "ioctl", 5, 0xC020462A, devices=True) == seccomp.ALLOW
    assert judged(machine, "openat", 3, 0, os.O_RDWR, devices=True) == seccomp.ALLOW
    assert judged(machine, "openat", 3, 0, os.O_RDWR | os.O_CREAT, devices=True) == seccomp.FORBID
    assert judged(machine, "openat", 3, 0, os.O_RDWR | os.O_TRUNC, devices=True) == seccomp.FORBID


def test_numbers_of_calls_are_those_of_this_machine() -> None:
    """Against what the C library's headers say, where they are."""
    header = Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h")
    if not header.is_file():
        pytest.skip(f"no {header}")
    said = dict(
        line.split()[1:3] for line in header.read_text().splitlines() if line.startswith("#define __NR_")
    )
    column = seccomp.ARCHITECTURES[os.uname().machine][1]
    own = {**seccomp.ALLOWED, **seccomp.KILLED}
    own |= {name: call.numbers for name, call in seccomp.conditional(1, False).items()}
    for name, numbers in own.items():
        if numbers[column] is not None:
            assert said[f"__NR_{name}"] == str(numbers[column])
