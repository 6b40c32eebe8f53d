"""A disk that cannot be written any more after the power cut, as a card that has worn out, or a file system mounted so for its errors.

Nothing can be played back in place then, and nothing be tried; but the robot has what it was promised.
"""

from __future__ import annotations

from pathlib import Path

from edge_wm.update.status import status_of
from tests.power_cuts import private
from tests.update import flows
from tests.update.flows import CASES, Scenario


def check(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """See that the robot starts with what it was promised by the flow of this name, and can tell how it is.

    Raises:
        AssertionError: something does not hold.
    """
    private.part()
    private.run("mount", "--bind", str(robot), str(robot))
    private.run("mount", "-o", "remount,bind,ro", str(robot))
    flows.check_start(name, robot, promises)
    status = status_of(Scenario.of_environment().folders(robot))
    assert status.problem is None or CASES[name].store_damaged, status.problem
