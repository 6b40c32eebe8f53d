from __future__ import annotations

import math

import numpy as np
import pytest

from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.control.policy import Decision
from edge_wm.control.supervisor import Reason, SupervisedCommand
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.tick_records import TickRecords
from edge_wm.record.tick_record import TickRecord
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import NEUTRAL, Command
from tests.blind_model import write_blind
from tests.control.fakes import observe

GO = Command(0.4, 0.0)


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Pilot:
    return Pilot(load_robot(), write_blind(tmp_path_factory.mktemp("bundles") / "blind"), SimulatedClock())


def tick(
    index: int,
    *,
    missed: int = 0,
    decision: Decision | None = None,
    observation: Observation | None = None,
    supervised: SupervisedCommand | None = None,
) -> Tick:
    supervised = supervised or SupervisedCommand(GO, None, ())
    return Tick(index, 0.1 * index, observation, decision, supervised, GO, 0.012, 0.010, missed)


def result(missed: int) -> RunResult:
    return RunResult(Outcome.REACHED, "", None, 4, missed, 0.0, 0, 0.4)


def records_of(pilot: Pilot, ticks: list[Tick], missed: int = 0) -> list[TickRecord]:
    records: list[TickRecord] = []
    maker = TickRecords(pilot, 1, (3.0, 4.0), [records.append])
    for one in ticks:
        maker.tick(one)
    maker.end(result(missed))
    return records


def test_a_missed_deadline_belongs_to_the_tick_that_missed_it(pilot: Pilot) -> None:
    # `missed` of a tick counts those before it: tick 1 was late, and the last one.
    ticks = [tick(i, missed=m, observation=observe(0.0, i)) for i, m in enumerate((0, 0, 1, 1))]
    assert [record.missed for record in records_of(pilot, ticks, missed=2)] == [False, True, False, True]
    assert [record.missed for record in records_of(pilot, ticks, missed=1)] == [False, True, False, False]


def test_a_record_keeps_its_arrays_when_the_sensors_reuse_theirs(pilot: Pilot) -> None:
    observation = observe(0.0, 1)
    (record,) = records_of(pilot, [tick(0, observation=observation)])
    before = {name: array.copy() for name, array in record.observation.arrays.items()}
    for array in observation.arrays.values():
        array += 1
    assert all((record.observation.arrays[name] == before[name]).all() for name in before)


def test_a_record_keeps_its_map_when_the_engine_reuses_its_buffer(pilot: Pilot) -> None:
    pilot.policy.reset((1.0, 0.0))
    dark, bright = (observe(0.0, 0, camera=np.full((48, 64, 3), light, np.uint8)) for light in (0, 255))
    pilot.policy.act(dark, NEUTRAL, math.inf)
    first = pilot.local_map()
    pilot.policy.act(bright, NEUTRAL, math.inf)
    second = pilot.local_map()
    assert first is not None and second is not None
    assert first.probability is not second.probability
    assert first.known is not None and first.known.min() == 1.0


def test_a_tick_whose_policy_was_not_asked_is_no_measure_of_time(pilot: Pilot) -> None:
    pilot.policy.observe_s = 0.004
    asked, braking = records_of(
        pilot,
        [
            tick(0, observation=observe(0.0, 0), decision=Decision(GO, None, 2.0)),
            tick(1, observation=observe(0.1, 1)),
        ],
    )
    assert (asked.observe_ms, asked.plan_ms, asked.tick_ms) == pytest.approx((4.0, 6.0, 10.0))
    assert all(math.isnan(ms) for ms in (braking.observe_ms, braking.plan_ms, braking.tick_ms))
    assert asked.goal_distance_m == braking.goal_distance_m == 2.0


def test_a_tick_without_an_observation_leaves_no_record(pilot: Pilot) -> None:
    records = records_of(pilot, [tick(0, observation=observe(0.0, 0)), tick(1), tick(2)])
    assert [record.tick for record in records] == [0]


def test_it_tells_of_the_supervisor_what_a_person_should_know(pilot: Pilot) -> None:
    for supervised, told in (
        (SupervisedCommand(GO, None, ("speed", "ramp")), ""),
        (SupervisedCommand(GO, None, ("braking distance", "ramp")), "braking distance"),
        (SupervisedCommand(NEUTRAL, Reason.OBSTACLE_AHEAD, ("braking distance",)), "too close ahead"),
    ):
        (record,) = records_of(pilot, [tick(0, observation=observe(0.0, 0), supervised=supervised)])
        assert record.supervisor == told
