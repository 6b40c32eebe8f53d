"""The firmware as a program whose line is a pseudo-terminal, in a test's hands."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS


class Program:
    """It runs, and what it says of itself.

    Args:
        command: that starts it.
        stderr: as of ``subprocess.Popen``.
    """

    def __init__(self, command: Sequence[str | Path], stderr: int | None = None) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, bufsize=1
        )
        assert self.process.stdout is not None
        self.device = self.process.stdout.readline().removeprefix("line ").strip()
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.said += self.process.stdout  # as they come

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")

    def wait_until(self, says: Callable[[list[str]], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not says(list(self.said)):
            assert time.monotonic() < deadline, self.said[-5:]
            time.sleep(0.005)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()


class Board(Program):
    """The host port."""

    def __init__(self, program: Path, slowness: int = 5) -> None:
        super().__init__([program, str(slowness)])

    def wait_until_latched(self) -> None:
        """The firmware has seen what it was told."""
        bridge = SerialBridge(self.device, CHASSIS)
        bridge.connect()
        deadline = time.monotonic() + 10.0
        while not bridge.telemetry().faults:
            assert time.monotonic() < deadline
            bridge.stop()  # asks for a report
        bridge.close()
