"""Whether two forms of one model would plan alike: an error that never changes the choice does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from edge_wm.bundle.manifest import Manifest
from edge_wm.planner.costs import Array, Imagined
from edge_wm.planner.plan import ActionLimits, PlannerConfig, cost_sum


class Agreement(NamedTuple):
    """How alike two forms rank the candidates of one plan.

    Attributes:
        spearman: rank correlation of the candidates' costs, at most 1.
        elite_overlap: share of the elites that both choose.
        regret: what the candidate chosen by one costs the other beyond its own choice, as a share of the way from its
            own choice to its median candidate: 0 is no loss, 1 a choice no better than any.
    """

    spearman: float
    elite_overlap: float
    regret: float

    @classmethod
    def between(cls, expected: Array, found: Array, elites: int) -> Agreement:
        """Agreement of float[N] costs ``found`` with float[N] costs ``expected``."""
        best = np.argsort(expected, kind="stable")[:elites]
        chosen = np.argsort(found, kind="stable")[:elites]
        least = float(expected[best[0]])
        spread = float(np.median(expected)) - least
        lost = float(expected[chosen[0]]) - least
        return cls(
            _correlation(_ranks(expected), _ranks(found)),
            len(np.intersect1d(best, chosen)) / elites,
            lost / spread if spread > 0.0 else float(lost > 0.0),
        )

    @classmethod
    def mean(cls, parts: Iterable[Agreement]) -> Agreement:
        """The mean over plans."""
        return cls(*map(float, np.mean(list(parts), axis=0)))

    @classmethod
    def worst(cls, parts: Iterable[Agreement]) -> Agreement:
        """The least correlation and overlap and the greatest regret of any plan."""
        spearman, overlap, regret = np.transpose(list(parts))
        return cls(float(spearman.min()), float(overlap.min()), float(regret.max()))


class PlanCosts:
    """What the planner of a bundle thinks of imagined outcomes.

    Args:
        manifest: with the planner's settings and the limits of the actions.
    """

    def __init__(self, manifest: Manifest) -> None:
        size = manifest.imagine
        limits = ActionLimits(manifest.action.low, manifest.action.high)
        self._sum = cost_sum(PlannerConfig.from_manifest(manifest), limits, size.candidates, size.horizon)
        self._rest = np.zeros(len(manifest.action.names), dtype=np.float32)
        self.elites = manifest.planner.elites

    def of(self, inputs: Mapping[str, Array], outcomes: Mapping[str, Array]) -> Array:
        """Costs float32[N] of the outcomes of one ``imagine`` call with these inputs, the robot at rest before."""
        imagined = Imagined(outcomes, inputs["actions"], inputs.get("goal"), self._rest)
        costs: Array = self._sum.total(imagined).copy()
        return costs


def _ranks(costs: Array) -> Array:
    """Ranks float64[N]; equal costs share the mean of their ranks."""
    _, place, count = np.unique(costs, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(count) - (count - 1) / 2.0)[place]
    return ranks


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float(a @ b) / size if size > 0.0 else float(np.array_equal(a, b))
