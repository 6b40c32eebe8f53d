"""Requests and answers over a serial line: ``docs/wire-protocol.md``."""

from __future__ import annotations

import os
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from firmware_bridge.bridge import BridgeError
from firmware_bridge.framing import FrameReader, encode
from firmware_bridge.wire import Message

ANSWER_S = 0.03
"""A request that is not answered within this is sent again.  Both frames take 5 ms at 115200 baud, and an FTDI adapter may keep what it
received to itself for 16."""
TRIES = 3
_READ_S = 0.002

AnswerT = TypeVar("AnswerT", bound=Message)


class Line(Protocol):
    """What of ``serial.Serial`` is used."""

    @property
    def in_waiting(self) -> int:
        """Bytes that are there."""

    def read(self, size: int = 1) -> bytes:
        """What came, waiting for the first byte no longer than a few milliseconds."""

    def write(self, data: bytes) -> int | None:
        """Send."""

    def close(self) -> None:
        """Give the port back."""


class Exchange(NamedTuple):
    """When a request was answered.

    Attributes:
        sent: seconds just before the request that was answered left.
        received: and when its answer had come.
    """

    sent: float
    received: float


class Link:
    """Asks, and waits for the answer.

    Args:
        line: an open port.
        clock: seconds, monotonic.  If it goes back all the same, what is being asked is asked again.

    Attributes:
        heard: bytes received.
    """

    def __init__(self, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        self.heard = 0
        self._line, self._clock = line, clock
        self._abandoned = 0
        self._reader = FrameReader()
        self._sequence = int.from_bytes(os.urandom(2), "little")
        try:
            self._line.write(b"\0")  # ends whatever noise began
        except OSError as error:
            self.close()
            raise _gone(error) from error

    def abandon(self) -> None:
        """Let a request that is being asked further down the stack fail: for what a signal handler asks in its place."""
        self._abandoned += 1

    def ask(
        self,
        request: Message,
        answer: type[AnswerT],
        wait_s: float = ANSWER_S,
        tries: int = TRIES,
        *,
        newest: bool = False,
    ) -> tuple[AnswerT, Exchange]:
        """Send a request until it is answered.

        Args:
            request: what to ask.
            answer: what its answer is.
            wait_s: for the answer to each try.
            tries: how often it is sent.
            newest: take the answer to the last try alone, where each has an answer of its own.

        Raises:
            BridgeError: no answer, the line is gone, or the request was abandoned.
        """
        abandoned = self._abandoned
        sent: dict[int, float] = {}
        try:
            for _ in range(tries):
                if abandoned != self._abandoned:
                    break
                self._sequence = last = (self._sequence + 1) & 0xFFFF
                sent[last] = self._clock()
                self._line.write(encode(request, last))
                deadline = sent[last] + wait_s
                while self._clock() < deadline and abandoned == self._abandoned:
                    received = self._line.read(max(1, self._line.in_waiting))
                    now = self._clock()
                    self.heard += len(received)
                    if (
                        now < sent[last]
                    ):  # the clock went back: the deadline is too far away, and no exchange so far has a length
                        sent.clear()
                        break
                    for sequence, message in self._reader.feed(received):
                        taken = sequence == last if newest else sequence in sent
                        if taken and isinstance(message, answer):
                            return message, Exchange(sent[sequence], now)
        except OSError as error:  # pyserial's own errors are some
            raise _gone(error) from error
        if abandoned != self._abandoned:
            raise BridgeError(f"{type(request).__name__} was abandoned: the motors were stopped meanwhile")
        raise BridgeError(f"no answer to {type(request).__name__}, sent {tries} times")

    def close(self) -> None:
        """Give the port back.  Never raises."""
        with suppress(OSError):
            self._line.close()


def _gone(error: OSError) -> BridgeError:
    return BridgeError(f"the line is gone: {error.strerror or error}")


def open_line(device: str, baud: int) -> Line:
    """Open a serial port for this process alone.

    Raises:
        BridgeError: one line that says why not, and what to do.
    """
    try:
        import serial
    except ImportError:
        raise BridgeError("no serial ports without pyserial: run  pip install 'edge-wm[serial]'") from None
    try:
        line: Line = serial.Serial(device, baud, timeout=_READ_S, write_timeout=0.1, exclusive=True)
        return line
    except (OSError, ValueError, termios.error) as error:
        raise BridgeError(f"{device}: {_why_not(device, error)}") from error


def _why_not(device: str, error: Exception) -> str:
    if not Path(device).exists():
        return "no such port: is the board plugged in?"
    if not os.access(device, os.R_OK | os.W_OK):
        try:
            group = Path(device).group()
        except KeyError:  # a group without a name, as in some containers
            group = str(Path(device).stat().st_gid)
        return f"no permission: run  sudo usermod -aG {group} $USER  and log in again"
    if "exclusively lock" in str(error) or "busy" in str(error):
        return "busy: another program has it open"
    return f"not a serial port: {error}"
