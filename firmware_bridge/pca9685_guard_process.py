"""The guard of a PCA9685 as its bridge sees it: starts ``pca9685_guard.py``, feeds it, and notices within a tick when it is gone."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from firmware_bridge.bridge import BridgeError
from firmware_bridge.pca9685_guard import ENABLE, FED, MESSAGE, READY, REFUSED, TRIPPED
from firmware_bridge.pca9685_outputs import Wiring

PROGRAM = (sys.executable, "-m", "firmware_bridge.pca9685_guard")
START_S = 5.0
"""A slow board takes half a second to start Python."""
ANSWER_S, KILL_S = 0.5, 0.1


class GuardError(BridgeError):
    """The guard is gone, hangs, or has turned the outputs off."""


class Guard(Protocol):
    """What the bridge needs of a guard.  Times are seconds of the bridge's clock."""

    def enable(self) -> None:
        """Let the outputs through OE.  Raises GuardError."""

    def check(self, now: float) -> None:
        """Raise GuardError unless it watches."""

    def feed(self, now: float) -> None:
        """A command has been sent.  Raises GuardError."""

    def end(self, wait_s: float) -> bool:
        """Have the outputs turned off; whether that is done, and it has ended, within so many seconds.  Never raises."""


class GuardProcess:
    """The guard, as seen from the bridge.

    Args:
        wiring: of the chip.
        patience_s: seconds without a command, after which it turns the outputs off.
        claim: descriptor that it keeps open for as long as the chip is not at rest.
        program: that it is.

    Raises:
        GuardError: it could not be started, or has no bus or no OE pin.
    """

    def __init__(
        self, wiring: Wiring, patience_s: float, claim: int, program: Sequence[str] = PROGRAM
    ) -> None:
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        arguments = [f"--bus={wiring.bus}", f"--address={wiring.address}", f"--patience={patience_s!r}"]
        if pin := wiring.output_enable:
            arguments += [f"--oe-chip={pin.chip}", f"--oe-line={pin.line}"]
        self._patience_s = patience_s
        self._fed: deque[float] = deque()
        self._process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(claim,),
            start_new_session=True,  # Ctrl-C is for the host, which brakes first
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        for end in (self._to, self._from):
            os.set_blocking(end, False)
        try:
            said = self._answer(START_S)
            if said[:1] != READY:
                raise GuardError(said.removeprefix(REFUSED).decode() or "the guard did not start")
        except BaseException:
            self._process.kill()  # nothing has been turned on yet
            self.end(ANSWER_S)
            raise

    def enable(self) -> None:
        """See :class:`Guard`."""
        self._tell(ENABLE, 0.0)
        if self._answer(ANSWER_S)[:1] != ENABLE:
            raise GuardError("the guard could not let the outputs through OE")

    def check(self, now: float) -> None:
        """See :class:`Guard`."""
        said = self._heard()
        if TRIPPED in said:
            raise GuardError(
                f"no command was sent for {self._patience_s:.3f} s: the guard has turned the outputs off"
            )
        for _ in said[: len(self._fed)]:
            self._fed.popleft()
        if self._fed and now - self._fed[0] > self._patience_s:
            self._process.kill()  # so that it lets go of OE and of the claim
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_S)
            raise GuardError(f"the guard has not answered for {self._patience_s:.3f} s")

    def feed(self, now: float) -> None:
        """See :class:`Guard`."""
        self._tell(FED, now)
        self._fed.append(now)

    def end(self, wait_s: float) -> bool:
        """See :class:`Guard`."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._to = self._from = -1  # the numbers are other files' by now
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _tell(self, what: bytes, sent: float) -> None:
        try:
            os.write(self._to, MESSAGE.pack(what, sent))
        except OSError as error:
            raise GuardError(f"the guard does not hear: {os.strerror(error.errno or 0)}") from error

    def _heard(self) -> bytes:
        """What it has said since."""
        try:
            said = os.read(self._from, 4096)
        except BlockingIOError:
            return b""
        except OSError:
            said = b""
        if not said:
            raise GuardError("the guard has died")
        return said

    def _answer(self, wait_s: float) -> bytes:
        """What it says within that time; nothing if it has ended."""
        if self._from < 0 or not select.select([self._from], [], [], wait_s)[0]:
            raise GuardError(f"the guard has not answered for {wait_s:g} s")
        return os.read(self._from, 4096)
