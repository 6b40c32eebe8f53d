"""A driving service in a process of its own, and the service manager that it tells."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edge_wm.drive.requests import Connection, Go, Now, Status

START_S = 60.0
"""A busy machine takes long to start a process."""
EDGE_WM = "from edge_wm.cli import main; main()"
QUIET_MISSION = '[mission]\nkind = "rooms"\n'


class ServiceProcess:
    """``edge-wm serve``, with what it told its service manager in ``told``.

    Args:
        folder: of its ``drive.toml``, its socket and its runs.
        words: more of the command line.
        watchdog_s: period of the watchdog.
        before: Python that is run in the process first.
    """

    def __init__(self, folder: Path, *words: str, watchdog_s: float = 4.0, before: str = "") -> None:
        self.folder = folder
        self.told: list[tuple[float, str]] = []
        path = folder / "notify"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        environment = os.environ | {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        command = [sys.executable, "-c", f"{before}\n{EDGE_WM}", "serve"]
        self._journal = folder / "journal"  # a pipe that nobody reads would fill up, and stop it
        with self._journal.open("w") as journal:
            self.process = subprocess.Popen(
                [*command, "--config", str(folder / "drive.toml"), *words],
                env=environment,
                stdout=journal,
                stderr=subprocess.STDOUT,
            )

    def hear(self, seconds: float) -> None:
        """Take what it tells for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._take(left)

    def wait_for(self, message: str, since: float = 0.0) -> float:
        """Wait until it tells what begins like this, and return when."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            for moment, told in self.told:
                if moment > since and told.startswith(message):
                    return moment
            self._take(0.1)
            assert self.process.poll() is None, self._journal.read_text()
        raise AssertionError(f"{message} was never told: {self.told}")

    def wait_until(self, state: str) -> Now:
        """Wait until it says so itself."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if (now := self.now()).state == state:
                return now
            self._take(0.05)
        raise AssertionError(f"never {state}: {now}")

    def now(self) -> Now:
        """What it says of itself."""
        with self.connection() as service:
            answer = service.ask(Status())
        assert isinstance(answer, Now)
        return answer

    def connection(self) -> Connection:
        """A new one to its socket."""
        return Connection(self.folder / "drive.sock")

    def go(self, x: float, y: float) -> Connection:
        """Ask for a drive; returns the connection on which its end will be told."""
        service = self.connection()
        service.ask(Go((x, y)))
        return service

    def ended(self) -> tuple[int, str]:
        """Wait for its end: exit code, and what it said."""
        code = self.process.wait(START_S)
        self._take(0.0)
        return code, self._journal.read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._notify.close()

    def _take(self, timeout_s: float) -> None:
        while select.select([self._notify], [], [], timeout_s)[0]:
            self.told.append((time.monotonic(), self._notify.recv(4096).decode()))
            timeout_s = 0.0


@contextlib.contextmanager
def service(folder: Path, *words: str, watchdog_s: float = 4.0, before: str = "") -> Iterator[ServiceProcess]:
    """One that is ended in any case."""
    process = ServiceProcess(folder, *words, watchdog_s=watchdog_s, before=before)
    try:
        yield process
    finally:
        process.close()


def write_file(folder: Path, model: Path, mission: str = QUIET_MISSION, more: str = "") -> None:
    """A ``drive.toml`` for the simulated robot."""
    (folder / "drive.toml").write_text(
        f'model = "{model}"\nsocket = "drive.sock"\n{mission}\n[record]\nfolder = "runs"\nkeep = 3\n{more}'
    )
