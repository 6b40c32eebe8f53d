"""A real robot whose service was killed no longer knows where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.control.realtime import Realtime, RealtimeSetup
from edge_wm.drive.errands import RealErrands
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.real import Hardware
from edge_wm.drive.requests import Connection, Now
from edge_wm.drive.service import Service
from edge_wm.drive.service_file import Mission, Record, ServiceFile
from edge_wm.drive.systemd import ServiceManager
from edge_wm.robot import load_robot
from tests.blind_model import write_blind
from tests.control.fakes import FakeBridge, FakeSensors

MISSION = Mission(goals=((0.1, 0.0),), repeat=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


class Bench:
    """A service with fake hardware; ``said`` is what the journal has."""

    def __init__(self, folder: Path, model: Path, stop_after: str) -> None:
        clock, robot = SimulatedClock(), load_robot()
        self.bridge, self.said = FakeBridge(), []
        sensors = FakeSensors(clock)
        sensors.travelled_m, sensors.problem = None, ""  # type: ignore[attr-defined]

        @contextmanager
        def connect() -> Iterator[Hardware]:
            yield Hardware(sensors, self.bridge)  # type: ignore[arg-type]

        def say(line: str) -> None:
            self.said.append(line)
            if stop_after in line:
                raise KeyboardInterrupt

        self.errands = RealErrands(robot, MISSION, connect)
        self.service = Service(
            ServiceFile(socket="run/drive.sock", mission=MISSION, record=Record(folder="runs")),
            folder / "drive.toml",
            Pilot(robot, model, clock),
            None,
            self.errands.__enter__(),
            clock,
            RealtimeSetup(Realtime()),
            ServiceManager({}),
            say,
        )


def test_a_mission_waits_after_a_crash_and_not_after_an_orderly_end(tmp_path: Path, model: Path) -> None:
    for end, waits in (("orderly", False), ("killed", False), ("orderly", True), ("orderly", False)):
        bench = Bench(tmp_path, model, "reached")
        assert any("the mission waits" in line for line in bench.said) == waits
        if not waits:
            with pytest.raises(KeyboardInterrupt):
                bench.service.run([])
            assert bench.bridge.stopped > 0
            assert "reached" in bench.said[-1]
        if end == "orderly":
            bench.service.forget()
        bench.service.close()


def test_it_says_where_it_believes_to_be(tmp_path: Path, model: Path) -> None:
    bench = Bench(tmp_path, model, "reached")
    with pytest.raises(KeyboardInterrupt):
        bench.service.run([])
    with Connection(tmp_path / "run" / "drive.sock") as client:
        client._socket.sendall(b'{"do":"status"}\n')
        for _ in range(3):
            bench.service._requests.poll()
        now = client.wait()
    assert isinstance(now, Now)
    assert now.pose == pytest.approx((0.0, 0.0, 0.0))  # fake wheels do not turn
    assert (now.goals, now.reached) == (1, 1)
    bench.service.close()
