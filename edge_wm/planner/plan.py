"""What goes into planning and what comes out: settings, action limits, the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edge_wm.errors import BadInput
from edge_wm.planner.costs import DEFAULT_WEIGHTS, Array, CostSum, Scale

if TYPE_CHECKING:
    from edge_wm.bundle.manifest import Manifest

BODY_VELOCITY = ("v", "w")
"""Names of the two numbers of an action that is a command."""

Primitive = tuple[tuple[float, ...], ...]

PRIMITIVES: tuple[Primitive, ...] = (
    ((0.0, 0.8),),
    ((0.0, -0.8),),
    ((0.0, 0.8), (0.8, 0.0), (0.8, 0.0)),
    ((0.0, -0.8), (0.8, 0.0), (0.8, 0.0)),
    ((0.8, 0.0),),
)
"""Ways out of a local minimum that noise around the last plan hardly ever finds: turn left, turn right, turn and
then go, go straight.  For actions that are commands only.  A primitive is a row of actions that share the horizon evenly, each number a share of the
limit on its side of zero."""


Method = Literal["icem", "mppi", "cem"]
METHODS: tuple[Method, ...] = get_args(Method)
"""Whose conventions the planner keeps: what is tried beside samples, what a plan begins with, and which is chosen.

- ``icem``: the mean, rest, the last plan, kept elites and primitives, and the policy's sequences once; the last mean,
  shifted, its last action held; the cheapest candidate of all iterations.
- ``mppi``: the policy's sequences in every iteration; the last mean, shifted, then rest; one of the last elites, drawn
  by its weight (TD-MPC2, Hansen et al. 2024).
- ``cem``: the mean; the last mean, shifted, then rest; the mean (DINO-WM, Zhou et al. 2024).
"""


class PlanError(Exception):
    """There is no plan: nothing that the model imagined can be used.  The supervisor stops the robot."""


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """Least and greatest value of each of the A numbers of an action: v in m/s, w in rad/s."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(
            a < b for a, b in zip(self.low, self.high, strict=True)
        ):
            raise BadInput(f"action limits: low {self.low} must be below high {self.high}, number by number")


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """Settings of the planner.

    Attributes:
        iterations: at most so many calls of ``imagine`` a plan.
        elites: the cheapest candidates, from which the next mean comes.
        keep_fraction: share of the elites that is carried into the next iteration and the next plan.
        noise_beta: exponent of the noise's spectrum; 0 white, 2 Brownian.
        initial_std: standard deviation of each action in its own unit at the start of every plan.
        std_floor: share of ``initial_std`` below which it never shrinks.
        momentum: share of the old mean and deviation in the new.
        policy_copies: noisy copies of the model's own proposals.
        weights: weight of each cost, see ``edge_wm.planner.costs``.
        comfort_m: clearance of the robot's centre below which closeness costs.
        touch_m: clearance of its centre at which it touches: its radius.
        touch_discount: how much a touch counts per step that it is further away.
        reward_discount: how much a predicted reward counts per step that it is further away.
        temperature: how much more the cheaper elites count: with the weight ``exp(-temperature * cost)``, as in MPPI
            (Williams et al. 2015) and TD-MPC2 (Hansen et al. 2024); 0 counts all alike, as in CEM.
        method: whose conventions hold where settings cannot say it, see ``METHODS``.
        primitives: see ``PRIMITIVES``.
    """

    iterations: int = 3
    elites: int = 8
    keep_fraction: float = 0.3
    noise_beta: float = 2.0
    initial_std: tuple[float, ...] = (0.2, 1.0)
    std_floor: float = 0.1
    momentum: float = 0.1
    policy_copies: int = 6
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    comfort_m: float = 0.25
    touch_m: float = 0.12
    touch_discount: float = 0.97
    reward_discount: float = 1.0
    temperature: float = 0.0
    method: Method = "icem"
    primitives: tuple[Primitive, ...] = PRIMITIVES

    def __post_init__(self) -> None:
        for name, right in {
            "iterations": self.iterations >= 1,
            "elites": self.elites >= 1,
            "keep_fraction": 0.0 <= self.keep_fraction <= 1.0,
            "noise_beta": self.noise_beta >= 0.0,
            "initial_std": all(std > 0.0 for std in self.initial_std),
            "std_floor": 0.0 <= self.std_floor <= 1.0,
            "momentum": 0.0 <= self.momentum < 1.0,
            "policy_copies": self.policy_copies >= 0,
            "comfort_m": self.comfort_m > self.touch_m,
            "touch_discount": 0.0 < self.touch_discount <= 1.0,
            "reward_discount": 0.0 < self.reward_discount <= 1.0,
            "temperature": 0.0 <= self.temperature < math.inf,
            "method": self.method in METHODS,
        }.items():
            if not right:
                raise BadInput(f"planner: {name} = {getattr(self, name)} is outside its range")

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> PlannerConfig:
        """The settings that a bundle was evaluated with."""
        defaults = manifest.planner
        return cls(
            iterations=defaults.iterations,
            elites=defaults.elites,
            keep_fraction=defaults.keep_fraction,
            noise_beta=defaults.noise_beta,
            initial_std=tuple(defaults.initial_std),
            std_floor=defaults.std_floor,
            momentum=defaults.momentum,
            policy_copies=defaults.policy_copies,
            weights=dict(defaults.costs),
            comfort_m=defaults.comfort_m,
            touch_m=defaults.touch_m,
            touch_discount=defaults.touch_discount,
            reward_discount=defaults.reward_discount,
            temperature=defaults.temperature,
            method=defaults.method,
            primitives=PRIMITIVES if manifest.action.names == BODY_VELOCITY else (),
        )


def cost_sum(config: PlannerConfig, limits: ActionLimits, candidates: int, horizon: int) -> CostSum:
    """The sum of costs that ``config`` weighs, for plans of that size.

    Raises:
        BadInput: a weight is negative, not finite or names no cost.
    """
    low, high = np.array(limits.low, dtype=np.float32), np.array(limits.high, dtype=np.float32)
    scale = Scale(
        half_range=np.tile((high - low) / 2.0, (horizon, 1)),
        reverse=max(0.0, -limits.low[0]),
        touch_discount=(config.touch_discount ** np.arange(horizon)).astype(np.float32),
        reward_cost=-(config.reward_discount ** np.arange(horizon + 1)).astype(np.float32),
        comfort_m=config.comfort_m,
        touch_m=config.touch_m,
    )
    return CostSum(config.weights, scale, candidates)


@dataclass(frozen=True, slots=True)
class Plan:
    """A chosen action sequence with its imagined outcome.  The arrays are copies and belong to the receiver.

    Attributes:
        actions: float32[H, A].
        poses: float32[H, 3], x, y, yaw in the odometry frame; None if the model gives none, or the plan is a mean.
        cost: the weighted sum; of the method ``cem``, whose plan was not imagined itself, the mean of the elites';
            NaN if ``iterations`` is 0.
        iterations: calls of ``imagine`` that were made; 0 means that there was no time and this is the
            previous plan, shifted by one tick.
        candidates: float32[N, H, 3], poses of the last iteration's candidates, or None.
        candidate_costs: float32[N], infinite where the model's outcome was not finite; empty if none ran.
    """

    actions: Array
    poses: Array | None
    cost: float
    iterations: int
    candidates: Array | None
    candidate_costs: Array
