"""Everything that can go wrong between a computer and its motors, done to the real firmware at a random moment while the wheels turn.

The computer here is a list of frames with the times of a 50 Hz loop, so that a fault can come at any byte of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

from firmware_bridge.framing import FrameReader, encode
from firmware_bridge.simulator.avr_bench import BROWN_OUT, BenchState
from firmware_bridge.wire import PROTOCOL, Arm, Drive, Hello, Identity, Message, Status

PERIOD_US = 20_000
WATCH_US = 600_000
"""The motors must be off, and stay off, until this long after the fault."""
MS = 1000


class Bench(Protocol):
    """What the benches of all processors do: see :class:`firmware_bridge.simulator.avr_bench.AvrBench`."""

    def run(self, us: int) -> int:
        """Let the processor run; returns its time."""

    def say(self, data: bytes) -> None:
        """Bytes for its line."""

    def hear(self) -> bytes:
        """What it has sent."""

    def state(self) -> BenchState:
        """What is to be seen."""

    def button(self, pressed: bool) -> None:
        """The emergency-stop button."""

    def reset(self, flags: int) -> None:
        """A reset, for a reason."""

    def hang(self) -> None:
        """The program stops where it is."""


class Drill(NamedTuple):
    """What came of one fault.

    Attributes:
        neutral_us: from the last command that was accepted until neither motor had power; None if one had power at the end.
        again: the motors had power again afterwards, while nothing was right.
    """

    neutral_us: int | None
    again: bool


class Computer:
    """Drives the bench as :class:`firmware_bridge.serial_bridge.SerialBridge` does, but for the waiting."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench, self.chance = bench, chance
        self.sequence = chance.randrange(0x10000)
        self.accepted_us = 0
        self.last_frame = b""
        self.step = 0  # of the fault, 20 ms each
        self._reader = FrameReader()

    def send(self, request: Message) -> None:
        """Send a request under the next number."""
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.bench.say(encode(request, self.sequence))

    def ask(self, request: Message) -> Message:
        """The answer to one request, which must come."""
        self.send(request)
        for _ in range(100):
            self.bench.run(200)
            for sequence, answer in self._reader.feed(self.bench.hear()):
                if sequence == self.sequence:
                    return answer
        raise AssertionError(f"no answer to {request}")

    def greet(self) -> Identity:
        """Say hello."""
        identity = self.ask(Hello(PROTOCOL))
        assert isinstance(identity, Identity)
        return identity

    def order(self, request: Message) -> Status:
        """The status that answers a request."""
        status = self.ask(request)
        assert isinstance(status, Status)
        return status

    def drive_for(self, seconds: float, velocity: Drive) -> Status:
        """Command a velocity again and again, whatever becomes of it; returns the last answer."""
        for _ in range(round(seconds * 50)):
            status = self.order(velocity)
            self.bench.run(15 * MS)
        return status

    def start(self) -> None:
        """Say hello, arm, and drive until the wheels turn."""
        self.bench.run(100 * MS)
        armed = self.order(Arm(self.greet().session))
        assert armed.result == 0, armed
        velocity = self.velocity()
        for _ in range(self.chance.randrange(20, 60)):
            if self.chance.random() < 0.1:
                velocity = self.velocity()
            self.command(velocity)
            self.bench.run(PERIOD_US - self.chance.randrange(0, 4 * MS))

    def velocity(self) -> Drive:
        """One that turns both wheels."""
        w = self.chance.randrange(-1000, 1001)
        return Drive(self.chance.choice([-1, 1]) * self.chance.randrange(100, 151) + (w > 0), w)

    def command(self, velocity: Drive) -> None:
        """Send one command, which must be accepted."""
        status = self.order(velocity)
        assert status.result == 0, status
        self.accepted_us = self.bench.state().heard_us
        self.last_frame = encode(velocity, self.sequence)


Fault = Callable[[Computer], None]
"""Begins, or goes on with, a fault.  It is asked every 20 ms."""


def _silence(computer: Computer) -> None:
    """The computer was killed, or its port is gone."""


