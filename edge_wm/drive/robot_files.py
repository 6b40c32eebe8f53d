"""Which robot a command looks at: the one that is named, else the driving service's, else the simulated one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edge_wm.drive.service_file import DEFAULT_FILE, load_service_file
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.robot import DEFAULT_ROBOT
from edge_wm.update.config import folders_of, load_config
from edge_wm.update.slots import Folders
from edge_wm.update.status import driving_bundle


class RobotFiles(NamedTuple):
    """What is known of one robot.

    Attributes:
        robot: its robot file.
        model: the bundle that drives it.
        folders: of its updates; None where it has none.
        runs: where its drives are recorded.
        because: why it is this robot, for a person.
    """

    robot: Path
    model: Path
    folders: Folders | None
    runs: Path
    because: str

    def __str__(self) -> str:
        return f"robot {self.robot} ({self.because})\nmodel {self.model}"


def robot_files(robot: Path | None, model: Path | None, updates: Path | None = None) -> RobotFiles:
    """Find the files of a robot.  What is named counts, whatever the driving service says.

    Without ``robot`` it is the robot of ``DEFAULT_FILE`` with the model and the updates that are named there, if that file is
    there: the board is installed.  Else it is the simulated robot.  Updates choose the model where none is named; it is the
    shipped one where there are no updates.

    Args:
        robot: the robot file, if it was named.
        model: the bundle, if it was named.
        updates: the robot's ``update.toml``, if it was named.

    Raises:
        BadInput: the service file or ``update.toml`` is wrong.
    """
    runs, because = Path("runs"), "named"
    if robot is None and DEFAULT_FILE.exists():
        service, folder = load_service_file(DEFAULT_FILE), DEFAULT_FILE.parent
        robot = folder / service.robot if service.robot is not None else None
        if model is None and service.model is not None:
            model = folder / service.model
        if updates is None and service.updates is not None:
            updates = folder / service.updates
        runs, because = folder / service.record.folder, f"as {DEFAULT_FILE} says"
    elif robot is None:
        because = f"simulated: there is no {DEFAULT_FILE}"
    folders = None if updates is None else folders_of(load_config(updates), updates)
    if model is None:
        model = DEFAULT_MODEL if folders is None else driving_bundle(folders)
    return RobotFiles(robot or DEFAULT_ROBOT, model, folders, runs, because)
