"""The firmware's core, compiled for this machine, in a test's hands."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.framing import FrameReader, encode
from firmware_bridge.wire import PROTOCOL, Arm, Drive, Fault, Hello, Identity, Message, State, Status

SHIM = Path(__file__).parent / "shim.c"
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
TICK_US = 5_000
DEADMAN_US = 200_000
COUNTS_PER_TURN = 1440

RANGES = {
    "B": (0, 0xFF),
    "H": (0, 0xFFFF),
    "I": (0, 0xFFFFFFFF),
    "h": (-0x8000, 0x7FFF),
    "i": (-(2**31), 2**31 - 1),
}
"""Of the fields of a message, by their letters in ``struct``."""


def library(path: Path) -> ctypes.CDLL:
    """The compiled shim, with the types of its functions."""
    found = ctypes.CDLL(str(path))
    found.shim_new.restype = ctypes.c_void_p
    found.shim_new.argtypes = [ctypes.c_uint16, ctypes.c_uint8]
    found.shim_free.argtypes = [ctypes.c_void_p]
    found.shim_receive.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
        ctypes.c_char_p,
    ]
    found.shim_tick.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int32,
        ctypes.c_int32,
        ctypes.c_uint8,
    ]
    found.shim_rebuild.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_int16,
        ctypes.c_uint16,
        ctypes.c_int16,
    ]
    found.shim_wheel.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint8,
        ctypes.c_uint32,
        ctypes.c_uint8,
        ctypes.c_uint8,
    ]
    found.shim_state.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int32)]
    found.shim_decode.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    found.shim_encode.argtypes = [
        ctypes.c_uint8,
        ctypes.c_uint16,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
    ]
    return found


def c_frames(shim: ctypes.CDLL, stream: bytes) -> tuple[list[tuple[int, int, bytes]], int]:
    """Type, sequence and fields of what the firmware's parser finds, and how much was damaged."""
    found = ctypes.create_string_buffer(64 * (len(stream) + 1))
    used = shim.shim_decode(stream, len(stream), found, len(found))
    data, at, frames, damaged = found.raw[:used], 0, [], 0
    while at < used:
        size = data[at]
        if size == 255:
            damaged, at = damaged + 1, at + 1
            continue
        fields = data[at + 4 : at + 4 + size]
        frames.append((data[at + 1], int.from_bytes(data[at + 2 : at + 4], "little"), fields))
        at += 4 + size
    return frames, damaged


@dataclass
class Wheel:
    """A wheel with a motor: its speed follows its power with a lag."""

    speed_mmps: float = 0.0
    turned_mm: float = 0.0
    gain: float = 0.7  # mm/s for a permille
    blocked: bool = False
    encoder: int = (
        1  # counts forward; -1: connected the wrong way round, 0: not connected, 2: phase B is broken
    )

    def turn(self, permille: int, seconds: float) -> None:
        target = 0.0 if self.blocked else self.gain * permille
        self.speed_mmps += (target - self.speed_mmps) * min(1.0, seconds / 0.06)
        self.turned_mm += self.speed_mmps * seconds

    @property
    def counts(self) -> int:
        counts = int(self.turned_mm / (6.283 * 33.0 / COUNTS_PER_TURN))
        return counts % 2 if self.encoder == 2 else self.encoder * counts


class Firmware:
    """One microcontroller on a bench: the test is its clock, its line, its wheels and its button."""

    def __init__(
        self, shim: ctypes.CDLL, now_us: int = 0, counts_per_turn: int = COUNTS_PER_TURN, reset: int = 0
    ) -> None:
        self._shim = shim
        self._handle = shim.shim_new(counts_per_turn, reset)
        self._reader = FrameReader()
        self._sequence = 0
        self.now_us = now_us
        self.button = False
        self.left, self.right = Wheel(), Wheel()
        self.session = 0

    def close(self) -> None:
        self._shim.shim_free(self._handle)

    def rebuild(
        self, *, track_um: int, radius_um: int, max_w_mradps: int, tick_ms: int, full_speed: int
    ) -> None:
        """Build it for another robot, and reset it."""
        self._shim.shim_rebuild(self._handle, track_um, radius_um, max_w_mradps, tick_ms, full_speed)

    def rebuild_wheel(
        self,
        right: bool,
        *,
        radius_um: int = 33_000,
        motor_reversed: bool = False,
        encoder_reversed: bool = False,
    ) -> None:
        self._shim.shim_wheel(self._handle, right, radius_um, motor_reversed, encoder_reversed)

    def hear(self, received: bytes) -> list[tuple[int, Message]]:
        """Put bytes on its line; what it answers."""
        line = ctypes.create_string_buffer(64 * (len(received) + 1))
        count = self._shim.shim_receive(self._handle, received, len(received), self.now_us & 0xFFFFFFFF, line)
        return list(self._reader.feed(line.raw[:count]))

    def ask(self, request: Message, sequence: int | None = None) -> Any:
        """The answer to one request, under the next number if none is given."""
        if sequence is None:
            self._sequence = sequence = (self._sequence + 1) & 0xFFFF
        [(answered, answer)] = self.hear(encode(request, sequence))
        assert answered == sequence & 0xFFFF
        return answer

    def greet(self, protocol: int = PROTOCOL) -> Identity:
        identity: Identity = self.ask(Hello(protocol))
        self.session = identity.session
        return identity

    def armed(self) -> Firmware:
        """Itself, greeted and armed."""
        self.greet()
        self.tick()
        assert self.ask(Arm(self.session)).result == 0
        return self

    def drive(self, v_mmps: int, w_mradps: int = 0) -> Status:
        status: Status = self.ask(Drive(v_mmps, w_mradps))
        return status

    def tick(self, times: int = 1, us: int = TICK_US) -> None:
        for _ in range(times):
            self.now_us += us
            left, right = self.power
            self.left.turn(left, us * 1e-6)
            self.right.turn(right, us * 1e-6)
            self._shim.shim_tick(
                self._handle, self.now_us & 0xFFFFFFFF, self.left.counts, self.right.counts, self.button
            )

    def wait(self, seconds: float) -> None:
        """Let it tick, and say nothing."""
        self.tick(round(seconds * 1e6 / TICK_US))

    def run(self, seconds: float, v_mmps: int, w_mradps: int = 0) -> None:
        """Drive for a while, 20 commands a second."""
        for tick in range(round(seconds * 1e6 / TICK_US)):
            if tick % 10 == 0:
                self.drive(v_mmps, w_mradps)
            self.tick()

    @property
    def state(self) -> State:
        return State(self._state()[0])

    @property
    def faults(self) -> Fault:
        return Fault(self._state()[1])

    @property
    def power(self) -> tuple[int, int]:
        return self._state()[2], self._state()[3]

    def _state(self) -> list[int]:
        numbers = (ctypes.c_int32 * 4)()
        self._shim.shim_state(self._handle, numbers)
        return list(numbers)


@contextmanager
def on_the_bench(shim: ctypes.CDLL, **options: int) -> Iterator[Firmware]:
    firmware = Firmware(shim, **options)
    try:
        yield firmware
    finally:
        firmware.close()
