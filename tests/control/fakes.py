"""Fake hardware for the loop and the supervisor: sensors and a bridge that record, and misbehave on request."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_wm.clock import SimulatedClock
from edge_wm.control.policy import Decision
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry

TICK_S = 0.1
FORWARD = Command(0.4, 0.0)


def ring(everywhere: float = 4.0, **beams: float) -> np.ndarray:
    """float32[8], metres; single beams as ``b0=0.3``."""
    values = np.full(8, everywhere, dtype=np.float32)
    for name, reading in beams.items():
        values[int(name[1:])] = reading
    return values


def observe(time: float, sequence: int, **arrays: np.ndarray) -> Observation:
    """A healthy observation of a robot at rest in the open, but for ``arrays``; the picture follows the counter."""
    healthy = {
        "camera": np.full((48, 64, 3), sequence % 251, dtype=np.uint8),
        "range": ring(),
        "wheel": np.zeros(2, dtype=np.float32),
        "gyro": np.zeros(1, dtype=np.float32),
    }
    return Observation(time, sequence, healthy | arrays)


class FakeSensors:
    """Observations that are fresh, unless ``change`` makes something else of the one at an index."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.reads = 0
        self.change: Callable[[int, Observation], Observation] = lambda index, observation: observation

    def read(self) -> Observation:
        index = self.reads
        self.reads += 1
        return self.change(index, observe(self.clock.now(), index))

    def close(self) -> None:
        pass


class FakePolicy:
    """Always wants ``command``; ``during`` runs in every ``act`` and may raise, or return another command."""

    def __init__(self, command: Command = FORWARD, distance: float = 5.0) -> None:
        self.command, self.distance = command, distance
        self.acts = 0
        self.goals: list[tuple[float, float]] = []
        self.deadlines: list[float] = []
        self.during: Callable[[int], Command | None] = lambda index: None

    def reset(self, goal_xy: tuple[float, float]) -> None:
        self.goals.append(goal_xy)

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        index = self.acts
        self.acts += 1
        self.deadlines.append(deadline)
        return Decision(self.during(index) or self.command, None, self.distance)


class FakeBridge:
    """Motors that do what they are told; ``log`` holds every command and ``stopped`` how often they were stopped."""

    def __init__(self) -> None:
        self.log: list[Command] = []
        self.armed = False
        self.stopped = 0
        self.in_force = NEUTRAL
        self.fail_at: int | None = None

    def connect(self) -> None:
        pass

    def arm(self) -> None:
        self.armed = True

    def apply(self, command: Command) -> Command:
        assert self.armed
        if self.fail_at is not None and len(self.log) >= self.fail_at:
            raise BridgeError("the serial port is gone")
        self.log.append(command)
        self.in_force = command
        return command

    def telemetry(self) -> Telemetry:
        return Telemetry(0.0, self.armed, self.in_force)

    def stop(self) -> None:
        self.stopped += 1
        self.armed = False
        self.in_force = NEUTRAL

    def close(self) -> None:
        self.stop()
