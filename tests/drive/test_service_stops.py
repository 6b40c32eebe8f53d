"""A service does not set off for somebody who has given up, and stops whenever it is told to."""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_fields

from edge_wm.cli import EXIT_INTERRUPTED, run
from edge_wm.drive.service_file import Mission
from edge_wm.robot import load_robot
from edge_wm.robot_sensors import RealSensors, V4l2Table, Vl53l0xTable
from edge_wm.sensors.observation import Observation
from tests.blind_model import write_blind
from tests.drive.service_bench import Bench

GO = b'{"do":"go","goal":[0.8,0.0]}\n'
GO_ON = b'{"do":"go"}\n'
STOP = b'{"do":"stop"}\n'
MISSION = Mission(goals=((0.8, 0.0),))


STOP_AT, HEARD_WITHIN = 8, 3
"""The tick at whose start it is told to stop, and after how many it is slower for sure."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


def send(bench: Bench, line: bytes) -> socket.socket:
    """A client that has sent something, while the service is busy."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(1.0)
    client.connect(str(bench.socket))
    client.sendall(line)
    return client


def hear(bench: Bench) -> None:
    for _ in range(3):
        bench.service._requests.poll()


@pytest.mark.parametrize("waits", [True, False])
def test_it_drives_only_for_a_client_that_is_still_there(tmp_path: Path, model: Path, waits: bool) -> None:
    bench = Bench(tmp_path, model, Mission())
    client = send(bench, GO)
    if not waits:  # "timed out", or Ctrl-C
        client.close()
    hear(bench)
    assert (bench.service._asked is not None) == waits
    client.close()
    bench.service.close()


@pytest.mark.parametrize("waits", [True, False])
def test_a_mission_goes_on_only_for_a_client_that_is_still_there(
    tmp_path: Path, model: Path, waits: bool
) -> None:
    bench = Bench(tmp_path, model, MISSION)
    send(bench, STOP)
    hear(bench)
    client = send(bench, GO_ON)
    if not waits:
        client.close()
    hear(bench)
    assert bench.service._mission.under_way == waits
    client.close()
    bench.service.close()


def test_a_stop_is_obeyed_whoever_has_gone(tmp_path: Path, model: Path) -> None:
    bench = Bench(tmp_path, model, MISSION)
    send(bench, STOP).close()
    hear(bench)
    assert not bench.service._mission.under_way
    bench.service.close()


@pytest.mark.parametrize(
    ("line", "mission"), [(GO, Mission()), (GO_ON, MISSION)], ids=["a goal", "the mission"]
)
@pytest.mark.parametrize("reads", [True, False])
def test_it_brakes_if_the_client_left_without_having_read_that_it_drives(
    tmp_path: Path, model: Path, line: bytes, mission: Mission, reads: bool
) -> None:
    bench = Bench(tmp_path, model, mission, stop_after=" after ")
    bench.sensors.change = bench.moving
    if mission.goals:
        send(bench, STOP)
        hear(bench)
    client = send(bench, line)
    hear(bench)
    if reads:  # edge-wm go --no-wait
        assert b"accepted" in client.recv(1024)
    client.close()
    with pytest.raises(KeyboardInterrupt):
        bench.service.run([])
    assert ("reached" if reads else "interrupted") in bench.said[-1]
    assert (max(command.v for command in bench.bridge.log) > 0.3) == reads  # one tick of the ramp at most
    bench.service.close()


@pytest.mark.parametrize("goal", [["0.8,0"], []], ids=["a goal", "the mission"])
def test_ctrl_c_before_the_answer_stops_the_robot_too(tmp_path: Path, goal: list[str]) -> None:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as busy:
        busy.settimeout(30.0)
        busy.bind(str(tmp_path / "drive.sock"))
        busy.listen()

        def serve() -> None:
            first, _ = busy.accept()
            heard.append(first.recv(1024))
            os.kill(os.getpid(), signal.SIGINT)
            second, _ = busy.accept()
            heard.append(second.recv(1024))
            first.sendall(b'{"answer":"accepted","what":"it drives"}\n')
            second.sendall(b'{"answer":"accepted","what":"it brakes"}\n')
            first.sendall(b'{"answer":"ended","reached":false,"outcome":"interrupted","message":""}\n')

        service = threading.Thread(target=serve)
        service.start()
        assert run(["go", *goal, "--socket", str(tmp_path / "drive.sock")]) == EXIT_INTERRUPTED
        service.join()
    assert heard[1] == STOP


def without_wheels(folder: Path) -> Bench:
    """A robot with a camera and a ring, as on a PCA9685, and a model that needs no more."""
    ring = Vl53l0xTable(bus=1, channels=tuple(range(8)), reach_m=1.2)
    sensors = RealSensors(V4l2Table(height=48, width=64), ring, wheels=False)
    robot = replace_fields(load_robot(), sensors=sensors)
    model = write_blind(folder / "blind", wheels=False)
    return Bench(folder, model, Mission(goals=((3.0, 0.0),)), " after ", robot)


def told_to_stop(bench: Bench) -> None:
    def change(index: int, observation: Observation) -> Observation:
        if index == STOP_AT:
            send(bench, STOP).close()
        arrays = {name: observation.arrays[name] for name in ("camera", "range")}
        return replace(observation, arrays=arrays)

    bench.sensors.change = change
    with pytest.raises(KeyboardInterrupt):
        bench.service.run([])
    bench.service.close()
    assert "interrupted" in bench.said[-1], bench.said
    speeds = [command.v for command in bench.bridge.log]
    assert max(speeds[:STOP_AT]) > 0.3  # the control: it did drive
    assert speeds[STOP_AT + HEARD_WITHIN] < max(speeds)


def test_a_robot_without_wheel_speeds_and_gyro_hears_a_stop_and_knows_where_it_is(tmp_path: Path) -> None:
    bench = without_wheels(tmp_path)
    told_to_stop(bench)
    way = sum(command.v for command in bench.bridge.log) * 0.1
    assert bench.errands.pose[0] == pytest.approx(way, rel=0.05)


def test_nothing_else_that_goes_wrong_in_a_tick_keeps_a_stop_from_being_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = without_wheels(tmp_path)
    monkeypatch.setattr(bench.errands, "tick", lambda tick: 1 / 0)
    told_to_stop(bench)
