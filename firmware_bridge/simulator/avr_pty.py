"""The firmware of the ATmega328P in simavr at the pace of the clock on the wall, its serial line a pseudo-terminal.

::

    python -m firmware_bridge.simulator.avr_pty build/firmware            # says where the line is, and goes on until its input ends
    edge-wm bridge info --device /dev/pts/7

Any program that speaks ``docs/wire-protocol.md`` can drive the real binary there.  It says and takes what the host port does
(``firmware/ports/host/main.c``).  On standard output, one line each:

- ``line <path>``: where to connect, at the start
- ``fed <us>``: the last byte of a Drive that was accepted was heard; it is said when its answer is sent
- ``power <us> <left> <right>``: the motors' power changed, permille

and on standard input ``button 0|1``, ``encoders 0|1``, ``reset <why>`` with a number of ``Reset``, and ``hang``.

A terminal has no DTR: opening it does not reset the board, as it does an Uno or Nano.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import sys
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from firmware_bridge.bridge import BridgeError
from firmware_bridge.framing import FrameReader
from firmware_bridge.simulator.avr_bench import BROWN_OUT, EXTERNAL, POWER_ON, WATCHDOG, AvrBench, BenchState
from firmware_bridge.wire import Drive, Reset, Result, Status

STEP_S = 0.001
"""The line is looked at this often, if nothing comes on it before."""
CATCH_UP_US = 20_000
"""A processor that is further behind than this goes on from where it is: what the line would have carried meanwhile is not made up."""
PIECE_US = 40
"""The processor runs so long at a time while it hears a frame, to know when the frame had ended."""
MCUSR = {
    Reset.POWER_ON: POWER_ON,
    Reset.EXTERNAL: EXTERNAL,
    Reset.BROWN_OUT: BROWN_OUT,
    Reset.WATCHDOG: WATCHDOG,
}
_CHUNK = 4096


class AvrOnPty:
    """One board, plugged in.

    Args:
        folder: where ``make OUT=folder bench`` has put the firmware and the library.
        slowness: seconds on the wall for one of the processor, for a machine that is too slow or has other work.
        clock: seconds on the wall, monotonic.

    Attributes:
        bench: the board; its time is that of :meth:`step`.
        device: path of the terminal.
        wired: False: the terminal is there, but the line carries nothing either way.
        accepted_us: when the board had heard the last Drive that it accepted, microseconds of the processor; None before the first.
        accepted: Drives that it accepted, and...
        refused: ... answered with another result.
        worst_lag_us: most that the processor was behind the wall, microseconds of its time; about ``STEP_S`` if all is well.
        lost_us: time that the wall went on and the processor did not, microseconds of its time.

    Raises:
        BridgeError: there is no firmware in that folder.
    """

    def __init__(
        self, folder: Path, slowness: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            (folder / "atmega328p.elf").stat()  # simavr has words of its own for it
            self.bench = AvrBench(folder)
        except OSError as error:
            raise BridgeError(
                f"{folder}: no simulated board: run  make -C firmware_bridge/firmware OUT={folder.resolve()} bench  ({error})"
            ) from None
        self.slowness, self._clock = slowness, clock
        self._began = clock()
        self._pending = b""  # from the terminal, for the board
        self._on_line = b""  # what it is hearing
        self._drives: dict[int, int] = {}  # heard and not yet answered: sequence number, when
        self._requests, self._answers = FrameReader(), FrameReader()
        self.accepted_us: int | None = None
        self.accepted = self.refused = 0
        self.worst_lag_us = self.lost_us = 0.0
        self.wired = True
        self.plug()

    def plug(self) -> None:
        """Put the plug in: a new terminal.

        The other end is opened too, and kept: without it a pseudo-terminal is at its end whenever nobody is connected.
        """
        self._line, self._other = pty.openpty()
        tty.setraw(self._other)
        os.set_blocking(self._line, False)
        self.device = os.ttyname(self._other)

    def pull(self) -> None:
        """Pull the plug: whoever has the terminal open finds it gone, and what the line has yet to carry is lost."""
        os.close(self._line)
        os.close(self._other)
        self._line = self._other = -1
        self._pending = b""

    @property
    def plugged(self) -> bool:
        """Whether the terminal is there."""
        return self._line >= 0

    def wait(self, *inputs: int) -> list[int]:
        """Until something comes on the line, or from ``inputs``, or ``STEP_S`` has passed; returns which of ``inputs`` have something."""
        line = [self._line] if self.plugged else []
        ready, _, _ = select.select([*line, *inputs], [], [], STEP_S)
        return [number for number in ready if number != self._line]

    def step(self) -> BenchState:
        """Let the processor run until it is as late as the wall, and pass on what came meanwhile.

        What came from the terminal is heard after it came, never before: up to ``CATCH_UP_US`` later.
        """
        now_us = self.bench.state().now_us
        lag_us = (self._clock() - self._began) * 1e6 / self.slowness - now_us
        self.worst_lag_us = max(self.worst_lag_us, lag_us)
        if lag_us > CATCH_UP_US:
            self.lost_us += lag_us - CATCH_UP_US
            self._began += (lag_us - CATCH_UP_US) * 1e-6 * self.slowness
        self._run(now_us + min(round(lag_us), CATCH_UP_US))
        self._answer(self.bench.hear())
        if len(self._pending) < _CHUNK:  # who writes faster than the line carries has to wait
            came = self._read()
            self._pending += came if self.wired else b""
        return self.bench.state()

    def slow_down(self) -> None:
        """Take twice as long from now on."""
        self.slowness *= 2.0
        self._began = self._clock() - self.bench.state().now_us * 1e-6 * self.slowness

    def close(self) -> None:
        """Throw the board away."""
        if self.plugged:
            self.pull()
        self.bench.close()

    def _run(self, until_us: int) -> None:
        now_us = self.bench.state().now_us
        while now_us < until_us:
            if self._pending and not self._on_line:
                frame, end, self._pending = self._pending.partition(b"\0")
                self._on_line = frame + end
                self.bench.say(self._on_line)
            left_us = until_us - now_us
            now_us = self.bench.run(min(PIECE_US, left_us) if self._on_line else left_us)
            if self._on_line and not self.bench.state().waiting:
                for sequence, request in self._requests.feed(self._on_line):
                    if isinstance(request, Drive):
                        self._drives[sequence] = self.bench.state().heard_us
                self._on_line = b""

    def _answer(self, said: bytes) -> None:
        for sequence, answer in self._answers.feed(said):
            heard_us = self._drives.pop(sequence, None)
            if heard_us is None or not isinstance(answer, Status):
                continue
            if answer.result == Result.OK:
                self.accepted_us = heard_us
                self.accepted += 1
            else:
                self.refused += 1
        if said and self.wired and self.plugged:
            with suppress(BlockingIOError):  # nobody reads, and a real line would carry it into nothing, too
                os.write(self._line, said)

    def _read(self) -> bytes:
        if not self.plugged:
            return b""
        try:
            return os.read(self._line, _CHUNK)
        except BlockingIOError:
            return b""


def _obey(board: AvrOnPty, line: str) -> None:
    """Do what a line of the input says."""
    word, _, number = line.partition(" ")
    try:
        if word == "button":
            board.bench.button(bool(int(number)))
        elif word == "encoders":
            for right in (False, True):
                board.bench.wheel(right, encoder=int(bool(int(number))))
        elif word == "reset":
            board.bench.reset(MCUSR.get(Reset(int(number)), 0))
        elif word == "hang":
            board.bench.hang()
        else:
            raise ValueError(line)
    except ValueError:
        print(f"not understood: {line}", file=sys.stderr)


def _run(board: AvrOnPty) -> None:
    """Go on until the input ends."""
    typed, fed_us, power, lost_us = b"", None, (0, 0), 0.0
    while True:
        if board.wait(sys.stdin.fileno()):
            came = os.read(sys.stdin.fileno(), _CHUNK)
            if not came:
                return
            *lines, typed = (typed + came).split(b"\n")
            for line in lines:
                _obey(board, line.decode(errors="replace").strip())
        state = board.step()
        if board.accepted_us != fed_us:
            fed_us = board.accepted_us
            print(f"fed {fed_us}", flush=True)
        if state.power != power:
            power = state.power
            print(f"power {state.now_us} {power[0]} {power[1]}", flush=True)
        if board.lost_us - lost_us > 1e5:
            lost_us = board.lost_us
            print(f"behind the wall: {lost_us / 1e3:.0f} ms are lost so far", file=sys.stderr)


def main() -> None:
    """Run the board, and say at the end how well it kept the time.  Exit code 2: there is no firmware."""
    parser = argparse.ArgumentParser(description="The ATmega328P's program in simavr, on a pseudo-terminal.")
    parser.add_argument(
        "folder", type=Path, help="where `make -C firmware_bridge/firmware OUT=FOLDER bench` has put it"
    )
    parser.add_argument(
        "--slowness", type=float, default=1.0, help="seconds for one of the processor; default: 1"
    )
    options = parser.parse_args()
    if not options.slowness > 0.0:
        parser.error(f"--slowness {options.slowness:g}: it must be positive")
    try:
        board = AvrOnPty(options.folder, options.slowness)
    except BridgeError as error:
        sys.exit(_refused(error))
    print(f"line {board.device}", flush=True)
    began = time.monotonic()
    with suppress(KeyboardInterrupt):
        _run(board)
    passed_s = time.monotonic() - began
    print(
        f"{board.bench.state().now_us * 1e-6:.2f} s of the processor in {passed_s:.2f} s: at most {board.worst_lag_us / 1e3:.1f} ms"
        f" behind, {board.lost_us / 1e3:.0f} ms lost",
        file=sys.stderr,
    )
    board.close()


def _refused(error: BridgeError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
