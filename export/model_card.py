"""The model card of a bundle: what the model is for, how it was made, how true its graphs are, what it cannot do."""

from __future__ import annotations

from typing import Any, NamedTuple

from edge_wm.bundle.manifest import Manifest
from export.geometry import CELL_M
from export.world_model import WorldModel


class Fidelity(NamedTuple):
    """How true one exported graph is to PyTorch on held-out rollouts; errors by output, in the output's unit.

    ``max_error`` and ``mean_error`` are over all cases, ``worst_case_mean`` is the mean error of the worst case.
    """

    role: str
    precision: str
    size: int
    max_error: dict[str, float]
    mean_error: dict[str, float]
    worst_case_mean: dict[str, float]
    spearman: float | None


def model_card(manifest: Manifest, model: WorldModel, proofs: list[Fidelity]) -> str:
    """Markdown text of the card."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cells = model.config.cells
    rows = "\n".join(_fidelity_row(proof) for proof in proofs)
    return f"""# {manifest.name} {manifest.version}

A latent world model for a small differential-drive robot ({manifest.robot_kind}) that drives to a point in rooms it
has not seen. {parameters:,} parameters; {manifest.imagine.candidates} candidates of {manifest.imagine.horizon} steps of
{manifest.imagine.step_s} s in one call.

## What it carries

A map of {cells} x {cells} cells of {CELL_M} m around the robot, remembered and scrolled, a memory of how the robot
answers to commands, and the robot's pose in its odometry frame.

## How it was made

Simulation only: generated rooms, corridors and mazes with random textures, light and robot imperfections; a larger
teacher that also sees the depth picture; this student learned from the same labels (true map, true motion, geodesic
cost-to-go) and from the teacher. Data seed {manifest.provenance.data_seed}, commit {manifest.provenance.commit[:12]},
{manifest.provenance.created}.

## Exported graphs against PyTorch, on rollouts nothing was trained or calibrated on

| role | precision | KiB | worst output | largest error | its mean error | Spearman of plan costs |
|---|---|---|---|---|---|---|
{rows}

## Measured

{_figures(manifest.provenance.figures)}

## What it cannot do

It was never run on a real robot or a real camera. It knows flat floors, upright things and a robot of 0.12 m radius
with this camera and range ring. Moving obstacles were a small part of its data. Its map ends
{cells * CELL_M / 2:.1f} m from the robot. The supervisor, not this model, is what keeps a robot safe.
"""


def _fidelity_row(proof: Fidelity) -> str:
    worst = max(proof.max_error, key=lambda name: proof.max_error[name])
    rank = "" if proof.spearman is None else f"{proof.spearman:.4f}"
    return (
        f"| {proof.role} | {proof.precision} | {proof.size / 1024:.0f} | {worst} | {proof.max_error[worst]:.2g}"
        f" | {proof.mean_error[worst]:.2g} | {rank} |"
    )


def _figures(figures: dict[str, Any]) -> str:
    if not figures:
        return "No closed-loop figures were recorded when this bundle was written."
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return f"| what | value |\n|---|---|\n{rows}"
