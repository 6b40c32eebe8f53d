"""Package: a trained model becomes a bundle whose every graph is proven against PyTorch on held-out rollouts."""

from __future__ import annotations

import datetime
import io
import logging
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import nn

from edge_wm.bundle import manifest as mf
from edge_wm.bundle.write import BundleWriter
from edge_wm.errors import BadInput
from edge_wm.sensors.observation import Array
from edge_wm.sim import robot_model as rm
from edge_wm.sim.generator import VALIDATION_SEEDS
from export.geometry import CELL_M
from export.graphs import CANDIDATES, DECODED, GRAPHS, IMAGINED, STATE
from export.model_card import Fidelity, model_card
from export.onnx_export import to_onnx
from export.quantise import quantise
from export.rollouts import HIGH, LOW, Inputs, rollouts
from export.world_model import WorldModel

CALIBRATION_SEED = 900_000
"""Calibration drives data seeds that collection does not reach."""
HELD_OUT_SEED = VALIDATION_SEEDS + 500_000
EPISODES = 12
GOLDEN_CASES = 2
FP32_MAX_ERROR = 1e-3
"""Largest error of an fp32 graph against PyTorch that is put down to the order of additions."""
INT8_MIN_SPEARMAN = 0.85
MARGIN = 3.0
"""Golden tolerance over the largest error measured here: other processors round differently."""
PLANNER_COSTS = {
    "value": 1.0,
    "collision": 2.0,
    "clearance": 0.2,
    "progress": 0.1,
    "smoothness": 0.05,
    "reverse": 0.3,
    "revisit": 0.1,
}
"""Weights chosen on validation seeds; see docs/training.md."""
FLOAT_PARTS = ("motion_model",)
"""Layers that stay in float in int8 graphs: a displacement is rounded once and then added up twelve times."""


def package(model: WorldModel, directory: Path, *, version: str, figures: dict[str, Any]) -> list[Fidelity]:
    """Export, quantise, prove and write the bundle.

    Args:
        model: trained, in evaluation mode.
        directory: where the bundle goes; one that is there is replaced as a whole.
        version: the bundle's version.
        figures: measured closed-loop results, for the model card.

    Raises:
        BadInput: a graph is not the same model; nothing is written.
    """
    logging.disable(logging.WARNING)
    console = Console()
    console.print("drive for calibration and held-out rollouts")
    calibration = rollouts(model, CALIBRATION_SEED, EPISODES)
    held_out = rollouts(model, HELD_OUT_SEED, EPISODES)
    outputs = {"observe": tuple(f"next_{name}" for name in STATE), "imagine": IMAGINED, "decode": DECODED}
    writer = BundleWriter(directory)
    proofs: list[Fidelity] = []
    graphs: list[mf.Graph] = []
    tolerances: list[mf.Tolerance] = []
    golden: dict[str, Array] = {}
    for role, wrapper in GRAPHS.items():
        console.print(f"export {role}")
        module = wrapper(model).eval()
        example = {name: torch.from_numpy(array) for name, array in held_out[role][0].items()}
        truth = [_run_torch(module, case, outputs[role]) for case in held_out[role]]
        fp32 = to_onnx(module, example, outputs[role])
        forms = {"fp32": fp32, "int8": quantise(fp32, calibration[role], FLOAT_PARTS)}
        for precision, data in forms.items():
            proof = prove(role, precision, data, held_out[role], truth)
            proofs.append(proof)
            file = f"{role}.{precision}.onnx"
            writer.add(file, data)
            graphs.append(mf.Graph(role, "onnx", precision, file))  # type: ignore[arg-type]
            tolerances += _tolerances(proof)
        for name in held_out[role][0]:
            golden[f"{role}/in/{name}"] = np.stack([case[name] for case in _golden(held_out[role])])
        for name in outputs[role]:
            golden[f"{role}/out/{name}"] = np.stack([case[name] for case in _golden(truth)])
    _refuse_unfaithful(proofs)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **golden)  # type: ignore[arg-type]
    writer.add("golden.npz", buffer.getvalue())
    manifest = _manifest(model, version, graphs, tolerances, figures)
    writer.add("MODEL_CARD.md", model_card(manifest, model, proofs).encode())
    writer.finish(manifest)
    _print_table(console, proofs)
    return proofs


