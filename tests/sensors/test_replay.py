"""A drive that is over is driven again: the very same observations, tick by tick, to a model that moves nothing."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_wm.cli import run
from edge_wm.clock import SimulatedClock
from edge_wm.drive.errands import errands_of
from edge_wm.drive.service_file import Mission
from edge_wm.errors import BadInput
from edge_wm.record.observations import (
    OF,
    RecordedObservations,
    observations_file,
    read_observations,
    write_observations,
)
from edge_wm.record.recorder import RunRecorder
from edge_wm.record.tick_record import GoalResult, GoalStart, TickRecord
from edge_wm.robot import DEFAULT_ROBOT, load_robot
from edge_wm.sensors.observation import Observation
from edge_wm.sensors.replay import NothingRecorded, ReplayedSensors
from firmware_bridge.bridge import Command
from tests.blind_model import write_blind

TICK_S = 0.1
ARRAYS = ("camera", "range", "wheel", "gyro")


# --- the file --------------------------------------------------------------------------------------------------------


def record(tick: int, time_s: float, age_s: float, sequence: int, **arrays: np.ndarray) -> TickRecord:
    return TickRecord(
        tick,
        time_s,
        Observation(time_s - age_s, sequence, arrays),
        Command(0.1, 0.0),
        Command(0.1, 0.0),
        1.0,
        5.0,
        goal=(2.0, -1.0),
    )


def drive(ticks: int, first: int = 0) -> list[TickRecord]:
    """Each frame has its own noise; a beam gives NaN, which is to come back as such."""
    noise = np.random.default_rng(3)
    return [
        record(
            first + tick,
            1000.0 + tick * TICK_S,
            0.04,
            tick // 2,
            camera=noise.integers(0, 256, (6, 8, 3), dtype=np.uint8),
            range=np.array([1.5, 0.0, np.nan], dtype=np.float32),
        )
        for tick in range(ticks)
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = observations_file(tmp_path, 1)
    write_observations(path, TICK_S, drive(5))
    return path


def amend(path: Path, **columns: np.ndarray | None) -> None:
    """Write the file anew with other columns; None leaves one out."""
    with np.load(path) as archive:
        found = {name: archive[name] for name in archive.files}
    np.savez(path, **{name: array for name, array in {**found, **columns}.items() if array is not None})


def test_what_was_observed_is_kept_bit_for_bit(file: Path) -> None:
    recorded = read_observations(file)
    assert (recorded.tick_s, recorded.goal, len(recorded)) == (TICK_S, (2.0, -1.0), 5)
    for row, wanted in enumerate(drive(5)):
        for name, array in wanted.observation.arrays.items():
            assert recorded.arrays[name][row].dtype == array.dtype
            assert recorded.arrays[name][row].tobytes() == array.tobytes()
    assert recorded.time == pytest.approx([-0.04, 0.06, 0.16, 0.26, 0.36])


DAMAGED: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "a newer format": ({"format": np.array(2)}, "its format is 2, this edge-wm reads 1"),
    "no format": ({"format": None}, "its format is None"),
    "a missing picture": ({OF + "camera": np.zeros((4, 6, 8, 3), np.uint8)}, "'of.camera' is not of 5 ticks"),
    "no times": ({"time": None}, "no usable 'time'"),
    "words for numbers": ({"time": np.array(["a"] * 5)}, "no usable 'time'"),
    "a time that is none": ({"time": np.array([0.0, 0.1, np.nan, 0.3, 0.4])}, "'time' has numbers"),
    "ticks out of order": ({"tick": np.array([0, 2, 1, 3, 4])}, "its ticks are not in order"),
    "nothing observed": ({OF + "camera": None, OF + "range": None}, "there is nothing in it"),
    "objects": ({OF + "camera": np.array([{}] * 5, dtype=object)}, "damaged: Object arrays cannot be loaded"),
    "its beginning gone": ({"tick": np.arange(7, 12)}, "begins with tick 7"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_recording_is_refused_in_one_line(file: Path, case: str) -> None:
    read_observations(file)  # the control
    columns, why = DAMAGED[case]
    amend(file, **columns)
    with pytest.raises(BadInput) as refused:
        read_observations(file)
    assert why in str(refused.value)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_a_bit_that_has_changed_is_found(file: Path) -> None:
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        middle = archive.getinfo(OF + "camera.npy").header_offset + 400
    file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(BadInput, match=r"damaged: .*of\.camera"):
        read_observations(file)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(file: Path, share: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match="damaged"):
        read_observations(file)


def test_a_run_without_observations_is_refused_and_says_why_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is none: the run was driven with --no-pictures"):
        read_observations(observations_file(tmp_path, 1))


# --- the sensors -----------------------------------------------------------------------------------------------------


def replayed(records: list[TickRecord], path: Path, clock: SimulatedClock) -> ReplayedSensors:
    write_observations(path, TICK_S, records)
    return ReplayedSensors(read_observations(path), clock)


def test_each_tick_gets_its_own_observation_as_old_as_it_was(tmp_path: Path) -> None:
    clock = SimulatedClock(50.0)
    sensors = replayed(drive(5), tmp_path / "o.npz", clock)
    for tick, wanted in enumerate(drive(5)):
        got = sensors.read()
        assert got.time == pytest.approx(clock.now() - 0.04)
        assert got.sequence == tick // 2
        assert got.arrays["camera"].tobytes() == wanted.observation.arrays["camera"].tobytes()
        clock.advance(TICK_S)


def test_after_the_last_tick_there_is_an_error_and_no_frame_again(tmp_path: Path) -> None:
    sensors = replayed(drive(3), tmp_path / "o.npz", SimulatedClock())
    for _ in range(3):
        sensors.read()
    assert not sensors.ended  # the control
    for _ in range(2):
        with pytest.raises(NothingRecorded, match="the recording ends after 3 ticks"):
            sensors.read()
    assert sensors.ended


def test_where_the_sensors_failed_they_fail_again(tmp_path: Path) -> None:
    records = drive(5)
    del records[2]
    sensors = replayed(records, tmp_path / "o.npz", SimulatedClock())
    sensors.read(), sensors.read()
    with pytest.raises(NothingRecorded, match="tick 2: the sensors gave nothing"):
        sensors.read()
    assert not sensors.ended
    assert sensors.read().arrays["camera"].tobytes() == records[2].observation.arrays["camera"].tobytes()


def test_a_frame_that_stood_still_does_not_seem_to_go_back(tmp_path: Path) -> None:
    """The recorded ticks were a little longer than these: by its age alone the frame would be older than it was."""
    frame = np.zeros((6, 8, 3), np.uint8)
    records = [record(n, 1000.0 + n * 0.11, 0.02 + n * 0.11, 7, camera=frame) for n in range(4)]
    clock = SimulatedClock(50.0)
    sensors = replayed(records, tmp_path / "o.npz", clock)
    times = []
    for _ in records:
        times.append(sensors.read().time)
        clock.advance(TICK_S)
    assert times == sorted(times)


# --- edge-wm drive ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blind(tmp_path_factory.mktemp("bundles") / "blind")


def driven(runs: Path, model: Path, *words: str | Path) -> tuple[int, Path | None]:
    """Run `edge-wm drive` in simulated time; returns its exit code and the run's folder."""
    code = run(["drive", *map(str, ("--fast", "--no-view", "--runs", runs, "--model", model, *words))])
    folders = sorted(runs.iterdir()) if runs.is_dir() else []
    return code, folders[-1] if folders else None


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The folder of a drive of the simulated robot to a goal."""
    pytest.importorskip("mujoco")
    folder = tmp_path_factory.mktemp("recorded")
    walls = "".join(
        f'<geom type="box" pos="{x} {y} 0.25" size="{a} {b} 0.25"/>'
        for x, y, a, b in ((0, -2, 2, 0.1), (0, 2, 2, 0.1), (-2, 0, 0.1, 2), (2, 0, 0.1, 2))
    )
    (folder / "room.xml").write_text(
        f'<mujoco><worldbody><geom type="plane" size="3 3 0.1"/>{walls}</worldbody></mujoco>'
    )
    code, run_folder = driven(
        folder / "runs", model, "--world", folder / "room.xml", "--start", "0,0,0", "--goal", "1.4,0"
    )
    assert code == 0
    assert run_folder is not None
    return run_folder


@pytest.fixture
def recorded(tmp_path: Path, recorded_once: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(recorded_once, tmp_path / "recorded"))


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    """The simulated robot's file, with the recording in place of sensors and motors."""
    text = DEFAULT_ROBOT.read_text()
    text = text.replace('[sensors]\nkind = "sim"', '[sensors]\nkind = "replay"')
    text = text.replace(
        '[bridge]\nkind = "sim"', '[bridge]\nkind = "recorded"\nfile = "recorded/ticks.jsonl"'
    )
    file = tmp_path / "robot.toml"
    file.write_text(text)
    return file


