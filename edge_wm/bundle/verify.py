"""Repeats a bundle's golden vectors on this machine's engine: is it still the model that was trained?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from edge_wm.bundle.agreement import Agreement, PlanCosts
from edge_wm.bundle.golden import Case, Golden
from edge_wm.bundle.load import Array, Bundle
from edge_wm.bundle.manifest import Format, Graph, Manifest, Precision, Role, part
from edge_wm.engines.engine import EngineError, load_engine
from edge_wm.engines.execution import Execution
from edge_wm.engines.placement import Placement, placement
from edge_wm.errors import BadInput

CONTROL_PATH: tuple[Role, ...] = ("observe", "imagine")
"""Roles of the graphs that every tick runs."""


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """How far one output of one graph is from its golden values, over all cases, and how far it may be.

    The errors are in the unit of the output; they are infinite where the output is not finite.
    """

    role: Role
    format: Format
    precision: Precision
    output: str
    cases: int
    max_abs: float
    mean_abs: float
    allowed_max_abs: float
    allowed_mean_abs: float
    candidates: int | None = None

    def __str__(self) -> str:
        return (
            f"{part(self.role, self.candidates):7} {self.format:7}{self.precision:6}{self.output:22}"
            f" max {self.max_abs:<9.3g} (<= {self.allowed_max_abs:<8.3g})"
            f" mean {self.mean_abs:<9.3g} (<= {self.allowed_mean_abs:<8.3g}) over {self.cases} cases"
        )

    @property
    def passed(self) -> bool:
        """Whether both errors are within tolerance."""
        return self.max_abs <= self.allowed_max_abs and self.mean_abs <= self.allowed_mean_abs

    def facts(self) -> dict[str, object]:
        """The row for JSON, where an infinite error is None."""
        finite = {name: value if value != np.inf else None for name, value in asdict(self).items()}
        return {**finite, "passed": self.passed}


@dataclass(frozen=True, slots=True)
class PlanCheck:
    """How alike a form of ``imagine`` and the trained model rank candidates in the worst golden case, and the bounds."""

    role: Role
    format: Format
    precision: Precision
    cases: int
    spearman: float
    elite_overlap: float
    regret: float
    min_spearman: float
    min_elite_overlap: float
    max_regret: float
    candidates: int | None = None

    def __str__(self) -> str:
        return (
            f"{part(self.role, self.candidates):7} {self.format:7}{self.precision:6}{'plans':22}"
            f" spearman {self.spearman:.4f} (>= {self.min_spearman:.4f})"
            f" elite overlap {self.elite_overlap:.3f} (>= {self.min_elite_overlap:.3f})"
            f" regret {self.regret:.3g} (<= {self.max_regret:.3g}) in the worst of {self.cases} cases"
        )

    @property
    def passed(self) -> bool:
        """Whether all three are within their bounds."""
        return (
            self.spearman >= self.min_spearman
            and self.elite_overlap >= self.min_elite_overlap
            and self.regret <= self.max_regret
        )

    def facts(self) -> dict[str, object]:
        """The row for JSON, where an infinite regret is None."""
        finite = {name: value if value != np.inf else None for name, value in asdict(self).items()}
        return {**finite, "passed": self.passed}


def verify_bundle(bundle: Bundle, *, threads: int = 1) -> list[GoldenCheck | PlanCheck]:
    """Run every graph that the bundle keeps on its golden inputs and compare: the numbers, and the plans they lead to.

    Args:
        bundle: loaded with ``golden=True``.
        threads: how many threads the engine may use.

    Returns:
        One row for each output of each graph, in the manifest's order, and one for the plans of each ``imagine``.

    Raises:
        BadInput: the golden vectors cannot be read or do not fit the manifest, or an engine refuses a graph.
    """
    golden = Golden(bundle)
    kept = [graph for graph in bundle.manifest.graphs if bundle.keeps(graph.file)]
    return [
        check
        for graph in kept
        for check in verify_graph(bundle, graph, golden, Execution(graph.format, graph.precision, threads))
    ]


def verify_execution(bundle: Bundle, execution: Execution, golden: Golden) -> Placement | None:
    """Prove that the graphs of the control path are the same model when run like this, and run where they should.

    Returns:
        Of both graphs, what ran on the accelerator; None if none was asked for.

    Raises:
        BadInput: an output is beyond its tolerance, the accelerator ran nothing, or as for :func:`verify_bundle`.
    """
    placements = []
    for role in CONTROL_PATH:
        graph = bundle.graph(role, execution.precision, execution.format, execution.candidates)
        for check in verify_graph(bundle, graph, golden, execution):
            if not check.passed:
                raise BadInput(f"is another model here: {check}")
        if execution.accelerator != "cpu":
            try:
                inputs = golden.cases(role, graph.candidates)[0].inputs
                placements.append(placement(bundle.read(graph.file), execution, inputs))
            except EngineError as error:
                raise BadInput(f"{bundle.directory / graph.file}: {error}") from None
    return Placement(*map(sum, zip(*placements, strict=True))) if placements else None


def verify_graph(
    bundle: Bundle, graph: Graph, golden: Golden, execution: Execution
) -> list[GoldenCheck | PlanCheck]:
    """Run the golden cases of one graph and compare what comes out.

    Args:
        bundle: loaded with that graph.
        graph: of the bundle.
        golden: of the bundle.
        execution: how to run it.

    Raises:
        BadInput: the engine refuses the graph, or the golden vectors cannot be used.
    """
    cases = golden.cases(graph.role, graph.candidates)
    try:
        engine = load_engine(bundle.read(graph.file), execution)
        found = [{name: array.copy() for name, array in engine.run(case.inputs).items()} for case in cases]
    except EngineError as error:
        raise BadInput(f"{bundle.directory / graph.file}: {error}") from None
    sized = bundle.manifest.sized(graph.candidates)
    return [*_number_checks(sized, graph, cases, found), *_plan_checks(sized, graph, cases, found)]


def _number_checks(
    manifest: Manifest, graph: Graph, cases: list[Case], found: list[dict[str, Array]]
) -> Iterator[GoldenCheck]:
    for spec in manifest.graph_outputs(graph.role):
        allowed = manifest.tolerance(graph, spec.name)
        assert allowed is not None, "check_manifest refuses a graph output without tolerance"
        largest = mean = 0.0
        for case, outputs in zip(cases, found, strict=True):
            with np.errstate(invalid="ignore"):
                error = np.abs(outputs[spec.name].astype(np.float64) - case.outputs[spec.name])
            error = np.nan_to_num(error, nan=np.inf, posinf=np.inf)
            largest = max(largest, float(error.max()))
            mean += float(error.mean()) / len(cases)
        yield GoldenCheck(
            graph.role,
            graph.format,
            graph.precision,
            spec.name,
            len(cases),
            largest,
            mean,
            allowed.max_abs,
            allowed.mean_abs,
            graph.candidates,
        )


def _plan_checks(
    manifest: Manifest, graph: Graph, cases: list[Case], found: list[dict[str, Array]]
) -> Iterator[PlanCheck]:
    bounds = manifest.plan_tolerance(graph)
    if bounds is None:
        return
    costs = PlanCosts(manifest)
    plans = [
        Agreement.between(costs.of(case.inputs, case.outputs), costs.of(case.inputs, outputs), costs.elites)
        for case, outputs in zip(cases, found, strict=True)
    ]
    yield PlanCheck(
        graph.role,
        graph.format,
        graph.precision,
        len(cases),
        *Agreement.worst(plans),
        bounds.min_spearman,
        bounds.min_elite_overlap,
        bounds.max_regret,
        graph.candidates,
    )
