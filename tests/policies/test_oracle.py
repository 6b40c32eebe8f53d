"""The oracle and the tracker that follows true paths."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.policies.path_tracker import MAX_V, MAX_W, PathTracker, resample
from edge_wm.sim.generator import KINDS, VALIDATION_SEEDS, generate
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.true_map import TrueMap
from firmware_bridge.bridge import NEUTRAL
from tests.sim.worlds import world

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("kind", KINDS)
def test_it_reaches_every_goal_and_touches_nothing(kind: str) -> None:
    for seed in range(VALIDATION_SEEDS + 910, VALIDATION_SEEDS + 914):
        made = generate(kind, seed)
        simulation = Simulation(made.xml, made.start, seed, render=False)
        tracker = PathTracker(made.true_map, made.goal)
        while math.dist(simulation.pose[:2], made.goal) > 0.3:
            command = tracker.command(simulation.pose)
            assert 0.0 <= command.v <= MAX_V
            assert abs(command.w) <= MAX_W
            simulation.step(command, 0.1)
            assert not simulation.contact
            assert simulation.time < 60.0
        assert simulation.travelled_m < 1.35 * made.geodesic_m


def test_it_waits_for_a_moving_obstacle_that_crosses_its_way_and_not_for_one_that_leaves() -> None:
    true_map = TrueMap.from_world(world())
    for closing, waits in ((1.0, True), (-1.0, False)):
        tracker = PathTracker(true_map, (1.5, 0.0))
        commands = [
            tracker.command((-1.0, 0.0, 0.0), np.array([[-0.6, 0.45 - closing * 0.03 * tick, 0.12]]))
            for tick in range(4)
        ]
        assert (commands[-1].v < 0.3) is waits


def test_it_plans_again_when_it_was_carried_away() -> None:
    tracker = PathTracker(TrueMap.from_world(world()), (1.5, 0.0))
    tracker.command((-1.0, 0.0, 0.0))
    tracker.command((-1.0, 1.0, 0.0))
    assert tracker.path is not None
    assert tracker.path[0] == pytest.approx([-1.0, 1.0])


def test_without_a_way_it_stays() -> None:
    tracker = PathTracker(
        TrueMap.from_world(world('<geom type="box" pos="0 0 0.2" size="0.05 2 0.2"/>')), (1.0, 0.0)
    )
    assert tracker.command((-1.0, 0.0, 0.0)) == NEUTRAL


def test_resampling_keeps_the_ends_and_the_spacing() -> None:
    path = resample(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.52]]), 0.05)
    assert path[0] == pytest.approx([0.0, 0.0])
    assert path[-1] == pytest.approx([1.0, 0.52])
    assert np.hypot(*np.diff(path, axis=0).T).max() <= 0.05 + 1e-9
