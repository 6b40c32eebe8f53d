"""The simulated robot with the real firmware in it: MuJoCo turns the wheels as the ATmega328P's own program powers them.

The program runs in simavr (``firmware_bridge/simulator``), speaks over its own serial line with the bridge that a real robot uses, and counts
the encoders of MuJoCo's wheels.  Processor and world go on together, in steps of the world's physics: while the sensors are waited for, and
while the line carries frames.  Nothing depends on how fast this machine is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from edge_wm.clock import Clock
from edge_wm.errors import BadInput
from edge_wm.robot import Robot, chassis_of
from edge_wm.sensors.observation import Observation
from edge_wm.sim.simulation import TIMESTEP_S, Simulation
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import COUNTS_PER_TURN, FULL_SPEED_MPS, AvrBench, BenchLine

BOOT_US = 100_000
STEP_US = round(TIMESTEP_S * 1e6)
PIECE_US = 500
"""The processor runs so long before the world is looked at again."""


class BoardInTheLoop:
    """Sensors of the simulated robot, and the bridge to its firmware.

    Args:
        simulation: the robot in its world.
        robot: its geometry, limits and rates.
        firmware: folder with the program and the simulated board: ``make -C firmware_bridge/firmware bench``.
        clock: the loop's; observations are stamped with it.

    Attributes:
        bridge: a :class:`firmware_bridge.serial_bridge.SerialBridge`.

    Raises:
        BadInput: there is no firmware in that folder.
    """

    def __init__(self, simulation: Simulation, robot: Robot, firmware: Path, clock: Clock) -> None:
        self._simulation, self._clock = simulation, clock
        self._tick_us = round(robot.rates.tick_s * 1e6)
        try:
            self._bench = AvrBench(firmware)
        except OSError as error:
            raise BadInput(
                f"{firmware}: no simulated board: run  make -C firmware_bridge/firmware bench  ({error})"
            ) from None
        self._world_us = self._read_us = self._due_us = self._bench.run(BOOT_US)
        line = BenchLine(self._bench, self._run)
        self.bridge = SerialBridge(
            "simavr", chassis_of(robot), opened=lambda device, baud: line, clock=line.now
        )

    def read(self) -> Observation:
        """Let the tick end, and read all sensors."""
        self._due_us = max(self._due_us + self._tick_us, self._bench.state().now_us)
        self._run(self._due_us - self._bench.state().now_us)
        self._simulation.end_tick((self._world_us - self._read_us) * 1e-6)
        self._read_us = self._world_us
        return replace(self._simulation.observe(), time=self._clock.now())

    def close(self) -> None:
        """Throw the board away, and close the simulation."""
        self._bench.close()
        self._simulation.close()

    def _run(self, us: int) -> None:
        now, until = self._bench.state().now_us, self._bench.state().now_us + us
        while now < until:
            now = self._bench.run(min(PIECE_US, until - now))
            while self._world_us + STEP_US <= now:
                left, right = (permille * FULL_SPEED_MPS / 1000.0 for permille in self._bench.state().power)
                self._simulation.turn_wheels(left, right)
                self._bench.follow(*(_counts(angle) for angle in self._simulation.wheel_angles))
                self._world_us += STEP_US


def _counts(angle_rad: float) -> int:
    return math.floor(angle_rad * COUNTS_PER_TURN / math.tau)
