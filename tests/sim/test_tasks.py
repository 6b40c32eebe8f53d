"""tasks.json: what can be wrong with it is said in one line that names the task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wm.errors import BadInput
from edge_wm.sim.tasks import Task, check_task, is_reached, load_tasks, save_tasks
from edge_wm.sim.true_map import TrueMap
from tests.sim.worlds import task, world, write_tasks

pytestmark = pytest.mark.sim

BLOCK = '<geom type="box" pos="1 0 0.2" size="0.3 0.3 0.2"/>'


def test_tasks_are_read_with_and_without_the_ending_of_the_file_name(tmp_path: Path) -> None:
    write_tasks(tmp_path, [task("room.xml"), task("room")], room=world())
    first, second = load_tasks(tmp_path)
    assert first == second == Task(tmp_path / "room.xml", (-1.0, 0.0, 0.0), (1.0, 0.0), 2.0)


def test_a_missing_geodesic_is_computed(tmp_path: Path) -> None:
    write_tasks(tmp_path, [task(geodesic_m=None)], room=world())
    assert load_tasks(tmp_path)[0].geodesic_m == pytest.approx(2.0, abs=0.05)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(world())
    tasks = [Task(tmp_path / "a.xml", (0.0, 0.5, 1.0), (1.0, -1.0), 1.8)]
    save_tasks(tmp_path, tasks)
    assert load_tasks(tmp_path) == tasks


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "holds no task"),
        ({"world": "room"}, "not a list of tasks"),
        ([{"world": "room.xml"}], "not a list of tasks"),
        ([task(start=[0.0, 0.0])], "not a list of tasks"),
        ([task(), task("nowhere.xml")], "task 1: there is no world"),
        ([task(geodesic_m=-1.0)], "task 0: geodesic_m"),
        ([task(geodesic_m=None, goal=[9.0, 0.0])], "task 0: the goal .* outside the world"),
    ],
)
def test_bad_tasks_are_refused_in_one_line(tmp_path: Path, entries: object, message: str) -> None:
    write_tasks(tmp_path, entries, room=world())
    with pytest.raises(BadInput, match=message) as caught:
        load_tasks(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_tasks_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BadInput, match=r"no tasks\.json"):
            load_tasks(folder)


@pytest.mark.parametrize(
    ("start", "goal", "message"),
    [
        ((-1.0, 0.0, 0.0), (1.0, 0.0), "the goal .* is inside"),
        ((1.0, 0.0, 0.0), (-1.0, 0.0), "the start .* is inside"),
        ((-1.0, 0.0, 0.0), (2.28, 2.28), "no path leads"),
    ],
)
def test_a_task_inside_a_wall_or_out_of_reach_is_refused(
    start: tuple[float, float, float], goal: tuple[float, float], message: str
) -> None:
    true_map = TrueMap.from_world(world(BLOCK))
    with pytest.raises(BadInput, match=f"task 7: {message}"):
        check_task(Task(Path("room.xml"), start, goal, 2.0), true_map, "task 7")


def test_a_sound_task_passes() -> None:
    check_task(
        Task(Path("room.xml"), (-1.0, 0.0, 0.0), (0.4, 0.0), 2.0), TrueMap.from_world(world(BLOCK)), "task 7"
    )


def test_other_endings_than_xml_are_found(tmp_path: Path) -> None:
    for name in ("a.mjcf", "b.XML", "c"):
        (tmp_path / name).write_text(world())
    write_tasks(tmp_path, [task("a.mjcf"), task("b.XML"), task("c")])
    assert [t.world.name for t in load_tasks(tmp_path)] == ["a.mjcf", "b.XML", "c"]


def test_a_goal_is_reached_from_near_by_and_not_through_a_wall() -> None:
    true_map = TrueMap.from_world(world('<geom type="box" pos="0 0.5 0.2" size="0.005 1.5 0.2"/>'))
    goal = (0.1, 0.0)
    cost = true_map.cost_to_go(goal)
    for here, reached in (
        ((0.38, 0.0), True),
        ((0.42, 0.0), False),
        ((-0.18, 0.0), False),
        ((0.2, 0.25), True),
    ):
        assert is_reached(goal, here, true_map.cost_at(cost, np.array(here))) is reached
