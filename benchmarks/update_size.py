"""What an update carries: the shipped model with some of its weights changed, exported, published, and counted.

Run it with ``python -m benchmarks.update_size``; ``--quick`` measures one change and records nothing.

Two measures of the whole: what the new bundle weighs on the disk, and what it weighs on the air when all of it is fetched
compressed, which is the one that counts.

The weights are those of the shipped bundle's float graphs.  After a change everything is made as for any other model: all
graphs in all forms, int8 calibrated anew, golden vectors observed anew, tolerances, model card.  Then both bundles are
published, and what a robot with the shipped model fetches is counted as the robot decides it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from rich.console import Console
from rich.table import Table

from benchmarks.timing import record
from edge_wm.publish.folders import Folders
from edge_wm.publish.publisher import Access, open_publisher
from edge_wm.publish.releases import publish
from edge_wm.publish.setup import init_repository
from edge_wm.publish.signers import KeySource
from edge_wm.publish.tables import update_facts
from export.config import load_config
from export.package import package
from export.shipped import adapter
from export.stages import SHIPPED_FORMS
from export.world_model import WorldModel

SHIPPED = Path("models/rooms-student")
CONFIG = Path("export/configs/student.toml")
WORK = Path("build/update_size")
KIND = "diff-drive-12cm"
BUDGET = 0.15
"""A change of 1 % of the weights travels as less than this part of the whole, compressed."""

MULTIPLIED = ("outcome.", "ring.")
"""Layers whose weights the exporter stores as they are multiplied, which is transposed."""

Change = Callable[[dict[str, torch.Tensor], torch.Generator], None]


def model_of(bundle: Path) -> WorldModel:
    """The model of a bundle in PyTorch, with the weights that its float graphs hold."""
    config = load_config(CONFIG)
    model = WorldModel(config.student).with_map(config.shipped_cells, config.shipped_value_iterations).eval()
    stored: dict[str, np.ndarray] = {}
    for role in ("observe", "imagine", "decode"):
        graph = onnx.load(bundle / f"{role}.fp32.onnx").graph
        stored |= {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {}
    for name in model.state_dict():
        array = stored[f"model.{name}"]
        turned = array.ndim == 2 and name.startswith(MULTIPLIED)
        weights[name] = torch.from_numpy((array.T if turned else array).copy())
    model.load_state_dict(weights)
    return model


def _none(weights: dict[str, torch.Tensor], chance: torch.Generator) -> None:
    """Nothing."""


def _few(weights: dict[str, torch.Tensor], chance: torch.Generator) -> None:
    """One weight in a hundred, anywhere, by a tenth of its tensor's spread."""
    for weight in weights.values():
        chosen = torch.rand(weight.shape, generator=chance) < 0.01
        weight += chosen * 0.1 * _spread(weight) * torch.randn(weight.shape, generator=chance)


def _few_of(part: str) -> Change:
    """One weight in a hundred of those layers."""

    def change(weights: dict[str, torch.Tensor], chance: torch.Generator) -> None:
        _few({name: weight for name, weight in weights.items() if name.startswith(part)}, chance)

    return change


def _all(weights: dict[str, torch.Tensor], chance: torch.Generator) -> None:
    """Every weight, by a hundredth of itself."""
    for weight in weights.values():
        weight *= 1.0 + 0.01 * torch.randn(weight.shape, generator=chance)


def _layers(*parts: str) -> Change:
    """Every weight of those layers, by half of its tensor's spread, as training them again would."""

    def change(weights: dict[str, torch.Tensor], chance: torch.Generator) -> None:
        for name, weight in weights.items():
            if name.startswith(parts):
                weight += 0.5 * _spread(weight) * torch.randn(weight.shape, generator=chance)

    return change


def _spread(weight: torch.Tensor) -> float:
    return float(weight.std()) if weight.numel() > 1 else float(weight.abs())


