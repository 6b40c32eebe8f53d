from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.control.policy import Decision
from edge_wm.control.supervisor import Reason, SupervisedCommand
from edge_wm.engines.engine import EngineError
from edge_wm.planner.plan import Plan
from edge_wm.sensors.observation import MalformedReading
from edge_wm.update.criteria import TrialCriteria
from edge_wm.update.trial import Trial, TrialCounts, TrialState
from firmware_bridge.bridge import NEUTRAL, BridgeError
from tests.control.fakes import FORWARD, TICK_S, observe

CRITERIA = TrialCriteria(min_driven_s=10.0, min_ticks=100, min_goals=2)
PLANNED = Plan(np.zeros((3, 2), np.float32), None, 1.0, 2, None, np.zeros(4, np.float32))
REUSED = Plan(np.zeros((3, 2), np.float32), None, math.nan, 0, None, np.empty(0, np.float32))


class Drives:
    """A robot on trial: runs of so many ticks, of which some are otherwise."""

    def __init__(self, criteria: TrialCriteria = CRITERIA, counts: TrialCounts | None = None) -> None:
        self.trial = Trial(criteria, counts)
        self.now = 100.0
        self.missed = 0

    def run(
        self,
        ticks: int,
        ends: Outcome = Outcome.REACHED,
        *,
        reasons: dict[int, Reason] | None = None,
        plan: Plan | None = PLANNED,
        missed: int = 0,
        error: BaseException | None = None,
        judged: str | None = None,
        message: str = "as it is",
        signal: str | None = None,
    ) -> TrialState:
        """One run; returns how the trial then stands."""
        for index in range(ticks):
            self.trial.tick(self.tick(index, (reasons or {}).get(index), plan, min(index, missed)))
            self.now += TICK_S
        duration_s = ticks * TICK_S
        self.trial.ended(RunResult(ends, message, error, ticks, missed, 0.0, 0, duration_s, signal), judged)
        return self.state

    def tick(self, index: int, reason: Reason | None, plan: Plan | None, missed: int) -> Tick:
        no_decision = reason in (Reason.NO_COMMAND, Reason.NO_OBSERVATION)
        decision = None if no_decision else Decision(FORWARD, plan, 2.0)
        supervised = SupervisedCommand(NEUTRAL if reason else FORWARD, reason, ())
        observation = observe(self.now, index)
        return Tick(index, self.now, observation, decision, supervised, FORWARD, 0.0, 0.0, missed)

    @property
    def state(self) -> TrialState:
        return self.trial.verdict().state

    @property
    def why(self) -> str:
        return self.trial.verdict().why


def held(reason: Reason, *ticks: int) -> dict[int, Reason]:
    return dict.fromkeys(ticks, reason)


# --- passing ---------------------------------------------------------------------------------------------------------


def test_a_trial_passes_once_time_ticks_and_goals_are_enough() -> None:
    drives = Drives()
    assert drives.state is TrialState.UNDECIDED
    assert drives.run(60) is TrialState.UNDECIDED
    assert drives.why == "6 of 10 s driven, 60 of 100 ticks, 1 of 2 goals"
    assert drives.run(60) is TrialState.PASSED


@pytest.mark.parametrize("more", [{"min_driven_s": 12.0}, {"min_ticks": 121}, {"min_goals": 3}])
def test_each_of_them_is_needed(more: dict[str, Any]) -> None:
    drives = Drives(replace(CRITERIA, **more))
    drives.run(60)
    assert drives.run(60) is TrialState.UNDECIDED


def test_it_does_not_pass_in_the_middle_of_a_run() -> None:
    drives = Drives()
    drives.run(60)
    drives.run(60)
    drives.trial.tick(drives.tick(0, None, PLANNED, 0))
    assert drives.state is TrialState.UNDECIDED


def test_only_time_that_the_robot_was_free_to_drive_counts() -> None:
    drives = Drives()
    drives.run(61, reasons=held(Reason.STALE_FRAME, *range(31, 61)))
    assert drives.trial.counts.driven_s == pytest.approx(3.0)


