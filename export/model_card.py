"""The model card of a bundle: what its author says of the model, and what was measured of its graphs."""

from __future__ import annotations

from typing import Any

from edge_wm.bundle.manifest import Manifest
from export.parity import Fidelity


def model_card(manifest: Manifest, about: str, proofs: list[Fidelity]) -> str:
    """Markdown text of the card.

    Args:
        manifest: of the bundle.
        about: what the author says, Markdown.
        proofs: one for each graph.
    """
    size, origin = manifest.imagine, manifest.provenance
    own = size.candidates
    graphs = "\n".join(_graph_row(proof) for proof in proofs)
    plans = "\n".join(_plan_row(proof, own) for proof in proofs if proof.plans is not None)
    growth = "\n".join(row for proof in proofs for row in _growth_rows(proof, own))
    return f"""# {manifest.name} {manifest.version}

{about}

## Size

{" or ".join(map(str, manifest.sizes))} candidates of {size.horizon} steps of {size.step_s:g} s in one call; for {manifest.robot_kind}. Data seed
{origin.data_seed}, commit {origin.commit[:12]}, {origin.created}.

## Exported graphs against PyTorch, on rollouts nothing was trained or calibrated on

| role | format | precision | KiB | worst output | largest error | its mean error |
|---|---|---|---|---|---|---|
{graphs}

Plans: would the planner choose alike? Means over the held-out rollouts; regret is what the choice costs by PyTorch's own
judgement, as a share of the way from the best to the median candidate.

| candidates | format | precision | Spearman | elite overlap | regret |
|---|---|---|---|---|---|
{plans}

Mean error at the first and at the last of the {size.horizon} imagined steps:

| candidates | format | precision | output | first step | last step |
|---|---|---|---|---|---|
{growth}

## Measured

{_figures(origin.figures)}
"""


def _graph_row(proof: Fidelity) -> str:
    graph, worst = proof.graph, proof.worst_output
    return (
        f"| {graph.part} | {graph.format} | {graph.precision} | {proof.size / 1024:.0f} | {worst}"
        f" | {proof.max_error[worst]:.2g} | {proof.mean_error[worst]:.2g} |"
    )


def _plan_row(proof: Fidelity, own: int) -> str:
    assert proof.plans is not None
    numbers = " | ".join(f"{number:.4f}" for number in proof.plans)
    return f"{_form(proof, own)} | {numbers} |"


def _growth_rows(proof: Fidelity, own: int) -> list[str]:
    start = _form(proof, own)
    return [f"{start} | {name} | {steps[0]:.2g} | {steps[-1]:.2g} |" for name, steps in proof.by_step.items()]


def _form(proof: Fidelity, own: int) -> str:
    graph = proof.graph
    return f"| {graph.candidates or own} | {graph.format} | {graph.precision}"


def _figures(figures: dict[str, Any]) -> str:
    if not figures:
        return "No closed-loop figures were recorded when this bundle was written."
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return f"| what | value |\n|---|---|\n{rows}"
