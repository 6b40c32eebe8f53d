"""Whether a bundle can drive a robot, for install.sh: nothing is printed if it can; one line and exit code 2 if not.

    python -m edge_wm.install_model DIR ROBOT

ROBOT is a robot file, or "sim".  It is what the doctor finds of a model, but for its speed: an image may be made on another
computer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_wm.doctor.finding import Level
from edge_wm.doctor.model import model
from edge_wm.errors import BadInput
from edge_wm.robot import DEFAULT_ROBOT, load_robot


def why_not(directory: Path, robot: Path) -> str | None:
    """What is wrong with the bundle in ``directory``; None if nothing is.  Raises BadInput if the robot file is wrong."""
    for finding in model(directory, load_robot(robot)):
        if finding.level is Level.ERROR and finding.check != "speed":
            return finding.said
    return None


def main(directory: str, robot: str) -> int:
    """Print it."""
    try:
        problem = why_not(Path(directory), DEFAULT_ROBOT if robot == "sim" else Path(robot))
    except BadInput as why:
        problem = str(why)
    if problem is not None:
        print(problem)
    return 0 if problem is None else 2


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