@pytest.fixture
def refused(
    tmp_path: Path, model: Path, robot_file: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Check that a replay is refused in one line and leaves no run; return the line."""

    def check(*words: str) -> str:
        code, folder = driven(tmp_path / "again", model, "--robot", robot_file, *words)
        line = capsys.readouterr().err
        assert (code, folder) == (2, None)
        assert line.startswith("error: ")
        assert line.count("\n") == 1
        return line

    return check


def rows(folder: Path) -> list[dict]:
    """The ticks without what depends on this machine, or on who knows where the robot really is."""
    own = ("observe_ms", "plan_ms", "tick_ms", "true_pose")
    lines = (folder / "ticks.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in own} for line in lines]


def the_same(a: RecordedObservations, b: RecordedObservations) -> bool:
    return a.arrays.keys() == b.arrays.keys() and all(
        a.arrays[name].tobytes() == b.arrays[name].tobytes() for name in a.arrays
    )


@pytest.mark.sim
def test_a_replayed_drive_has_the_same_observations_and_the_same_model_the_same_plans(
    tmp_path: Path, model: Path, recorded: Path, robot_file: Path
) -> None:
    code, again = driven(tmp_path / "again", model, "--robot", robot_file)
    assert again is not None
    then, now = (read_observations(observations_file(folder, 1)) for folder in (recorded, again))
    assert tuple(sorted(then.arrays)) == tuple(sorted(ARRAYS))
    assert len({picture.tobytes() for picture in then.arrays["camera"]}) > 10  # the control: frames do differ
    assert the_same(then, now)
    assert (now.sequence == then.sequence).all()
    assert now.tick_time - now.time == pytest.approx(then.tick_time - then.time)
    assert rows(again) == rows(recorded)
    (result,) = json.loads((again / "summary.json").read_text())["goal_results"]
    assert result["outcome"] == "recording ended"
    assert result["collision"] is None
    assert result["message"] == f"0 of {len(then)} commands are not those of the recording"
    assert code == 1  # whoever judged the drive then saw where the robot really was; this one does not know


@pytest.mark.sim
def test_a_drive_that_ended_where_the_robot_believed_its_goal_ends_there_again(
    tmp_path: Path, model: Path, recorded_once: Path, robot_file: Path
) -> None:
    """As of a robot that is really there, where no referee ends the drive: its record has the ticks in which it braked, too."""
    from edge_wm.drive.pilot import Pilot
    from edge_wm.drive.tick_records import TickRecords
    from edge_wm.sim.drivers import SimulatedBridge, SimulatedSensors
    from edge_wm.sim.simulation import Simulation

    robot, clock = load_robot(), SimulatedClock()
    pilot = Pilot(robot, model, clock)
    (tmp_path / "recorded").mkdir()
    recorder = RunRecorder(tmp_path / "recorded", tick_s=TICK_S, title="test run")
    recorder.goal_started(GoalStart(1, 1, (1.0, 0.0)))
    records = TickRecords(pilot, 1, (1.0, 0.0), [recorder.tick])
    bridge = SimulatedBridge(clock, robot.limits)
    sensors = SimulatedSensors(
        Simulation(recorded_once.parent.parent / "room.xml", (0.0, 0.0, 0.0), 0), bridge, clock, TICK_S
    )
    bridge.connect()
    try:
        ended = pilot.drive(sensors, bridge, (1.0, 0.0), [records.tick])
    finally:
        sensors.close()
    records.end(ended)
    recorder.goal_done(GoalResult(str(ended.outcome), reached=True, collision=None, time_s=1.0))

    code, again = driven(tmp_path / "again", model, "--robot", robot_file)
    assert again is not None
    (result,) = json.loads((again / "summary.json").read_text())["goal_results"]
    assert (code, result["outcome"], str(ended.outcome)) == (0, "reached", "reached")
    assert result["message"] == f"0 of {ended.ticks} commands are not those of the recording"
    assert rows(again) == rows(tmp_path / "recorded")


@pytest.mark.sim
def test_another_model_gets_the_same_observations_and_its_other_commands_are_counted(
    tmp_path: Path, recorded: Path, robot_file: Path
) -> None:
    other = write_blind(tmp_path / "other", fewer=8)
    _, again = driven(tmp_path / "again", other, "--robot", robot_file, "--candidates", "8")
    assert again is not None
    then, now = (read_observations(observations_file(folder, 1)) for folder in (recorded, again))
    assert all(
        now.arrays[name].tobytes() == array[: len(now)].tobytes() for name, array in then.arrays.items()
    )
    (result,) = json.loads((again / "summary.json").read_text())["goal_results"]
    others = int(result["message"].split()[0])
    assert others > len(then) / 4
    applied = [row["applied"] for row in rows(again)]
    assert applied == [row["applied"] for row in rows(recorded)][: len(applied)]


@pytest.mark.sim
def test_a_replay_is_of_one_recording_whole_and_of_this_robot(
    recorded: Path, robot_file: Path, refused: Callable[..., str]
) -> None:
    text = robot_file.read_text()
    observations = observations_file(recorded, 1)

    robot_file.write_text(text.replace("ticks.jsonl", "none.jsonl"))
    assert "cannot be read as a recording" in refused()
    robot_file.write_text(text.replace('ticks.jsonl"', 'ticks.jsonl"\ngoal = 2'))
    assert "observations-2.npz: there is none" in refused()
    robot_file.write_text(text)

    ticks = (recorded / "ticks.jsonl").read_text()
    (recorded / "ticks.jsonl").write_text("".join(ticks.splitlines(keepends=True)[:-3]))
    assert "they are not of one drive, or one is damaged" in refused()
    (recorded / "ticks.jsonl").write_text(ticks)

    whole = observations.read_bytes()
    with np.load(observations) as archive:
        pictures = archive[OF + "camera"]
    for columns, why in (
        (
            {OF + "camera": pictures[:, :24]},
            "has camera uint8[24,64,3], and robot sim gives camera uint8[48,64,3]",
        ),
        (
            {OF + "camera": pictures / 255.0},
            "has camera float64[48,64,3], and robot sim gives camera uint8[48,64,3]",
        ),
        ({OF + "camera": pictures[:-1]}, "'of.camera' is not of"),
        ({OF + "gyro": None}, "has no gyro, and robot sim gives gyro float32[1]"),
        ({"tick_s": np.array(0.2)}, "recorded with a tick of 0.2 s, and robot sim ticks every 0.1 s"),
    ):
        amend(observations, **columns)
        assert why in refused()
        observations.write_bytes(whole)
    observations.unlink()
    assert "observations-1.npz: there is none" in refused()


@pytest.mark.sim
@pytest.mark.parametrize("words", [("--goal", "1,0"), ("--world", "room.xml"), ("--updates", "update.toml")])
def test_a_replay_has_the_goal_and_the_world_of_its_recording(
    words: tuple[str, str], recorded: Path, refused: Callable[..., str]
) -> None:
    assert f"{words[0]} is not for a replay" in refused(*words)


@pytest.mark.parametrize("bridge", ['kind = "sim"', 'kind = "serial"\ndevice = "/dev/ttyACM0"'])
def test_a_replay_moves_no_motors(robot_file: Path, bridge: str) -> None:
    load_robot(robot_file)  # the control
    text = robot_file.read_text()
    robot_file.write_text(text.replace('kind = "recorded"\nfile = "recorded/ticks.jsonl"', bridge))
    with pytest.raises(BadInput, match=r"bridge\.kind: a replay moves nothing: its bridge is 'recorded'"):
        load_robot(robot_file)


def test_a_service_does_not_replay(robot_file: Path) -> None:
    with pytest.raises(BadInput, match="a replay is of one drive that is over"):
        errands_of(load_robot(robot_file), robot_file, SimulatedClock(), Mission())


@pytest.mark.sim
def test_no_pictures_keeps_no_observations(tmp_path: Path, model: Path, recorded_once: Path) -> None:
    room = recorded_once.parent.parent / "room.xml"
    words = ("--world", room, "--start", "0,0,0", "--goal", "1.4,0", "--no-pictures")
    _, folder = driven(tmp_path / "runs", model, *words)
    assert folder is not None
    assert (folder / "ticks.jsonl").is_file()
    assert not observations_file(folder, 1).exists()
    assert observations_file(recorded_once, 1).is_file()  # the control
