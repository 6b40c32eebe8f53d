"""What a plan costs: metres of detour, or minus the reward that a model was trained to predict.

One small function a cost, one weight a function.  The total is the weighted sum, so weights change without a new
export, and a cost whose outcome the model does not give drops out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wm.errors import BadInput

Array = npt.NDArray[Any]

POSE = "imagined_pose"
"""Outcome float32[N, H, 3]: x, y, yaw in the odometry frame after each step."""

POLICY = "policy"
"""Outcome float32[H, A]: what the model itself would do.  Or a tensor of the latent state, float32[P, H, A], if that
is known before anything is imagined."""

OUTCOMES: Mapping[str, tuple[str | int, ...]] = {
    POSE: ("N", "H", 3),
    "value": ("N",),
    "collision": ("N", "H"),
    "clearance": ("N", "H"),
    "uncertainty": ("N", "H"),
    "cost_to_go": ("N", "H"),
    POLICY: ("H", "A"),
    "reward": ("N", "H"),
    "terminal_value": ("N",),
    "goal_distance": ("N",),
}
"""Shape of each outcome that a cost or the planner reads."""

FAR_M = 50.0
"""Distances beyond this are all equally far: one wild prediction cannot drown the other costs."""

MAX_UNCERTAINTY = 10.0

DEFAULT_WEIGHTS: Mapping[str, float] = {
    "value": 1.0,
    "terminal": 0.0,
    "collision": 5.0,
    "clearance": 1.0,
    "uncertainty": 0.1,
    "progress": 0.1,
    "effort": 0.02,
    "smoothness": 0.1,
    "reverse": 0.3,
    "revisit": 0.0,
    "reward": 0.0,
    "terminal_value": 0.0,
    "goal_distance": 0.0,
}

NOWHERE: Array = np.zeros((0, 2), dtype=np.float32)

REVISIT_M = 0.35
"""A plan that ends this near to a visited place goes back to it."""


@dataclass(slots=True)  # not frozen: that takes longer to make than a cost to calculate
class Imagined:
    """What one call of ``imagine`` is judged by.

    Attributes:
        outcomes: named arrays that ``imagine`` returned.
        actions: float32[N, H, A], inside the limits.
        goal: float32[G]; the first two are x, y in the odometry frame.  None for a model that takes no goal.
        applied: float32[A], the last action that was really sent.
        visited: float32[T, 2], places in the odometry frame where the robot was some time ago.
    """

    outcomes: Mapping[str, Array]
    actions: Array
    goal: Array | None
    applied: Array
    visited: Array = field(default_factory=lambda: NOWHERE)


@dataclass(frozen=True, slots=True)
class Scale:
    """What the costs are measured against.

    Attributes:
        half_range: float32[H, A], half of the span between the limits of each action, at every step alike.
        reverse: greatest speed backwards, m/s, positive.
        touch_discount: float32[H], how much a touch at each step counts: later ones can still be planned away.
        reward_cost: float32[H + 1], what a reward of 1 at each step costs, and what follows after the last: below 0.
        comfort_m: clearance of the robot's centre below which closeness costs.
        touch_m: clearance of the robot's centre at which it touches.
    """

    half_range: Array
    reverse: float
    touch_discount: Array
    reward_cost: Array
    comfort_m: float
    touch_m: float


@dataclass(frozen=True, slots=True)
class Scratch:
    """Arrays to calculate in, allocated once.

    Attributes:
        touch: float32[N], the probability of a touch, for the costs that need it.
        steps: float32[N, H].
        more_steps: float32[N, H].
        actions: float32[N, H, A].
    """

    touch: Array
    steps: Array
    more_steps: Array
    actions: Array


Cost = Callable[[Imagined, Scale, Scratch, Array], None]
"""Writes one cost, float32[N], into its last argument and keeps nothing.

These run in every iteration on a few thousand numbers, where a call of numpy costs more than its arithmetic.  So they
call ufuncs and their reductions, which do the same as ``clip``, ``mean`` and ``cumprod`` in a third of the time.
"""


def value(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Metres still to go from the last imagined pose, as the model predicts them.

    What lies behind a touch is not reached: with the probability of a touch, the way still to go is that of now.
    Without this, a wall costs no more than the weight of ``collision``, and a long enough detour is "saved" by
    driving through it.
    """
    outcomes = imagined.outcomes
    _clip(outcomes["value"], 0.0, FAR_M, out)
    if "collision" in outcomes and "cost_to_go" in outcomes:
        lost = scratch.steps[:, 0]
        first = outcomes["cost_to_go"][:, 0]
        now = min(float(np.add.reduce(first) / len(first)), FAR_M)
        np.subtract(now, out, out=lost)
        np.maximum(lost, 0.0, out=lost)
        lost *= scratch.touch
        out += lost


