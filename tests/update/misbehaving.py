"""What a process that somebody took over might do: run in the sandbox by its tests, and without it to show that it works."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> str:
    """A call of the C library's: raises what the kernel says."""
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"


def fork() -> str:
    child = os.fork()
    if child == 0:
        os._exit(0)
    return f"child {'ended' if os.waitpid(child, 0)[1] == 0 else 'died'}"


def thread() -> str:
    answers: list[str] = []
    worker = threading.Thread(target=answers.append, args=("a thread ran",))
    worker.start()
    worker.join()
    return answers[0]


def loop() -> str:
    while True:
        pass


def loop_deaf() -> str:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return loop()


def fill(byte: int) -> str:
    """Use 600 MB."""
    return str(len(bytearray([byte]) * (600 << 20)))


def allocate_without_end() -> str:
    kept = []
    while True:
        kept.append(bytes(1 << 20))


def print_much(descriptor: int) -> str:
    for _ in range(1000):
        os.write(descriptor, b"x" * (1 << 20))
    return "all printed"


def answer(hexadecimal: str, times: int) -> None:
    """Answer in the place of the process: past its own code, and end it."""
    os.write(3, bytes.fromhex(hexadecimal) * times)
    os._exit(0)


def change(path: str) -> str:
    Path(path).write_text("changed")
    return "changed"


def facts() -> str:
    """What this process is and may do."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
    )
    return json.dumps(
        {
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "scheduler": os.sched_getscheduler(0),
            "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
            "capabilities": int(status["CapEff"], 16),
            "no_new_privs": int(status["NoNewPrivs"]),
            "seccomp": int(status["Seccomp"]),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
            "variables": sorted(os.environ),
        }
    )


def own_limits() -> str:
    unlimited = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_DATA, (unlimited, unlimited))
    return "unlimited"


def connect(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=5.0):
        return "connected"


def child_of_a_child() -> str:
    """Start a sandboxed process that sleeps, say which one, and wait."""
    from edge_wm.update.sandbox import Sandboxed

    process = Sandboxed(__name__, request("sleep"))
    print(process._process.pid, flush=True)
    process.wait()
    return "unreachable"


DEEDS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "facts": facts,
    "thread": thread,
    "read": lambda path: Path(path).read_text(),
    "sleep": lambda: time.sleep(3600),
    "loop": loop,
    "loop deaf": loop_deaf,
    "fill": fill,
    "allocate without end": allocate_without_end,
    "print": print_much,
    "answer": answer,
    "exit": lambda code: os._exit(code),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
    "raise": lambda: {}["no such key\nsecond line"],
    "fork": fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "socket": lambda: str(socket.socket().fileno() > 0),
    "connect": connect,
    "change": change,
    "append": lambda path: str(Path(path).open("a").close()),
    "remove": lambda path: str(Path(path).unlink()),
    "rename": lambda path: str(Path(path).rename(path + ".gone")),
    "make folder": lambda path: str(Path(path + ".folder").mkdir()),
    "change mode": lambda path: str(Path(path).chmod(0o777)),
    "link": lambda path: str(Path(path + ".link").symlink_to(path)),
    "signal": lambda pid: str(os.kill(pid, signal.SIGUSR1)),
    "lock": lambda path: __import__("fcntl").flock(os.open(path, os.O_RDONLY), 6),
    "own limits": own_limits,
    "outlive": lambda: call("prctl", 1, 0, 0, 0, 0),  # PR_SET_PDEATHSIG
    "be quick": lambda pid: str(os.sched_setaffinity(pid, {0})),
    "trace": lambda: call("ptrace", 0, 0, 0, 0),
    "namespace": lambda: call("unshare", 0x10000000),
    "descriptors": lambda: str([os.open("/etc/passwd", os.O_RDONLY) for _ in range(200)][-1] > 0),
    "child of a child": child_of_a_child,
}


def request(deed: str, *arguments: object) -> bytes:
    return json.dumps([deed, *arguments]).encode()


def main(request: bytes) -> bytes:
    deed, *arguments = json.loads(request)
    return json.dumps(DEEDS[deed](*arguments)).encode()


if __name__ == "__main__":
    print(main(sys.argv[1].encode()).decode())
