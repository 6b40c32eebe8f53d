"""How fast a plan is against named peers, with the same network.

Run it with ``make bench``; ``QUICK=1`` does one size and records nothing.  See ``timing.py`` for what is timed and
``planners.py`` for who plans.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.latent_mlp import ITERATIONS, Size, bundle, latent_of
from benchmarks.planners import OURS, PEERS, our_planner, versions, world_model
from benchmarks.timing import RESULTS, Spread, alternate, machine, record
from edge_wm.bundle.manifest import Precision

SIZES = (Size(32, 8), Size(64, 10), Size(128, 12), Size(256, 10), Size(512, 12), Size(1024, 16))
MAIN = (Size(64, 10), Size(256, 10))
"""Every peer plans at these sizes, and shares of a plan are measured; at the others, only ``EVERYWHERE`` plan."""
EVERYWHERE = "pytorch-mppi"
SQUARE = 1024
"""Rows and columns of the products that show what the machine can do at best."""


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/peers"), help="where exported graphs are kept"
    )
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="one size, a few rounds, recorded nowhere")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 5 if options.quick else options.rounds
    plans, shares = {}, {}
    for size in MAIN[:1] if options.quick else SIZES:
        bundle(size, options.work)
        plans[str(size)] = against_peers(size, options.work, rounds)
        if size in MAIN:
            shares[str(size)] = {
                precision: where_the_time_goes(size, options.work, precision, rounds)
                for precision in ("fp32", "int8")
            }
    report = _markdown(plans, shares)
    print(report)
    if not options.quick:
        record("peers", {"versions": versions(), "iterations": ITERATIONS, "plans": plans, "shares": shares})
        (RESULTS / "peers.md").write_text(report)
        _plot(plans, RESULTS / "peers.png")
    print("RESULT " + " ".join(_results(plans, shares)))


def against_peers(size: Size, work: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of a plan of each contestant, and how many times as long as ours it takes."""
    peers = PEERS if size in MAIN else {EVERYWHERE: PEERS[EVERYWHERE]}
    spent = alternate({name: make(size, work) for name, make in {**OURS, **peers}.items()}, rounds)
    return {
        name: {
            "plan_ms": Spread.of(times)._asdict(),
            **{f"times_{who}": Spread.of(times / spent[who])._asdict() for who in OURS},
        }
        for name, times in spent.items()
    }


def where_the_time_goes(size: Size, work: Path, precision: Precision, rounds: int) -> dict[str, Any]:
    """Share of a plan that is not the engine's, and what the engine makes of the machine."""
    model = world_model(size, work, precision)
    state, inside = {"latent": latent_of(size)}, 0

    class Timed:
        manifest = model.manifest

        def imagine(self, *arguments: Any) -> Any:
            nonlocal inside
            began = time.process_time_ns()
            outcomes = model.imagine(*arguments)
            inside += time.process_time_ns() - began
            return outcomes

    planner = our_planner(Timed(), model.manifest)
    outside = np.empty(4 * rounds)
    for number in range(len(outside)):
        spent_ns = []
        for _ in range(5):
            planner.draw_ahead()
            inside, began = 0, time.process_time_ns()
            planner.plan(state, None)
            spent_ns.append((time.process_time_ns() - began, inside))
        whole, inside = min(spent_ns)  # as everywhere: the quickest of five plans counts
        outside[number] = 1.0 - inside / whole
    actions = np.zeros((size.candidates, size.horizon, 2), dtype=np.float32)
    best = sgemm() if precision == "fp32" else int8_gemm()
    spent = alternate({"imagine": lambda: model.imagine(state, actions), "best": best}, rounds)
    rate = {"imagine": size.flops / spent["imagine"] / 1e6, "best": 2.0 * SQUARE**3 / spent["best"] / 1e6}
    return {
        "outside_engine": Spread.of(outside)._asdict(),
        "imagine_gflops": Spread.of(rate["imagine"])._asdict(),
        "machine_gflops": Spread.of(rate["best"])._asdict(),
        "of_machine": Spread.of(rate["imagine"] / rate["best"])._asdict(),
    }


