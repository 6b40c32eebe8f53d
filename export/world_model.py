"""The latent world model: a scrolling spatial memory, an ego-motion memory, and heads that read imagined latents.

The latent state has four tensors:

* ``map`` [C, G, G]: memory, one small vector a cell, parallel to the axes of the odometry frame;
* ``context`` [F, G, G]: the memory after neighbouring cells have been brought together; what the heads read;
* ``motion`` [M]: memory of how the robot answers to commands (lag, slip, delay);
* ``pose`` [3]: where the robot is in the odometry frame (x, y, yaw).

Observing lifts the camera's columns and the range ring into the map (as in Lift-Splat, Philion & Fidler 2020, with
a gate in place of the splat).  Imagining rolls the motion memory forward under an action sequence and reads the
context where the robot would then be: the latent of an imagined step.  The cost-to-go is planned on learned
traversal costs by value iteration inside the graph (Tamar et al. 2016).

Shapes: B batch, N candidates, H steps, G cells a side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_wm.sim import robot_model as rm
from export.config import ModelConfig
from export.geometry import (
    CELL_M,
    RING_FEATURES,
    camera_lookup,
    cell_offsets,
    map_coordinates,
    origin_cell,
    ring_features,
    scroll,
)

V_SCALE, W_SCALE = 0.5, 2.5
"""Full speed ahead (m/s) and full turn (rad/s): actions and odometry are divided by these."""
FAR = 60.0
"""Cost-to-go (m) of what cannot be reached."""
MAX_TRAVERSAL = 100.0
"""Added metres per metre of what is certainly blocked."""
SURELY_FREE = -1.4
"""Collision logit (a probability of 0.2) below which a cell is taken to be free whatever lies beside it."""
KNOWN_RISK = 10.0
"""Added metres per metre for a collision probability of one where the model is sure of the clearance."""
GUESSED_M = 0.35
"""Expected clearance error (m) at which a cell counts as not known at all."""
LEAVING = 3.0
"""Metres that a way round outside of the map is expected to be longer than it looks from the border."""
IMAGE_COLUMNS = 16
POLICY_RADII_M = (0.35, 0.8, 1.5)
POLICY_BEARINGS = 12
RING_RADII_M = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5)


class State(NamedTuple):
    """The latent state of a batch."""

    map: Tensor  # [B, C, G, G]
    context: Tensor  # [B, F, G, G]
    motion: Tensor  # [B, M]
    pose: Tensor  # [B, 3]


class Imagined(NamedTuple):
    """Outcomes of imagined action sequences."""

    pose: Tensor  # [B, N, H, 3] odometry frame
    latent: Tensor  # [B, N, H, F] the context where the robot would be
    collision: Tensor  # [B, N, H] logit
    clearance: Tensor  # [B, N, H] m
    log_scale: Tensor  # [B, N, H] log of the clearance's expected error in m


class Reading(NamedTuple):
    """One observation of a batch, as the sensors give it."""

    camera: Tensor  # [B, 3 (+1), 48, 64] in 0..1, RGB (and depth, for the teacher only)
    range: Tensor  # [B, 8] m
    wheel: Tensor  # [B, 2] m/s
    gyro: Tensor  # [B, 1] rad/s
    applied: Tensor  # [B, 2] m/s, rad/s


def conv(
    inputs: int, outputs: int, size: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1
) -> nn.Module:
    """Convolution and ReLU, padded to keep the size before the stride."""
    pad = size // 2 if isinstance(size, int) else (size[0] // 2, size[1] // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, pad), nn.ReLU())


class CameraEncoder(nn.Module):
    """Camera picture to features on a fan of image columns by log depth: [B, P, R, 16]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        w = config.camera_width
        self.depth_bins, self.features = config.depth_bins, config.camera_features
        self.trunk = nn.Sequential(
            conv(4 if config.sees_depth else 3, w, 5, 2),  # 24 x 32
            conv(w, 2 * w, 3, 2),  # 12 x 16
            conv(2 * w, 3 * w, 3, (2, 1)),  # 6 x 16
            conv(3 * w, 4 * w, 3, (2, 1)),  # 3 x 16
        )
        # The height of the picture is folded into features: where a wall meets the floor tells its distance.
        self.column = nn.Sequential(conv(4 * w * 3, 4 * w, (1, 3)), conv(4 * w, 4 * w, (1, 3)))
        self.fan = nn.Conv2d(4 * w, self.features * self.depth_bins, 1)

    def forward(self, camera: Tensor) -> Tensor:
        """Encode [B, 3 (+1), 48, 64] in 0..1."""
        x = self.trunk(camera - 0.5)
        x = x.reshape(x.shape[0], -1, 1, IMAGE_COLUMNS)
        x = torch.relu(self.fan(self.column(x)))
        return x.reshape(x.shape[0], self.features, self.depth_bins, IMAGE_COLUMNS)


