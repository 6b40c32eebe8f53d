"""What an episode's verdict means."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_wm.control.policy import Decision
from edge_wm.errors import BadInput
from edge_wm.evaluate import episode as episode_module
from edge_wm.evaluate.episode import Episode, run_episode
from edge_wm.robot import load_robot
from edge_wm.sim.frames import to_odometry_frame, to_world_frame
from edge_wm.sim.tasks import Task
from firmware_bridge.bridge import NEUTRAL, Command
from tests.sim.worlds import world

pytestmark = pytest.mark.sim

ROBOT = load_robot()
BLOCK = '<geom type="box" pos="0 0 0.2" size="0.1 0.4 0.2"/>'


def a_task(folder: Path, things: str = "", **changes: object) -> Task:
    file = folder / "room.xml"
    file.write_text(world(things))
    return Task(file, (-1.0, 0.0, 0.0), (1.0, 0.0), 2.0)._replace(**changes)  # type: ignore[arg-type]


class Fixed:
    """A policy that always does the same and believes what it is told about the distance."""

    def __init__(self, command: Command, distance: float = 5.0) -> None:
        self.command, self.distance = command, distance

    def reset(self, goal_xy: tuple[float, float]) -> None:
        pass

    def act(self, observation: object, applied: Command, deadline: float) -> Decision:
        return Decision(self.command, None, self.distance)


def run_fixed(monkeypatch: pytest.MonkeyPatch, task: Task, policy: Fixed) -> Episode:
    monkeypatch.setattr(episode_module, "make_policy", lambda *_: policy)
    return run_episode(0, task, 0, 1, "straight", ROBOT)


def test_reaching_the_goal_is_success_with_the_way_and_the_clearance_measured(tmp_path: Path) -> None:
    result = run_episode(4, a_task(tmp_path), 2, 1, "oracle", ROBOT)
    assert (result.verdict, result.success, result.collision) == ("success", True, False)
    assert (result.index, result.task, result.world) == (4, 2, "room.xml")
    assert result.goal_distance_m <= 0.3
    assert 1.6 < result.path_m < 1.9
    assert result.spl == 1.0
    assert result.time_s == pytest.approx(1.7 / 0.5, abs=1.5)
    assert result.min_clearance_m == pytest.approx(0.95 - 0.12, abs=0.05)


def test_the_same_seed_gives_the_same_episode_and_another_seed_another(tmp_path: Path) -> None:
    task = a_task(tmp_path, BLOCK)
    first, again, other = (run_episode(0, task, 0, seed, "reactive", ROBOT) for seed in (1, 1, 2))
    assert first == again
    assert first.path_m != other.path_m


def test_backing_into_a_thing_that_no_beam_sees_is_a_collision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = '<geom type="box" pos="-0.5 0 0.02" size="0.1 0.4 0.03"/>'  # below the range ring
    result = run_fixed(monkeypatch, a_task(tmp_path, low), Fixed(Command(0.4, 0.0)))
    assert (result.verdict, result.success, result.collision) == ("collision", False, True)
    assert result.spl == 0.0
    assert result.min_clearance_m < 0.02


def test_the_supervisor_keeps_a_blind_driver_off_a_wall_and_its_stops_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_fixed(monkeypatch, a_task(tmp_path, BLOCK), Fixed(Command(0.5, 0.0)))
    assert result.verdict == "timeout"
    assert result.time_s == pytest.approx(60.1)
    assert result.supervisor_stops >= 1


def test_believing_to_have_arrived_elsewhere_is_not_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_fixed(monkeypatch, a_task(tmp_path), Fixed(NEUTRAL, distance=0.05))
    assert (result.verdict, result.success) == ("stopped-short", False)


def test_a_goal_inside_a_wall_names_the_task(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tasks\.json: task 3: the goal .* inside a wall"):
        run_episode(0, a_task(tmp_path, BLOCK, goal=(0.0, 0.1)), 3, 1, "straight", ROBOT)


def test_the_goal_is_given_in_the_odometry_frame() -> None:
    task = Task(Path("w.xml"), (1.0, 1.0, 1.5707963267948966), (1.0, 3.0), 2.0)
    assert to_odometry_frame(task.start, task.goal) == pytest.approx((2.0, 0.0))
    assert to_world_frame(task.start, (2.0, 0.0)) == pytest.approx(task.goal)


def test_a_goal_behind_a_thin_wall_is_driven_to_and_not_reached_through_it(tmp_path: Path) -> None:
    sheet = '<geom type="box" pos="0 0.4 0.2" size="0.005 1.6 0.2"/>'
    result = run_episode(0, a_task(tmp_path, sheet, goal=(0.05, 0.0)), 0, 1, "oracle", ROBOT)
    assert result.success
    assert result.path_m > 2.0


def test_a_world_whose_physics_diverges_ends_with_its_name(tmp_path: Path) -> None:
    anvil = '<body name="moving_a" pos="0 1 {}"><freejoint/><geom size="0.1" mass="{}"/></body>'
    spring = '<joint type="slide" axis="0 0 1" stiffness="1e12" springref="1"/>'
    things = anvil.format(1.0, 1e-6).replace("<freejoint/>", spring)
    with pytest.raises(BadInput, match=r"room\.xml: the physics of the world diverges"):
        run_episode(0, a_task(tmp_path, things), 0, 1, "straight", ROBOT)
