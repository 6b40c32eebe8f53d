"""A service does not set off for somebody who has given up, and stops whenever it is told to."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from edge_wm.cli import EXIT_INTERRUPTED, run
from edge_wm.drive.service_file import Mission
from tests.blind_model import write_blind
from tests.drive.service_bench import Bench

GO = b'{"do":"go","goal":[0.8,0.0]}\n'
GO_ON = b'{"do":"go"}\n'
STOP = b'{"do":"stop"}\n'
MISSION = Mission(goals=((0.8, 0.0),))


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
