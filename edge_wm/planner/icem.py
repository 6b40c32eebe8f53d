"""The planner: improved cross-entropy method (iCEM, Pinneri et al. 2020), anytime.

Each iteration samples N action sequences around a mean, lets the model imagine them, and moves the mean towards
the cheapest.  The number of candidates is fixed by the model's graph; what bounds the time is the number of
iterations, and after each of them a best plan is held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.planner.costs import NOWHERE, POLICY, POSE, Array, Imagined
from edge_wm.planner.horizon_shift import HorizonShift
from edge_wm.planner.noise import NoiseRing
from edge_wm.planner.plan import ActionLimits, Plan, PlanError, PlannerConfig, Primitive, cost_sum

if TYPE_CHECKING:
    from edge_wm.bundle.manifest import Manifest

RING_PLANS = 4
"""Plans whose noise is drawn ahead."""

TIME_MARGIN = 1.2
"""An iteration is begun only if this many times its expected duration is left."""


class Imaginer(Protocol):
    """What the planner asks of a world model."""

    @property
    def manifest(self) -> Manifest:
        """For the tick and the size of ``imagine``."""
        ...

    def imagine(self, state: Mapping[str, Array], actions: Array, goal: Array | None) -> Mapping[str, Array]:
        """Outcomes of float32[N, H, A] actions; valid until the next call."""
        ...


class ICEM:
    """The planner.

    Args:
        model: what imagines.
        config: settings.
        limits: of the actions; every candidate is clipped to them.
        seed: of the noise; the same seed and the same inputs give the same plans after ``reset``.

    Raises:
        BadInput: the settings do not fit the model or the limits.
    """

    def __init__(self, model: Imaginer, config: PlannerConfig, limits: ActionLimits, seed: int = 0) -> None:
        size, width = model.manifest.imagine, len(limits.low)
        if len(config.initial_std) != width:
            raise BadInput(f"planner: initial_std needs {width} numbers, one for each action")
        if config.elites > size.candidates:
            raise BadInput(f"planner: {config.elites} elites of {size.candidates} candidates: choose fewer")
        n, h = size.candidates, size.horizon
        self._model, self._config, self._seed = model, config, seed
        # One number for every number that it is compared with: numpy is slow where it must repeat a few again and again.
        self._low, self._high = (
            np.tile(np.array(row, dtype=np.float32), (n, h, 1)) for row in (limits.low, limits.high)
        )
        self._initial_std = np.tile(np.array(config.initial_std, dtype=np.float32), (h, 1))
        self._std_floor = self._initial_std * np.float32(config.std_floor)
        self._costs = cost_sum(config, limits, n, h)
        self._stop = np.clip(np.zeros((h, width), dtype=np.float32), self._low[0], self._high[0])
        self._primitives = [self._unfold(primitive, h) for primitive in config.primitives]
        self._shift = HorizonShift(h, model.manifest.tick_s / size.step_s)

        self._actions = np.zeros((n, h, width), dtype=np.float32)
        self._action_rows = list(self._actions)
        self._applied = np.zeros(width, dtype=np.float32)
        # What one plan leaves to the next lies together, so that one call shifts it; so do mean and deviation, so
        # that one call moves both.  The deviation starts anew with every plan.
        self._carried = np.zeros((3 + config.elites, h, width), dtype=np.float32)
        self._mean, self._std, self._best = self._carried[:3]
        self._elites = self._carried[3:]
        self._elite_rows = list(self._elites)
        self._moved = self._carried[:2]
        self._of_elites = np.zeros((2, h, width), dtype=np.float32)
        self._mean_of_elites, self._std_of_elites = self._of_elites
        self._momentum = np.float32(config.momentum)
        self._keep = min(config.elites, math.ceil(config.keep_fraction * config.elites))
        self._deviations = np.zeros_like(self._elites)
        self._noise = NoiseRing(
            blocks=RING_PLANS * config.iterations,
            candidates=n,
            horizon=h,
            actions=width,
            beta=config.noise_beta,
            seed=seed,
        )
        self._draws = np.random.default_rng([seed, 1])
        self._iteration_s = 0.0
        self._warm = False
        self._forget()

    def reset(self) -> None:
        """Forget the previous plan and start the noise anew: what follows depends on the seed alone."""
        self._noise.restart(self._seed)
        self._draws = np.random.default_rng([self._seed, 1])
        self._forget()

    def draw_ahead(self) -> None:
        """Draw noise for later plans.  Optional; call it after the command of a tick has been sent."""
        self._noise.draw_ahead()

    def plan(
        self,
        state: Mapping[str, Array],
        goal: Array | None,
        *,
        applied: Array | None = None,
        visited: Array = NOWHERE,
        deadline: float | None = None,
        clock: Clock | None = None,
    ) -> Plan:
        """Plan from ``state`` to ``goal``; call it once a tick, because the previous plan is shifted by one.

        Args:
            state: latent state.
            goal: float32[G]; None for a model that takes no goal.
            applied: float32[A], the last action really sent; rest if None.
            visited: float32[T, 2], places where the robot was some time ago, in the odometry frame.
            deadline: when the plan must be there, on ``clock``; None for all iterations.
            clock: the machine's if None.

        Returns:
            The cheapest candidate of all iterations, or what the method chooses.  If there is a previous plan and no
            time for even one iteration, that plan, shifted.

        Raises:
            PlanError: no candidate has a finite cost.
        """
        clock = clock or MonotonicClock()
        self._applied[:] = 0.0 if applied is None else applied
        warm = self._warm
        if warm:
            self._shift_previous()
            if not self._time_is_left(deadline, clock):
                # The estimate decays, so that one slow iteration does not end planning for good.
                self._iteration_s *= 0.5
                return Plan(self._best.copy(), None, math.nan, 0, None, np.empty(0, np.float32))
        self._std[:] = self._initial_std

        best_cost, best_poses, iterations = math.inf, None, 0
        candidates, candidate_costs = None, np.empty(0, np.float32)
        proposals = self._proposals(state)
        while iterations < self._config.iterations:
            if iterations > 0 and not self._time_is_left(deadline, clock):
                break
            began = clock.now()
            self._sample()
            self._place(self._tried(iterations, warm) + proposals)
            outcomes = self._model.imagine(state, self._actions, goal)
            costs = self._costs.total(Imagined(outcomes, self._actions, goal, self._applied, visited))
            order = costs.argsort(kind="stable")
            cheapest = int(order[0])
            if not math.isfinite(costs[cheapest]):
                break
            candidates = outcomes[POSE].copy() if POSE in outcomes else None
            candidate_costs = costs.copy()
            if costs[cheapest] < best_cost:
                best_cost = float(costs[cheapest])
                self._best[:] = self._actions[cheapest]
                best_poses = None if candidates is None else candidates[cheapest].copy()
            self._move_towards(order, costs)
            # Proposals depend on state and goal alone: those that are outcomes are known after the first call.
            if POLICY in outcomes and iterations == 0 and self._config.iterations > 1:
                proposals = self._proposals(outcomes)
            elif self._config.method != "mppi":
                proposals = []  # they enter once
            iterations += 1
            self._learn_duration(clock.now() - began)

        if not math.isfinite(best_cost):
            self._forget()
            raise PlanError("the model imagined nothing finite for any candidate")
        self._warm = True
        if self._config.method != "icem":
            best_cost, best_poses = self._choose(candidate_costs, candidates)
        return Plan(self._best.copy(), best_poses, best_cost, iterations, candidates, candidate_costs)

    def _forget(self) -> None:
        self._warm = False
        self._elite_count = 0
        self._mean[:] = self._best[:] = self._stop

    def _shift_previous(self) -> None:
        last = self._mean[-1].copy()
        self._shift.apply(self._carried[: 3 + min(self._keep, self._elite_count)])
        if self._config.method != "icem":
            self._mean += self._shift.beyond * (self._stop - last)

    def _sample(self) -> None:
        np.multiply(self._noise.take(), self._std, out=self._actions)
        self._actions += self._mean

    def _tried(self, iteration: int, warm: bool) -> list[Array]:
        """What the method tries beside samples and proposals."""
        if self._config.method == "mppi":
            return []
        if self._config.method == "cem":
            return [self._mean]
        return self._first_rows(warm) if iteration == 0 else self._later_rows()

    def _first_rows(self, warm: bool) -> list[Array]:
        previous = [self._best, *self._kept()] if warm else []
        return [self._mean, self._stop, *previous[:1], *self._primitives, *previous[1:]]

    def _later_rows(self) -> list[Array]:
        return [self._mean, *self._kept()]

    def _kept(self) -> list[Array]:
        return self._elite_rows[: min(self._keep, self._elite_count)]

    def _place(self, rows: list[Array]) -> None:
        """Put ``rows`` in the place of the first samples and clip everything to the limits."""
        for candidate, row in zip(self._action_rows, rows, strict=False):
            candidate[:] = row
        np.maximum(self._actions, self._low, out=self._actions)
        np.minimum(self._actions, self._high, out=self._actions)

    def _proposals(self, given: Mapping[str, Array]) -> list[Array]:
        """The finite sequences that the model's policy proposes, and noisy copies of them."""
        if POLICY not in given:
            return []
        heads = given[POLICY].reshape(-1, *self._mean.shape)
        proposals = [head.copy() for head in heads if np.isfinite(head).all()]
        if not proposals or self._config.policy_copies == 0:
            return proposals
        noise = self._noise.take()[: self._config.policy_copies]
        return proposals + [
            proposals[index % len(proposals)] + 0.5 * self._initial_std * sample
            for index, sample in enumerate(noise)
        ]

    def _move_towards(self, order: Array, costs: Array) -> None:
        """Move mean and deviation towards the cheapest candidates, of those with finite cost."""
        self._elite_count = self._config.elites
        if not math.isfinite(costs[order[self._elite_count - 1]]):
            self._elite_count = int(np.count_nonzero(np.isfinite(costs)))
        order, elites = order[: self._elite_count], self._elites[: self._elite_count]
        self._actions.take(order, axis=0, out=elites, mode="clip")
        share = self._shares(costs, order)
        deviations = np.multiply(elites, share, out=self._deviations[: self._elite_count])
        mean, std = self._mean_of_elites, self._std_of_elites
        np.add.reduce(deviations, axis=0, out=mean)
        np.subtract(elites, mean, out=deviations)
        np.square(deviations, out=deviations)
        deviations *= share
        np.sqrt(np.add.reduce(deviations, axis=0, out=std), out=std)
        if self._config.method == "cem" and self._elite_count > 1:  # the deviation of a sample
            std *= np.float32(math.sqrt(self._elite_count / (self._elite_count - 1)))
        self._moved *= self._momentum
        self._of_elites *= 1 - self._momentum
        self._moved += self._of_elites
        np.maximum(self._std, self._std_floor, out=self._std)

    def _shares(self, costs: Array, elites: Array) -> Array | float:
        """How much each of ``elites`` counts, from the cheapest on: float32[E, 1, 1], together 1, or one for all alike."""
        if self._config.temperature == 0.0:
            return 1.0 / len(elites)
        weights = costs.take(elites)
        weights -= weights[0]
        weights *= -self._config.temperature
        np.exp(weights, out=weights)
        weights /= np.add.reduce(weights)
        shares: Array = weights[:, None, None]
        return shares

    def _choose(self, costs: Array, poses: Array | None) -> tuple[float, Array | None]:
        """Choose the last mean, or one of the last elites by their shares; return its cost and its poses."""
        order = costs.argsort(kind="stable")[: self._elite_count]
        if self._config.method == "cem":
            self._best[:] = self._mean
            return float(costs[order].mean()), None
        shares = np.broadcast_to(np.ravel(self._shares(costs, order)), len(order))
        with np.errstate(divide="ignore"):  # an elite that does not count
            drawn = int(np.argmin(self._draws.exponential(size=len(order)) / shares))
        self._best[:] = self._elites[drawn]
        return float(costs[order[drawn]]), None if poses is None else poses[order[drawn]].copy()

    def _time_is_left(self, deadline: float | None, clock: Clock) -> bool:
        return deadline is None or clock.now() + TIME_MARGIN * self._iteration_s <= deadline

    def _learn_duration(self, seconds: float) -> None:
        """Follow the duration of an iteration: quickly up, slowly down."""
        rate = 0.5 if seconds > self._iteration_s else 0.1
        self._iteration_s += rate * (seconds - self._iteration_s)

    def _unfold(self, primitive: Primitive, horizon: int) -> Array:
        """A primitive as float32[H, A]."""
        shares = np.array(primitive, dtype=np.float32)
        width = self._low.shape[2]
        if shares.ndim != 2 or shares.shape[1] != width:
            raise BadInput(f"planner: primitive {primitive} needs {width} numbers for each action")
        which = np.arange(horizon) * len(shares) // horizon
        unfolded: Array = np.where(shares >= 0.0, shares * self._high[0, 0], shares * -self._low[0, 0])[which]
        return unfolded
