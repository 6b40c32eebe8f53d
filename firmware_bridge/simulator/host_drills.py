"""What goes wrong with a computer, done to a real process that drives the real firmware: killed, stopped, cut off, its clock jumping.

The firmware runs in simavr at the pace of the wall (``avr_pty.py``), and the process drives it through
:class:`firmware_bridge.serial_bridge.SerialBridge` on its pseudo-terminal, as a program of a user does.  How long the motors go on is counted in
cycles of the simulated processor: a busy machine makes the drills slower, not their times longer.

Run as a program, this file is that process.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from firmware_bridge.bridge import BridgeError, Command
from firmware_bridge.link import ANSWER_S, TRIES
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import CHASSIS
from firmware_bridge.simulator.avr_pty import AvrOnPty
from firmware_bridge.simulator.faults import MS, WATCH_US, Drill

ALLOWED_US = 205 * MS
"""The deadman of 200 ms and a tick of 5 ms."""
PERIODS_MS = (20, 50)
"""The process sends a command this often: one of its own in each drill."""
COMMANDS = (8, 24)
"""That are accepted before the fault comes."""
PATIENCE_US = 5_000 * MS
"""A process that has not begun to drive by then, or not ended, never will."""
ATTEMPTS = 5
LINK_US = round(0.8e6 * ANSWER_S * TRIES)
"""Most of the time that the bridge waits for an answer before it gives up."""
JUMP_S = 3600.0
FORWARD, BACK = signal.SIGUSR1, signal.SIGUSR2
"""What the process's clock does at these signals, by ``JUMP_S``."""


class HostDrill(NamedTuple):
    """What came of one fault.

    Attributes:
        drill: of the motors.
        wrong: what the process did that it should not have, or did not do; empty if nothing.
        attempts: how often it was begun: a machine with other work starves a process before its fault has come, too, and the next
            attempt takes twice as long.
    """

    drill: Drill
    wrong: str
    attempts: int


class Host:
    """A process that drives the board, until its fault comes.

    Args:
        board: plugged in.
        chance: of velocities, moments and signals.
        stubborn: it goes on when it is refused.
    """

    def __init__(self, board: AvrOnPty, chance: random.Random, stubborn: bool) -> None:
        self.board, self.chance = board, chance
        self.period_us = chance.randint(*PERIODS_MS) * MS
        options = [
            f"--period={self.period_us * 1e-6}",
            f"--slowness={board.slowness}",
            f"--seed={chance.random()}",
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, board.device, *options, *(["--stubborn"] if stubborn else [])],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: str | None = None

    def go_on(self, us: int) -> None:
        """Let time pass, for the process and for the board."""
        until_us = self.board.bench.state().now_us + us
        self.until(lambda: self.board.bench.state().now_us >= until_us)

    def until(self, done: Callable[[], bool]) -> bool:
        """Let time pass until something is so; returns False if it never is."""
        until_us = self.board.bench.state().now_us + PATIENCE_US
        while not done():
            if self.board.bench.state().now_us >= until_us:
                return False
            self.board.wait()
            self.board.step()
        return True

    def moves(self) -> bool:
        """Wait for a random moment at which it drives and a motor has power; returns False if it came to an end before."""
        wanted = self.board.accepted + self.chance.randint(*COMMANDS)
        self.until(lambda: self.board.accepted >= wanted or self.ended)
        self.go_on(self.chance.randrange(self.period_us))
        self.until(lambda: self.has_power or not self.drives)
        return self.board.accepted >= wanted and self.has_power and self.drives

    @property
    def has_power(self) -> bool:
        """Whether a motor has power; none has for a moment on the way from forward to backward."""
        return self.board.bench.state().neutral_us is None

    @property
    def drives(self) -> bool:
        """Whether its commands come."""
        fed_us, now_us = self.board.accepted_us, self.board.bench.state().now_us
        return not self.ended and fed_us is not None and now_us - fed_us < ALLOWED_US

    @property
    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.process.poll() is not None

    def last_words(self) -> str:
        """End the process if it has not ended; returns what it said of errors."""
        if self._said is None:
            self.process.kill()
            self._said = self.process.communicate()[1]
        return self._said


def _kill(host: Host) -> str:
    host.process.kill()
    return ""


def _stop(host: Host) -> str:
    host.process.send_signal(signal.SIGSTOP)
    return ""


def _pull(host: Host) -> str:
    host.board.pull()
    return ""


def _cut(host: Host) -> str:
    host.board.wired = False
    return ""


def _jump(host: Host) -> str:
    """Its clock jumps, and it must drive on as if nothing had been."""
    before = host.board.accepted
    host.process.send_signal(host.chance.choice((FORWARD, BACK)))
    host.go_on(host.chance.randrange(4 * host.period_us, 8 * host.period_us))
    if not host.drives or host.board.accepted < before + 2:
        return f"its clock jumped and it did not go on: {host.board.accepted - before} commands since"
    host.until(lambda: host.has_power or not host.drives)
    return ""


def _cut_and_jump(host: Host) -> str:
    """Most often while it waits for an answer that does not come."""
    host.board.wired = False
    host.go_on(host.chance.randrange(host.period_us + LINK_US))
    host.process.send_signal(host.chance.choice((FORWARD, BACK)))
    return ""


