"""How the time and memory of a plan grow with candidates, horizon and latent width, and over 10,000 plans.

Run it with ``make bench``; ``QUICK=1`` does two sizes, fewer plans, and records nothing.  Every figure is taken in a
fresh process that holds what a robot holds: the bundle and one engine, no PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ONE_AFTER_ANOTHER = {
    "candidates": [(n, 10, 128) for n in (32, 64, 128, 256, 512, 1024)],
    "steps": [(64, h, 128) for h in (5, 10, 20, 40)],
    "latent width": [(64, 10, width) for width in (64, 128, 256, 512)],
}
SOAK = (64, 10, 128)
PLANS, SOAK_PLANS, WARM_UP = 100, 10_000, 500


def measure(directory: Path, precision: Any, plans: int) -> dict[str, float]:
    """Plan ``plans`` times, warm-up not counted."""
    import numpy as np
    import onnxruntime

    from edge_wm.bundle.load import load_bundle
    from edge_wm.engines.execution import Execution
    from edge_wm.planner.icem import ICEM
    from edge_wm.planner.plan import ActionLimits, PlannerConfig
    from edge_wm.world_model import WorldModel

    onnxruntime.get_available_providers()  # the library is loaded; what follows is the model's
    before_kb = _resident_kb()
    model = WorldModel(
        load_bundle(directory, golden=False).only(precision, "onnx"), Execution(precision=precision)
    )
    manifest = model.manifest
    limits = ActionLimits(manifest.action.low, manifest.action.high)
    planner = ICEM(model, PlannerConfig.from_manifest(manifest), limits)
    state = model.initial_state()
    spent = np.full((plans, 2), -1.0)  # written once, so that its pages do not count as growth
    for number in range(-min(WARM_UP, plans), plans):
        if number == 0:
            warm_kb = _resident_kb()
        clock_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        planner.plan(state, None)
        spent[number] = time.perf_counter_ns() - clock_ns, time.process_time_ns() - cpu_ns
        planner.draw_ahead()
    growth_kb = _resident_kb() - warm_kb
    (p50, cpu_p50), (p99, cpu_p99) = np.percentile(spent / 1e6, (50, 99), axis=0)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "cpu_p50_ms": cpu_p50,
        "cpu_p99_ms": cpu_p99,
        "memory_mb": (warm_kb - before_kb) / 1024,
        "growth_mb": growth_kb / 1024,
    }


def main() -> None:
    """Export, measure each size in a process of its own, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/peers"), help="where exported graphs are kept"
    )
    parser.add_argument("--quick", action="store_true", help="two sizes, fewer plans, recorded nowhere")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        directory, precision, plans = options.measure
        print(json.dumps(measure(Path(directory), precision, int(plans))))
        return
    from benchmarks.timing import record

    axes = {"candidates": [(32, 10, 128), SOAK]} if options.quick else ONE_AFTER_ANOTHER
    grown = {
        axis: {"x".join(map(str, size)): _both_precisions(size, options.work, PLANS) for size in sizes}
        for axis, sizes in axes.items()
    }
    soak = _both_precisions(SOAK, options.work, SOAK_PLANS // 10 if options.quick else SOAK_PLANS)
    for axis, by_size in grown.items():
        print(f"by {axis}:")
        for size, found in by_size.items():
            print(
                f"  {size}: "
                + ", ".join(
                    f"{p} {f['cpu_p50_ms']:.2f} ms, {f['memory_mb']:.1f} MB" for p, f in found.items()
                )
            )
    if not options.quick:
        record("scaling", {"sizes": grown, "soak_plans": SOAK_PLANS, "soak": soak})
        _plot(grown, Path(__file__).parent / "results" / "scaling.png")
    print(
        "RESULT "
        + " ".join(
            f"{p}_growth_mb={f['growth_mb']:.2f} {p}_p99_over_p50={f['p99_ms'] / f['p50_ms']:.2f}"
            f" {p}_cpu_p99_over_p50={f['cpu_p99_ms'] / f['cpu_p50_ms']:.2f}"
            for p, f in soak.items()
        )
    )


def _both_precisions(size: tuple[int, int, int], work: Path, plans: int) -> dict[str, dict[str, float]]:
    from benchmarks.latent_mlp import Size, bundle
    from benchmarks.timing import ONE_THREAD

    directory = bundle(Size(*size), work)
    found = {}
    for precision in ("fp32", "int8"):
        command = [
            sys.executable,
            "-m",
            "benchmarks.scaling",
            "--measure",
            str(directory),
            precision,
            str(plans),
        ]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}
        )
        found[precision] = json.loads(done.stdout)
    return found


def _resident_kb() -> int:
    """Resident memory of this process; Linux only, as the robot is."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _plot(grown: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    rows = figure.subplots(2, len(grown), sharey="row", squeeze=False)
    for column, (axis, by_size) in enumerate(grown.items()):
        along = [size[list(grown).index(axis)] for size in ONE_AFTER_ANOTHER[axis]]
        for row, key, label in ((0, "cpu_p50_ms", "plan, ms"), (1, "memory_mb", "memory, MB")):
            axes = rows[row][column]
            for precision in ("fp32", "int8"):
                axes.plot(along, [found[precision][key] for found in by_size.values()], "o-", label=precision)
            axes.set_xscale("log", base=2)
            axes.set_xticks(along, map(str, along))
            axes.set_yscale("log" if row == 0 else "linear")
            axes.set_xlabel(axis)
            axes.set_ylabel(label if column == 0 else "")
            axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