def test_time_between_runs_does_not_count() -> None:
    drives = Drives()
    drives.run(11)
    drives.now += 3600.0
    drives.run(11)
    assert drives.trial.counts.driven_s == pytest.approx(2.0)


def test_a_trial_goes_on_where_it_was_left() -> None:
    before = Drives()
    before.run(60)
    kept = msgspec.json.encode(before.trial.counts)
    after = Drives(counts=msgspec.json.decode(kept, type=TrialCounts))
    assert after.run(60) is TrialState.PASSED


# --- failing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("missed", "state"), [(1, TrialState.PASSED), (3, TrialState.FAILED)])
def test_missed_deadlines_beyond_their_share_fail(missed: int, state: TrialState) -> None:
    drives = Drives()
    drives.run(60)
    assert drives.run(60, missed=missed) is state


def test_a_deadline_missed_by_the_last_tick_counts_and_none_counts_twice() -> None:
    drives = Drives()
    drives.run(3, missed=2)  # the tick of index 2 knows of two
    drives.run(1, missed=1)
    assert drives.trial.counts.missed == 3


def test_a_trial_fails_as_soon_as_it_cannot_pass_in_time() -> None:
    drives = Drives()
    drives.run(5, missed=2)
    assert drives.state is TrialState.FAILED
    assert drives.why == "2 deadlines missed in 3 ticks, 0 s and 0 goals"


@pytest.mark.parametrize("reason", [Reason.NO_COMMAND, Reason.COMMAND_NOT_FINITE])
def test_ticks_without_a_plan_fail_beyond_their_share(reason: Reason) -> None:
    drives = Drives()
    assert drives.run(60, reasons=held(reason, 3, 9)) is TrialState.UNDECIDED
    assert drives.run(60, reasons=held(reason, 3)) is TrialState.FAILED
    assert drives.why.startswith("3 ticks without a new plan in 64 ticks")


def test_plans_that_there_was_no_time_for_count_as_none() -> None:
    assert Drives().run(60, plan=REUSED) is TrialState.FAILED


def test_a_policy_that_needs_no_plan_at_its_goal_is_not_blamed() -> None:
    drives = Drives()
    assert drives.run(60, plan=None) is TrialState.UNDECIDED
    assert drives.trial.counts.unplanned == 0


@pytest.mark.parametrize("reason", [Reason.OBSTACLE_AHEAD, Reason.OBSTACLE_BEHIND])
def test_stops_in_front_of_something_fail_beyond_their_rate(reason: Reason) -> None:
    drives = Drives(replace(CRITERIA, max_collision_stops_per_minute=12.0))  # two in ten seconds
    assert drives.run(60, reasons=held(reason, 5, 6, 7, 20)) is TrialState.UNDECIDED
    assert drives.trial.counts.collision_stops == 2
    assert drives.run(5, reasons=held(reason, 0)) is TrialState.FAILED
    assert "3 stops in front of something" in drives.why


def test_standing_in_front_of_something_fails() -> None:
    drives = Drives(replace(CRITERIA, max_collision_stops_per_minute=600.0))
    assert drives.run(60, reasons=held(Reason.OBSTACLE_AHEAD, *range(10, 20))) is TrialState.UNDECIDED
    assert drives.run(60, reasons=held(Reason.OBSTACLE_AHEAD, *range(10, 20))) is TrialState.FAILED
    assert "ticks stopped in front of something" in drives.why


@pytest.mark.parametrize("judged", ["timeout", "stopped short"])
def test_goals_not_reached_fail_beyond_their_share(judged: str) -> None:
    drives = Drives(replace(CRITERIA, max_unreached_share=0.5))
    assert drives.run(60, judged=judged) is TrialState.UNDECIDED
    assert drives.run(60) is TrialState.PASSED
    assert drives.run(60, Outcome.TIMEOUT) is TrialState.FAILED
    assert "2 goals not reached in time" in drives.why


def test_an_error_of_the_model_fails_at_once() -> None:
    drives = Drives()
    drives.run(3, Outcome.FAULT, error=EngineError("x"), message="EngineError: the graph\n failed")
    assert drives.state is TrialState.FAILED
    assert drives.why == "a run ended with a fault: EngineError: the graph failed"


