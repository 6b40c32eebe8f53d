from __future__ import annotations

from edge_wm.control.trail import AGE_S, CAPACITY, PERIOD_S, Trail


def drive(trail: Trail, seconds: float) -> None:
    for tick in range(round(seconds * 10)):
        trail.note(100.0 + tick / 10, tick / 100, 0.0)


def test_places_become_visited_only_after_some_time():
    trail = Trail()
    drive(trail, AGE_S)
    assert len(trail.visited) == 0
    drive(trail := Trail(), AGE_S + 2.0)
    assert len(trail.visited) == round(2.0 / PERIOD_S)
    assert trail.visited[0].tolist() == [0.0, 0.0]


def test_a_long_run_keeps_the_newest_places_and_does_not_grow():
    trail = Trail()
    drive(trail, CAPACITY * PERIOD_S * 2)
    young = round(AGE_S / PERIOD_S)
    assert trail.visited.shape == (CAPACITY - young, 2)
    newest = CAPACITY * PERIOD_S * 2 - PERIOD_S
    assert trail.visited[:, 0].max() * 10 <= newest - AGE_S + PERIOD_S
    assert trail.visited[:, 0].min() > 0.0


def test_a_new_run_forgets_the_old_one():
    trail = Trail()
    drive(trail, 10.0)
    trail.forget()
    assert len(trail.visited) == 0
