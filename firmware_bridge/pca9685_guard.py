"""A process of its own that turns a PCA9685's outputs off when the one that drives is killed, stopped or hung.

The chip keeps its last pulse for ever, so somebody else has to be there.  The bridge starts ``python -m firmware_bridge.pca9685_guard`` when it is
armed, and tells it through a pipe of every command that has been sent.  When that stays out for its patience, or the pipe closes, the guard raises
OE, turns all outputs off and puts the chip to sleep, again and again until both are read back; then it keeps watch, in case a write of the host
was still under way, until the pipe closes.  It never goes back.

What it cannot do: act when the kernel hangs, the board loses power, or both processes are killed or frozen at once.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from firmware_bridge.bridge import BridgeError
from firmware_bridge.i2c import I2cBus, LinuxBus
from firmware_bridge.output_enable import GpioSwitch, OutputEnable, Switch
from firmware_bridge.pca9685 import Pca9685

RETRY_S, LONGEST_RETRY_S, REOPEN_S = 0.005, 0.05, 2.0
"""Between two tries to turn the outputs off: at first, and when many have failed.  And between two tries with the bus opened anew: its adapter may have
been away."""
WATCH_S = 0.02
"""Between two looks whether they are still off."""
MESSAGE = struct.Struct("<cd")  # what, and when: seconds of CLOCK_MONOTONIC, which all processes share
FED, ENABLE = b"F", b"E"
READY, TRIPPED, REFUSED = b"R", b"T", b"!"


class Watch:
    """Decides.  The process around it only waits.

    Args:
        opened: opens the bus.
        address: of the chip.
        switch: its OE pin, if it is connected.
        patience_s: seconds without a command.
        clock: seconds, monotonic.
        sleep: waits so many seconds.

    Attributes:
        deadline: when the outputs are turned off; None before the first command, while nothing moves.
        tripped: they were to be.
    """

    def __init__(
        self,
        opened: Callable[[], I2cBus],
        address: int,
        switch: Switch | None,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.deadline: float | None = None
        self.tripped = False
        self._opened, self._address, self._switch, self._patience_s = opened, address, switch, patience_s
        self._clock, self._sleep = clock, sleep
        self._bus: I2cBus | None = opened()
        self._opened_at = clock()
        self._rested = False

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline; None if there is none yet."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    def feed(self, sent: float) -> None:
        """A command was sent at that time, however late it is heard of."""
        self.look()
        if not self.tripped:
            self.deadline = min(sent, self._clock()) + self._patience_s
            self.look()

    def enable(self) -> None:
        """Let the outputs through OE."""
        if self._switch and not self.tripped:
            try:
                self._switch.enable()
            except BridgeError:
                self.trip()

    def look(self) -> None:
        """Trip if it is time."""
        if self.deadline is not None and self._clock() >= self.deadline:
            self.trip()

    def trip(self) -> None:
        """The outputs have to be off, for good: ``rest`` makes them."""
        self.tripped = True

    def rest(self) -> bool:
        """Turn the outputs off and the chip to sleep, or see that it is so; whether it is."""
        if self._switch:
            with suppress(BridgeError):
                self._switch.disable()
        try:
            if self._bus is None:
                self._opened_at = self._clock()
                self._bus = self._opened()
            chip = Pca9685(self._bus, self._address, self._sleep)
            if not (self._rested and chip.rests()):
                chip.rest()
            self._rested = True
        except BridgeError:
            if self._bus is not None and self._clock() - self._opened_at > REOPEN_S:
                self._bus.close()
                self._bus = None
            return False
        return True


def watch_over(watch: Watch, host: int, answers: int) -> None:
    """Listen to the host until the pipe closes.

    Args:
        watch: decides.
        host: descriptor to read from.
        answers: and to answer on.
    """
    said, retry_s = b"", RETRY_S
    while True:
        tripped, wait_s = watch.tripped, watch.left_s
        if tripped:
            wait_s = WATCH_S if watch.rest() else retry_s
            retry_s = min(1.05 * retry_s, LONGEST_RETRY_S)
        if select.select([host], [], [], wait_s)[0]:
            received = os.read(host, 4096)
            if not received:
                return
            said += received
        while len(said) >= MESSAGE.size:
            what, sent = MESSAGE.unpack_from(said)
            said = said[MESSAGE.size :]
            if what == FED:
                watch.feed(sent)
            else:
                watch.enable()
            if not watch.tripped:
                _answer(answers, what)
        watch.look()
        if watch.tripped and not tripped:
            _answer(answers, TRIPPED)


def turn_off(watch: Watch) -> None:
    """Nobody drives any more: return when the outputs are off."""
    watch.trip()
    retry_s = RETRY_S
    while not watch.rest():
        time.sleep(retry_s)
        retry_s = min(1.05 * retry_s, LONGEST_RETRY_S)


def _answer(answers: int, what: bytes) -> None:
    with suppress(OSError):  # the host is gone, or does not listen
        os.write(answers, what)


def main(
    arguments: Sequence[str] | None = None,
    opened: Callable[[int], I2cBus] = LinuxBus,
    switched: Callable[[OutputEnable], Switch] = GpioSwitch,
) -> int:
    """Guard one chip.  Standard input and output are pipes of the bridge.

    Args:
        arguments: of the command line.
        opened: opens a bus by its number.
        switched: opens an OE pin.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bus", type=int, required=True)
    parser.add_argument("--address", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, help="seconds without a command")
    parser.add_argument("--oe-chip", help="GPIO chip of the OE pin")
    parser.add_argument("--oe-line", type=int)
    options = parser.parse_args(arguments)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # it ends when the host has
    host, answers = sys.stdin.fileno(), sys.stdout.fileno()
    with suppress(OSError):  # where it is allowed, before the planner's threads
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        switch = switched(OutputEnable(options.oe_chip, options.oe_line)) if options.oe_chip else None
        watch = Watch(lambda: opened(options.bus), options.address, switch, options.patience)
    except BridgeError as error:
        _answer(answers, REFUSED + str(error).encode())
        return 2
    os.set_blocking(answers, False)
    _answer(answers, READY)
    try:
        watch_over(watch, host, answers)
    finally:  # whatever went wrong here
        turn_off(watch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