def prove(role: str, precision: str, data: bytes, cases: list[Inputs], truth: list[Inputs]) -> Fidelity:
    """Compare an ONNX graph with PyTorch's outputs ``truth`` on ``cases``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    errors: dict[str, list[Array]] = {name: [] for name in names}
    ranks = []
    for case, expected in zip(cases, truth, strict=True):
        found = dict(zip(names, session.run(names, case), strict=True))
        for name in names:
            # No number is infinitely wrong: NaN would pass every comparison below.
            errors[name].append(np.nan_to_num(np.abs(found[name] - expected[name]), nan=np.inf))
        if role == "imagine":
            ranks.append(spearmanr(_plan_cost(found), _plan_cost(expected)).statistic)
    return Fidelity(
        role,
        precision,
        len(data),
        {name: float(np.max(parts)) for name, parts in errors.items()},
        {name: float(np.mean(parts)) for name, parts in errors.items()},
        {name: max(float(np.mean(part)) for part in parts) for name, parts in errors.items()},
        float(np.mean(ranks)) if ranks else None,
    )


def _plan_cost(outcomes: Inputs) -> Array:
    """A plain cost of each candidate, to see whether two precisions would choose alike."""
    touch = 1.0 - np.prod(1.0 - outcomes["collision"], axis=1)
    cost: Array = outcomes["value"] + 5.0 * touch
    return cost


def _run_torch(module: nn.Module, case: Inputs, names: tuple[str, ...]) -> Inputs:
    with torch.no_grad():
        result = module(*(torch.from_numpy(array) for array in case.values()))
    return {name: tensor.numpy() for name, tensor in zip(names, result, strict=True)}


def _golden(cases: list[Inputs]) -> list[Inputs]:
    """A few cases from well inside the rollouts, where the map is not empty."""
    spacing = len(cases) // GOLDEN_CASES
    return [cases[spacing // 2 + number * spacing] for number in range(GOLDEN_CASES)]


def _tolerances(proof: Fidelity) -> list[mf.Tolerance]:
    floor = 1e-4 if proof.precision == "fp32" else 1e-3
    return [
        mf.Tolerance(
            role=proof.role,  # type: ignore[arg-type]
            precision=proof.precision,  # type: ignore[arg-type]
            output=name,
            max_abs=round(max(floor, MARGIN * error), 6),
            mean_abs=round(max(floor, MARGIN * proof.worst_case_mean[name]), 6),
        )
        for name, error in proof.max_error.items()
    ]


def _refuse_unfaithful(proofs: list[Fidelity]) -> None:
    for proof in proofs:
        worst = max(proof.max_error, key=lambda name: proof.max_error[name])
        if proof.precision == "fp32" and proof.max_error[worst] > FP32_MAX_ERROR:
            raise BadInput(
                f"{proof.role} fp32: exported but wrong: {worst} differs from PyTorch by {proof.max_error[worst]:.2g}"
            )
        if (
            proof.spearman is not None
            and proof.precision == "int8"
            and not proof.spearman >= INT8_MIN_SPEARMAN
        ):
            raise BadInput(
                f"{proof.role} int8: ranks candidates unlike PyTorch: Spearman {proof.spearman:.3f}"
                f" is below {INT8_MIN_SPEARMAN}"
            )


def _manifest(
    model: WorldModel,
    version: str,
    graphs: list[mf.Graph],
    tolerances: list[mf.Tolerance],
    figures: dict[str, Any],
) -> mf.Manifest:
    config = model.config
    reach = rm.RING_REACH_M
    return mf.Manifest(
        name="rooms-student",
        version=version,
        robot_kind="diff-drive-12cm",
        tick_s=config.tick_s,
        imagine=mf.Imagine(CANDIDATES, config.horizon, config.step_s),
        observation=(
            mf.ObservationArray("camera", (48, 64, 3), "uint8", "RGB", 0, 255, 0.3, "forward camera"),
            mf.ObservationArray("range", (rm.RING_BEAMS,), "float32", "m", 0, reach, 0.3, "0 is a drop-out"),
            mf.ObservationArray("wheel", (2,), "float32", "m/s", -2, 2, 0.3, "left and right rim speed"),
            mf.ObservationArray("gyro", (1,), "float32", "rad/s", -10, 10, 0.3, "yaw rate"),
        ),
        action=mf.ActionSpec(("v", "w"), ("m/s", "rad/s"), tuple(map(float, LOW)), tuple(map(float, HIGH))),
        state=(
            mf.StateTensor(
                "map",
                (config.map_channels, config.cells, config.cells),
                description="spatial memory, odometry axes",
            ),
            mf.StateTensor(
                "context",
                (config.context_channels, config.cells, config.cells),
                description="what the heads read",
            ),
            mf.StateTensor("motion", (config.motion,), description="memory of how the robot answers"),
            mf.StateTensor("pose", (3,), description="x, y (m), yaw (rad) in the odometry frame"),
        ),
        goal=mf.GoalSpec((2,), "odometry", "m", "x, y"),
        heads=(
            mf.Head(
                "imagined_pose", "imagine", ("N", "H", 3), "m, m, rad", "odometry frame, after each step"
            ),
            mf.Head("collision", "imagine", ("N", "H"), "probability", "of touching something at that step"),
            mf.Head("clearance", "imagine", ("N", "H"), "m", "from the robot's centre, at most 1"),
            mf.Head("uncertainty", "imagine", ("N", "H"), "m", "expected error of the clearance"),
            mf.Head("value", "imagine", ("N",), "m", "weighted cost-to-go from the last pose"),
            mf.Head("cost_to_go", "imagine", ("N", "H"), "m", "weighted cost-to-go from each pose"),
            mf.Head("policy", "imagine", ("H", "A"), "m/s, rad/s", "what the cloned expert would do"),
            mf.Head(
                "local_map",
                "decode",
                (config.cells, config.cells),
                "probability",
                f"touching in each {CELL_M} m cell",
            ),
            mf.Head(
                "known",
                "decode",
                (config.cells, config.cells),
                "1",
                "1 where the model is sure of the clearance",
            ),
            mf.Head("range_imagined", "decode", (rm.RING_BEAMS,), "m", "the ring as the latent has it"),
        ),
        graphs=tuple(graphs),
        planner=mf.PlannerDefaults(
            iterations=3,
            elites=8,
            keep_fraction=0.3,
            noise_beta=2.0,
            initial_std=(0.2, 1.0),
            momentum=0.1,
            costs=PLANNER_COSTS,
        ),
        golden=mf.GoldenVectors("golden.npz", tuple(tolerances)),
        latency_budget_ms=30.0,
        model_card="MODEL_CARD.md",
        provenance=mf.Provenance(
            created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
            commit=_commit(),
            data_seed=0,
            figures=figures,
        ),
    )


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _print_table(console: Console, proofs: list[Fidelity]) -> None:
    table = Table("role", "precision", "KiB", "largest error", "mean error", "Spearman of plan costs")
    for proof in proofs:
        worst = max(proof.max_error, key=lambda name: proof.max_error[name])
        table.add_row(
            proof.role,
            proof.precision,
            f"{proof.size / 1024:.0f}",
            f"{proof.max_error[worst]:.2g} ({worst})",
            f"{proof.mean_error[worst]:.2g}",
            "" if proof.spearman is None else f"{proof.spearman:.4f}",
        )
    console.print(table)
