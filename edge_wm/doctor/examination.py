"""All checks, in the order in which one thing rests on the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_wm.doctor.bridge import last_pulse, link
from edge_wm.doctor.devices import devices
from edge_wm.doctor.finding import Finding
from edge_wm.doctor.health import health
from edge_wm.doctor.model import model
from edge_wm.doctor.sensors import sensors
from edge_wm.doctor.system import (
    board,
    clock,
    disk,
    disk_errors,
    memory,
    python,
    service,
    system,
    watchdog,
)
from edge_wm.doctor.updates import updates
from edge_wm.robot import Robot
from edge_wm.robot_bridge import SimavrTable, SimTable
from edge_wm.update.slots import Folders

NEEDED_MB = 150
"""Memory of the process that drives, where the board file sets no budget."""


def findings(
    robot: Robot,
    file: Path,
    directory: Path,
    runs: Path,
    folders: Folders | None = None,
    root: Path = Path("/"),
) -> Iterator[Finding]:
    """Yield what is found, check by check.  Nothing moves; a microcontroller that was armed is disarmed.

    Args:
        robot: to examine.
        file: its robot file.
        directory: of the model that is to drive it.
        runs: where what it drives is recorded.
        folders: of its updates; None where it has none.
        root: of the file system with `/proc`, `/sys` and `/dev`.
    """
    yield board(robot.board, root)
    yield system(root)
    yield python()
    budgets = robot.board.budgets
    yield memory(budgets.memory_mb if budgets is not None else NEEDED_MB, root)
    yield disk(runs)
    yield disk_errors(root)
    if folders is not None:  # without updates nobody needs the time
        yield clock(root)
        yield from updates(folders)
    yield from model(directory, robot)
    if not isinstance(
        robot.bridge, SimTable | SimavrTable
    ):  # a simulated robot hurts nobody if it is slow or hangs
        yield from health(robot.board, root)
        yield watchdog(root)
        yield service()
        yield from devices(robot, root)
    yield link(robot, file)
    yield from last_pulse(robot)
    yield from sensors(robot, file)
