"""Sizes and settings of the models and of each stage, read from the TOML files in ``export/configs``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge_wm.toml_file import checked, read_table

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Kind = Literal["rooms", "rooms-hard", "corridors", "mazes"]
"""Of the world generator."""


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes of one world model.  ``sees_depth`` gives the camera encoder the depth picture, for the teacher only."""

    camera_width: int
    camera_features: int
    depth_bins: int
    map_channels: int
    fusion_width: int
    context_width: int
    context_dilations: tuple[int, ...]
    context_channels: int
    motion: int
    sees_depth: bool = False
    cells: int = 40
    horizon: int = 12
    tick_s: float = 0.1
    step_s: float = 0.2
    value_iterations: int = 48

    @property
    def ticks_per_step(self) -> int:
        """Control ticks in one imagined step."""
        return round(self.step_s / self.tick_s)


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run.

    Attributes:
        steps: optimiser steps.
        batch: sequences a step.
        sequence: observed ticks of a sequence; the imagined horizon comes after it.
        learning_rate: peak of a cosine schedule with a linear warm-up.
        weights: factor of each loss by its name.
    """

    steps: int
    batch: int
    sequence: int
    learning_rate: float
    weights: dict[str, float]
    warmup: int = 100
    seed: int = 0
    clip: float = 10.0
    checkpoint_every: int = 200


class CollectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to drive for data: the share of each kind of world, which sum to 1, and of worlds with moving obstacles."""

    episodes: AtLeastOne
    ticks: AtLeastOne
    kinds: dict[Kind, Share]
    movers: Share
    first_seed: Seed = 0

    def __post_init__(self) -> None:
        total = sum(self.kinds.values())
        if not math.isclose(total, 1.0):
            raise ValueError(f"kinds: the shares sum to {total:g}, not to 1")


class EvaluateConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How candidates are compared: episodes in each kind of world, on validation seeds."""

    episodes: AtLeastOne
    kinds: tuple[Kind, ...]
    first_seed: Seed


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration file."""

    collect: CollectConfig
    teacher: ModelConfig
    student: ModelConfig
    train_teacher: TrainConfig
    train_student: TrainConfig
    train_distil: TrainConfig
    on_policy: CollectConfig
    evaluate: EvaluateConfig
    shipped_cells: int
    shipped_value_iterations: int
    version: str


def load_config(path: Path) -> RunConfig:
    """Read a configuration.  Raises BadInput with one line that names the field."""
    return checked(read_table(path, "configuration"), RunConfig, path)