def sgemm() -> Callable[[], object]:
    """A large fp32 product in PyTorch's BLAS."""
    left, right, product = torch.rand(SQUARE, SQUARE), torch.rand(SQUARE, SQUARE), torch.empty(SQUARE, SQUARE)
    return lambda: torch.mm(left, right, out=product)


def int8_gemm() -> Callable[[], object]:
    """A large product of uint8 by constant int8 in ONNX Runtime."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (SQUARE, SQUARE), dtype=np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "int8",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, [SQUARE, SQUARE])],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [SQUARE, SQUARE])],
        [numpy_helper.from_array(weight, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    left = rng.integers(0, 256, (SQUARE, SQUARE), dtype=np.uint8)
    return lambda: session.run(None, {"left": left})


def _markdown(plans: Mapping[str, Any], shares: Mapping[str, Any]) -> str:
    facts = machine()
    lines = [
        "# A plan against named peers",
        "",
        f"{facts['date']}, {facts['machine']}, commit {facts['commit'][:12]}. One thread, {ITERATIONS} iterations, CPU"
        " milliseconds; median [quartiles] over alternated rounds. Written by `make bench`.",
    ]
    for size, by_name in plans.items():
        lines += ["", f"## {size} (candidates x steps)", ""]
        lines += ["| planner | plan, ms | times edge-wm fp32 | times edge-wm int8 |", "|---|---|---|---|"]
        for name, found in by_name.items():
            cells = (Spread(**found[key]) for key in ("plan_ms", *(f"times_{who}" for who in OURS)))
            lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    lines += ["", "## Where the time of a plan goes", ""]
    lines += [
        "| size | precision | outside the engine | engine, Gop/s | large product, Gop/s | engine's share of that |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for size, by_precision in shares.items():
        for precision, found in by_precision.items():
            cells = (found[key]["median"] for key in ("imagine_gflops", "machine_gflops"))
            lines.append(
                f"| {size} | {precision} | {found['outside_engine']['median']:.1%} | "
                + " | ".join(f"{cell:.0f}" for cell in cells)
                + f" | {found['of_machine']['median']:.0%} |"
            )
    return "\n".join(lines) + "\n"


def _plot(plans: Mapping[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(plans))
    for number, who in enumerate(OURS):
        ratios = [Spread(**by_name[EVERYWHERE][f"times_{who}"]) for by_name in plans.values()]
        middle = np.array([ratio.median for ratio in ratios])
        error = np.abs(np.array([[ratio.low, ratio.high] for ratio in ratios]).T - middle)
        axes.bar(place + 0.4 * number - 0.2, middle, 0.38, yerr=error, label=who, capsize=3)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xticks(place, list(plans))
    axes.set_xlabel("candidates x steps")
    axes.set_ylabel(f"times faster than {EVERYWHERE}")
    axes.legend()
    figure.savefig(file, dpi=120)


def _results(plans: Mapping[str, Any], shares: Mapping[str, Any]) -> list[str]:
    results = []
    for size, by_name in plans.items():
        for who, short in zip(OURS, ("fp32", "int8"), strict=True):
            results.append(f"mppi_{short}_{size}={by_name[EVERYWHERE][f'times_{who}']['median']:.2f}")
    for size, by_precision in shares.items():
        results.append(f"torchrl_{size}={plans[size]['TorchRL CEM']['times_edge-wm fp32']['median']:.1f}")
        for precision, found in by_precision.items():
            results.append(f"outside_{precision}_{size}={found['outside_engine']['median']:.3f}")
        results.append(f"sgemm_{size}={by_precision['fp32']['of_machine']['median']:.2f}")
    return results


if __name__ == "__main__":
    main()
