"""TD-MPC2 through the adapter: Hansen, Su, Wang, "TD-MPC2: Scalable, Robust World Models for Continuous Control", ICLR 2024.

The world model of the paper (arXiv 2310.16828, section 3 and appendix H) in its 5-million-parameter size, for one task:
observations become a latent state of simplices, and latent dynamics, a reward, five critics and a policy read it.  Its
planner is MPPI, which the runtime's planner is set to; what differs still is in docs/your-own-model.md.

    python -m export bundle docs/examples/td_mpc2.py --checkpoint walker.pt --out models/walker

The names of the weights are those of the published code, so that a checkpoint of one task in its current layout
(``{"model": state dict}``) fits if its sizes are those of ``Size``.  Without a checkpoint the weights are random: an
example of the way to the board, not a model that can do anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge_wm.bundle import manifest as mf
from edge_wm.sensors.observation import Array
from export.adapter import Adapter, Recording, Split, Step

SIMPLEX = 8
"""Numbers of one simplex of the latent state."""
LARGEST = 10.0
"""Rewards and values lie within ``symexp(-10)`` and ``symexp(10)``."""
MIN_STD, MAX_STD = 0.05, 2.0
MIN_LOG_STD, MAX_LOG_STD = -10.0, 2.0
POLICY_SEQUENCES = 24
TICK_S = 0.025
FRAMES, PICTURE = 3, 64
SEED = 0


@dataclass(frozen=True)
class Size:
    """Widths of the model and numbers of its planner; the defaults are the published ones for 5 million parameters."""

    observation: int = 24
    action: int = 6
    pictures: bool = False
    encoder: int = 256
    width: int = 512
    latent: int = 512
    bins: int = 101
    critics: int = 5
    candidates: int = 512
    horizon: int = 3
    elites: int = 64
    discount: float = 0.99


# --- the model -------------------------------------------------------------------------------------------------------


class SimNorm(nn.Module):
    """The last axis as simplices of ``SIMPLEX`` numbers that sum to 1 (section 3.1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape whose last axis ``SIMPLEX`` divides."""
        return x.unflatten(-1, (-1, SIMPLEX)).softmax(-1).flatten(-2)


class NormedLinear(nn.Linear):
    """A linear layer, LayerNorm and an activation."""

    def __init__(self, inputs: int, outputs: int, activation: nn.Module) -> None:
        super().__init__(inputs, outputs)
        self.ln = nn.LayerNorm(outputs)
        self.act = activation

    def forward(self, x: Tensor) -> Tensor:
        """Rows to rows."""
        return self.act(self.ln(super().forward(x)))


def mlp(inputs: int, hidden: list[int], outputs: int, last: nn.Module | None = None) -> nn.Sequential:
    """Normed layers with Mish; the last one is plain, or normed with the activation ``last``."""
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = [NormedLinear(a, b, nn.Mish()) for a, b in pairwise(sizes)]
    end = nn.Linear(sizes[-1], outputs) if last is None else NormedLinear(sizes[-1], outputs, last)
    return nn.Sequential(*layers, end)


class Pixels(nn.Module):
    """Bytes of pictures to numbers within half of 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return x / 255.0 - 0.5


def convolutions(channels: int = 32) -> nn.Sequential:
    """Four convolutions over the newest frames, 64 x 64, to 512 numbers.  The published random shift is for training."""
    return nn.Sequential(
        nn.Identity(),  # where the random shift is in training, which keeps the published names of the weights
        Pixels(),
        nn.Conv2d(3 * FRAMES, channels, 7, stride=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=1),
        nn.Flatten(),
        SimNorm(),
    )


class TDMPC2(nn.Module):
    """Encoder, latent dynamics, reward, policy and critics.  All take and return rows: ``[B, latent]``, ``[B, A]``."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        hidden, joint = [size.width, size.width], size.latent + size.action
        observed = "rgb" if size.pictures else "state"
        encoder = (
            convolutions()
            if size.pictures
            else mlp(size.observation, [size.encoder], size.latent, last=SimNorm())
        )
        self._encoder = nn.ModuleDict({observed: encoder})
        self._dynamics = mlp(joint, hidden, size.latent, last=SimNorm())
        self._reward = mlp(joint, hidden, size.bins)
        self._pi = mlp(size.latent, hidden, 2 * size.action)
        self._Qs = nn.ModuleList(mlp(joint, hidden, size.bins) for _ in range(size.critics))
        self.register_buffer("bins", torch.linspace(-LARGEST, LARGEST, size.bins), persistent=False)

    def encode(self, observation: Tensor) -> Tensor:
        """Observations, [B, observation] or [B, 9, 64, 64] in 0..255, to latent states."""
        (encoder,) = self._encoder.values()
        return encoder(observation)

    def next(self, z: Tensor, action: Tensor) -> Tensor:
        """The latent states after one step."""
        return self._dynamics(torch.cat([z, action], dim=-1))

    def reward(self, z: Tensor, action: Tensor) -> Tensor:
        """Predicted rewards [B] of one step."""
        return self.number(self._reward(torch.cat([z, action], dim=-1)))

    def policy(self, z: Tensor, noise: Tensor | None = None) -> Tensor:
        """Actions [B, A] of the policy prior, in -1..1: its mean ones, or those that normal ``noise`` [B, A] draws."""
        mean, spread = self._pi(z).chunk(2, dim=-1)
        if noise is None:
            return mean.tanh()
        log_std = MIN_LOG_STD + 0.5 * (MAX_LOG_STD - MIN_LOG_STD) * (spread.tanh() + 1.0)
        return (mean + noise * log_std.exp()).tanh()

    def value(self, z: Tensor, action: Tensor) -> Tensor:
        """Predicted returns [B]: the mean of all critics.

        The published planner takes the mean of two critics that it draws anew each time; this is its expectation.
        """
        joint = torch.cat([z, action], dim=-1)
        return torch.stack([self.number(critic(joint)) for critic in self._Qs]).mean(dim=0)

    def number(self, logits: Tensor) -> Tensor:
        """The number that logits [B, bins] stand for: the mean over the bins, out of symmetric-log space."""
        compressed = (logits.softmax(dim=-1) * self.bins).sum(dim=-1)
        return compressed.sign() * (compressed.abs().exp() - 1.0)


def load(checkpoint: Path | None, size: Size) -> TDMPC2:
    """The model with the weights of a checkpoint, ours or the published code's, or with random ones."""
    torch.manual_seed(SEED)
    model = TDMPC2(size).eval()
    if checkpoint is not None:
        stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(ours(stored.get("model", stored), size.critics))
    return model


def ours(published: dict[str, Tensor], critics: int) -> dict[str, Tensor]:
    """Weights by our names: the published code stacks the critics, and keeps what only training needs."""
    stacked = "_Qs.params."
    weights = {}
    for name, tensor in published.items():
        if name.startswith(stacked) and isinstance(tensor, Tensor):
            part = name.removeprefix(stacked)
            weights |= {f"_Qs.{critic}.{part}": tensor[critic] for critic in range(critics)}
        elif name.startswith(("_encoder.", "_dynamics.", "_reward.", "_pi.", "_Qs.")) and "__" not in name:
            weights[name] = tensor
    return weights


# --- the graphs ------------------------------------------------------------------------------------------------------


class ObserveNumbers(nn.Module):
    """The encoder forgets: the latent state is what the newest observation says.

    What the policy would do is part of the state: the planner tries it, and need not ask for it in every iteration.
    The published planner draws noise for it at every tick; here it is drawn once, so that the graph gives the same
    numbers every time.
    """

    def __init__(self, model: TDMPC2) -> None:
        super().__init__()
        self.model = model
        shape = (model.size.horizon, POLICY_SEQUENCES, model.size.action)
        self.register_buffer("noise", torch.randn(shape, generator=torch.Generator().manual_seed(SEED)))

    def forward(
        self, latent: Tensor, policy: Tensor, sensors: Tensor, applied_action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Latent state float32[latent], sequences of the policy float32[24, H, A]."""
        z = self.model.encode(sensors[None])
        return z[0], self.propose(z)

    def propose(self, z: Tensor) -> Tensor:
        """What the policy would do from ``z`` [1, latent] on: [24, H, A]."""
        z, actions = z.expand(POLICY_SEQUENCES, -1), []
        for noise in self.noise:
            actions.append(self.model.policy(z, noise))
            z = self.model.next(z, actions[-1])
        return torch.stack(actions, dim=1)


class ObservePictures(ObserveNumbers):
    """The newest frames are memory, hence part of the latent state; before the first picture they are -1."""

    def forward(
        self, latent: Tensor, policy: Tensor, frames: Tensor, camera: Tensor, applied_action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latent state, sequences of the policy, frames float32[3, 3, 64, 64]."""
        picture = camera.to(torch.float32).permute(2, 0, 1)[None]
        frames = torch.cat([frames[1:], picture])
        frames = torch.where(frames < 0.0, picture, frames)
        z = self.model.encode(frames.flatten(0, 1)[None])
        return z[0], self.propose(z), frames


class Imagine(nn.Module):
    """Rewards along the candidates and the value at their end."""

    def __init__(self, model: TDMPC2) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        """Outcomes: reward [N, H], terminal_value [N].  The actions [N, H, A] are the last input."""
        actions = others[-1]
        z, rewards = latent.expand(len(actions), -1), []
        for action in actions.unbind(dim=1):
            rewards.append(self.model.reward(z, action))
            z = self.model.next(z, action)
        return torch.stack(rewards, dim=1), self.model.value(z, self.model.policy(z))


# --- the adapter -----------------------------------------------------------------------------------------------------


def adapter(checkpoint: Path | None, size: Size | None = None) -> Adapter:
    """Declare the model."""
    size = size or Size()
    model = load(checkpoint, size)
    motors = range(size.action)
    numbers = mf.ObservationArray("sensors", (size.observation,), "float32", "1", -50, 50, 4 * TICK_S)
    camera = mf.ObservationArray("camera", (PICTURE, PICTURE, 3), "uint8", "RGB", 0, 255, 4 * TICK_S)
    latent = mf.StateTensor("latent", (size.latent,), description="simplices of 8")
    policy = mf.StateTensor("policy", (POLICY_SEQUENCES, size.horizon, size.action))
    frames = mf.StateTensor("frames", (FRAMES, 3, PICTURE, PICTURE), initial=-1.0, description="newest last")
    return Adapter(
        name="td-mpc2-pixels" if size.pictures else "td-mpc2",
        about="An example: TD-MPC2 for a row of motor-driven pendulums."
        + (" The weights are random: it can do nothing." if checkpoint is None else ""),
        tick_s=TICK_S,
        imagine_size=mf.Imagine(size.candidates, size.horizon, TICK_S),
        observation=(camera,) if size.pictures else (numbers,),
        action=mf.ActionSpec(
            tuple(f"motor_{motor}" for motor in motors),
            units=tuple("share of full torque" for _ in motors),
            low=(-1.0,) * size.action,
            high=(1.0,) * size.action,
        ),
        state=(latent, policy, frames) if size.pictures else (latent, policy),
        goal=None,
        heads=(
            mf.Head("reward", "imagine", ("N", "H"), "reward", "of each step"),
            mf.Head("terminal_value", "imagine", ("N",), "reward", "discounted, after the last step"),
        ),
        planner=mf.PlannerDefaults(
            iterations=6,
            elites=size.elites,
            keep_fraction=0.0,
            noise_beta=0.0,
            initial_std=(MAX_STD,) * size.action,
            std_floor=MIN_STD / MAX_STD,
            momentum=0.0,
            temperature=0.5,
            policy_copies=0,
            reward_discount=size.discount,
            method="mppi",
            costs={"reward": 1.0, "terminal_value": 1.0},
        ),
        observe=(ObservePictures if size.pictures else ObserveNumbers)(model).eval(),
        imagine=Imagine(model).eval(),
        recordings=lambda split: recordings(split, size),
        data_seed=SEED,
    )


# --- something to observe --------------------------------------------------------------------------------------------

EPISODES, TICKS = 4, 48


class Pendulums:
    """A row of driven pendulums, without friction in their motors and with some in the air."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.angle = rng.uniform(-np.pi, np.pi, count)
        self.speed = rng.uniform(-1.0, 1.0, count)
        self.torque = np.zeros(count)

    def step(self, torque: Array) -> None:
        """Apply float[count] torques, in -1..1, for one tick."""
        self.torque = torque
        self.speed += TICK_S * (8.0 * torque - 9.81 * np.sin(self.angle) - 0.1 * self.speed)
        self.angle += TICK_S * self.speed

    def numbers(self) -> Array:
        """Float32[4 * count]: sines, cosines, speeds and torques."""
        parts = (np.sin(self.angle), np.cos(self.angle), self.speed, self.torque)
        return np.concatenate(parts).astype(np.float32)

    def picture(self) -> Array:
        """Uint8[64, 64, 3]: a coloured spot at the end of every pendulum."""
        row, column = np.mgrid[:PICTURE, :PICTURE]
        drawn = np.zeros((PICTURE, PICTURE, 3))
        for number, angle in enumerate(self.angle):
            x = (number + 0.5) * PICTURE / len(self.angle) + 8.0 * np.sin(angle)
            y = PICTURE / 2 + 20.0 * np.cos(angle)
            spot = np.exp(-((row - y) ** 2 + (column - x) ** 2) / 8.0)
            drawn[..., number % 3] += 255.0 * spot
        return drawn.clip(0, 255).astype(np.uint8)


def recordings(split: Split, size: Size) -> Iterable[Recording]:
    """Episodes of pendulums under slowly changing torques."""
    for number in range(EPISODES):
        yield _episode(np.random.default_rng([number, split == "held-out"]), size)


def _episode(rng: np.random.Generator, size: Size) -> Iterator[Step]:
    world = Pendulums(size.action, rng)
    phase, rate = rng.uniform(0.0, 6.0, size.action), rng.uniform(1.0, 6.0, size.action)
    for tick in range(TICKS):
        seen = {"camera": world.picture()} if size.pictures else {"sensors": world.numbers()}
        yield Step(seen, world.torque.astype(np.float32))
        world.step(np.sin(phase + rate * tick * TICK_S))
