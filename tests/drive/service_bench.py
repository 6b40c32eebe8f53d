"""A driving service in this process, with hardware that is fake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_wm.clock import SimulatedClock
from edge_wm.control.realtime import Realtime, RealtimeSetup
from edge_wm.drive.errands import RealErrands
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.real import Hardware
from edge_wm.drive.service import Service
from edge_wm.drive.service_file import Mission, Record, ServiceFile
from edge_wm.drive.systemd import ServiceManager
from edge_wm.robot import Robot, load_robot
from edge_wm.sensors.observation import Observation
from tests.control.fakes import FakeBridge, FakeSensors


class Bench:
    """A service with fake hardware; ``said`` is what the journal has.

    Args:
        folder: of its socket and its runs.
        model: to drive by.
        mission: of its ``drive.toml``.
        stop_after: words in the journal after which the process is interrupted.
        robot: the one that the sensors are of; the simulated one when left out.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        mission: Mission,
        stop_after: str = "reached",
        robot: Robot | None = None,
    ) -> None:
        clock, robot = SimulatedClock(), robot or load_robot()
        self.bridge, self.said = FakeBridge(), []
        self.sensors = sensors = FakeSensors(clock)
        sensors.travelled_m, sensors.problem = None, ""  # type: ignore[attr-defined]

        @contextmanager
        def connect() -> Iterator[Hardware]:
            yield Hardware(sensors, self.bridge)  # type: ignore[arg-type]

        def say(line: str) -> None:
            self.said.append(line)
            if stop_after in line:
                raise KeyboardInterrupt

        self.errands = RealErrands(robot, mission, connect)
        self.service = Service(
            ServiceFile(socket="run/drive.sock", mission=mission, record=Record(folder="runs")),
            folder / "drive.toml",
            Pilot(robot, model, clock),
            None,
            self.errands.__enter__(),
            clock,
            RealtimeSetup(Realtime()),
            ServiceManager({}),
            say,
        )
        self.socket = folder / "run" / "drive.sock"

    def moving(self, index: int, observation: Observation) -> Observation:
        """For ``sensors.change``: wheels and gyro that follow what was sent."""
        sent = self.bridge.in_force
        moved = {"wheel": np.float32([sent.v, sent.v]), "gyro": np.float32([sent.w])}
        return replace(observation, arrays={**observation.arrays, **moved})
