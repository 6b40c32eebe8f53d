"""Train one world model: the teacher with what only simulation knows, or the student distilled from it.

A run writes its curve to ``log.jsonl`` and a checkpoint every few hundred steps, stops cleanly on Ctrl-C, and goes on
from the newest checkpoint when it is started again.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.progress import Progress, TextColumn
from torch import nn

from edge_wm.errors import BadInput
from export.config import ModelConfig, TrainConfig
from export.dataset import Episodes
from export.losses import Unrolled, distillation_loss, losses, total
from export.world_model import WorldModel

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def train(
    model_config: ModelConfig,
    config: TrainConfig,
    data: list[Path],
    folder: Path,
    *,
    teacher: WorldModel | None = None,
    start_from: Path | None = None,
) -> WorldModel:
    """Train until ``config.steps`` and return the model.

    Args:
        model_config: sizes of the model.
        config: the run.
        data: folders of shards.
        folder: where the checkpoint and the curve go; a checkpoint found there is resumed, if its configuration is
            the same.
        teacher: a trained teacher to distil from, or None.
        start_from: weights to begin with (a finished run's folder), or None for fresh ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    model = WorldModel(model_config)
    if start_from is not None:
        model.load_state_dict(torch.load(start_from / CHECKPOINT, weights_only=True)["model"])
    trained: list[nn.Module] = [model]
    projection = None
    if teacher is not None:
        teacher.eval().requires_grad_(False)
        projection = nn.Conv2d(model_config.context_channels, teacher.config.context_channels, 1)
        trained.append(projection)
    parameters = [p for module in trained for p in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=1e-4, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    step = _resume(folder, config, trained, optimiser, schedule)
    episodes = Episodes(data)
    future = model_config.horizon * model_config.ticks_per_step
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}")) as progress:
        task = progress.add_task(folder.name, total=config.steps, completed=step, note="")
        means: dict[str, float] = {}
        started = time.monotonic()
        try:
            while step < config.steps:
                rng = np.random.default_rng([config.seed, step])
                batch = episodes.batch(config.batch, config.sequence, future, rng)
                unrolled = Unrolled(model, batch)
                points = torch.Generator().manual_seed(int(rng.integers(2**62)))
                parts = losses(model, batch, unrolled, points)
                if teacher is not None and projection is not None:
                    with torch.no_grad():
                        theirs = Unrolled(teacher, batch)
                    parts["distil"] = distillation_loss(model, teacher, projection, unrolled, theirs)
                loss = total(parts, config)
                optimiser.zero_grad()
                loss.backward()
                slope = nn.utils.clip_grad_norm_(parameters, config.clip)
                if not torch.isfinite(loss + slope):  # before it reaches the weights, and the checkpoint
                    raise BadInput(
                        f"{folder}: the loss became {loss.item()}, its gradient {slope.item()}, at step {step};"
                        " lower the learning rate and remove this folder"
                    )
                optimiser.step()
                schedule.step()
                step += 1
                for name, value in parts.items():
                    means[name] = 0.95 * means.get(name, value.item()) + 0.05 * value.item()
                progress.update(task, completed=step, note=f"loss {loss.item():.3f}")
                if step % 50 == 0:
                    spread = unrolled.state.context.std(dim=(0, 2, 3)).mean().item()
                    entry = {
                        "step": step,
                        "seconds": time.monotonic() - started,
                        "context_std": spread,
                        **means,
                    }
                    with (folder / LOG).open("a") as log:
                        log.write(json.dumps({k: round(v, 5) for k, v in entry.items()}) + "\n")
                if step % config.checkpoint_every == 0:
                    _save(folder, config, step, trained, optimiser, schedule)
        finally:
            _save(folder, config, step, trained, optimiser, schedule)
    return model


def load_model(folder: Path) -> WorldModel:
    """The model of a run's newest checkpoint, ready to be evaluated."""
    path = folder / CHECKPOINT
    if not path.exists():
        raise BadInput(f"{folder}: holds no {CHECKPOINT}; train it first")
    saved = torch.load(path, weights_only=True)
    model = WorldModel(msgspec.json.decode(saved["config"], type=ModelConfig))
    model.load_state_dict(saved["model"])
    return model.eval()


def _rate(step: int, config: TrainConfig) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to 2 %."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    left = 1.0 - (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.02 + 0.98 * 0.5 * (1.0 - math.cos(math.pi * left))


def _save(
    folder: Path,
    config: TrainConfig,
    step: int,
    trained: list[nn.Module],
    optimiser: Any,
    schedule: Any,
) -> None:
    model = trained[0]
    assert isinstance(model, WorldModel)
    partial = folder / (CHECKPOINT + ".partial")
    torch.save(
        {
            "step": step,
            "config": msgspec.json.encode(model.config),
            "training": msgspec.json.encode(config),
            "model": model.state_dict(),
            "beside": [module.state_dict() for module in trained[1:]],
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        },
        partial,
    )
    partial.replace(folder / CHECKPOINT)


def _resume(
    folder: Path, config: TrainConfig, trained: list[nn.Module], optimiser: Any, schedule: Any
) -> int:
    """Load the newest checkpoint, if there is one, and return its step."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    model = trained[0]
    assert isinstance(model, WorldModel)
    begun = (
        msgspec.json.decode(saved["config"], type=ModelConfig),
        msgspec.json.decode(saved["training"], type=TrainConfig),
    )
    if begun != (model.config, config):
        raise BadInput(
            f"{path}: was begun with another configuration: go on with that one, or remove the folder to train anew"
        )
    trained[0].load_state_dict(saved["model"])
    for module, weights in zip(trained[1:], saved["beside"], strict=True):
        module.load_state_dict(weights)
    optimiser.load_state_dict(saved["optimiser"])
    schedule.load_state_dict(saved["schedule"])
    return int(saved["step"])