def _half_a_frame(computer: Computer) -> None:
    """Killed within a frame."""
    frame = encode(computer.velocity(), computer.sequence + 1)
    computer.bench.say(frame[: computer.chance.randrange(1, len(frame))])


def _noise(computer: Computer) -> None:
    """Garbage on the line, as fast as it carries it."""
    computer.bench.say(computer.chance.randbytes(PERIOD_US // 87))


def _pulled(computer: Computer) -> None:
    """A connector that bounces: zeros, ones and little else."""
    computer.bench.say(
        bytes(computer.chance.choice((0, 0xFF, 0xFE, 0x80)) for _ in range(computer.chance.randrange(6)))
    )


def _wrong_checksum(computer: Computer) -> None:
    computer.sequence += 1
    frame = bytearray(encode(computer.velocity(), computer.sequence))
    spoiled = computer.chance.randrange(len(frame) - 1)
    frame[spoiled] ^= 1 << computer.chance.randrange(8)
    computer.bench.say(bytes(frame))


def _replayed(computer: Computer) -> None:
    """A frame that was accepted, again and again."""
    computer.bench.say(computer.last_frame)


def _stuck_sequence(computer: Computer) -> None:
    """New velocities under an old number."""
    computer.bench.say(encode(computer.velocity(), computer.sequence))


def _out_of_range(computer: Computer) -> None:
    """Beyond the limits, and what a NaN or an infinity would be as halves."""
    wrong = [
        Drive(501, 0),
        Drive(-151, 0),
        Drive(0, 2501),
        Drive(0x7E00, 0),
        Drive(0x7FFF, 0x7FFF),
        Drive(-0x8000, 0),
    ]
    computer.send(computer.chance.choice(wrong))


def _brown_out(computer: Computer) -> None:
    """The supply falls, the firmware starts anew, and the computer goes on as if nothing had been."""
    if computer.step == 0:
        computer.bench.reset(BROWN_OUT)
    computer.send(computer.velocity())


def _hang(computer: Computer) -> None:
    """The firmware hangs: the hardware watchdog resets it."""
    if computer.step == 0:
        computer.bench.hang()
    computer.send(computer.velocity())


def _button(computer: Computer) -> None:
    """The emergency-stop button, under a computer that goes on."""
    computer.bench.button(True)
    computer.send(computer.velocity())


def _late(computer: Computer) -> None:
    """Stopped, or its clock jumped: silent for a third of a second, then it goes on with new frames."""
    if computer.bench.state().now_us - computer.accepted_us > 333 * MS:
        computer.send(computer.velocity())


FAULTS: dict[str, Fault] = {
    "computer killed": _silence,
    "computer killed within a frame": _half_a_frame,
    "computer stopped, or its clock jumped": _late,
    "cable pulled": _pulled,
    "garbage on the line": _noise,
    "wrong checksum": _wrong_checksum,
    "replayed frame": _replayed,
    "stuck sequence": _stuck_sequence,
    "velocity out of range": _out_of_range,
    "brown-out reset": _brown_out,
    "firmware hangs": _hang,
    "button": _button,
}
ONCE = {"computer killed within a frame", "cable pulled"}
"""Faults that are over at once."""


def drill(bench: Bench, fault: str, chance: random.Random) -> Drill:
    """Drive, let the fault come at a random moment, and watch the motors.

    Args:
        bench: new.
        fault: one of ``FAULTS``.
        chance: of velocities and moments.
    """
    computer = Computer(bench, chance)
    computer.start()
    bench.run(chance.randrange(PERIOD_US))
    velocity = computer.velocity()
    while bench.state().neutral_us is not None:  # on the way from forward to backward
        computer.command(velocity)
        bench.run(chance.randrange(PERIOD_US))
    began_us = bench.state().now_us
    off_us: int | None = None
    again = False
    FAULTS[fault](computer)
    while bench.state().now_us < began_us + WATCH_US:
        bench.run(PERIOD_US)
        state = bench.state()
        if off_us is None:
            off_us = state.neutral_us
        elif state.neutral_us != off_us:
            again = True
        computer.step += 1
        if fault not in ONCE:
            FAULTS[fault](computer)
    return Drill(None if off_us is None else off_us - computer.accepted_us, again)
