"""Parts of the driving service: its file, its mission, and what it keeps."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.drive.errands import Errand
from edge_wm.drive.kept_runs import prune
from edge_wm.drive.service import MOST_REST_S, _MissionState
from edge_wm.drive.service_file import Mission, load_service_file
from edge_wm.errors import BadInput
from edge_wm.sim.generator import KINDS


def mission(clock: SimulatedClock, **keys: object) -> _MissionState:
    errands = [Errand(name, nullcontext) for name in "ab"]  # type: ignore[arg-type]
    return _MissionState(Mission(**keys), errands, clock)  # type: ignore[arg-type]


def test_a_mission_goes_from_goal_to_goal_with_rests_and_is_over_then() -> None:
    clock = SimulatedClock()
    state = mission(clock, rest_s=5.0)
    for name in "ab":
        assert state.next is not None and state.next.name == name
        state.driven(reached=True)
        assert state.next is None  # it rests
        clock.advance(5.0)
    assert state.over and not state.under_way and state.next is None
    state.resume()  # told to go: once more
    assert state.next is not None and state.next.name == "a"


def test_a_mission_that_repeats_never_ends_and_one_that_is_stopped_goes_on_where_it_was() -> None:
    clock = SimulatedClock()
    state = mission(clock, rest_s=0.0, repeat=True)
    for name in "abab":
        assert state.next is not None and state.next.name == name
        state.driven(reached=True)
    state.driven(reached=True)
    state.stopped = True
    assert state.next is None and not state.under_way
    state.resume()
    assert state.next is not None and state.next.name == "b"


def test_goals_that_are_not_reached_are_tried_ever_more_rarely_until_one_is_reached() -> None:
    clock = SimulatedClock()
    state = mission(clock, rest_s=1.0, repeat=True)
    rests = []
    for reached in (False,) * 8 + (True,):
        state.driven(reached)
        rests.append(state.due - clock.now())
        clock.sleep_until(state.due)
    assert rests[:4] == [2.0, 4.0, 8.0, 16.0]
    assert rests[7] == MOST_REST_S
    assert rests[8] == 1.0
    for _ in range(2000):  # months
        state.driven(reached=False)
    assert state.due - clock.now() == MOST_REST_S
    patient = mission(clock, rest_s=600.0, repeat=True)
    patient.driven(reached=False)
    assert patient.due - clock.now() == 600.0  # never sooner than asked for


def test_the_oldest_runs_go_and_nothing_else(tmp_path: Path) -> None:
    names = [f"2026-01-01T00-00-0{second}Z" for second in range(4)]
    names += [f"2026-01-01T00-00-03Z-{number}" for number in (2, 10)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "ticks.jsonl").write_bytes(b"x" * 1000)
    (tmp_path / "holiday pictures").mkdir()

    def left() -> list[str]:
        return [name for name in names if (tmp_path / name).exists()]

    prune(tmp_path, 5, 1 << 20)
    assert left() == names[1:]
    prune(tmp_path, 5, 2500)
    assert left() == names[4:]  # the newest: -2, and after it -10
    prune(tmp_path, 5, 10)
    assert left() == names[5:]  # one stays, however large
    prune(tmp_path, 1, 1 << 20)
    assert left() == names[5:]
    prune(tmp_path, 0, 1 << 20)  # makes room for the only one that is kept
    assert left() == []
    assert (tmp_path / "holiday pictures").is_dir()
    prune(tmp_path / "nothing", 5, 10)  # none there yet


def test_every_kind_of_world_can_be_a_mission() -> None:
    assert get_args(get_type_hints(Mission)["kind"]) == KINDS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('model = "m"\nupdates = "u"', "model: updates choose the model"),
        ("[mission]\ngoals = [[1.0, 0.0]]\nworlds = [1]", "mission.worlds: each has a goal of its own"),
        ("[mission]\ngoals = [[5000.0, 0.0]]", "mission.goals"),
        ("[mission]\ngoals = [[inf, 0.0]]", "mission.goals"),
        ('[mission]\nkind = "swamps"', "mission.kind"),
        ("[realtime]\nfifo = 99", "realtime.fifo"),
        ("[realtime]\ngovernor = 'turbo'", "realtime.governor"),
        ("[record]\nkeep = 0", "record.keep"),
        ("robots = 'r'", "robots"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_with_the_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "drive.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as refused:
        load_service_file(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert says in str(refused.value)


def test_a_board_needs_no_simulator_to_drive_a_real_robot() -> None:
    modules = "'mujoco', 'scipy', 'PIL', 'gymnasium', 'matplotlib', 'imageio_ffmpeg'"
    code = f"import sys; sys.modules.update(dict.fromkeys([{modules}]))\n"  # to import one of them fails then
    code += "import edge_wm.commands.serve, edge_wm.drive.service, edge_wm.drive.real\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code += "import edge_wm.drive.simulated\n"  # the control: that one does
    assert (
        subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 1
    )


def test_an_empty_file_is_a_simulated_robot_at_rest(tmp_path: Path) -> None:
    (tmp_path / "drive.toml").touch()
    file = load_service_file(tmp_path / "drive.toml")
    assert (file.robot, file.model, file.updates, file.mission, file.realtime.fifo) == (
        None,
        None,
        None,
        Mission(),
        None,
    )