class MotionModel(nn.Module):
    """How the robot moves: corrects odometry on the way, predicts displacement when imagining."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        m = config.motion
        self.sense = nn.GRUCell(5, m)
        self.correct = nn.Sequential(nn.Linear(m + 5, 32), nn.ReLU(), nn.Linear(32, 2))
        self.predict = nn.GRUCell(2, m)
        self.displace = nn.Sequential(nn.Linear(m + 2, 32), nn.ReLU(), nn.Linear(32, 3))
        self.tick_s, self.step_s = config.tick_s, config.step_s
        for last in (self.correct[-1], self.displace[-1]):
            nn.init.zeros_(last.bias)
            nn.init.normal_(last.weight, std=0.01)

    def observe(self, motion: Tensor, reading: Reading) -> tuple[Tensor, Tensor]:
        """Next motion memory [B, M] and the displacement (dx, dy, dyaw) [B, 3] over the last tick, robot's axes.

        The gyro is taken at its word: what a network adds to it is a bias that grows with every tick.
        """
        scale = reading.wheel.new_tensor([V_SCALE, W_SCALE])
        x = torch.cat([reading.wheel / V_SCALE, reading.gyro / W_SCALE, reading.applied / scale], dim=-1)
        motion = self.sense(x, motion)
        fix = 0.2 * torch.tanh(self.correct(torch.cat([motion, x], dim=-1)))
        speed = reading.wheel.mean(dim=-1, keepdim=True) + fix[:, :1] * V_SCALE
        slide = fix[:, 1:2] * V_SCALE
        return motion, torch.cat([speed, slide, reading.gyro], dim=-1) * self.tick_s

    def imagine(self, motion: Tensor, actions: Tensor) -> Tensor:
        """Displacements [K, H, 3] in the robot's own axes under ``actions[K, H, 2]`` from ``motion[K, M]``."""
        scaled = actions / actions.new_tensor([V_SCALE, W_SCALE])
        unit = actions.new_tensor([V_SCALE, 0.1 * V_SCALE, W_SCALE]) * self.step_s
        displacements = []
        for k in range(actions.shape[1]):
            motion = self.predict(scaled[:, k], motion)
            change = self.displace(torch.cat([motion, scaled[:, k]], dim=-1))
            steady = torch.stack(
                [scaled[:, k, 0], torch.zeros_like(scaled[:, k, 0]), scaled[:, k, 1]], dim=-1
            )
            displacements.append((steady + change) * unit)
        return torch.stack(displacements, dim=1)


