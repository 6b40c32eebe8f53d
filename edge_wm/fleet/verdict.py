"""Whether more robots may get a model, by what those that have it say.

edge-wm fleet gate --model HASH --min-passed 3 && edge-wm update promote …
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from edge_wm.fleet.status import Availability, SeenRobot
from edge_wm.update.store import State


class Outcome(str, Enum):
    """How one robot fared with one model."""

    PASSED = "passed"
    FAILED = "failed"
    LOST = "lost"
    """Is away on trial, and not until its next look: what a model that hangs the machine looks like."""
    TRYING = "trying"
    NOT_YET = "not yet"


class Verdict(Struct, frozen=True):
    """Whether to go on, in how many robots each outcome is, and why, in one line."""

    go: bool
    why: str
    outcomes: dict[str, int]


def outcome(robot: SeenRobot, model: str) -> Outcome:
    """How ``robot`` fared with a model, named by its hash or the beginning of it.

    A robot on which the model failed has failed until it has passed there, also while it tries it again, which it does by
    itself; one that holds it in quarantine has failed, whatever else it says.
    """
    status = robot.status
    if any(failed.startswith(model) for failed in status.quarantined):
        return Outcome.FAILED
    if status.active.model.startswith(model):
        return Outcome.PASSED
    if status.trial is not None and status.trial.model.startswith(model) and status.trial.result == "failed":
        return Outcome.FAILED
    if status.coming is not None and status.coming.model.startswith(model):
        there = robot.availability in (Availability.ONLINE, Availability.ASLEEP)
        lost = status.state is State.TRIAL and not there
        return Outcome.LOST if lost else Outcome.TRYING
    return Outcome.NOT_YET  # or it passed and no longer drives: the robot has gone on, or back by hand


def stage_verdict(
    robots: Iterable[SeenRobot], model: str, min_passed: int, max_failures: int, not_understood: int = 0
) -> Verdict:
    """Whether a model may go to more robots.

    Args:
        robots: what is known of each.
        model: hash of its manifest, or the beginning of it.
        min_passed: so many must drive by it after a trial.
        max_failures: so many may have failed, be lost or say what is not understood, and no more.
        not_understood: how many robots say what is not understood; what they hide may be a failure.
    """
    counts = Counter(outcome(robot, model).value for robot in robots)
    outcomes = {known.value: counts[known.value] for known in Outcome}
    passed, failed, lost = (counts[known.value] for known in (Outcome.PASSED, Outcome.FAILED, Outcome.LOST))
    failed += lost + not_understood
    told = f"{passed} passed, {failed} failed, {counts[Outcome.TRYING.value]} trying"
    if lost or not_understood:
        told += f" ({lost} of the failed are lost, {not_understood} are not understood)"
    if failed > max_failures:
        return Verdict(False, f"stop: {told}; at most {max_failures} may fail", outcomes)
    if passed < min_passed:
        return Verdict(False, f"wait: {told}; at least {min_passed} must pass", outcomes)
    return Verdict(True, f"go: {told}", outcomes)
