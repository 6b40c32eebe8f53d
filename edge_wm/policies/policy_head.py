"""Drive by the model's policy head alone: the same latent state, no planning.  What planning adds is measured so."""

from __future__ import annotations

import math

import numpy as np

from edge_wm.control.policy import ARRIVE_M, Decision
from edge_wm.control.world_model_policy import POSE
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Observation
from edge_wm.world_model import WorldModel
from firmware_bridge.bridge import NEUTRAL, Command

PROPOSAL = "policy"
"""Outcome float32[H, 2]: the (v, w) that the policy head proposes for each step."""


class PolicyHead:
    """Takes the first action that the model's policy head proposes.

    Args:
        model: a world model with a policy head.
        arrive_m: nearer to the goal than this it asks for rest.

    Raises:
        BadInput: the model has no policy head.
    """

    def __init__(self, model: WorldModel, arrive_m: float = ARRIVE_M) -> None:
        if PROPOSAL not in (head.name for head in model.manifest.heads):
            raise BadInput(
                f"{model.manifest.name}: the model has no head {PROPOSAL!r}; choose another --policy"
            )
        size = model.manifest.imagine
        # The proposal depends on state and goal alone; imagine wants candidates all the same.
        self._actions = np.zeros(
            (size.candidates, size.horizon, len(model.manifest.action.names)), np.float32
        )
        self._model, self._arrive_m = model, arrive_m
        self.reset((0.0, 0.0))

    def reset(self, goal_xy: tuple[float, float]) -> None:
        """Begin a run to a goal in the odometry frame."""
        self._goal = np.array(goal_xy, dtype=np.float32)
        self._state = self._model.initial_state()

    def act(self, observation: Observation, applied: Command, deadline: float) -> Decision:
        """Observe, and take the head's first action."""
        moved = np.array([applied.v, applied.w], dtype=np.float32)
        self._state = self._model.observe(self._state, observation, moved)
        pose = self._state[POSE]
        distance = math.hypot(float(self._goal[0] - pose[0]), float(self._goal[1] - pose[1]))
        if distance <= self._arrive_m:
            return Decision(NEUTRAL, None, distance)
        v, w = self._model.imagine(self._state, self._actions, self._goal)[PROPOSAL][0]
        return Decision(Command(float(v), float(w)), None, distance)
