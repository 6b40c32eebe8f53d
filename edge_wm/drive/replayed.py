"""A drive that is over, driven again by today's model: the observations of then, and a bridge that moves nothing.

What was applied then is what the model is told, so that it goes with what the sensors saw.  Where today's commands are others than those of
then is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from edge_wm.clock import Clock
from edge_wm.control.loop import Outcome, RunResult
from edge_wm.drive.body import Body, Point
from edge_wm.drive.pilot import observed
from edge_wm.engines.engine import TensorSpec
from edge_wm.errors import BadInput, one_line
from edge_wm.record.observations import RecordedObservations, observations_file, read_observations
from edge_wm.record.tick_record import GoalResult, TopView
from edge_wm.robot import Robot
from edge_wm.robot_bridge import RecordedTable
from edge_wm.sensors.replay import ReplayedSensors
from firmware_bridge.bridge import BridgeError
from firmware_bridge.recorded_bridge import RecordedBridge

ENDED = "recording ended"
"""The outcome where the loop wanted more ticks than were recorded."""


class ReplayedRobot:
    """See ``Body``.

    Args:
        recorded: the observations.
        bridge: of the same drive, connected.
        clock: the loop's.
    """

    def __init__(self, recorded: RecordedObservations, bridge: RecordedBridge, clock: Clock) -> None:
        self.sensors, self.bridge = ReplayedSensors(recorded, clock), bridge
        self.goal_xy: Point = recorded.goal
        self.goal_in_view: Point = recorded.goal

    def true_pose(self) -> None:
        """See ``Body.true_pose``: it was not recorded."""

    def top_view(self) -> TopView | None:
        """See ``Body.top_view``: nor was this."""
        return None

    def result(self, ended: RunResult) -> GoalResult:
        """What became of the drive, as today's model believes, and how often it asked for something else."""
        why = "" if self.sensors.ended or ended.outcome is Outcome.REACHED else f"{one_line(ended.message)}; "
        others, asked = len(self.bridge.differences), self.bridge.asked
        return GoalResult(
            outcome=ENDED if self.sensors.ended else str(ended.outcome),
            reached=ended.outcome is Outcome.REACHED,
            collision=None,
            time_s=round(ended.duration_s, 2),
            message=f"{why}{others} of {asked} commands are not those of the recording",
        )


class ReplayedTrip(NamedTuple):
    """See ``Trip``.  One drive of a run folder.

    Attributes:
        file: the robot file.
        table: its bridge, which names the recording.
    """

    file: Path
    table: RecordedTable

    @property
    def name(self) -> str:
        """See ``Trip.name``."""
        return f"drive {self._number} of {self._ticks.parent}"

    def begin(self, robot: Robot, clock: Clock) -> AbstractContextManager[Body]:
        """See ``Trip.begin``."""
        return self._at_start(robot, clock)

    def save(self, directory: Path) -> None:
        """See ``Trip.save``: it is in the folder of the recorded run."""

    @property
    def _number(self) -> int:
        return self.table.goal or 1

    @property
    def _ticks(self) -> Path:
        return self.file.parent / self.table.file

    @contextmanager
    def _at_start(self, robot: Robot, clock: Clock) -> Iterator[Body]:
        path = observations_file(self._ticks.parent, self._number)
        recorded = read_observations(path)
        _refuse_misfit(robot, recorded, path)
        bridge = RecordedBridge(self._ticks, clock.now, self._number)
        try:
            bridge.connect()
        except BridgeError as error:
            raise BadInput(f"robot {robot.name}: {one_line(str(error))}") from error
        if bridge.ticks != len(recorded):
            raise BadInput(
                f"{self._ticks}: has {bridge.ticks} ticks of goal {self._number}, {path.name} beside it has {len(recorded)}:"
                " they are not of one drive, or one is damaged"
            )
        try:
            yield ReplayedRobot(recorded, bridge, clock)
        finally:
            bridge.close()


def _refuse_misfit(robot: Robot, recorded: RecordedObservations, path: Path) -> None:
    """Raise BadInput if the robot file describes another robot than the recorded one."""
    if abs(recorded.tick_s - robot.rates.tick_s) > 1e-6:
        raise BadInput(
            f"{path}: recorded with a tick of {recorded.tick_s:g} s, and robot {robot.name} ticks every"
            f" {robot.rates.tick_s:g} s: set rates.tick_s"
        )
    given = {
        name: TensorSpec(name, array.shape[1:], str(array.dtype)) for name, array in recorded.arrays.items()
    }
    for spec in observed(robot):
        if given.get(spec.name) != spec:
            found = given.get(spec.name, f"no {spec.name}")
            raise BadInput(f"{path}: has {found}, and robot {robot.name} gives {spec}: amend [sensors]")
