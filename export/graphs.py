"""The three graphs of a bundle as modules with named, static-shape tensors and no batch dimension."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_wm.sim import robot_model as rm
from export.world_model import V_SCALE, W_SCALE, Reading, State, WorldModel

CANDIDATES = 64
STATE = ("map", "context", "motion", "pose")
OBSERVATION = ("camera", "range", "wheel", "gyro")
IMAGINED = ("imagined_pose", "collision", "clearance", "uncertainty", "value", "cost_to_go", "policy")
DECODED = ("local_map", "known", "range_imagined")


class Observe(nn.Module):
    """State, camera uint8[48, 64, 3], range [8], wheel [2], gyro [1], applied_action [2] -> next state."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        map: Tensor,
        context: Tensor,
        motion: Tensor,
        pose: Tensor,
        camera: Tensor,
        range: Tensor,
        wheel: Tensor,
        gyro: Tensor,
        applied_action: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the next state, in the order of ``STATE``."""
        # The context is made afresh from the map; the old one is an input only because every state tensor is.
        state = State(map[None], context[None], motion[None], pose[None])
        picture = camera.permute(2, 0, 1)[None].to(torch.float32) * (1.0 / 255.0)
        reading = Reading(picture, range[None], wheel[None], gyro[None], applied_action[None])
        after = self.model.observe(state, reading)
        return tuple(tensor[0] for tensor in after)


class Imagine(nn.Module):
    """State, actions [N, H, 2], goal [2] -> the outcomes in ``IMAGINED``."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, map: Tensor, context: Tensor, motion: Tensor, pose: Tensor, actions: Tensor, goal: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the outcomes, in the order of ``IMAGINED``."""
        state = State(map[None], context[None], motion[None], pose[None])
        imagined = self.model.imagine(state, actions[None])
        field = self.model.cost_to_go(state, goal[None])
        ahead = self.model.value_at(state, field, imagined.pose[..., :2])[0]
        steps = actions.shape[1]  # as many as were trained for, or fewer
        policy = self.model.propose(state, goal[None])[0, :steps] * actions.new_tensor([V_SCALE, W_SCALE])
        return (
            imagined.pose[0],
            torch.sigmoid(imagined.collision[0]),
            imagined.clearance[0],
            torch.exp(imagined.log_scale[0]),
            ahead[:, -1],
            ahead,
            policy,
        )


class Decode(nn.Module):
    """State -> pictures for people, in ``DECODED``."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, map: Tensor, context: Tensor, motion: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        """Return the pictures, in the order of ``DECODED``."""
        state = State(map[None], context[None], motion[None], pose[None])
        logit, _ = self.model.read_locally(state.context)
        ring = self.model.predict_ring(state, state.pose[:, None])[0, 0]
        return torch.sigmoid(logit[0]), self.model.known(state.context)[0], ring.clamp(max=rm.RING_REACH_M)