class WorldModel(nn.Module):
    """Observe, imagine and read out; see the module's docstring.  ``config`` sizes the teacher and the student."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, f, p = config.map_channels, config.context_channels, config.camera_features
        self.camera = CameraEncoder(config)
        self.motion_model = MotionModel(config)
        # A projection for each source, then their sum: one scale over all of them would cost an int8 graph its memory.
        self.from_camera = nn.Conv2d(p, config.fusion_width, 1, bias=False)
        self.from_ring = nn.Conv2d(1 + RING_FEATURES, config.fusion_width, 1)
        self.from_memory = nn.Conv2d(c, config.fusion_width, 1, bias=False)
        self.fuse = nn.Conv2d(config.fusion_width, config.fusion_width, 1)
        self.gate = nn.Conv2d(config.fusion_width, c, 1)
        self.candidate = nn.Conv2d(config.fusion_width, c, 1)
        w = config.context_width
        self.bring_together = nn.Sequential(
            conv(c, w),
            *(
                layer
                for dilation in config.context_dilations
                for layer in (nn.Conv2d(w, w, 3, padding=dilation, dilation=dilation), nn.ReLU())
            ),
            nn.Conv2d(w, f, 1),
            nn.Tanh(),  # bounded, so that no head is swamped by it and eight bits are enough for it
        )
        # Of a robot standing in the cell now: collision logit, traversal cost.
        self.local = nn.Conv2d(f, 2, 1)
        self.outcome = nn.Sequential(
            nn.Linear(f + 1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
        )
        self.ring = nn.Sequential(nn.Linear(f * len(RING_RADII_M), 48), nn.ReLU(), nn.Linear(48, 1))
        seen = f * len(POLICY_RADII_M) * POLICY_BEARINGS
        self.policy = nn.Sequential(
            nn.Linear(seen + config.motion + 4, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 2 * config.horizon),
        )

    def initial_state(self, batch: int) -> State:
        """The state of a robot that has seen nothing: zeros."""
        c = self.config
        return State(
            torch.zeros(batch, c.map_channels, c.cells, c.cells),
            torch.zeros(batch, c.context_channels, c.cells, c.cells),
            torch.zeros(batch, c.motion),
            torch.zeros(batch, 3),
        )

    def with_map(self, cells: int, value_iterations: int) -> WorldModel:
        """The same weights on a map of another size: every layer works on cells, none on the whole map."""
        config = msgspec.structs.replace(self.config, cells=cells, value_iterations=value_iterations)
        model = WorldModel(config)
        model.load_state_dict(self.state_dict())
        return model.eval()

    def observe(self, state: State, reading: Reading) -> State:
        """Posterior step: one tick of sensors into the latent state."""
        motion, displacement = self.motion_model.observe(state.motion, reading)
        pose = advance(state.pose, displacement)
        memory = scroll(state.map, origin_cell(pose) - origin_cell(state.pose))
        memory = self.remember(memory, self.sense(pose, self.camera(reading.camera), reading.range))
        return State(memory, self.bring_together(memory), motion, pose)

    def sense(self, pose: Tensor, fan: Tensor, ring: Tensor) -> Tensor:
        """What camera (its fan) and ring [B, 8] say of every cell around ``pose[B, 3]``: [B, fusion_width, G, G]."""
        offsets = cell_offsets(pose, self.config.cells)
        lookup, seen = camera_lookup(offsets)
        lifted = F.grid_sample(fan, lookup, align_corners=False)
        return self.from_camera(lifted) + self.from_ring(
            torch.cat([seen, ring_features(offsets, ring)], dim=1)
        )

    def remember(self, memory: Tensor, sensed: Tensor) -> Tensor:
        """The recurrent part of :meth:`observe`: the scrolled map and what was sensed become the next map."""
        evidence = torch.relu(self.fuse(torch.relu(sensed + self.from_memory(memory))))
        gate = torch.sigmoid(self.gate(evidence))
        return memory + gate * (torch.tanh(self.candidate(evidence)) - memory)

    def imagine(self, state: State, actions: Tensor) -> Imagined:
        """Prior rollout of ``actions[B, N, H, 2]`` (m/s, rad/s), no sensors."""
        batch, n, horizon, _ = actions.shape
        motion = state.motion[:, None].expand(-1, n, -1).reshape(batch * n, -1)
        moves = self.motion_model.imagine(motion, actions.reshape(batch * n, horizon, 2))
        pose = roll_out(state.pose, moves.reshape(batch, n, horizon, 3))
        latent = self.latent_at(state, pose[..., :2].detach())
        step = torch.arange(1, horizon + 1, dtype=latent.dtype).expand(batch, n, -1)
        return Imagined(pose, latent, *self.read_outcome(latent, step))

    def read_outcome(self, latent: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Collision logit, clearance (m) and log scale of its error, of ``latent[..., F]`` at imagined ``step[...]``.

        The step matters because things move: the memory of a moving obstacle says less and less.
        """
        out = self.outcome(torch.cat([latent, step[..., None] / self.config.horizon], dim=-1))
        return out[..., 0], F.softplus(out[..., 1]), out[..., 2].clamp(-4.0, 2.0)

    def latent_at(self, state: State, points: Tensor) -> Tensor:
        """Context [B, ..., F] at points [B, ..., 2] of the odometry frame; zeros outside the map."""
        where = map_coordinates(points, state.pose, self.config.cells)
        flat = where.reshape(where.shape[0], -1, 1, 2)
        sampled = F.grid_sample(state.context, flat, align_corners=False)
        return sampled[..., 0].transpose(1, 2).reshape(*points.shape[:-1], -1)

    def read_locally(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Collision logit and traversal cost (added metres per metre) of every cell: two [B, G, G].

        The squared odds of a collision are the cost that a wall must have: what is likely blocked is as good as
        closed, what is unknown costs little.  What else makes a way long is learned.

        A shortest path finds the weakest cell of a wall, however short the weakness.  So the odds are taken after a
        morphological closing, which fills dips narrower than a doorway; cells that are surely free stay free.  And
        where the model is sure of what it sees, a risk is a risk: the planner will not take it later either.
        """
        out = self.local(context)
        logit = out[:, :1]
        closed = -F.max_pool2d(-F.max_pool2d(logit, 3, 1, 1), 3, 1, 1)
        odds = torch.exp(torch.where(logit < SURELY_FREE, logit, closed).clamp(max=3.0))[:, 0]
        risk = KNOWN_RISK * torch.sigmoid(out[:, 0]) * self.known(context)
        return out[:, 0], (F.softplus(out[:, 1] - 2.0) + odds * odds + risk).clamp(max=MAX_TRAVERSAL)

    def known(self, context: Tensor) -> Tensor:
        """How sure the model is of the clearance of every cell, 0..1: [B, G, G]."""
        cells = context.permute(0, 2, 3, 1)
        _, _, log_scale = self.read_outcome(cells, torch.ones_like(cells[..., 0]))
        return (1.0 - torch.exp(log_scale) / GUESSED_M).clamp(0.0, 1.0)

    def cost_to_go(self, state: State, goal: Tensor) -> Tensor:
        """Weighted metres [B, G, G] from each cell to ``goal[B, 2]`` of the odometry frame.

        Value iteration on the learned traversal cost, eight neighbours.  From the map's border on, the way is taken
        to be straight; if the goal lies within the map, going round outside of it costs ``LEAVING`` more.
        """
        _, traversal = self.read_locally(state.context)
        cost = (CELL_M * (1.0 + traversal))[:, None]
        cells = self.config.cells
        index = torch.arange(cells, dtype=goal.dtype) - cells // 2 + 0.5
        centres = (origin_cell(state.pose)[:, :, None] + index) * CELL_M  # [B, 2, G]
        gap = centres - goal[:, :, None]
        straight = torch.sqrt(
            gap[:, :1, :] ** 2 + gap[:, 1:, :].transpose(1, 2) ** 2 + 1e-6
        )  # [B, G(y), G(x)]
        rim = torch.ones(cells, cells)
        rim[1:-1, 1:-1] = 0.0
        at_goal = (straight < CELL_M).to(straight.dtype)
        inside = at_goal.amax(dim=(1, 2), keepdim=True)
        given = torch.maximum(rim * (straight + LEAVING * inside), at_goal * straight)
        value = torch.where(rim + at_goal > 0, -given, torch.full_like(straight, -FAR))[:, None]
        for _ in range(self.config.value_iterations):
            beside = torch.maximum(
                F.max_pool2d(value, (3, 1), 1, (1, 0)), F.max_pool2d(value, (1, 3), 1, (0, 1))
            )
            across = F.max_pool2d(value, 3, 1, 1)
            value = torch.maximum(value, torch.maximum(beside - cost, across - math.sqrt(2.0) * cost))
        return -value[:, 0]

    def value_at(self, state: State, field: Tensor, points: Tensor) -> Tensor:
        """``field[B, G, G]`` of :meth:`cost_to_go` at points [B, ..., 2]; outside the map, the border's value."""
        where = map_coordinates(points, state.pose, self.config.cells)
        flat = where.reshape(where.shape[0], -1, 1, 2)
        sampled = F.grid_sample(field[:, None], flat, padding_mode="border", align_corners=False)
        return sampled[:, 0, :, 0].reshape(points.shape[:-1])

    def propose(self, state: State, goal: Tensor) -> Tensor:
        """Policy head: an action sequence [B, H, 2] in -1..1 towards ``goal[B, 2]``, learned from the expert."""
        bearing = torch.arange(POLICY_BEARINGS, dtype=goal.dtype) * (math.tau / POLICY_BEARINGS)
        radius = goal.new_tensor(POLICY_RADII_M)
        points = _around(state.pose, radius, bearing)
        around = self.latent_at(state, points).flatten(1)
        gap = goal - state.pose[:, :2]
        distance = torch.sqrt((gap**2).sum(dim=-1) + 1e-6)
        angle = torch.atan2(gap[:, 1], gap[:, 0] + 1e-6) - state.pose[:, 2]
        far = torch.stack(
            [
                torch.cos(angle),
                torch.sin(angle),
                (distance / 3.0).clamp(max=1.5),
                (distance / 0.6).clamp(max=1.0),
            ],
            dim=-1,
        )
        out = self.policy(torch.cat([around, state.motion, far], dim=-1))
        return torch.tanh(out).reshape(-1, self.config.horizon, 2)

    def predict_ring(self, state: State, pose: Tensor) -> Tensor:
        """Range ring readings [B, K, 8] in metres that a robot at ``pose[B, K, 3]`` would get."""
        batch, count, _ = pose.shape
        bearing = torch.arange(rm.RING_BEAMS, dtype=pose.dtype) * (math.tau / rm.RING_BEAMS)
        points = _around(pose.reshape(-1, 3), pose.new_tensor(RING_RADII_M), bearing)
        points = points.reshape(batch, count, len(RING_RADII_M), rm.RING_BEAMS, 2)
        along = self.latent_at(state, points).transpose(2, 3).flatten(3)
        return F.softplus(self.ring(along)[..., 0])


def advance(pose: Tensor, displacement: Tensor) -> Tensor:
    """Pose [B, 3] after a displacement [B, 3] in the robot's axes along an arc (midpoint heading)."""
    heading = pose[:, 2] + displacement[:, 2] / 2
    cos, sin = torch.cos(heading), torch.sin(heading)
    x = pose[:, 0] + cos * displacement[:, 0] - sin * displacement[:, 1]
    y = pose[:, 1] + sin * displacement[:, 0] + cos * displacement[:, 1]
    return torch.stack([x, y, pose[:, 2] + displacement[:, 2]], dim=-1)


def roll_out(pose: Tensor, moves: Tensor) -> Tensor:
    """Poses [B, N, H, 3] after successive displacements ``moves[B, N, H, 3]`` from ``pose[B, 3]``."""
    yaw = pose[:, 2, None, None] + torch.cumsum(moves[..., 2], dim=-1)
    heading = yaw - moves[..., 2] / 2
    cos, sin = torch.cos(heading), torch.sin(heading)
    x = pose[:, 0, None, None] + torch.cumsum(cos * moves[..., 0] - sin * moves[..., 1], dim=-1)
    y = pose[:, 1, None, None] + torch.cumsum(sin * moves[..., 0] + cos * moves[..., 1], dim=-1)
    return torch.stack([x, y, yaw], dim=-1)


def _around(pose: Tensor, radius: Tensor, bearing: Tensor) -> Tensor:
    """Points [B, R, A, 2] at each radius and bearing of the robot at ``pose[B, 3]``."""
    angle = pose[:, 2, None] + bearing
    ring = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)  # [B, A, 2]
    return pose[:, None, None, :2] + radius[None, :, None, None] * ring[:, None]
