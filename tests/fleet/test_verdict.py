"""Whether a rollout goes on."""

from __future__ import annotations

import pytest

from edge_wm.fleet.status import Availability, LastTrial, RobotStatus
from edge_wm.fleet.verdict import Outcome, outcome, stage_verdict
from edge_wm.update.store import State
from tests.fleet.robots import NEW, OLD, failed, passed, retrying, robot, seen, trying

ONLINE, OFFLINE, ASLEEP = Availability

OUTCOMES = {
    "drives by it after its trial": (passed(), ONLINE, Outcome.PASSED),
    "drives by it and cannot be heard now": (passed(), OFFLINE, Outcome.PASSED),
    "drives by the old one": (robot(), ONLINE, Outcome.NOT_YET),
    "went back": (failed(), ONLINE, Outcome.FAILED),
    "is on trial": (trying(), ONLINE, Outcome.TRYING),
    "sleeps on trial until its next look": (trying(), ASLEEP, Outcome.TRYING),
    "is overdue on trial": (trying(), None, Outcome.LOST),
    "drives by it and is overdue": (passed(), None, Outcome.PASSED),
    "went away on trial": (trying(), OFFLINE, Outcome.LOST),
    "went away before its trial": (robot(state=State.STAGED, coming=NEW), OFFLINE, Outcome.TRYING),
    "will try it again": (
        robot(state=State.STAGED, coming=NEW, trial=failed().trial),
        ONLINE,
        Outcome.FAILED,
    ),
    "tries it again": (retrying(), ONLINE, Outcome.FAILED),
    "went away while it tried it again": (retrying(), OFFLINE, Outcome.FAILED),
    "tries it after another one failed": (
        robot(state=State.TRIAL, coming=NEW, trial=LastTrial("c" * 64, "1.0.5", "failed", "late", 1e9)),
        ONLINE,
        Outcome.TRYING,
    ),
    "passed, and was put in quarantine later": (
        robot(quarantined=(NEW.model,), trial=passed().trial),
        ONLINE,
        Outcome.FAILED,
    ),
    "says that it passed and holds it in quarantine": (
        robot(active=NEW, quarantined=(NEW.model,)),
        ONLINE,
        Outcome.FAILED,
    ),
    "passed and has gone on": (robot(trial=passed().trial), ONLINE, Outcome.NOT_YET),
    "never had a trial": (robot(trial=None), ONLINE, Outcome.NOT_YET),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_how_a_robot_fared(case: str) -> None:
    status, availability, expected = OUTCOMES[case]
    assert outcome(seen(status, availability), NEW.model) is expected
    assert outcome(seen(status, availability), NEW.model[:8]) is expected


def test_another_models_failure_is_none_of_this_one() -> None:
    assert outcome(seen(failed()), OLD.model) is Outcome.PASSED


def verdict(*robots: RobotStatus, min_passed: int = 2, max_failures: int = 0, not_understood: int = 0) -> str:
    found = stage_verdict(map(seen, robots), NEW.model, min_passed, max_failures, not_understood)
    assert found.go == found.why.startswith("go")
    return found.why.partition(":")[0]


def test_a_rollout_goes_on_when_enough_have_passed() -> None:
    assert verdict() == "wait"
    assert verdict(passed("r1"), trying("r2"), robot("r3")) == "wait"
    assert verdict(passed("r1"), passed("r2"), trying("r3")) == "go"


def test_one_failure_too_many_stops_it_however_many_passed() -> None:
    assert verdict(passed("r1"), passed("r2"), failed("r3")) == "stop"
    assert verdict(passed("r1"), passed("r2"), failed("r3"), max_failures=1) == "go"
    assert verdict(passed("r1"), passed("r2"), failed("r3"), failed("r4"), max_failures=1) == "stop"


def test_robots_that_try_a_failed_model_again_do_not_hide_that_it_failed() -> None:
    again = [retrying(f"again{number}") for number in range(4)]
    assert verdict(passed("r1"), passed("r2"), passed("r3"), *again) == "stop"


def test_a_robot_that_went_away_on_trial_counts_as_a_failure() -> None:
    robots = [seen(passed("r1")), seen(passed("r2")), seen(trying("r3"), OFFLINE)]
    found = stage_verdict(robots, NEW.model, 2, 0)
    assert (found.go, found.outcomes["lost"]) == (False, 1)
    assert "1 of the failed are lost" in found.why


def test_a_robot_that_is_not_understood_counts_as_a_failure() -> None:
    assert verdict(passed("r1"), passed("r2"), not_understood=1) == "stop"
