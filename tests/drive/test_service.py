"""The driving service as systemd and its clients see it: real processes, the simulated robot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_wm.cli import run
from edge_wm.drive.requests import Ended, Go, Stop
from edge_wm.errors import BadInput
from tests.blind_model import write_blind
from tests.drive.service_process import EDGE_WM, service, write_file

pytestmark = pytest.mark.sim

FAR = (1.6, -0.8)
"""A goal in world 0 that the blind model is on its way to for some seconds."""
HANG_AT = 15
HANG = f"""
import time
from edge_wm.sim.drivers import SimulatedSensors as S
read, count = S.read, [0]
def hanging(self):
    count[0] += 1
    if count[0] == {HANG_AT}:
        time.sleep(3600)
    return read(self)
S.read = hanging
"""
ASKED_IN_A_FINALIZER = """
import os, signal
from edge_wm.drive.service import Service as S
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
rest, count = S._rest, [0]
def resting(self):
    count[0] += 1
    if count[0] == 2:
        Last()
    rest(self)
S._rest = resting
"""
"""What a signal raises there is printed and lost."""
MISSION = '[mission]\nkind = "rooms"\nworlds = [0, 1]\nrest_s = 0.0\nrepeat = true\n'


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


def runs_of(folder: Path) -> list[Path]:
    return sorted((folder / "runs").iterdir())


def edge_wm(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", EDGE_WM, *words, "--socket", str(folder / "drive.sock")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_is_ready_rests_with_its_watchdog_fed_drives_where_asked_and_rests_again(
    tmp_path: Path, model: Path
) -> None:
    write_file(tmp_path, model)
    with service(tmp_path, watchdog_s=1.0) as process:
        ready = process.wait_for("READY=1")
        assert process.now().ticks == 0
        process.hear(1.5)
        at_rest = [moment for moment, told in process.told if told == "WATCHDOG=1" and moment > ready]
        assert len(at_rest) >= 2
        done = edge_wm(tmp_path, "go", "0.5,0")
        assert (done.returncode, done.stdout) == (0, "it drives to (0.5, 0)\nreached\n"), done.stderr
        now = process.wait_until("resting")
        assert (now.goals, now.reached) == (1, 1)
        assert now.ticks > 5
        driving = process.wait_for("STATUS=drives to (0.5, 0)")
        process.wait_for("WATCHDOG=1", since=driving)
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 0
    (folder,) = runs_of(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["reached"] == 1
    assert summary["facts"]["realtime"] == ""  # nothing of it unless it is asked for
    assert not (tmp_path / "drive.sock").exists()


def test_a_hang_in_a_tick_starves_the_watchdog(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    fed_after = {}
    for before in ("", HANG):
        with service(tmp_path, watchdog_s=0.4, before=before) as process:
            process.wait_for("READY=1")
            process.go(*FAR)
            process.wait_until("driving")
            if before:  # from then on nobody answers; the control goes on to its goal and beyond
                with pytest.raises(BadInput):
                    for _ in range(200):
                        process.now()
                        process.hear(0.05)
            process.hear(0.5)
            quiet_from = time.monotonic()
            process.hear(2.0)
            fed_after[before] = [moment for moment, told in process.told if moment > quiet_from]
    assert fed_after[HANG] == []
    assert len(fed_after[""]) >= 3


def test_asked_to_end_while_it_drives_it_brakes_first_and_says_so(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        process.go(*FAR)
        while process.now().ticks < 8:
            process.hear(0.05)
        asked = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        code, said = process.ended()
        assert time.monotonic() - asked < 10.0  # the unit's TimeoutStopSec is 20 s
        assert code == 0
        assert said.endswith("ends as asked: motors at rest\n")
        assert "STOPPING=1" in [told for _, told in process.told]
    ticks = [json.loads(line) for line in (runs_of(tmp_path)[0] / "ticks.jsonl").read_text().splitlines()]
    assert max(row["applied"][0] for row in ticks) > 0.1  # the control: it did drive
    assert ticks[-1]["applied"] == [0.0, 0.0]


def test_asked_to_end_in_the_middle_of_a_finalizer_it_ends_all_the_same(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path, before=ASKED_IN_A_FINALIZER) as process:
        code, said = process.ended()
        assert "KeyboardInterrupt" in said  # the control: nobody caught it
        assert code == 0
        assert said.endswith("ends as asked: motors at rest\n")


def test_told_to_stop_and_asked_to_end_at_once_it_ends(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        process.go(*FAR)
        while process.now().ticks < 8:
            process.hear(0.05)
        with process.connection() as client:
            client.ask(Stop())
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 0


def test_a_stop_right_behind_a_go_is_heard(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        with process.connection() as client:
            client._socket.sendall(b'{"do":"go","goal":[1.6,-0.8]}\n{"do":"stop"}\n')
            answers = [client.wait() for _ in range(3)]
        assert Ended(False, "interrupted", "stopped by request") in answers
        assert process.now().ticks == 0


def test_killed_in_the_middle_the_next_one_takes_over_its_socket_and_drives(
    tmp_path: Path, model: Path
) -> None:
    write_file(tmp_path, model, MISSION)
    for _ in range(2):
        with service(tmp_path) as process:
            process.wait_for("READY=1")
            while process.now().ticks < 3:
                process.hear(0.05)
            process.process.send_signal(signal.SIGKILL)
            assert process.ended()[0] == -signal.SIGKILL
        assert (tmp_path / "drive.sock").exists()


def test_a_model_that_cannot_be_loaded_is_one_line_and_exit_code_2(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, tmp_path / "nothing")
    with service(tmp_path) as process:
        code, said = process.ended()
    assert code == 2
    assert said.count("\n") == 1
    assert said.startswith("error: ") and "nothing" in said
    told = [told for _, told in process.told]
    assert "READY=1" not in told
    assert f"STATUS={said.strip()}" in told  # for whoever asks systemctl


def test_it_drives_by_the_model_that_updates_chose_and_no_second_process_does(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "update.toml").write_text(
        f'url = "file:///nowhere"\ntrusted_root = "root.json"\nrobot_kind = "rover"\nrobot_id = "rover-1"\n'
        f'root = "{tmp_path / "state"}"\nfactory = "{model}"\n'
    )
    write_file(tmp_path, model)
    file = tmp_path / "drive.toml"
    file.write_text(file.read_text().replace(f'model = "{model}"', 'updates = "update.toml"'))
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        assert process.now().model == "blind 0.1.0"
        assert edge_wm(tmp_path, "go", "0.5,0").returncode == 0
        other = ["drive", "--updates", str(tmp_path / "update.toml"), "--no-view", "--no-pictures"]
        assert run([*other, "--runs", str(tmp_path / "others")]) == 2
        assert "another process drives this robot already" in capsys.readouterr().err


def test_a_second_service_leaves_the_first_one_its_socket(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as first:
        first.wait_for("READY=1")
        assert run(["serve", "--config", str(tmp_path / "drive.toml")]) == 2
        assert first.now().state == "resting"


def test_a_disk_that_takes_no_record_stops_no_drive(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    (tmp_path / "runs").write_text("in the way")
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        assert edge_wm(tmp_path, "go", "0.5,0").returncode == 0
        assert "drives are not recorded" in process.now().problem
        (tmp_path / "runs").unlink()  # the control: recorded again, and nothing is wrong any more
        assert edge_wm(tmp_path, "go", "0.5,0").returncode == 0
        assert process.now().problem == ""
    assert len(runs_of(tmp_path)) == 1


def test_one_drive_at_a_time_until_somebody_stops_it(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        first = process.go(*FAR)
        process.wait_until("driving")
        with pytest.raises(BadInput, match="edge-wm stop ends that"):
            process.go(0.5, 0.0)
        assert edge_wm(tmp_path, "stop").stdout == "it brakes\n"
        ended = first.wait()
        assert isinstance(ended, Ended)
        assert (ended.reached, ended.outcome) == (False, "interrupted")
        assert process.process.poll() is None  # it was the drive that was ended
        assert edge_wm(tmp_path, "go", "0.5,0").returncode == 0


def test_ctrl_c_of_whoever_waits_stops_the_robot(tmp_path: Path, model: Path) -> None:
    write_file(tmp_path, model)
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        words = ["go", f"{FAR[0]},{FAR[1]}", "--socket", str(tmp_path / "drive.sock")]
        person = subprocess.Popen([sys.executable, "-c", EDGE_WM, *words])
        process.wait_until("driving")
        person.send_signal(signal.SIGINT)
        assert person.wait(timeout=30) == 130
        assert process.now().state == "resting"


def test_a_mission_begins_by_itself_waits_after_a_stop_and_goes_on_when_told(
    tmp_path: Path, model: Path
) -> None:
    write_file(tmp_path, model, MISSION)
    with service(tmp_path, "--fast") as process:
        process.wait_for("READY=1")
        while process.now().goals < 3:  # it repeats
            process.hear(0.05)
        with process.connection() as client:
            with pytest.raises(BadInput, match="edge-wm stop"):
                client.ask(Go((0.5, 0.0)))
            client.ask(Stop())
        stopped = process.wait_until("waiting")
        process.hear(1.0)
        assert process.now().ticks == stopped.ticks
        assert edge_wm(tmp_path, "go", "0.5,0").returncode == 0  # and is still stopped then
        assert process.wait_until("waiting").goals == stopped.goals + 1
        assert edge_wm(tmp_path, "go").stdout == "the mission goes on\n"
        while process.now().goals < stopped.goals + 2:
            process.hear(0.05)
    assert len(runs_of(tmp_path)) <= 3  # of them, `keep` are kept


def test_what_cannot_be_asked_is_refused_in_one_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path, model)
    socket = ["--socket", str(tmp_path / "drive.sock")]
    assert run(["go", "1,0", *socket]) == 2
    assert "is edge-wm serve running?" in capsys.readouterr().err
    with service(tmp_path) as process:
        process.wait_for("READY=1")
        for words, says in (
            (["go", "900,0"], "lies outside the world"),
            (["go"], "it has no mission"),
            (["go", "2000,0"], "within 1000 m"),
            (["go", "--from-here"], "name a point"),
            (["go", "1,nan"], "is not X,Y"),
        ):
            assert run([*words, *socket]) == 2
            line = capsys.readouterr().err
            assert line.startswith("error: ") and line.count("\n") == 1 and says in line
        assert process.now().ticks == 0
