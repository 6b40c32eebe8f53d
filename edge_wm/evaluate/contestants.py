"""The policies that can be measured, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edge_wm.clock import Clock
from edge_wm.control.policy import Policy
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.sim.simulation import Simulation
from edge_wm.sim.tasks import Task
from edge_wm.sim.true_map import TrueMap
from edge_wm.world_model import WorldModel

PolicyName = Literal["world-model", "policy-head", "reactive", "straight", "oracle"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
NEEDS_MODEL = frozenset({"world-model", "policy-head"})
"""These drive by a bundle and look through the camera; for the others, nothing is rendered."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One episode's surroundings; only the oracle looks at what is true in them.

    Attributes:
        task: start and goal.
        true_map: of the task's world.
        simulation: the robot in it.
        clock: the loop's.
        seed: of the episode.
    """

    task: Task
    true_map: TrueMap
    simulation: Simulation
    clock: Clock
    seed: int


def make_policy(name: PolicyName, robot: Robot, model: WorldModel | None, stage: Stage) -> Policy:
    """Build the policy ``name`` for one episode.

    Raises:
        BadInput: the policy needs a model and there is none, or one without what it drives by.
    """
    if name == "straight":
        from edge_wm.policies.straight import Straight

        return Straight(robot.limits, robot.rates.tick_s)
    if name == "reactive":
        from edge_wm.policies.reactive import Reactive

        return Reactive(robot.limits, robot.geometry.radius_m, robot.rates.tick_s)
    if name == "oracle":
        from edge_wm.policies.oracle import Oracle

        return Oracle(stage.simulation, stage.true_map, stage.task.start)
    if model is None:
        raise BadInput(f"--policy {name} drives by a model: name its bundle with --model DIR")
    if name == "policy-head":
        from edge_wm.policies.policy_head import PolicyHead

        return PolicyHead(model)
    from edge_wm.drive.pilot import planning_policy

    return planning_policy(model, robot.limits, stage.clock, stage.seed)
