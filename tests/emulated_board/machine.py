"""An arm64 board with a disk, a hardware watchdog and a network of two, emulated by QEMU.

The tests run commands on it through QEMU's guest agent, so nothing is read from a console; and they switch it off, reset and stop
it through QMP, QEMU's own line.  It reaches no machine but this one: it has no route.
"""

from __future__ import annotations

import base64
import json
import shlex
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulated_board.image import INITRD, KERNEL, QEMU

BOOT_S = 900.0
"""For the agent to answer, which takes half a minute where nothing else runs."""
COMMAND_S = 300.0
ANSWER_S = 300.0
"""To take note of a command, or to say whether it still runs."""
POLL_S = 0.1
HOST = "10.0.2.2"
"""This machine's 127.0.0.1, as the board sees it."""
AGENT = "org.qemu.guest_agent.0"


class BoardError(Exception):
    """The board does not answer, or a command on it did not end well."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended.

    Attributes:
        code: its exit code; 128 and the signal's number if one ended it.
        out, err: what it wrote.
    """

    code: int
    out: str
    err: str


class Line:
    """One of QEMU's lines: a request and its answer, a line of JSON each.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._received = b""

    def close(self) -> None:
        """Safe to call twice."""
        self._socket.close()

    def ask(self, command: str, arguments: dict[str, Any] | None = None, timeout_s: float = ANSWER_S) -> Any:
        """What it returns.  Raises BoardError if it refuses, or has no answer in time."""
        asked: dict[str, Any] = {"execute": command}
        if arguments is not None:
            asked["arguments"] = arguments
        self.send(json.dumps(asked).encode() + b"\n")
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self.next(deadline)
            if "error" in answer:
                raise BoardError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def send(self, data: bytes) -> None:
        """Without waiting for an answer.  Raises BoardError if nobody is there any longer."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise BoardError(f"QEMU has ended: {error}") from error

    def next(self, deadline: float) -> dict[str, Any]:
        """The next line that is JSON: an answer or, of QMP, an event."""
        while True:
            while b"\n" not in self._received:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                try:
                    data = self._socket.recv(1 << 16)
                except OSError as error:
                    raise BoardError(f"no answer: {error}") from error
                if not data:
                    raise BoardError("QEMU has ended")
                self._received += data
            line, _, self._received = self._received.partition(b"\n")
            with suppress(json.JSONDecodeError):
                return json.loads(line[line.find(b"{") :])  # type: ignore[no-any-return]


def _opens(message: dict[str, Any]) -> bool:
    """Whether QMP tells that the agent has opened its end of its line."""
    return message.get("event") == "VSERPORT_CHANGE" and bool(message["data"]["open"])


