"""The firmware of the RP2040 in rp2040js, with motors, encoders and a button: ``rp2040_bench.mjs``.

It is asked what an :class:`~firmware_bridge.simulator.avr_bench.AvrBench` is asked, so that the same faults can be done to it.  It needs
Node.js, and what ``make rp2040-bench`` installs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from firmware_bridge.simulator.avr_bench import BROWN_OUT, EXTERNAL, POWER_ON, BenchState

_PROGRAM = Path(__file__).with_name("rp2040_bench.mjs")
_RESETS = {POWER_ON: "power on", BROWN_OUT: "power on", EXTERNAL: "run", 0: "boot loader"}
"""The RP2040 does not tell power that came from power that fell too low."""


class Rp2040Bench:
    """One board.

    Args:
        program: ``rp2040.uf2``.
        library: the folder of rp2040js.

    Raises:
        OSError: there is no Node.js, or one of the two is not there.
    """

    def __init__(self, program: Path, library: Path) -> None:
        files = (_PROGRAM, program.resolve(strict=True), library.resolve(strict=True))
        command = ["node", *map(str, files)]
        self._node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, name: str, *arguments: object) -> Any:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        print(json.dumps([name, *arguments]), file=self._node.stdin, flush=True)
        answer = self._node.stdout.readline()
        if not answer:
            raise OSError(f"the simulated RP2040 has ended, at {name}")
        return json.loads(answer)

    def run(self, us: int) -> int:
        """Let the processor run so long; returns its time, which may be a few microseconds later."""
        return int(self._ask("run", us))

    def say(self, data: bytes) -> None:
        """Bytes for the firmware's line, which carries one in 87 us."""
        self._ask("say", data.hex())

    def hear(self) -> bytes:
        """What the firmware has sent."""
        return bytes.fromhex(self._ask("hear"))

    def state(self) -> BenchState:
        """What is to be seen now."""
        found = self._ask("state")
        return BenchState(
            **{**found, "power": tuple(found["power"]), "speed_mmps": tuple(found["speed_mmps"])}
        )

    def high_pins(self) -> list[int]:
        """The pins that the firmware drives high by itself, or by the PWM at this moment."""
        return list(self._ask("high"))

    def baud(self) -> int:
        """What the UART is set to, 1/s."""
        return int(self._ask("baud"))

    def complaints(self) -> list[str]:
        """What the firmware did that no program should: registers that are not there or in reset, a second stage that would not boot."""
        return list(self._ask("complaints"))

    def wheel(self, right: bool, *, encoder: int = 1, blocked: bool = False) -> None:
        """Change a wheel: its encoder is connected (1), not (0), the wrong way round (-1), or its phase B is broken (2)."""
        self._ask("wheel", right, encoder, blocked)

    def follow(self, left_counts: int, right_counts: int) -> None:
        """Another simulation turns the wheels: their encoders go to these counts."""
        self._ask("follow", left_counts, right_counts)

    def button(self, pressed: bool) -> None:
        """Press the emergency-stop button, or break its wire; or release it."""
        self._ask("button", pressed)

    def overrun(self) -> None:
        """A byte comes that the UART has no room for."""
        self._ask("overrun")

    def reset(self, flags: int) -> None:
        """Reset the processor as for these flags of an AVR's MCUSR; 0 is a boot loader that starts the program."""
        self._ask("reset", _RESETS[flags])

    def stop_crystal(self) -> None:
        """Timer and watchdog stand still.  The PLL goes on, as it does for a while, at some frequency."""
        self._ask("stopCrystal")

    def hang(self) -> None:
        """The program stops where it is: in a jump to itself, interrupts off."""
        assert self._ask("hang")

    def fault(self, us: int) -> bool:
        """A HardFault of the processor.  Returns whether it was reset within so many microseconds."""
        return bool(self._ask("fault", us))

    def close(self) -> None:
        """Throw the board away."""
        self._node.kill()
        self._node.communicate()