CHANGES: dict[str, tuple[str, Change]] = {
    "none": ("nothing: exported again", _none),
    "few": ("1 % of all weights", _few),
    "few of imagine": ("1 % of the weights that only imagine has", _few_of("policy")),
    "head": ("all weights of the policy head, which is in imagine only", _layers("policy")),
    "all": ("all weights, by 1 % each", _all),
}


def changed_bundle(name: str) -> Path:
    """The bundle of a change, exported if it is not in ``WORK``."""
    model = model_of(SHIPPED)
    with torch.no_grad():
        CHANGES[name][1](model.state_dict(), torch.Generator().manual_seed(7))
    folder = WORK / name.replace(" ", "-")
    if not folder.exists():
        package(adapter(model), folder, version="0.9.0", forms=SHIPPED_FORMS)
    return folder


def _weights_changed(new: Path, old: Path) -> float:
    """The part of all weights that differ."""
    before, after = model_of(old).state_dict(), model_of(new).state_dict()
    differ = sum(int((before[name] != weight).sum()) for name, weight in after.items())
    return differ / sum(weight.numel() for weight in after.values())


def measure(new: Path, old: Path = SHIPPED) -> dict[str, Any]:
    """Publish ``old`` and then ``new``; what a robot with ``old`` fetches."""
    with tempfile.TemporaryDirectory(prefix="update_size") as folder:
        access = Access(Folders.of(Path(folder, "repository")), (), lambda name: "")
        init_repository(KeySource(access, {}, {}), [KIND])
        for bundle in (old, new):
            with open_publisher(access) as publisher:
                decided = publish(publisher, bundle, "beta", fraction=1.0, requires="0.1.0")
    facts = update_facts(decided)
    keep = ("size", "whole_bytes", "update_bytes", "files")
    return {
        "weights_changed": _weights_changed(new, old),
        **{key: facts[key] for key in keep},
        "of_whole": facts["update_bytes"] / facts["whole_bytes"],
        "of_size": facts["update_bytes"] / facts["size"],
        "graphs_of_whole": _share(facts["files"], graphs=True),
        "golden_bytes": sum(f["update_bytes"] for f in facts["files"] if f["path"] == "golden.npz"),
    }


def _share(files: list[dict[str, Any]], graphs: bool) -> float:
    """Of the graphs alone: what is fetched, as part of what they weigh compressed."""
    chosen = [file for file in files if file["path"].endswith((".onnx", ".tflite")) is graphs]
    return float(sum(f["update_bytes"] for f in chosen) / sum(f["whole_bytes"] for f in chosen))


def main() -> None:
    """Measure every change, print, record.  Exit code 1 if 1 % of the weights weigh more than the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 % of the weights only, recorded nowhere")
    parser.add_argument(
        "--trained-anew",
        type=Path,
        metavar="DIR",
        help="a bundle of another training, measured too",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in ["few"] if options.quick else CHANGES:
        results[name] = {"what": CHANGES[name][0], **measure(changed_bundle(name))}
    if options.trained_anew:
        results["trained anew"] = {"what": "weights of another training", **measure(options.trained_anew)}
    Console().print(_table(results))
    few = results["few"]
    if not options.quick:
        record("update_size", {"budget": BUDGET, "changes": results})
    print(
        f"RESULT few_bytes={few['update_bytes']} of_whole={few['of_whole']:.3f} of_size={few['of_size']:.3f}"
        f" graphs_of_whole={few['graphs_of_whole']:.3f} budget={BUDGET}"
    )
    sys.exit(few["of_whole"] >= BUDGET)


def _table(results: dict[str, Any]) -> Table:
    table = Table("change", "weights", "kB", "of them golden", "of compressed", "of bundle", "graphs alone")
    for name, found in results.items():
        table.add_row(
            name,
            f"{found['weights_changed']:.1%}",
            f"{found['update_bytes'] / 1e3:,.0f}",
            f"{found['golden_bytes'] / 1e3:,.0f}",
            f"{found['of_whole']:.1%}",
            f"{found['of_size']:.1%}",
            f"{found['graphs_of_whole']:.1%}",
        )
    return table


if __name__ == "__main__":
    main()
