"""The firmware of the ATmega328P in simavr, with motors, encoders and a button: ``avr_bench.c``.

Time stands still until :meth:`AvrBench.run`, and the same story gives the same end.  It needs ``gcc-avr``, ``avr-libc``,
``libsimavr-dev`` and ``libelf-dev``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firmware_bridge.chassis import Chassis

FIRMWARE = Path(__file__).parents[1] / "firmware"
CHASSIS = Chassis(
    track_m=0.15,
    wheel_radius_m=0.033,
    max_v=0.5,
    max_reverse_v=0.15,
    max_w=2.5,
    accel=1.5,
    decel=2.0,
    angular_accel=15.0,
    tick_s=0.1,
)
"""The robot that ``robot.c`` is built for: that of ``boards/robots/sim-avr.toml``."""
FULL_SPEED_MPS = 0.7
"""Of the rim of an unloaded wheel at full power, as the firmware has it (``robot.c``)."""
COUNTS_PER_TURN = 1440
POWER_ON, EXTERNAL, BROWN_OUT, WATCHDOG = 0x01, 0x02, 0x04, 0x08
"""Flags of MCUSR."""
READ_US = 500
"""How long a read of the line waits."""
_QUEUE = 65_536


class BenchState(NamedTuple):
    """What is to be seen from outside; times are microseconds of the simulated processor.

    Attributes:
        now_us: its time.
        waiting: bytes that it has yet to hear.
        heard_us: when it heard the last one.
        neutral_us: since when neither motor has power; None while one has.
        powered_us: when a motor last got power after neither had any.
        power: of the left and the right motor, permille.
        speed_mmps: of their wheels' rims.
        unused_ram: bytes that neither its variables nor its stack have touched since power came.
        enabled: whether the motor driver is out of standby.
    """

    now_us: int
    waiting: int
    heard_us: int
    neutral_us: int | None
    powered_us: int
    power: tuple[int, int]
    speed_mmps: tuple[float, float]
    unused_ram: int
    enabled: bool


class AvrBench:
    """One board.

    Args:
        folder: where ``make OUT=folder bench`` has put the firmware and the library.

    Raises:
        OSError: they are not there.
    """

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(str(folder / "avr_bench.so"))
        library, pointer = self._library, ctypes.c_void_p
        library.bench_new.restype = pointer
        library.bench_run.restype = ctypes.c_uint64
        library.bench_run.argtypes = [pointer, ctypes.c_uint64]
        library.bench_say.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32]
        library.bench_hear.argtypes = [pointer, ctypes.c_char_p]
        library.bench_state.argtypes = [pointer, ctypes.POINTER(ctypes.c_int64)]
        library.bench_wheel.argtypes = [pointer, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        library.bench_follow.argtypes = [pointer, ctypes.c_int64, ctypes.c_int64]
        library.bench_button.argtypes = [pointer, ctypes.c_int]
        library.bench_reset.argtypes = [pointer, ctypes.c_uint8]
        library.bench_hang.argtypes = [pointer]
        library.bench_boot_loader.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32]
        library.bench_free.argtypes = [pointer]
        self._heard = ctypes.create_string_buffer(_QUEUE)
        self._bench = library.bench_new(str(folder / "atmega328p.elf").encode())
        if not self._bench:
            raise OSError(f"{folder}: no atmega328p.elf")

    def run(self, us: int) -> int:
        """Let the processor run so long; returns its time, which may be a few microseconds later."""
        return int(self._library.bench_run(self._bench, us))

    def say(self, data: bytes) -> None:
        """Bytes for the firmware's line, which carries one in 87 us."""
        self._library.bench_say(self._bench, data, len(data))

    def hear(self) -> bytes:
        """What the firmware has sent."""
        count = self._library.bench_hear(self._bench, self._heard)
        return self._heard.raw[:count]

    def state(self) -> BenchState:
        """What is to be seen now."""
        numbers = (ctypes.c_int64 * 11)()
        self._library.bench_state(self._bench, numbers)
        now, waiting, heard, neutral, powered, left, right, left_umps, right_umps, unused, enabled = numbers
        return BenchState(
            now,
            waiting,
            heard,
            None if neutral == -1 else neutral,
            powered,
            (left, right),
            (left_umps / 1000.0, right_umps / 1000.0),
            unused,
            bool(enabled),
        )

    def wheel(self, right: bool, *, encoder: int = 1, blocked: bool = False) -> None:
        """Change a wheel: its encoder is connected (1), not (0), the wrong way round (-1), or its phase B is broken (2)."""
        self._library.bench_wheel(self._bench, right, encoder, blocked)

    def follow(self, left_counts: int, right_counts: int) -> None:
        """Another simulation turns the wheels: their encoders go to these counts."""
        self._library.bench_follow(self._bench, left_counts, right_counts)

    def button(self, pressed: bool) -> None:
        """Press the emergency-stop button, or break its wire; or release it."""
        self._library.bench_button(self._bench, pressed)

    def reset(self, flags: int) -> None:
        """Reset the processor for the reason that ``flags`` of MCUSR stand for."""
        self._library.bench_reset(self._bench, flags)

    def hang(self) -> None:
        """The program stops where it is: in a jump to itself, interrupts off."""
        assert self._library.bench_hang(self._bench)

    def boot_loader(self, code: bytes, at: int) -> None:
        """Erase the program, put a boot loader at this address of the flash, and press the reset button."""
        self._library.bench_boot_loader(self._bench, code, len(code), at)

    def close(self) -> None:
        """Throw the board away."""
        self._library.bench_free(self._bench)


class BenchLine:
    """The line of a bench as a serial port.  The processor runs while something is read from it, and in :meth:`sleep`.

    Args:
        bench: the board.
        run: lets so many microseconds pass; the bench's own ``run`` if None.
    """

    def __init__(self, bench: AvrBench, run: Callable[[int], object] | None = None) -> None:
        self.bench = bench
        self._run = run or bench.run
        self._received = b""

    def now(self) -> float:
        """Seconds on the clock of the simulated processor."""
        return self.bench.state().now_us * 1e-6

    def sleep(self, seconds: float) -> None:
        """Let the processor run."""
        self._run(round(seconds * 1e6))

    @property
    def in_waiting(self) -> int:
        """Bytes that have come."""
        self._received += self.bench.hear()
        return len(self._received)

    def read(self, size: int = 1) -> bytes:
        """Up to ``size`` bytes."""
        if not self.in_waiting:
            self._run(READ_US)
            self._received += self.bench.hear()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def write(self, data: bytes) -> int:
        """Send."""
        self.bench.say(data)
        return len(data)

    def close(self) -> None:
        """The board goes on."""
