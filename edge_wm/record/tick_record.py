"""What is kept of one tick and of one drive to a goal: the data that every view of a run reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wm.sensors.observation import NO_READING, Observation
from firmware_bridge.bridge import Command

Array = npt.NDArray[Any]
Pose = tuple[float, float, float]
"""x m, y m, yaw rad."""


@dataclass(frozen=True, slots=True)
class LocalMap:
    """The model's picture of its surroundings, decoded for people.

    Attributes:
        probability: float32[R, C], probability that a robot centred in the cell touches something; row along
            +y, column along +x of the odometry frame.
        known: float32[R, C], 0 where the model has seen nothing yet, 1 where it has; None means all known.
        corner: x, y in metres (odometry frame) of the outer corner of cell (0, 0).
        cell_m: edge length of a cell.
    """

    probability: Array
    known: Array | None
    corner: tuple[float, float]
    cell_m: float

    @classmethod
    def around(cls, pose: Pose, probability: Array, known: Array | None, cell_m: float) -> LocalMap:
        """The map of a model that keeps the robot's cell in the middle: cell (R/2, C/2)."""
        rows, columns = probability.shape
        return cls(
            probability=probability,
            known=known,
            corner=(
                (math.floor(pose[0] / cell_m) - columns // 2) * cell_m,
                (math.floor(pose[1] / cell_m) - rows // 2) * cell_m,
            ),
            cell_m=cell_m,
        )

    def at(self, points: Array) -> tuple[Array, Array]:
        """Probability and known-ness of the cells under ``points`` [..., 2] (odometry frame); 0, 0 outside."""
        column = np.floor((points[..., 0] - self.corner[0]) / self.cell_m).astype(np.intp)
        row = np.floor((points[..., 1] - self.corner[1]) / self.cell_m).astype(np.intp)
        rows, columns = self.probability.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
        known = np.ones_like(self.probability) if self.known is None else self.known
        return np.where(inside, self.probability[row, column], 0.0), np.where(inside, known[row, column], 0.0)


@dataclass(frozen=True, slots=True)
class TickRecord:
    """One tick, complete.  Its arrays belong to the record: whoever makes it copies what an engine will reuse.

    Attributes:
        tick: number of the tick within the drive.
        time_s: monotonic seconds; any zero, but the same one throughout a drive to one goal.
        observation: what the sensors said; ``camera`` and ``range`` are shown if they are there.
        command, applied: what the supervisor let through, and what the bridge really sent.
        goal_distance_m: distance to the goal, as the robot believes.
        tick_ms: duration of the whole tick; ``observe_ms`` and ``plan_ms`` are parts of it.
        goal_number: counts from 1.
        goal: x, y in the odometry frame.
        pose: the estimated pose, odometry frame.
        true_pose: the pose in the world, where a simulator knows it.
        plan_poses: float32[H, 3], odometry frame.
        plan_cost, iterations: of the planner.
        candidate_poses: float32[N, H, 3], odometry frame.
        candidate_costs: float32[N].
        missed: the tick ended after its deadline.
        supervisor: why the supervisor changed the command; empty if it did not.
        local_map: what the model imagines around the robot.
    """

    tick: int
    time_s: float
    observation: Observation
    command: Command
    applied: Command
    goal_distance_m: float
    tick_ms: float
    goal_number: int = 1
    goal: tuple[float, float] | None = None
    pose: Pose | None = None
    true_pose: Pose | None = None
    plan_poses: Array | None = None
    plan_cost: float = math.nan
    iterations: int = 0
    candidate_poses: Array | None = None
    candidate_costs: Array | None = None
    observe_ms: float = math.nan
    plan_ms: float = math.nan
    missed: bool = False
    supervisor: str = ""
    local_map: LocalMap | None = None

    @property
    def camera(self) -> Array | None:
        """uint8[H, W, 3] RGB, or None if the robot has no camera of that name."""
        return self.observation.arrays.get("camera")

    @property
    def min_range_m(self) -> float:
        """The shortest reading of the range ring; NaN when no beam has one."""
        ring = self.observation.arrays.get("range")
        readings = [] if ring is None else [float(r) for r in ring if r > NO_READING]
        return min(readings, default=math.nan)

    @property
    def shown_pose(self) -> Pose | None:
        """Where to draw the robot: the true pose if known, else the estimated one."""
        return self.true_pose if self.true_pose is not None else self.pose

    def row(self, start_s: float) -> dict[str, Any]:
        """The numbers of the tick, small enough for one JSON line; ``start_s`` becomes time zero.

        Command and what was applied are not rounded: a replay tells a model what was applied.
        """
        return {
            "goal": self.goal_number,
            "tick": self.tick,
            "time_s": _rounded(self.time_s - start_s, 3),
            "goal_distance_m": _rounded(self.goal_distance_m, 3),
            "command": [_finite(self.command.v), _finite(self.command.w)],
            "applied": [_finite(self.applied.v), _finite(self.applied.w)],
            "pose": _rounded_pose(self.pose),
            "true_pose": _rounded_pose(self.true_pose),
            "min_range_m": _rounded(self.min_range_m, 3),
            "plan_cost": _rounded(self.plan_cost, 3),
            "iterations": self.iterations,
            "observe_ms": _rounded(self.observe_ms, 2),
            "plan_ms": _rounded(self.plan_ms, 2),
            "tick_ms": _rounded(self.tick_ms, 2),
            "missed": self.missed,
            "supervisor": self.supervisor,
        }


@dataclass(frozen=True, slots=True)
class TopView:
    """A picture of the true world from above.

    Attributes:
        image: uint8[H, W, 3] RGB.
        to_pixels: float[2, 3]; ``to_pixels @ (x, y, 1)`` is the (column, row) of a world point in the image.
    """

    image: Array
    to_pixels: Array


@dataclass(frozen=True, slots=True)
class GoalStart:
    """What is known when the robot sets off.

    Attributes:
        number, of: this goal, counted from 1, and how many there are.
        goal: x, y; world frame if ``top_view`` is given, else odometry frame.
        top_view: None on a robot in the field; the path is then drawn on a plain grid.
        name: the world, or whatever the reader should call this drive.
    """

    number: int
    of: int
    goal: tuple[float, float]
    top_view: TopView | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class GoalResult:
    """How a drive to a goal ended.  Unknown figures are None.

    Attributes:
        outcome: one or two words: "reached", "collision", "timeout", "interrupted", …
        reached: within the goal's radius, touching nothing, in time.
        collision: whether it touched something; None where nobody could tell, as on a robot that is really there.
        travelled_m, geodesic_m: length driven, and of the shortest path.
        min_clearance_m: smallest true distance between the robot's hull and anything.
        message: what the loop said, if it ended the drive; one line.
    """

    outcome: str
    reached: bool
    collision: bool | None
    time_s: float
    travelled_m: float | None = None
    geodesic_m: float | None = None
    min_clearance_m: float | None = None
    message: str = ""


def _finite(value: float) -> float | None:
    """A JSON number; JSON has no NaN and no infinity, so they become None (null)."""
    value = float(value)
    return value if math.isfinite(value) else None


def _rounded(value: float, digits: int) -> float | None:
    known = _finite(value)
    return None if known is None else round(known, digits)


def _rounded_pose(pose: Pose | None) -> list[float | None] | None:
    return None if pose is None else [_rounded(value, 3) for value in pose]
