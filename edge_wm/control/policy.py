"""What drives: anything that turns observations into commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_wm.planner.plan import Plan
from edge_wm.sensors.observation import Observation
from firmware_bridge.bridge import Command

ARRIVE_M = 0.15
"""A robot this near to its goal, by its own odometry, has arrived.  Success is 0.3 m: the rest is for drift."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy wants.

    Attributes:
        command: the body velocity asked for; the supervisor has the last word.
        plan: the plan it comes from, None for a policy that does not plan.
        goal_distance: straight-line metres to the goal, as the policy believes.
    """

    command: Command
    plan: Plan | None
    goal_distance: float


class Policy(Protocol):
    """Drives the robot to a goal."""

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """Begin a run.  The pose of the robot is now the origin of the odometry frame, the goal is in it, metres."""

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """Decide the command of this tick.

        Args:
            observation: the newest one, all numbers finite.
            applied: what was really sent in the last tick.
            deadline: when the decision must be there, on the loop's clock.

        Raises:
            PlanError: it has no plan this tick; the robot brakes and the next tick tries again.
        """
