"""Whether a new model drives well: what its trial must show, and the count of what it showed.

Only what a model can be blamed for counts: no camera that froze, no cable that came off.  What is not known to be the
hardware's fault is the model's: to go back costs a goal, to stay might cost a robot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from msgspec import Struct

from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.control.supervisor import Reason
from edge_wm.errors import one_line
from edge_wm.sensors.observation import MalformedReading
from edge_wm.update.criteria import TrialCriteria
from firmware_bridge.bridge import BridgeError

NO_PLAN = frozenset({Reason.NO_COMMAND, Reason.COMMAND_NOT_FINITE})
COLLISION = frozenset({Reason.OBSTACLE_AHEAD, Reason.OBSTACLE_BEHIND})
HARDWARE = frozenset(
    {Reason.NO_OBSERVATION, Reason.OBSERVATION_NOT_FINITE, Reason.STALE_FRAME, Reason.FROZEN_FRAME}
)
NOT_REACHED = (Outcome.TIMEOUT, "stopped short")
HARDWARE_ERRORS = (BridgeError, MalformedReading, OSError)
PROCESS_ENDS = ("SIGTERM", "SIGHUP")
"""What the service manager sends, as before the board restarts, and a terminal that is gone: nobody's word on how the robot drives."""


class TrialCounts(Struct, kw_only=True):
    """What a trial has shown so far; to be kept and gone on from when the driving process ends in good order.

    Attributes:
        driven_s: seconds in which the supervisor did not hold the robot.
        ticks: ticks in which the model was asked.
        missed: deadlines missed.
        unplanned: ticks without a new plan.
        collision_stops: times that the supervisor stopped the robot in front of something.
        blocked: ticks in which it kept it stopped there.
        goals: driven to.
        unreached: of these, not reached in time.
        faults: runs that an error ended.
        hardware_faults: runs that the hardware ended; they count for nothing.
    """

    driven_s: float = 0.0
    ticks: int = 0
    missed: int = 0
    unplanned: int = 0
    collision_stops: int = 0
    blocked: int = 0
    goals: int = 0
    unreached: int = 0
    faults: int = 0
    hardware_faults: int = 0


class TrialState(str, Enum):
    """How a trial stands."""

    UNDECIDED = "undecided"
    PASSED = "passed"
    FAILED = "failed"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """How a trial stands, and in one line why, or what is missing as yet."""

    state: TrialState
    why: str


class Trial:
    """The trial of one model: fed with every tick and every end of a run, in order.  Its times are the loop's.

    Once it has failed it stays failed; it passes between two runs only, never within one.

    Args:
        criteria: what it must show.
        counts: of an earlier part of the same trial; None for none.
    """

    def __init__(self, criteria: TrialCriteria, counts: TrialCounts | None = None) -> None:
        self._criteria = criteria
        self.counts = counts or TrialCounts()
        self._failure: str | None = None
        self._last: Tick | None = None
        self._stopped_by_operator = False

    def tick(self, tick: Tick) -> None:
        """Take one tick: a callback of the control loop."""
        counts, last = self.counts, self._last
        if last is not None and tick.index <= last.index:
            last = None
        halted = tick.supervised.halted
        if last is not None and not halted:
            counts.driven_s += tick.time - last.time
        counts.missed += tick.missed - (last.missed if last is not None else 0)
        reason = tick.supervised.reason
        decision = tick.decision
        asked = decision is not None or reason in NO_PLAN
        counts.ticks += asked
        out_of_time = decision is not None and decision.plan is not None and decision.plan.iterations == 0
        counts.unplanned += reason in NO_PLAN or out_of_time
        before = last.supervised.reason if last is not None else None
        counts.collision_stops += reason in COLLISION and before not in COLLISION
        counts.blocked += reason in COLLISION
        if reason is Reason.EMERGENCY_STOP:
            self._stopped_by_operator = True
        self._last = tick
        self._fail_beyond_limits()

    def ended(self, result: RunResult, outcome: str | None = None) -> None:
        """Take the end of a run.

        Args:
            result: as the loop tells it.
            outcome: what became of it, where somebody knows better than the robot: a simulation's ``GoalResult.outcome``.
        """
        counts, last = self.counts, self._last
        self._last = None
        counts.missed += result.missed - (last.missed if last is not None else 0)
        outcome = outcome or str(result.outcome)
        if outcome == Outcome.INTERRUPTED or self._stopped_by_operator:
            by_operator = self._stopped_by_operator or result.signal not in PROCESS_ENDS
            self._stopped_by_operator = False
            if by_operator and self._criteria.operator_stop_fails:
                self._fail(f"stopped by its operator: {result.message}")
        elif outcome in NOT_REACHED or outcome == Outcome.REACHED:
            counts.goals += 1
            counts.unreached += outcome in NOT_REACHED
        elif outcome == Outcome.FAULT and self._of_hardware(result, last):
            counts.hardware_faults += 1
        else:
            counts.faults += 1
            if counts.faults > self._criteria.max_faults:
                self._fail(f"a run ended with a {outcome}: {result.message}")
        self._fail_beyond_limits()

    def verdict(self) -> TrialVerdict:
        """How the trial stands."""
        if self._failure is not None:
            return TrialVerdict(TrialState.FAILED, self._failure)
        wanted, counts = self._criteria, self.counts
        progress = (
            f"{counts.driven_s:.0f} of {wanted.min_driven_s:g} s driven, {counts.ticks} of {wanted.min_ticks} ticks,"
            f" {counts.goals} of {wanted.min_goals} goals"
        )
        enough = (
            counts.driven_s >= wanted.min_driven_s
            and counts.ticks >= wanted.min_ticks
            and counts.goals >= wanted.min_goals
        )
        passed = enough and self._last is None
        return TrialVerdict(TrialState.PASSED if passed else TrialState.UNDECIDED, progress)

    def _of_hardware(self, result: RunResult, last: Tick | None) -> bool:
        """Whether a fault is the hardware's: by its exception, or by what held the robot last."""
        if result.error is not None:
            return isinstance(result.error, HARDWARE_ERRORS)
        return last is not None and last.supervised.reason in HARDWARE

    def _fail_beyond_limits(self) -> None:
        wanted, counts = self._criteria, self.counts
        ticks, goals = max(counts.ticks, wanted.min_ticks), max(counts.goals, wanted.min_goals)
        minutes = max(counts.driven_s, wanted.min_driven_s) / 60.0
        for what, number, most in (
            ("deadlines missed", counts.missed, wanted.max_missed_share * ticks),
            ("ticks without a new plan", counts.unplanned, wanted.max_unplanned_share * ticks),
            ("ticks stopped in front of something", counts.blocked, wanted.max_blocked_share * ticks),
            (
                "stops in front of something",
                counts.collision_stops,
                wanted.max_collision_stops_per_minute * minutes,
            ),
            ("goals not reached in time", counts.unreached, wanted.max_unreached_share * goals),
        ):
            if number > most:
                self._fail(
                    f"{number} {what} in {counts.ticks} ticks, {counts.driven_s:.0f} s and {counts.goals} goals"
                )

    def _fail(self, why: str) -> None:
        if self._failure is None:
            self._failure = one_line(why)