class Board:
    """A board; ``start`` switches it on.  As a context manager it is off in the end.

    Args:
        disk: a raw image that it may change.
        folder: for its sockets and its console's log.
        cpu, memory_mb: its own.
    """

    def __init__(
        self,
        disk: Path,
        folder: Path,
        *,
        cpu: str = "cortex-a72",
        memory_mb: int = 2048,
    ) -> None:
        self.console = folder / "console.log"
        self._folder = folder
        self._command = [
            *(QEMU, "-M", "virt", "-cpu", cpu, "-smp", "2", "-m", str(memory_mb)),
            *("-accel", "tcg,thread=multi", "-nodefaults", "-display", "none"),
            *("-kernel", str(KERNEL), "-initrd", str(INITRD)),
            *("-append", "console=ttyAMA0 loglevel=4 panic=5"),
            # Like a disk that keeps its promises: a flush is a flush, and what was not flushed may be lost with QEMU.
            *("-drive", f"file={disk},format=raw,if=none,id=disk,cache=writeback,discard=unmap"),
            *("-device", "virtio-blk,drive=disk"),
            *("-device", "i6300esb", "-action", "watchdog=reset"),
            *("-netdev", "user,id=net", "-device", "virtio-net,netdev=net"),
            *("-device", "virtio-serial"),
            *("-chardev", f"socket,id=agent,path={folder / 'agent'},server=on,wait=off"),
            *("-device", f"virtserialport,id=agent,chardev=agent,name={AGENT}"),
            *(
                "-chardev",
                f"socket,id=qmp,path={folder / 'qmp'},server=on,wait=off",
                "-mon",
                "qmp,mode=control",
            ),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._qmp: Line | None = None
        self._agent: Line | None = None

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cut()

    def start(self) -> None:
        """Switch it on, and wait until commands can be run."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 30.0
        while self._qmp is None:
            with suppress(OSError):
                self._qmp = Line(self._folder / "qmp")
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise BoardError(self._process.stderr.read().decode(errors="replace").strip())
            if time.monotonic() > deadline:
                raise BoardError("QEMU does not start")
            time.sleep(0.05)
        self._qmp.next(deadline)  # its greeting
        self._qmp.ask("qmp_capabilities")
        self.meet()

    def meet(self, timeout_s: float = BOOT_S) -> None:
        """Wait until the agent of the system that boots now answers.  Raises BoardError if it does not."""
        assert self._qmp is not None
        deadline = time.monotonic() + timeout_s
        try:
            while not _opens(self._qmp.next(deadline)):  # nothing that is sent before would be read
                pass
            if self._agent is not None:
                self._agent.close()
            self._agent = Line(self._folder / "agent")
            number = time.monotonic_ns() & 0x7FFFFFFF
            asked = {"execute": "guest-sync", "arguments": {"id": number}}
            # 0xFF makes the agent forget a request that was cut off.
            self._agent.send(b"\xff" + json.dumps(asked).encode() + b"\n")
            while self._agent.next(deadline).get("return") != number:
                pass
        except BoardError as why:
            said = self.console.read_text(errors="replace")[-500:] if self.console.is_file() else ""
            raise BoardError(f"the board does not boot: {why}: {said}") from why

    def resets(self, timeout_s: float) -> bool:
        """Whether it is reset within some time, by whatever."""
        assert self._qmp is not None
        deadline = time.monotonic() + timeout_s
        with suppress(BoardError):
            while self._qmp.next(deadline).get("event") != "RESET":
                pass
            return True
        return False

    def begin(self, command: str) -> int:
        """Have a shell's command run as root, whose end the board may not live to tell; the agent's number for it."""
        assert self._agent is not None
        arguments = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        return int(self._agent.ask("guest-exec", arguments)["pid"])

    def run(self, command: str, timeout_s: float = COMMAND_S) -> Done:
        """Run a shell's command as root.  Raises BoardError if it has not ended in time."""
        pid = self.begin(command)
        assert self._agent is not None
        deadline = time.monotonic() + timeout_s
        while not (status := self._agent.ask("guest-exec-status", {"pid": pid}))["exited"]:
            if time.monotonic() > deadline:
                raise BoardError(f"{command}: still runs after {timeout_s:.0f} s")
            time.sleep(POLL_S)
        code = status["exitcode"] if "exitcode" in status else 128 + status["signal"]
        out, err = (
            base64.b64decode(status.get(name, "")).decode(errors="replace")
            for name in ("out-data", "err-data")
        )
        return Done(code, out, err)

    def do(self, command: str, timeout_s: float = COMMAND_S) -> str:
        """Run a command that must end with 0; what it wrote.  Raises BoardError."""
        done = self.run(command, timeout_s)
        if done.code != 0:
            raise BoardError(f"{command}: exit code {done.code}: {(done.err or done.out).strip()[-2000:]}")
        return done.out

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """What ``systemctl show`` says of a unit."""
        shown = self.do(f"systemctl show {shlex.quote(unit)} -p {','.join(names)}")
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def reset(self) -> None:
        """Pull the reset line, and wait until the system has booted again."""
        assert self._qmp is not None
        self._qmp.ask("system_reset")
        self.meet()

    def cut(self) -> None:
        """Take the power away."""
        for line in (self._agent, self._qmp):
            if line is not None:
                line.close()
        self._agent = self._qmp = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._process = None

    def off(self, timeout_s: float = 120.0) -> None:
        """Shut it down in order."""
        assert self._agent is not None and self._process is not None
        self._agent.send(json.dumps({"execute": "guest-shutdown"}).encode() + b"\n")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.cut()

    @property
    def host_cpu_s(self) -> float:
        """CPU time that QEMU has spent on this machine since it was started."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100.0