def terminal(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Straight-line metres from the last imagined pose to the goal; blind to walls."""
    assert imagined.goal is not None, "a manifest without a goal must not weigh this cost"
    last = imagined.outcomes[POSE][:, -1]
    x, y = scratch.steps[:, 0], scratch.more_steps[:, 0]
    np.subtract(last[:, 0], imagined.goal[0], out=x)
    np.subtract(last[:, 1], imagined.goal[1], out=y)
    np.hypot(x, y, out=out)
    np.minimum(out, FAR_M, out=out)


def collision(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Probability of a touch before the end, see ``touch_probability``."""
    np.copyto(out, scratch.touch)


def touch_probability(imagined: Imagined, scale: Scale, scratch: Scratch) -> None:
    """Write ``scratch.touch``: the probability of a touch before the end, each step's first touch discounted.

    ``sum_k discount[k] * p[k] * product_{j<k} (1 - p[j])``; without discount ``1 - product_k (1 - p[k])``.
    """
    touch, survival = scratch.steps, scratch.more_steps
    _clip(imagined.outcomes["collision"], 0.0, 1.0, touch)
    np.subtract(1.0, touch, out=survival)
    np.multiply.accumulate(survival, axis=1, out=survival)
    later = touch[:, 1:]
    later *= survival[:, :-1]
    touch *= scale.touch_discount
    np.add.reduce(touch, axis=1, out=scratch.touch)


def clearance(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean square closeness over the steps: 0 from ``comfort_m`` on, 1 at ``touch_m``."""
    closeness = scratch.steps
    np.subtract(scale.comfort_m, imagined.outcomes["clearance"], out=closeness)
    closeness /= scale.comfort_m - scale.touch_m
    _clip(closeness, 0.0, 1.0, closeness)
    np.square(closeness, out=closeness)
    _mean(closeness, out)


def uncertainty(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean predicted uncertainty: the robot prefers what its model knows."""
    _clip(imagined.outcomes["uncertainty"], 0.0, MAX_UNCERTAINTY, scratch.steps)
    _mean(scratch.steps, out)


def progress(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean metres still to go along the path, as the model predicts them: of two equal ends, the sooner one."""
    _clip(imagined.outcomes["cost_to_go"], 0.0, FAR_M, scratch.steps)
    _mean(scratch.steps, out)


def effort(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean square of the actions, as shares of half their range."""
    np.divide(imagined.actions, scale.half_range, out=scratch.actions)
    np.square(scratch.actions, out=scratch.actions)
    _mean(scratch.actions, out)


def smoothness(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean square of the changes of action, the jump from the last applied action included."""
    change = scratch.actions
    np.subtract(imagined.actions[:, 1:], imagined.actions[:, :-1], out=change[:, 1:])
    np.subtract(imagined.actions[:, 0], imagined.applied, out=change[:, 0])
    change /= scale.half_range
    np.square(change, out=change)
    _mean(change, out)


def reverse(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Mean speed backwards as a share of the greatest; action 0 is the forward speed."""
    np.multiply(imagined.actions[:, :, 0], -1.0 / max(scale.reverse, 1e-6), out=scratch.steps)
    _clip(scratch.steps, 0.0, 1.0, scratch.steps)
    _mean(scratch.steps, out)


def revisit(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """How many visited places the last imagined pose is near to: the way out of going round in circles."""
    if len(imagined.visited) == 0:
        out.fill(0.0)
        return
    last = imagined.outcomes[POSE][:, -1]
    x, y = (np.subtract.outer(last[:, axis], imagined.visited[:, axis]) for axis in (0, 1))
    np.square(x, out=x)
    np.square(y, out=y)
    x += y
    np.add.reduce(x < REVISIT_M**2, axis=1, out=out)


def reward(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Minus the discounted sum of the rewards that the model predicts: ``-sum_k discount**k * reward[k]``."""
    np.matmul(imagined.outcomes["reward"], scale.reward_cost[:-1], out=out)


def terminal_value(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """Minus the return that the model expects after the last step, discounted by ``discount**H``."""
    np.multiply(imagined.outcomes["terminal_value"], scale.reward_cost[-1:], out=out)


def goal_distance(imagined: Imagined, scale: Scale, scratch: Scratch, out: Array) -> None:
    """How far the last imagined latent state is from the goal's, as the model measures it."""
    np.copyto(out, imagined.outcomes["goal_distance"])


def _clip(values: Array, low: float, high: float, out: Array) -> None:
    np.maximum(values, low, out=out)
    np.minimum(out, high, out=out)


def _mean(values: Array, out: Array) -> None:
    """Mean over all axes but the first."""
    np.add.reduce(values, axis=1 if values.ndim == 2 else (1, 2), out=out)
    out /= values.size // len(values)


COSTS: Mapping[str, tuple[Cost, tuple[str, ...]]] = {
    "value": (value, ("value",)),
    "terminal": (terminal, (POSE,)),
    "collision": (collision, ("collision",)),
    "clearance": (clearance, ("clearance",)),
    "uncertainty": (uncertainty, ("uncertainty",)),
    "progress": (progress, ("cost_to_go",)),
    "effort": (effort, ()),
    "smoothness": (smoothness, ()),
    "reverse": (reverse, ()),
    "revisit": (revisit, (POSE,)),
    "reward": (reward, ("reward",)),
    "terminal_value": (terminal_value, ("terminal_value",)),
    "goal_distance": (goal_distance, ("goal_distance",)),
}
"""Every cost with the outcomes that it needs."""

PURPOSES = frozenset({"value", "terminal", "progress", "reward", "terminal_value", "goal_distance"})
"""Costs that lead somewhere: without one of them, standing still is the best plan."""


class CostSum:
    """The weighted sum of the costs, in arrays that are allocated once.

    Args:
        weights: weight of each cost by its name in ``COSTS``; 0 or absent switches a cost off.
        scale: what the costs are measured against.
        candidates: N.

    Raises:
        BadInput: a weight is negative, not finite or names no cost.
    """

    def __init__(self, weights: Mapping[str, float], scale: Scale, candidates: int) -> None:
        for name, weight in weights.items():
            if name not in COSTS:
                raise BadInput(f"planner weights: no cost is called {name!r}: use one of {', '.join(COSTS)}")
            if not (np.isfinite(weight) and weight >= 0.0):
                raise BadInput(f"planner weights: {name} is {weight}: it must be finite and not negative")
        self._weights = {name: float(weight) for name, weight in weights.items() if weight > 0.0}
        self._scale = scale
        horizon, actions = scale.half_range.shape
        self._scratch = Scratch(
            touch=np.zeros(candidates, dtype=np.float32),
            steps=np.zeros((candidates, horizon), dtype=np.float32),
            more_steps=np.zeros((candidates, horizon), dtype=np.float32),
            actions=np.zeros((candidates, horizon, actions), dtype=np.float32),
        )
        self._terms = np.zeros((len(self._weights), candidates), dtype=np.float32)
        self._total = np.zeros(candidates, dtype=np.float32)
        self._given: frozenset[str] | None = None

    def total(self, imagined: Imagined) -> Array:
        """Cost of every candidate, float32[N], valid until the next call.

        A candidate is infinitely dear if its poses, or any outcome that a cost reads, are not finite: clipping must
        not turn a broken prediction into a good one, and poses that no cost reads are still where the plan leads.

        Raises:
            BadInput: the model gives no outcome that leads anywhere.
        """
        outcomes = imagined.outcomes
        if self._given is None or outcomes.keys() != self._given:
            self._choose(frozenset(outcomes))
        if "collision" in outcomes:
            touch_probability(imagined, self._scale, self._scratch)
        for cost, term in self._costs:
            cost(imagined, self._scale, self._scratch, term)
        terms = self._terms[: len(self._costs)]
        terms *= self._weight_of_terms
        np.add.reduce(terms, axis=0, out=self._total)
        for name in self._read:
            outcome = outcomes[name]
            # One number that is not finite makes the sum of squares so, in one call.  A sum that merely overflows
            # costs a closer look.
            if not math.isfinite(np.vdot(outcome, outcome)):
                finite = np.isfinite(outcome).reshape(len(outcome), -1)
                self._total[~finite.all(axis=1)] = np.inf
        return self._total

    def _choose(self, given: frozenset[str]) -> None:
        """Choose the costs that can be had from the outcomes ``given``."""
        chosen = [name for name in self._weights if given.issuperset(COSTS[name][1])]
        if PURPOSES.isdisjoint(chosen):
            raise BadInput(
                f"imagine outcomes {sorted(given)}: none leads anywhere: give one of the costs"
                f" {', '.join(sorted(PURPOSES))} a weight, and the model the outcome that it needs"
            )
        self._costs = [(COSTS[name][0], term) for name, term in zip(chosen, self._terms, strict=False)]
        self._weight_of_terms = np.array([[self._weights[name]] for name in chosen], dtype=np.float32)
        self._read = sorted(given & {POSE, *(outcome for name in chosen for outcome in COSTS[name][1])})
        self._given = given