def test_an_error_that_nobody_knows_is_the_models() -> None:
    assert Drives().run(3, Outcome.FAULT, error=ZeroDivisionError()) is TrialState.FAILED


def test_a_robot_that_touched_something_fails() -> None:
    drives = Drives()
    assert drives.run(3, Outcome.FAULT, judged="collision") is TrialState.FAILED
    assert drives.why.startswith("a run ended with a collision")


@pytest.mark.parametrize(
    "error", [BridgeError("gone"), MalformedReading("no array"), OSError(5, "I/O error")]
)
def test_an_error_of_the_hardware_says_nothing_of_the_model(error: Exception) -> None:
    drives = Drives()
    assert drives.run(60, Outcome.FAULT, error=error) is TrialState.UNDECIDED
    assert (drives.trial.counts.hardware_faults, drives.trial.counts.goals) == (1, 0)
    drives.run(60)
    assert drives.run(60) is TrialState.PASSED


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.FROZEN_FRAME, TrialState.UNDECIDED),
        (Reason.STALE_FRAME, TrialState.UNDECIDED),
        (Reason.NO_OBSERVATION, TrialState.UNDECIDED),
        (Reason.OBSERVATION_NOT_FINITE, TrialState.UNDECIDED),
        (Reason.LATE_TICKS, TrialState.FAILED),
    ],
)
def test_what_held_the_robot_last_says_whose_fault_it_was(reason: Reason, state: TrialState) -> None:
    assert Drives().run(30, Outcome.FAULT, reasons=held(reason, 28, 29)) is state


def test_an_operator_who_stops_the_robot_fails_the_trial() -> None:
    stopped = Drives()
    assert (
        stopped.run(30, Outcome.INTERRUPTED, message="stopped by SIGINT", signal="SIGINT")
        is TrialState.FAILED
    )
    assert stopped.why == "stopped by its operator: stopped by SIGINT"
    asked = Drives()
    assert asked.run(30, Outcome.INTERRUPTED, message="stopped by request") is TrialState.FAILED
    emergency = Drives()
    assert emergency.run(30, Outcome.FAULT, reasons=held(Reason.EMERGENCY_STOP, 29)) is TrialState.FAILED


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGHUP"])
def test_a_process_that_is_ended_in_good_order_says_nothing_of_the_model(signal: str) -> None:
    drives = Drives()
    drives.run(60)
    assert drives.run(40, Outcome.INTERRUPTED, signal=signal) is TrialState.UNDECIDED
    assert (drives.trial.counts.goals, drives.trial.counts.ticks) == (1, 100)
    collided = Drives()
    assert collided.run(9, Outcome.INTERRUPTED, judged="collision", signal=signal) is TrialState.FAILED
    emergency = held(Reason.EMERGENCY_STOP, 29)
    assert drives.run(30, Outcome.INTERRUPTED, reasons=emergency, signal=signal) is TrialState.FAILED


def test_an_operator_may_stop_the_robot_where_that_says_nothing() -> None:
    drives = Drives(replace(CRITERIA, operator_stop_fails=False))
    assert drives.run(60, Outcome.INTERRUPTED) is TrialState.UNDECIDED
    assert drives.run(60, Outcome.FAULT, reasons=held(Reason.EMERGENCY_STOP, 59)) is TrialState.UNDECIDED
    assert drives.trial.counts.goals == 0
    drives.run(60)
    assert drives.run(60) is TrialState.PASSED


def test_what_failed_stays_failed_and_keeps_its_first_reason() -> None:
    drives = Drives()
    drives.run(3, Outcome.FAULT, error=EngineError("x"), message="first")
    for _ in range(10):
        drives.run(100)
    drives.run(3, Outcome.FAULT, message="the trial failed: first")
    assert drives.state is TrialState.FAILED
    assert drives.why == "a run ended with a fault: first"


@pytest.mark.parametrize("key", ["min_ticks", "min_goals", "min_driven_s"])
def test_criteria_without_a_trial_are_refused(key: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({key: 0}, TrialCriteria)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"max_missed": 1}, TrialCriteria)
