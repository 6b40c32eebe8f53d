"""Host and guard as processes of their own, with the chip and its OE pin behind a Unix socket.

``python -m tests.firmware_bridge.fake_pca9685_process host SOCKET [option ...]`` drives, ``... guard SOCKET [argument ...]`` is the real guard.  Both see the
chip of a :class:`Bench`, which is in the process of the test.  Options of the host:

    car         a car and not two motors
    oe          OE is connected
    unguarded   the negative control: no guard

The host says ``driving`` when it does, and the error with which the bridge stopped it; then it tries to drive on, and is refused.  Signals tell it to
misbehave: SIGUSR1 stops it right before its next pulses are sent, SIGUSR2 lets it hang.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import FrameType
from typing import Any

from firmware_bridge import BridgeError, Command
from firmware_bridge.drivetrain import Ackermann, Differential, Motor
from firmware_bridge.i2c import I2cError
from firmware_bridge.output_enable import OutputEnable
from firmware_bridge.pca9685_bridge import Pca9685Bridge
from firmware_bridge.pca9685_guard import main as guard
from firmware_bridge.pca9685_guard_process import GuardProcess
from firmware_bridge.pca9685_outputs import Car, Esc, HBridge, HBridges, Outputs, Steering, Wiring
from firmware_bridge.simulator.avr_bench import CHASSIS as SIMULATED
from tests.firmware_bridge.fake_pca9685 import LED0, LED15_END, FakeBus, FakePca9685

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "tests.firmware_bridge.fake_pca9685_process")
TICK_S, DEADMAN_S = 0.02, 0.2
CHASSIS = replace(
    SIMULATED, max_reverse_v=0.5, max_w=1.0, accel=5.0, decel=5.0, angular_accel=50.0, tick_s=TICK_S
)
MOTOR = Motor(full_speed=0.6)
MOTORS = HBridges(Differential(0.15, MOTOR, MOTOR), HBridge(10, 9, 8), HBridge(11, 12, 13))
ESC, NEUTRAL_US = 0, 1500.0
CAR = Car(
    Ackermann(0.26, 0.45, MOTOR),
    Steering(1, 1500, 1900, 1100),
    Esc(ESC, NEUTRAL_US, 1900, 1100, arming_s=0.1),
)
PIN = OutputEnable("/dev/gpiochip0", 17)


class Bench:
    """The chip, its pin, and whoever is connected.

    Args:
        folder: for the socket.

    Attributes:
        chip: drives nothing.
        bus: it hangs on; set its ``fault``.
        sent_at: when the host last wrote pulses.
        guards: processes that have said that they are one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "bus")
        self.chip = FakePca9685(time.monotonic)
        self.bus = FakeBus(self.chip)
        self.sent_at = 0.0
        self.guards: list[int] = []
        self._lock = threading.Lock()
        self._listener = Listener(self.path, "AF_UNIX")
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept(),), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with suppress(OSError, EOFError):
            who, process = connection.recv()
            if who == "guard":
                self.guards.append(process)
            while True:
                what, *arguments = connection.recv()
                with self._lock:
                    try:
                        answer = self._do(who, what, arguments)
                    except I2cError as error:
                        answer = error
                connection.send(answer)

    def _do(self, who: str, what: str, arguments: list[Any]) -> bytes | None:
        if what == "oe":
            self.chip.set_oe(*arguments)
            return None
        if what == "read":
            return self.bus.read(*arguments)
        if who == "host" and LED0 <= arguments[1] < LED15_END:
            self.sent_at = time.monotonic()
        self.bus.write(*arguments)
        return None

    def close(self) -> None:
        self._listener.close()


class SocketBus:
    """The bus of a bench, from another process."""

    def __init__(self, path: str, who: str) -> None:
        self.stop_before_pulses = False
        self._connection = Client(path, "AF_UNIX")
        self._connection.send((who, os.getpid()))

    def ask(self, *request: Any) -> Any:
        self._connection.send(request)
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, address: int, register: int, count: int) -> bytes:
        return bytes(self.ask("read", address, register, count))

    def write(self, address: int, register: int, data: bytes) -> None:
        if self.stop_before_pulses and LED0 <= register < LED15_END:
            self.stop_before_pulses = False
            os.kill(os.getpid(), signal.SIGSTOP)
        self.ask("write", address, register, data)

    def send(self, address: int, byte: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._connection.close()


class SocketSwitch:
    """The OE pin of a bench; nobody holding it, its pull-up does, but only once the socket is told so."""

    def __init__(self, path: str) -> None:
        self._bus = SocketBus(path, "switch")
        self.disable()

    def enable(self) -> None:
        self._bus.ask("oe", False)

    def disable(self) -> None:
        self._bus.ask("oe", True)

    def close(self) -> None:
        self._bus.close()


class NoGuard:
    """What a bridge without a guard would have."""

    def __init__(self, *_: object) -> None:
        """Nothing to start."""

    def enable(self) -> None:
        """Nothing to enable."""

    def check(self, now: float) -> None:
        """All is well."""

    def feed(self, now: float) -> None:
        """Nobody is fed."""

    def end(self, wait_s: float) -> bool:
        return True


def host_bridge(path: str, options: list[str]) -> tuple[Pca9685Bridge, list[SocketBus]]:
    """A bridge to the chip of a bench, and the buses it has opened."""
    buses: list[SocketBus] = []

    def opened(number: int) -> SocketBus:
        buses.append(SocketBus(path, "host"))
        return buses[-1]

    outputs: Outputs = CAR if "car" in options else MOTORS
    number = int.from_bytes(path.encode()[-12:], "big") % 2**60  # a claim of its own
    wiring = Wiring(
        number, 50.0 if "car" in options else 1000.0, output_enable=PIN if "oe" in options else None
    )
    bridge = Pca9685Bridge(
        CHASSIS,
        outputs,
        wiring,
        DEADMAN_S,
        opened=opened,
        guarded=NoGuard
        if "unguarded" in options
        else lambda wiring, deadman_s, claim: GuardProcess(
            wiring, deadman_s, claim, (*PROGRAM, "guard", path)
        ),
        switched=lambda pin: SocketSwitch(path),
    )
    return bridge, buses


def host(path: str, options: list[str]) -> None:
    """Drive until killed, at 50 Hz, never at rest."""
    bridge, buses = host_bridge(path, options)
    bridge.connect()
    bridge.arm()

    def stop_before_pulses(number: int, frame: FrameType | None) -> None:
        buses[-1].stop_before_pulses = True

    def hang(number: int, frame: FrameType | None) -> None:
        time.sleep(1e6)

    signal.signal(signal.SIGUSR1, stop_before_pulses)
    signal.signal(signal.SIGUSR2, hang)
    chance = random.Random()
    due = time.monotonic()
    for tick in itertools.count():
        if tick == 10:
            print("driving", flush=True)
        try:
            bridge.apply(Command(chance.uniform(0.2, 0.4), chance.uniform(-0.5, 0.5)))
        except BridgeError as error:
            if "not connected" not in str(error):
                print(error, flush=True)
        due = max(due + TICK_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def start_host(bench: Bench, *options: str) -> subprocess.Popen[str]:
    """A host that drives by now."""
    process = subprocess.Popen(
        [*PROGRAM, "host", bench.path, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said == "driving\n", said
    return process


if __name__ == "__main__":
    _, role, socket_path, *rest = sys.argv
    if role == "guard":
        sys.exit(
            guard(rest, lambda number: SocketBus(socket_path, "guard"), lambda pin: SocketSwitch(socket_path))
        )
    host(socket_path, rest)
