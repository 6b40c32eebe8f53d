"""What a run drives: a robot at the start of one drive, simulated or real."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from edge_wm.clock import Clock
from edge_wm.control.loop import RunResult
from edge_wm.record.tick_record import GoalResult, Pose, TopView
from edge_wm.robot import Robot
from edge_wm.sensors.observation import Sensors
from firmware_bridge.bridge import Bridge

Point = tuple[float, float]


class Body(Protocol):
    """The robot at the start of one drive: its bridge is connected and disarmed, its sensors give observations."""

    @property
    def sensors(self) -> Sensors:
        """What the loop reads."""

    @property
    def bridge(self) -> Bridge:
        """What the loop drives."""

    @property
    def goal_xy(self) -> Point:
        """The goal in the odometry frame: metres, x forward from where the robot starts."""

    def true_pose(self) -> Pose | None:
        """Where it really is, in the world frame; None where nobody knows."""

    def top_view(self) -> TopView | None:
        """The world from above, as it is now; None where nobody looks from there."""

    @property
    def goal_in_view(self) -> Point:
        """The goal in the frame of the top view; ``goal_xy`` where there is none."""

    def result(self, ended: RunResult) -> GoalResult:
        """What became of the drive."""


class Trip(Protocol):
    """One drive that can be made."""

    @property
    def name(self) -> str:
        """What people call it."""

    def begin(self, robot: Robot, clock: Clock) -> AbstractContextManager[Body]:
        """The robot at its start; when the context ends the motors are at rest.

        Raises:
            BadInput: the robot is not as its file says, or not there.
        """

    def save(self, directory: Path) -> None:
        """Write down what it takes to make this drive again, if it is nowhere else."""
