"""The network that every planner of the comparison plans with: a latent MLP world model of random weights.

It is defined once, here, and becomes a bundle through an adapter, as any model does.  Its speed does not depend on
what it has learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from edge_wm.bundle import manifest as mf
from export.adapter import Adapter, Recording, Split, Step
from export.package import package

ACTIONS = 2
OBSERVATION = 16
LIMIT = 1.0
ITERATIONS = 3
ELITES = 8
INITIAL_STD = 0.5
TEMPERATURE = 0.5
DISCOUNT = 0.99


class Size(NamedTuple):
    """How much is imagined in one iteration, and by how wide a network."""

    candidates: int
    horizon: int
    latent: int = 128

    def __str__(self) -> str:
        width = "" if self.latent == 128 else f"-{self.latent}"
        return f"{self.candidates}x{self.horizon}{width}"

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products of one iteration."""
        latent, hidden = self.latent, 2 * self.latent
        step = (latent + ACTIONS) * hidden + hidden * hidden + hidden * latent + latent
        return 2 * self.candidates * self.horizon * step


class LatentMLP(nn.Module):
    """Next latent state, reward and value; two hidden layers twice as wide as the latent state."""

    def __init__(self, latent: int = 128) -> None:
        super().__init__()
        self.of_latent = nn.Linear(latent, 2 * latent)
        self.of_action = nn.Linear(ACTIONS, 2 * latent, bias=False)
        self.hidden = nn.Linear(2 * latent, 2 * latent)
        self.to_latent = nn.Linear(2 * latent, latent)
        self.of_observation = nn.Linear(OBSERVATION, latent)
        self.reward = nn.Linear(latent, 1)
        self.value = nn.Linear(latent, 1)

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        """[N or 1, L] and [N, A] -> [N, L].  Latent and action each have their own layer, and so their own int8 scale."""
        hidden = torch.relu(self.of_latent(latent) + self.of_action(action))
        return self.to_latent(torch.relu(self.hidden(hidden)))


class Observe(nn.Module):
    """Latent state, observation, applied action -> latent state."""

    def __init__(self, network: LatentMLP) -> None:
        super().__init__()
        self.network = network

    def forward(self, latent: Tensor, observation: Tensor, applied_action: Tensor) -> Tensor:
        before = self.network.step(latent[None], applied_action[None])
        return torch.tanh(before + self.network.of_observation(observation[None]))[0]


class Imagine(nn.Module):
    """Latent state [L], actions [N, H, A] -> rewards [N, H], value of the last latent state [N]."""

    def __init__(self, network: LatentMLP) -> None:
        super().__init__()
        self.network = network

    def forward(self, latent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        # All candidates start in one latent state: the first step computes its part of it once, for all of them.
        latent, rewards = latent[None], []
        for action in actions.unbind(1):
            latent = self.network.step(latent, action)
            rewards.append(self.network.reward(latent))
        return torch.cat(rewards, dim=1), self.network.value(latent)[:, 0]


def network(size: Size) -> LatentMLP:
    """The same weights every time."""
    torch.manual_seed(0)
    return LatentMLP(size.latent).eval().requires_grad_(False)


def latent_of(size: Size) -> np.ndarray:
    """A latent state float32[L] to plan from."""
    return np.random.default_rng(1).uniform(-1.0, 1.0, size.latent).astype(np.float32)


def adapter(size: Size) -> Adapter:
    """What the exporter must know of the network."""
    model = network(size)
    return Adapter(
        name="latent-mlp",
        about="A network of random weights, to measure the speed of planners with.",
        tick_s=0.1,
        imagine_size=mf.Imagine(size.candidates, size.horizon, 0.1),
        observation=(mf.ObservationArray("observation", (OBSERVATION,), "float32", "1", -9.0, 9.0, 1.0),),
        action=mf.ActionSpec(("first", "second"), ("1", "1"), (-LIMIT,) * ACTIONS, (LIMIT,) * ACTIONS),
        state=(mf.StateTensor("latent", (size.latent,)),),
        goal=None,
        heads=(
            mf.Head("reward", "imagine", ("N", "H"), "1"),
            mf.Head("terminal_value", "imagine", ("N",), "1"),
        ),
        planner=mf.PlannerDefaults(
            iterations=ITERATIONS,
            elites=ELITES,
            keep_fraction=0.3,
            noise_beta=2.0,
            initial_std=(INITIAL_STD,) * ACTIONS,
            momentum=0.1,
            costs={"reward": 1.0, "terminal_value": 1.0},
            temperature=TEMPERATURE,
        ),
        observe=Observe(model).eval(),
        imagine=Imagine(model).eval(),
        recordings=_recordings,
    )


def bundle(size: Size, folder: Path) -> Path:
    """The network of that size as a bundle in ``folder``; finished graphs are kept there between runs."""
    directory = folder / str(size)
    package(adapter(size), directory, version="1.0.0", work=folder / "graphs" / str(size))
    return directory


def _recordings(split: Split) -> Iterable[Recording]:
    """Two episodes of noise for each split."""
    for number in range(2):
        rng = np.random.default_rng([number, split == "held-out"])
        yield [
            Step(
                {"observation": rng.normal(size=OBSERVATION).astype(np.float32)},
                rng.uniform(-LIMIT, LIMIT, ACTIONS).astype(np.float32),
            )
            for _ in range(100)
        ]
