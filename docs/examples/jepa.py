"""A joint-embedding world model through the adapter: pictures in, a goal picture to reach, no reward and no decoder.

The form is that of DINO-WM (Zhou et al., "World Models on Pre-trained Visual Features enable Zero-shot Planning", 2024,
arXiv 2411.04983) and V-JEPA 2-AC (Assran et al., 2025, arXiv 2506.09985), scaled down to a board: a vision transformer
makes one embedding of a picture (theirs keep one for each patch, and are trained beforehand); a transformer with causal
attention over the newest three embeddings and actions predicts the next embedding; a plan is as good as its last
embedding is near to that of the goal picture.  Their planner is CEM; see docs/your-own-model.md.

    python -m export bundle docs/examples/jepa.py --checkpoint weights.pt --out models/jepa

Without a checkpoint (a state dict of ``JEPA``) the weights are random: an example of the way to the board, not a model
that can do anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_wm.bundle import manifest as mf
from edge_wm.sensors.observation import Array
from export.adapter import Adapter, Recording, Split, Step

PICTURE, PATCH = 64, 8
MEMORY = 3
"""Embeddings that the predictor reads, as many frames as DINO-WM."""
ACTION = ("east", "north")
TICK_S = 0.25
"""Four pictures a second, as V-JEPA 2-AC."""
SEED = 0


@dataclass(frozen=True)
class Size:
    """Widths and depths of the model and numbers of its planner."""

    embedding: int = 192
    heads: int = 3
    encoder_blocks: int = 4
    predictor_blocks: int = 3
    candidates: int = 100
    horizon: int = 5
    elites: int = 10
    iterations: int = 5


# --- the model -------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A transformer block: attention and a small network, each behind a LayerNorm and added to what came in."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before_attention, self.before_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T, width]."""
        parts = self.query_key_value(self.before_attention(tokens))
        query, key, value = parts.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        tokens = tokens + self.joined(attended.transpose(1, 2).flatten(2))
        return tokens + self.network(self.before_network(tokens))


class JEPA(nn.Module):
    """An encoder of pictures and a predictor of embeddings."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.embedding
        self.patches = nn.Conv2d(3, width, PATCH, stride=PATCH)
        self.places = nn.Parameter(0.02 * torch.randn((PICTURE // PATCH) ** 2, width))
        self.encoder = nn.Sequential(*(Block(width, size.heads, False) for _ in range(size.encoder_blocks)))
        self.token = nn.Linear(width + len(ACTION), width)
        self.times = nn.Parameter(0.02 * torch.randn(MEMORY, width))
        self.predictor = nn.Sequential(
            *(Block(width, size.heads, True) for _ in range(size.predictor_blocks))
        )
        self.predicted = nn.Linear(width, width)

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures uint8[B, 64, 64, 3] to embeddings [B, D] of mean 0 and deviation 1."""
        x = self.patches(pictures.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1.0)
        tokens = self.encoder(x.flatten(2).transpose(1, 2) + self.places)
        return self.normed(tokens.mean(dim=1))

    def predict(self, embeddings: Tensor, actions: Tensor) -> Tensor:
        """The embedding after each of [B, MEMORY, D] embeddings, under the action [B, MEMORY, A] that follows it."""
        tokens = self.token(torch.cat([embeddings, actions], dim=-1)) + self.times
        return self.normed(embeddings + self.predicted(self.predictor(tokens)))

    @staticmethod
    def normed(embeddings: Tensor) -> Tensor:
        """Features without scale of their own, as V-JEPA 2-AC compares them."""
        return F.layer_norm(embeddings, embeddings.shape[-1:])


def load(checkpoint: Path | None, size: Size) -> JEPA:
    """The model with the weights of a checkpoint, or with random ones."""
    torch.manual_seed(SEED)
    model = JEPA(size).eval()
    if checkpoint is not None:
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    return model


# --- the graphs ------------------------------------------------------------------------------------------------------


class Observe(nn.Module):
    """A new embedding joins the memory; the first one fills it."""

    def __init__(self, model: JEPA) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, embeddings: Tensor, actions_before: Tensor, started: Tensor, camera: Tensor, applied: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [MEMORY, D] and the actions [MEMORY - 1, A] between them, newest last; 1 from now on."""
        newest = self.model.encode(camera[None])
        embeddings = torch.where(started > 0.5, torch.cat([embeddings[1:], newest]), newest)
        return embeddings, torch.cat([actions_before[1:], applied[None]]), torch.ones_like(started)


class Imagine(nn.Module):
    """How far from the goal's embedding each candidate ends."""

    def __init__(self, model: JEPA) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, embeddings: Tensor, actions_before: Tensor, started: Tensor, actions: Tensor, goal: Tensor
    ) -> Tensor:
        """Outcome goal_distance [N]: the mean square difference, as in DINO-WM."""
        candidates = len(actions)
        memory = embeddings.expand(candidates, -1, -1)
        moves = torch.cat([actions_before.expand(candidates, -1, -1), actions], dim=1)
        for step in range(actions.shape[1]):
            after = self.model.predict(memory, moves[:, step : step + MEMORY])
            memory = torch.cat([memory[:, 1:], after[:, -1:]], dim=1)
        return (memory[:, -1] - goal).square().mean(dim=-1)