def _wake(host: Host) -> str:
    """It goes on where it was, and must be refused: it has not armed anew."""
    before = host.board.refused
    host.process.send_signal(signal.SIGCONT)
    host.go_on(WATCH_US // 2)
    return "" if host.board.refused > before else "it was woken and not refused"


class HostFault(NamedTuple):
    """One fault.

    Attributes:
        strike: begins it.
        after: what follows when the motors must be off; None: nothing does.
        before: what happens while it still drives; None: nothing does.
        says: what the process must have ended with, in one line of its own accord; empty: it is not asked.
    """

    strike: Callable[[Host], str]
    after: Callable[[Host], str] | None = None
    before: Callable[[Host], str] | None = None
    says: str = ""


HOST_FAULTS: dict[str, HostFault] = {
    "SIGKILL": HostFault(_kill),
    "SIGSTOP, later SIGCONT": HostFault(_stop, after=_wake),
    "plug pulled": HostFault(_pull, says=r"the line is gone"),
    "wires cut": HostFault(_cut, says=r"no answer to Drive"),
    "clock jumps, later SIGKILL": HostFault(_kill, before=_jump),
    "wires cut, clock jumps": HostFault(_cut_and_jump, says=r"no answer to Drive"),
}


def host_drill(board: AvrOnPty, fault: str, chance: random.Random) -> HostDrill:
    """Let a process drive, let the fault come at a random moment, and watch motors and process.

    Args:
        board: plugged in; it may have gone through other drills, and is fit for the next one afterwards.
        fault: one of ``HOST_FAULTS``.
        chance: of velocities and moments.

    Raises:
        BridgeError: the process does not begin to drive.
    """
    for attempt in range(1, ATTEMPTS + 1):
        host = Host(board, chance, stubborn=HOST_FAULTS[fault].after is not None)
        try:
            if host.moves():
                lost_us = board.lost_us
                found, wrong = _done_to(host, HOST_FAULTS[fault])
                late = found.again or found.neutral_us is None or found.neutral_us > ALLOWED_US
                starved = board.lost_us > lost_us
                if late or not (
                    wrong and starved
                ):  # a process that was starved is not judged; motors always are
                    return HostDrill(found, wrong, attempt)
            board.slow_down()
        finally:
            said = host.last_words()
            if not board.wired:
                board.step()  # what it has still said goes nowhere
                board.wired = True
            if not board.plugged:
                board.plug()
    raise BridgeError(
        f"{fault}: no process drove in {ATTEMPTS} attempts; the last one said: {said.strip() or 'nothing'}"
    )


def _done_to(host: Host, fault: HostFault) -> tuple[Drill, str]:
    """What the motors did, and what the process did wrong."""
    wrong = [fault.before(host)] if fault.before is not None else []
    wrong.append(fault.strike(host))
    host.go_on(ALLOWED_US)
    accepted_us = host.board.accepted_us  # none may be accepted from here on
    assert accepted_us is not None
    if fault.after is None:
        host.go_on(WATCH_US - ALLOWED_US)
    else:
        host.go_on(host.chance.randrange(WATCH_US - ALLOWED_US))
        wrong.append(fault.after(host))
    if fault.says:
        wrong.append(_ended_as_it_should(host, fault.says))
    state = host.board.bench.state()
    neutral_us = None if state.neutral_us is None else state.neutral_us - accepted_us
    return Drill(neutral_us, state.powered_us > accepted_us + ALLOWED_US), "; ".join(filter(None, wrong))


def _ended_as_it_should(host: Host, says: str) -> str:
    if not host.until(lambda: host.ended):
        return "it hangs"
    said = host.last_words()
    if host.process.returncode != 1 or not re.fullmatch(rf"error: [^\n]*{says}[^\n]*\n", said):
        return f"it ended with {host.process.returncode} and said {said!r}"
    return ""


def main() -> int:
    """Drive as a user's program does, until the bridge gives up.  Returns 1, and says why in one line."""
    parser = argparse.ArgumentParser(description="A process that drives, for something to happen to it.")
    parser.add_argument("device")
    parser.add_argument("--period", type=float, required=True, help="seconds from one command to the next")
    parser.add_argument("--slowness", type=float, required=True, help="of the board")
    parser.add_argument("--seed", required=True, help="of the velocities")
    parser.add_argument("--stubborn", action="store_true", help="go on after a refusal")
    options = parser.parse_args()
    chance, jumped_s = random.Random(options.seed), 0.0

    def jump(number: int, frame: object) -> None:
        nonlocal jumped_s
        jumped_s += JUMP_S if number == FORWARD else -JUMP_S

    for number in (FORWARD, BACK):
        signal.signal(number, jump)
    bridge = SerialBridge(
        options.device, CHASSIS, clock=lambda: time.monotonic() / options.slowness + jumped_s
    )
    try:
        bridge.connect()
        bridge.arm()
        command = _velocity(chance)
        while True:
            command = _velocity(chance) if chance.random() < 0.1 else command
            try:
                bridge.apply(command)
            except BridgeError:
                if not options.stubborn:
                    raise
            time.sleep(options.period * options.slowness)
    except BridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        bridge.close()


def _velocity(chance: random.Random) -> Command:
    """One that turns both wheels."""
    return Command(chance.choice((-1, 1)) * chance.uniform(0.1, 0.15), chance.uniform(-1.0, 1.0))


if __name__ == "__main__":
    sys.exit(main())
