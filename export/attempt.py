"""One graph in one form: exported and proven, failed to export, or exported but wrong."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from edge_wm.bundle import manifest as mf
from edge_wm.bundle.agreement import PlanCosts
from edge_wm.bundle.load import check_graph
from edge_wm.engines.engine import EngineError, load_engine
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from export.forms import Form, FormMaker
from export.parity import Fidelity, prove
from export.rollouts import Inputs


@dataclass(frozen=True)
class Attempt:
    """What came of one graph in one form: a fidelity, or a failure to export it."""

    graph: mf.Graph
    fidelity: Fidelity | None
    failure: str | None

    @property
    def status(self) -> str:
        """One of three."""
        if self.fidelity is None:
            return "failed to export"
        return "proven" if self.fidelity.objection is None else "exported but wrong"

    @property
    def trouble(self) -> str | None:
        """Why this graph may not enter a bundle; None if it is proven."""
        why = self.failure if self.fidelity is None else self.fidelity.objection
        return None if why is None else f"{self.status}: {why}"


def attempt(
    graph: mf.Graph,
    maker: FormMaker,
    cases: list[Inputs],
    truth: list[Inputs],
    manifest: mf.Manifest,
) -> Attempt:
    """Export one graph and prove it.

    Args:
        graph: which one.
        maker: of its forms.
        cases: inputs that it is proven on.
        truth: what PyTorch makes of each.
        manifest: of the bundle it is for.
    """
    try:
        data = maker.make(Form(graph.format, graph.precision))
        check_graph(data, graph.file, graph, manifest)
        engine = load_engine(data, Execution(graph.format, graph.precision))
        costs = PlanCosts(manifest.sized(graph.candidates))
        return Attempt(graph, prove(graph, len(data), engine, cases, truth, costs), None)
    except (BadInput, EngineError) as error:
        return Attempt(graph, None, str(error))


def table(attempts: list[Attempt]) -> Table:
    """What came of every graph, for people."""
    rows = Table("graph", "KiB", "largest error", "Spearman", "elites", "regret", "ms", "status")
    for tried in attempts:
        graph, proof = tried.graph, tried.fidelity
        row = [f"{graph.part}\n{graph.format} {graph.precision}"]
        if proof is None:
            row += [""] * 6
        else:
            worst = proof.worst_output
            row += [f"{proof.size / 1024:.0f}", f"{proof.max_error[worst]:.2g}\n{worst}"]
            row += ["", "", ""] if proof.plans is None else [f"{number:.4f}" for number in proof.plans]
            row.append(f"{proof.latency_ms:.2f}")
        rows.add_row(*row, tried.status)
    return rows
