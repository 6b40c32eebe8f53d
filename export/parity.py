"""The gate of a bundle: every graph, on the engine that will run it, against PyTorch on held-out rollouts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from edge_wm.bundle import manifest as mf
from edge_wm.bundle.agreement import Agreement, PlanCosts
from edge_wm.engines.engine import Engine
from edge_wm.sensors.observation import Array
from export.jumps import without_jumps
from export.rollouts import Inputs

FP32_MAX_ERROR = 1e-4
"""Largest error of an fp32 graph against PyTorch that is put down to the order of additions: in the output's unit, or
as a share of the largest value of an output that goes beyond 1."""
MIN_SPEARMAN: dict[mf.Precision, float] = {"fp32": 0.999, "fp16": 0.98, "int8": 0.85}
MARGIN = 3.0
"""Golden tolerance over the largest error measured here: other processors round differently."""
FLOOR: dict[mf.Precision, float] = {"fp32": 1e-4, "fp16": 1e-3, "int8": 1e-3}
INSTEAD = {
    "fp32": "",
    "fp16": ": export it without --precision fp16",
    "int8": ": keep layers in float with float_parts, the last ones first, or export it without --precision int8",
}
"""What to do where a form ranks candidates unlike PyTorch."""


@dataclass(frozen=True)
class Fidelity:
    """How true one exported graph is to PyTorch on held-out rollouts; errors by output, in the output's unit.

    Attributes:
        graph: which one.
        size: bytes.
        max_error: largest over all cases.
        steady_error: largest over all cases, of fp32 without what is a jump of the model; see ``export/jumps.py``.
        mean_error: mean over all cases.
        worst_case_mean: mean error of the worst case.
        largest: largest absolute value of each output in PyTorch.
        by_step: mean error at each of the H steps, of every output that has steps.
        plans: mean agreement with PyTorch's plans, of ``imagine`` alone.
        worst_plan: the worst of them.
        latency_ms: median of one call on one thread of this machine, for orientation.
    """

    graph: mf.Graph
    size: int
    max_error: dict[str, float]
    steady_error: dict[str, float]
    mean_error: dict[str, float]
    worst_case_mean: dict[str, float]
    largest: dict[str, float]
    by_step: dict[str, tuple[float, ...]]
    plans: Agreement | None
    worst_plan: Agreement | None
    latency_ms: float

    @property
    def worst_output(self) -> str:
        """Name of the output with the largest error for its size."""
        return max(self.max_error, key=lambda name: self._share(name, self.max_error))

    def _share(self, name: str, error: dict[str, float]) -> float:
        """An error of an output, as a share of the output's largest value if that goes beyond 1."""
        return error[name] / max(1.0, self.largest[name])

    @property
    def objection(self) -> str | None:
        """Why this graph is not the same model; None if it is."""
        precision = self.graph.precision
        # No precision makes a number of what is none.
        allowed = FP32_MAX_ERROR if precision == "fp32" else np.finfo(np.float64).max
        steady = self.steady_error
        for name in sorted(steady, key=lambda name: self._share(name, steady), reverse=True):
            if not (self._share(name, steady) <= allowed and np.isfinite(self.max_error[name])):
                return f"{name} differs from PyTorch by {steady[name]:.2g}"
        if self.plans is not None and not self.plans.spearman >= MIN_SPEARMAN[precision]:
            return (
                f"ranks candidates unlike PyTorch: Spearman {self.plans.spearman:.3f}"
                f" is below {MIN_SPEARMAN[precision]}{INSTEAD[precision]}"
            )
        return None

    def tolerances(self) -> list[mf.Tolerance]:
        """How far from PyTorch each output may be on another machine."""
        graph, floor = self.graph, FLOOR[self.graph.precision]
        return [
            mf.Tolerance(
                graph.role,
                graph.precision,
                name,
                round(max(floor, MARGIN * error), 6),
                round(max(floor, MARGIN * self.worst_case_mean[name]), 6),
                graph.format,
                graph.candidates,
            )
            for name, error in self.max_error.items()
        ]

    def plan_tolerance(self) -> mf.PlanTolerance | None:
        """How unlike PyTorch's the plans may be on another machine."""
        if self.worst_plan is None:
            return None
        return mf.PlanTolerance(
            self.graph.precision,
            round(max(-1.0, min(1.0 - MARGIN * (1.0 - self.worst_plan.spearman), 0.999)), 4),
            round(max(0.0, min(1.0 - MARGIN * (1.0 - self.worst_plan.elite_overlap), 0.75)), 4),
            round(max(0.02, MARGIN * self.worst_plan.regret), 4),
            self.graph.format,
            self.graph.candidates,
        )


def prove(
    graph: mf.Graph,
    size: int,
    engine: Engine,
    cases: list[Inputs],
    truth: list[Inputs],
    costs: PlanCosts,
) -> Fidelity:
    """Compare what ``engine`` makes of ``cases`` with PyTorch's outputs ``truth``.

    Args:
        graph: which graph the engine has loaded.
        size: of the graph, bytes.
        engine: the engine.
        cases: inputs by name.
        truth: outputs by name, in the manifest's order.
        costs: what the planner makes of the outcomes of ``imagine``.
    """
    steps = cases[0]["actions"].shape[:2] if graph.role == "imagine" else ()
    errors: dict[str, list[Array]] = {name: [] for name in truth[0]}
    steady: dict[str, list[float]] = {name: [] for name in truth[0]}
    plans, seconds = [], []
    for case, expected in zip(cases, truth, strict=True):
        began = time.perf_counter()
        found = engine.run(case)
        seconds.append(time.perf_counter() - began)
        for name, wanted in expected.items():
            # No number is infinitely wrong: NaN would pass every comparison.
            with np.errstate(invalid="ignore"):
                difference = np.abs(found[name].astype(np.float64) - wanted)
            errors[name].append(np.nan_to_num(difference, nan=np.inf, posinf=np.inf))
        here = {name: parts[-1] for name, parts in errors.items()}
        if graph.precision == "fp32":
            here = without_jumps(engine, case, expected, here, FP32_MAX_ERROR)
        for name, error in here.items():
            steady[name].append(float(np.max(error)))
        if graph.role == "imagine":
            plans.append(Agreement.between(costs.of(case, expected), costs.of(case, found), costs.elites))
    return Fidelity(
        graph,
        size,
        {name: float(np.max(parts)) for name, parts in errors.items()},
        {name: max(parts) for name, parts in steady.items()},
        {name: float(np.mean(parts)) for name, parts in errors.items()},
        {name: max(float(np.mean(part)) for part in parts) for name, parts in errors.items()},
        {name: max(float(np.abs(expected[name]).max()) for expected in truth) for name in errors},
        {
            name: tuple(np.mean(parts, axis=(0, 1, *range(3, np.ndim(parts)))).tolist())
            for name, parts in errors.items()
            if steps and parts[0].shape[:2] == steps
        },
        Agreement.mean(plans) if plans else None,
        Agreement.worst(plans) if plans else None,
        float(np.median(seconds)) * 1e3,
    )
