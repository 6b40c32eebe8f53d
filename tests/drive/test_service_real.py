"""The driving service with a robot that is not simulated; what is fake is as in ``test_real.py``."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_wm.cli import run
from edge_wm.drive.requests import Answer, Connection, Ended, Go, Now, Status
from edge_wm.errors import BadInput
from tests.blind_model import write_blind
from tests.drive.test_real import Robot, host_program, robot  # noqa: F401 - fixtures

pytest.importorskip("serial", reason="pip install 'edge-wm[serial]'")

START_S = 60.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


@pytest.fixture
def serve(robot: Robot, model: Path, tmp_path: Path) -> Callable[[Callable[[Path], None]], int]:  # noqa: F811
    """Run `edge-wm serve` until a client in another thread has done what it wants."""
    (tmp_path / "drive.toml").write_text(
        f'robot = "robot.toml"\nmodel = "{model}"\nsocket = "drive.sock"\n[record]\nfolder = "runs"\n'
    )

    def served(client: Callable[[Path], None]) -> int:
        problems: list[BaseException] = []

        def meanwhile() -> None:
            try:
                client(tmp_path / "drive.sock")
            except BaseException as problem:
                problems.append(problem)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=meanwhile, daemon=True)
        thread.start()
        code = run(["serve", "--config", str(tmp_path / "drive.toml")])
        thread.join(timeout=START_S)
        assert problems == []
        return code

    return served


def ask(socket: Path, request: Go | Status) -> Answer:
    """Its last answer, once it answers at all."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with Connection(socket) as service:
                answer = service.ask(request)
                return service.wait() if isinstance(request, Go) else answer
        except BadInput:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def wait_for_rest(robot: Robot) -> None:  # noqa: F811
    """The bench tells of the motors a moment later."""
    deadline = time.monotonic() + START_S
    while robot.powers()[-1] != (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert robot.powers()[-1] == (0, 0)


def test_it_rests_disarmed_and_one_drive_begins_where_the_other_one_ended(
    robot: Robot,  # noqa: F811
    serve: Callable[[Callable[[Path], None]], int],
) -> None:
    def client(socket: Path) -> None:
        assert isinstance(ask(socket, Status()), Now)
        assert robot.powers() == []
        for _ in range(2):
            ended = ask(socket, Go((0.3, 0.0), "here"))
            assert isinstance(ended, Ended) and ended.reached, ended
            wait_for_rest(robot)
        now = ask(socket, Status())
        assert isinstance(now, Now) and now.pose is not None
        assert (now.goals, now.reached) == (2, 2)
        assert 0.25 < now.pose[0] < 0.6  # of where it was started, and further than one drive
        home = ask(socket, Go((now.pose[0], now.pose[1])))  # it stands there
        assert isinstance(home, Ended) and home.reached

    assert serve(client) == 0
    assert robot.powers()[-1] == (0, 0)


def test_a_sensor_that_comes_back_is_found_at_the_next_goal(
    robot: Robot,  # noqa: F811
    serve: Callable[[Callable[[Path], None]], int],
) -> None:
    def unplug() -> None:
        deadline = time.monotonic() + START_S
        while not any(left > 100 for left, _ in robot.powers()) and time.monotonic() < deadline:
            time.sleep(0.01)
        robot.multiplexer.fault = errno.EREMOTEIO

    def client(socket: Path) -> None:
        threading.Thread(target=unplug, daemon=True).start()
        ended = ask(socket, Go((6.0, 0.0)))
        assert isinstance(ended, Ended)
        assert ended.outcome == "fault" and "range ring" in ended.message, ended
        robot.multiplexer.fault = None
        ended = ask(socket, Go((0.3, 0.0), "here"))
        assert isinstance(ended, Ended) and ended.reached, ended

    assert serve(client) == 0


def test_a_robot_that_does_not_answer_is_one_line_and_exit_code_2(
    robot: Robot,  # noqa: F811
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    robot.amend(robot.board.device, "/dev/ttyNONE")
    (tmp_path / "drive.toml").write_text(f'robot = "robot.toml"\nmodel = "{model}"\nsocket = "drive.sock"\n')
    assert run(["serve", "--config", str(tmp_path / "drive.toml")]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1 and "/dev/ttyNONE: no such port" in line
