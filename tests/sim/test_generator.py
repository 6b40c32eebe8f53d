"""Generated worlds: repeatable, solvable, and of the kind that was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.sim.generator import DETOUR_M, KINDS, PATH_RANGE_M, VALIDATION_SEEDS, generate
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import WALL_FACTOR, path_length

pytestmark = pytest.mark.sim

SEEDS = range(VALIDATION_SEEDS + 900, VALIDATION_SEEDS + 904)


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_are_solvable_and_of_the_right_length(kind: str) -> None:
    low, high = PATH_RANGE_M[kind]
    for seed in SEEDS:
        made = generate(kind, seed)
        path = made.true_map.path(made.start[:2], made.goal)
        assert path is not None
        assert path_length(path) == pytest.approx(made.geodesic_m)
        assert low <= made.geodesic_m <= high
        assert not Simulation(made.xml, made.start, render=False).contact


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    first, again, other = (generate("rooms", seed) for seed in (7, 7, 8))
    assert (first.xml, first.start, first.goal) == (again.xml, again.start, again.goal)
    assert first.xml != other.xml


def test_hard_rooms_need_a_detour() -> None:
    for seed in SEEDS:
        made = generate("rooms-hard", seed)
        comfortable = made.true_map.path(made.start[:2], made.goal, WALL_FACTOR)
        assert comfortable is not None
        assert path_length(comfortable) >= math.dist(made.start[:2], made.goal) + DETOUR_M
        assert not made.true_map.straight_is_free(np.array(made.start[:2]), np.array(made.goal))


def test_movers_are_added_to_an_otherwise_equal_world() -> None:
    still, moving = generate("rooms", 11), generate("rooms", 11, movers=2)
    assert "moving_" not in still.xml
    assert "moving_" in moving.xml
    assert (still.start, still.goal) == (moving.start, moving.goal)
    assert np.array_equal(still.true_map.clearance, moving.true_map.clearance)
