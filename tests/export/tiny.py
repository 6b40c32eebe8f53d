"""The smallest model and the shortest runs that still go through every line of ``export``."""

from __future__ import annotations

import pytest

from edge_wm.bundle.manifest import Role
from export import package
from export.config import CollectConfig, ModelConfig, TrainConfig
from export.rollouts import Inputs

TINY = ModelConfig(
    camera_width=4,
    camera_features=4,
    depth_bins=4,
    map_channels=4,
    fusion_width=8,
    context_width=8,
    context_dilations=(1, 2),
    context_channels=4,
    motion=8,
    cells=40,
    value_iterations=8,
)
EPISODES = 4
DRIVE = CollectConfig(episodes=EPISODES, ticks=45, kinds={"rooms": 0.5, "mazes": 0.5}, movers=0.5)
SEQUENCE = 12
"""Ticks of a training sequence: two read-outs."""
FUTURE = TINY.horizon * TINY.ticks_per_step
WEIGHTS = dict.fromkeys(
    ("local", "clearance", "collision", "ring", "motion", "value", "policy", "latent", "distil"), 1.0
)
TRAINING = TrainConfig(
    steps=4, batch=2, sequence=SEQUENCE, learning_rate=2e-3, weights=WEIGHTS, warmup=1, checkpoint_every=100
)


def drive_with(driven: dict[Role, list[Inputs]], patch: pytest.MonkeyPatch) -> None:
    """Let ``package`` take ``driven`` for what the model meets, calibration and proof alike."""
    patch.setattr(package, "rollouts", lambda *_: driven)
    patch.setattr(package, "check_splits", lambda *_: None)