# --- the adapter -----------------------------------------------------------------------------------------------------


def adapter(checkpoint: Path | None, size: Size | None = None) -> Adapter:
    """Declare the model."""
    size = size or Size()
    model = load(checkpoint, size)
    return Adapter(
        name="jepa",
        about="An example: a joint-embedding model of a spot that is moved about a walled table."
        + (" The weights are random: it can do nothing." if checkpoint is None else ""),
        tick_s=TICK_S,
        imagine_size=mf.Imagine(size.candidates, size.horizon, TICK_S),
        observation=(mf.ObservationArray("camera", (PICTURE, PICTURE, 3), "uint8", "RGB", 0, 255, TICK_S),),
        action=mf.ActionSpec(ACTION, ("m/s", "m/s"), (-1.0, -1.0), (1.0, 1.0)),
        state=(
            mf.StateTensor("embeddings", (MEMORY, size.embedding), description="newest last"),
            mf.StateTensor("actions_before", (MEMORY - 1, len(ACTION)), description="between the embeddings"),
            mf.StateTensor("started", (1,), description="0 before the first picture"),
        ),
        goal=mf.GoalSpec((size.embedding,), "embedding", "1", "what observe makes of the goal picture"),
        heads=(mf.Head("goal_distance", "imagine", ("N",), "1", "mean square difference of embeddings"),),
        planner=mf.PlannerDefaults(
            iterations=size.iterations,
            elites=size.elites,
            keep_fraction=0.0,
            noise_beta=0.0,
            initial_std=(1.0, 1.0),
            std_floor=0.0,
            momentum=0.0,
            method="cem",
            costs={"goal_distance": 1.0},
        ),
        observe=Observe(model).eval(),
        imagine=Imagine(model).eval(),
        recordings=lambda split: recordings(split, model),
        latency_budget_ms=1e3 * TICK_S,
        data_seed=SEED,
    )


# --- something to observe --------------------------------------------------------------------------------------------

EPISODES, TICKS = 4, 48


class Table:
    """A spot on a table of one by one metre with a wall across it and a gap in the wall."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.place = rng.uniform(0.1, 0.4, 2)
        self.gap = rng.uniform(0.3, 0.7)

    def step(self, velocity: Array) -> None:
        """Move at float[2] m/s for one tick; walls hold the spot."""
        there = np.clip(self.place + TICK_S * 0.4 * velocity, 0.05, 0.95)
        crosses = (self.place[0] < 0.5) != (there[0] < 0.5)
        if crosses and abs(there[1] - self.gap) > 0.1:
            there[0] = self.place[0]
        self.place = there

    def picture(self) -> Array:
        """Uint8[64, 64, 3], from above."""
        north, east = np.mgrid[PICTURE:0:-1, :PICTURE] / PICTURE
        wall = (np.abs(east - 0.5) < 0.02) & (np.abs(north - self.gap) > 0.1)
        spot = np.exp(-((east - self.place[0]) ** 2 + (north - self.place[1]) ** 2) / 0.002)
        drawn = np.where(wall[..., None], 60.0, 230.0) * (1.0 - spot[..., None] * [0.0, 1.0, 1.0])
        return drawn.astype(np.uint8)


def recordings(split: Split, model: JEPA) -> Iterable[Recording]:
    """Episodes of a spot that wanders about, its goal a picture of where it ends."""
    for number in range(EPISODES):
        yield _episode(np.random.default_rng([number, split == "held-out"]), model)


def _episode(rng: np.random.Generator, model: JEPA) -> Iterator[Step]:
    world, seen, moves = Table(rng), [], [np.zeros(2)]
    phase, rate = rng.uniform(0.0, 6.0, 2), rng.uniform(0.2, 1.0, 2)
    for tick in range(TICKS):
        seen.append(world.picture())
        moves.append(np.sin(phase + rate * tick * TICK_S))
        world.step(moves[-1])
    with torch.no_grad():
        goal = model.encode(torch.from_numpy(seen[-1])[None])[0].numpy()
    for picture, applied in zip(seen, moves, strict=False):
        yield Step({"camera": picture}, applied.astype(np.float32), goal)
