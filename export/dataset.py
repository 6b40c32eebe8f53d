"""Collected episodes in memory, and the batches of sequences that training takes from them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor

from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim.true_map import CELL_M as TRUE_CELL_M
from export.collect import GRID_CELLS, read_shard
from export.world_model import Reading

UNREACHABLE = -1.0
"""Stands for infinity in a batch's cost-to-go."""
CLEARANCE_CAP_M = 1.0
"""Clearance beyond this is all the same to a planner."""


class Batch(NamedTuple):
    """Sequences of ``sequence`` observed ticks, followed by ``future`` ticks that are only labels.  T is their sum."""

    reading: Reading  # [B, sequence, ...]; the camera has a fourth channel, depth / 5 m
    ring: Tensor  # [B, T, 8] m
    applied: Tensor  # [B, T, 2]
    expert: Tensor  # [B, T, 2]
    expert_valid: Tensor  # [B, T] bool
    pose: Tensor  # [B, T, 3] true pose
    movers: Tensor  # [B, T, M, 3]
    inside: Tensor  # [B, T] bool: the tick is within the episode
    goal: Tensor  # [B, 2]
    origin: Tensor  # [B, 2]
    clearance: Tensor  # [B, 1, S, S] m
    cost_to_go: Tensor  # [B, 1, S, S] weighted m, UNREACHABLE

    def sample(self, grid: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
        """``grid[B, 1, S, S]`` of the true world at points [B, ..., 2] of the world frame."""
        cells = (points - self.origin.reshape(-1, *([1] * (points.dim() - 2)), 2)) / TRUE_CELL_M
        where = (cells + 0.5) * (2.0 / GRID_CELLS) - 1.0
        flat = where.reshape(where.shape[0], -1, 1, 2)
        values = F.grid_sample(grid, flat, mode=mode, padding_mode="border", align_corners=False)
        return values[:, 0, :, 0].reshape(points.shape[:-1])

    def true_clearance(self, points: Tensor, tick: Tensor) -> Tensor:
        """Clearance (m, at most ``CLEARANCE_CAP_M``) at points [B, P, 2] at the times ``tick[B, P]``."""
        static = self.sample(self.clearance, points)
        discs = self.movers.gather(
            1, tick[:, :, None, None].expand(-1, -1, *self.movers.shape[2:])
        )  # [B, P, M, 3]
        gap = torch.linalg.vector_norm(discs[..., :2] - points[:, :, None], dim=-1) - discs[..., 2]
        gap = torch.where(discs[..., 2] > 0, gap, torch.full_like(gap, CLEARANCE_CAP_M))
        return torch.minimum(static, gap.amin(dim=-1)).clamp(max=CLEARANCE_CAP_M)


class Episodes:
    """All episodes of some folders of shards, kept in memory as they were recorded."""

    def __init__(self, folders: list[Path]) -> None:
        shards = [path for folder in folders for path in sorted(folder.glob("shard_*.npz"))]
        if not shards:
            raise BadInput(f"{', '.join(map(str, folders))}: no shards here; run the collect command first")
        episodes = [episode for path in track(shards, "load data") for episode in read_shard(path)]
        self.length = np.array([len(episode["pose"]) for episode in episodes])
        self.first = np.concatenate([[0], np.cumsum(self.length)[:-1]])
        self.ticks = {
            name: np.concatenate([episode[name] for episode in episodes])
            for name in (
                "camera", "depth", "range", "wheel", "gyro", "applied", "expert", "expert_valid", "pose", "movers"
            )
        }  # fmt: skip
        self.goal = np.stack([episode["goal"] for episode in episodes])
        self.origin = np.stack([episode["origin"] for episode in episodes])
        self.clearance = np.stack([_pad(episode["clearance"]) for episode in episodes])
        cost = np.stack([_pad(episode["cost_to_go"]) for episode in episodes])
        self.cost_to_go = np.where(np.isfinite(cost), cost, UNREACHABLE).astype(np.float16)

    def batch(self, size: int, sequence: int, future: int, rng: np.random.Generator) -> Batch:
        """Draw ``size`` sequences at random; half of them mirrored left to right."""
        weight = np.maximum(self.length - sequence + 1, 0).astype(float)
        if not weight.any():
            raise BadInput(
                f"no episode has {sequence} ticks; collect longer ones or train on shorter sequences"
            )
        chosen = rng.choice(len(weight), size, p=weight / weight.sum())
        offset = np.array([rng.integers(self.length[e] - sequence + 1) for e in chosen])
        tick = offset[:, None] + np.arange(sequence + future)
        inside = tick < self.length[chosen][:, None]
        index = self.first[chosen][:, None] + np.minimum(tick, self.length[chosen][:, None] - 1)
        seen = index[:, :sequence]
        arrays = {
            name: values[index] for name, values in self.ticks.items() if name not in ("camera", "depth")
        }
        camera = self.ticks["camera"][seen].astype(np.float32) / 255.0
        depth = np.repeat(
            np.repeat(self.ticks["depth"][seen].astype(np.float32) / 5.0, 2, axis=-2), 2, axis=-1
        )
        arrays["camera"] = np.moveaxis(
            np.concatenate([camera, np.minimum(depth, 1.0)[..., None]], axis=-1), -1, 2
        )
        world = {
            "goal": self.goal[chosen].copy(),
            "origin": self.origin[chosen].copy(),
            "clearance": self.clearance[chosen].astype(np.float32),
            "cost_to_go": self.cost_to_go[chosen].astype(np.float32),
        }
        _mirror(arrays, world, rng.random(size) < 0.5)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in (arrays | world).items()}
        reading = Reading(
            tensors["camera"],
            *(tensors[name][:, :sequence] for name in ("range", "wheel", "gyro", "applied")),
        )
        return Batch(
            reading,
            tensors["range"],
            tensors["applied"],
            tensors["expert"],
            tensors["expert_valid"],
            tensors["pose"],
            tensors["movers"],
            torch.from_numpy(inside),
            tensors["goal"],
            tensors["origin"],
            tensors["clearance"][:, None],
            tensors["cost_to_go"][:, None],
        )


def _pad(grid: Array) -> Array:
    rows, columns = grid.shape
    if max(rows, columns) > GRID_CELLS:
        raise BadInput(f"a true map of {rows} x {columns} cells is larger than {GRID_CELLS}")
    return np.pad(grid, ((0, GRID_CELLS - rows), (0, GRID_CELLS - columns)), mode="edge")


def _mirror(arrays: dict[str, Array], world: dict[str, Array], which: Array) -> None:
    """Reflect the chosen sequences in the world's x axis, in place: y and yaw change sign, left becomes right."""
    arrays["camera"][which] = arrays["camera"][which][..., ::-1]
    arrays["range"][which] = arrays["range"][which][..., (-np.arange(8)) % 8]
    arrays["wheel"][which] = arrays["wheel"][which][..., ::-1]
    arrays["gyro"][which] *= -1
    for name in ("applied", "expert"):
        arrays[name][which, :, 1] *= -1
    arrays["pose"][which, :, 1:] *= -1
    arrays["movers"][which, :, :, 1] *= -1
    world["goal"][which, 1] *= -1
    # Row r of a true map lies at origin.y + r * cell; after the reflection the last row comes first.
    world["origin"][which, 1] = -(world["origin"][which, 1] + (GRID_CELLS - 1) * TRUE_CELL_M)
    for name in ("clearance", "cost_to_go"):
        world[name][which] = world[name][which][:, ::-1]
