"""What it would save to sample, weigh and choose inside the graph: docs/decisions/0006-no-whole-planner-graph.md.

``python -m benchmarks.plan_in_graph`` plans with the latent MLP and with the shipped model, with the planner as it is and
in three forms: a graph that is one iteration, a graph of all iterations one after the other, and a graph with them in a
``Loop``.  The graphs do less than the planner: they look for no number that is not finite, and place fewer sequences.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.latent_mlp import Size, bundle
from benchmarks.plan_graph import CARRIED, FORMS, PLACED, PlanGraph
from benchmarks.timing import Spread, alternate, record
from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import Precision
from edge_wm.engines.execution import Execution
from edge_wm.engines.onnxruntime import OnnxRuntimeEngine
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from edge_wm.world_model import WorldModel

SHIPPED = Path("models/rooms-student")


def in_graph(form: str, imagine: bytes, planner: ICEM, precision: Precision) -> Callable[..., None]:
    """A plan in that form, around ``planner``, whose noise, mean and elites it uses; leaves it where ``plan`` would."""
    iterations = planner._config.iterations
    engine = OnnxRuntimeEngine(
        PlanGraph(imagine, planner, iterations).of(form), Execution(precision=precision)
    )
    noise = np.zeros((iterations, *planner._actions.shape), dtype=np.float32)
    placed, worst = np.zeros_like(planner._actions[:PLACED]), np.full(1, np.inf, dtype=np.float32)

    def plan(given: Mapping[str, np.ndarray]) -> None:
        if planner._warm:
            planner._shift_previous()
        for number in range(iterations):
            noise[number] = planner._noise.take()
        np.multiply(noise[0, :PLACED], planner._initial_std, out=placed)
        np.add(placed, planner._mean, out=placed)
        for row, sequence in zip(placed, planner._first_rows(planner._warm), strict=False):
            row[:] = sequence
        carried = {
            "mean": planner._mean,
            "std": planner._initial_std,
            "placed": placed,
            "best_cost": worst,
            "best": placed[:1],
        }
        for block in noise if form == "iteration" else (noise,):
            found = engine.run({**given, **carried, "noise": block})
            carried = {name: found[f"{name}_out"] for name in CARRIED}
        planner._mean[:], planner._best[:] = carried["mean"], carried["best"][0]
        planner._elites[:] = found["elites_out"]
        planner._elite_count, planner._warm = len(planner._elites), bool(np.isfinite(carried["best_cost"][0]))

    return plan


def compare(directory: Path, precision: Precision, iterations: int, rounds: int) -> dict[str, Any]:
    """Times of a plan in every form, of those of the planner as it is."""
    loaded = load_bundle(directory)
    model = WorldModel(loaded, Execution(precision=precision))
    manifest = model.manifest
    # What the graphs leave out, the planner must not do either.
    config = PlannerConfig.from_manifest(manifest)
    weights = {name: weight for name, weight in config.weights.items() if name != "revisit"}
    config = dataclasses.replace(config, iterations=iterations, primitives=(), weights=weights)

    def imagine(*arguments: Any) -> Mapping[str, np.ndarray]:
        return {name: array for name, array in model.imagine(*arguments).items() if name != "policy"}

    def planner() -> ICEM:
        limits = ActionLimits(manifest.action.low, manifest.action.high)
        return ICEM(SimpleNamespace(manifest=manifest, imagine=imagine), config, limits)

    rng = np.random.default_rng(1)
    state = {
        name: rng.uniform(-0.5, 0.5, array.shape).astype(np.float32)
        for name, array in model.initial_state().items()
    }
    goal = None if manifest.goal is None else np.array([2.0, 0.5], dtype=np.float32)
    given = state if goal is None else {**state, "goal": goal}
    graph = loaded.read(loaded.graph("imagine", precision, "onnx").file)
    as_it_is, planners = planner(), {form: planner() for form in FORMS}
    plans = {form: in_graph(form, graph, one, precision) for form, one in planners.items()}
    contestants: dict[str, Callable[[], object]] = {"as it is": lambda: as_it_is.plan(state, goal)}
    contestants |= {form: functools.partial(plan, given) for form, plan in plans.items()}
    for call in contestants.values():
        call()
    apart = {form: float(np.abs(one._best - as_it_is._best).max()) for form, one in planners.items()}
    spent = alternate(contestants, rounds)
    return {
        name: {
            "plan_ms": Spread.of(times)._asdict(),
            "times_as_it_is": Spread.of(times / spent["as it is"])._asdict(),
            "first_plan_differs_by": apart.get(name, 0.0),
        }
        for name, times in spent.items()
    }


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("runs/peers"), help="where exported graphs are kept"
    )
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    cases = [(bundle(Size(n, 10), options.work), 3) for n in (64, 256)]
    cases += [(SHIPPED, 3), (SHIPPED, 1)]
    found: dict[str, Any] = {}
    for directory, iterations in cases:
        for precision in ("fp32", "int8"):
            case = f"{directory.name} x{iterations} {precision}"
            found[case] = compare(directory, precision, iterations, options.rounds)
            print(case)
            for name, figures in found[case].items():
                plan, ratio = Spread(**figures["plan_ms"]), Spread(**figures["times_as_it_is"])
                print(
                    f"  {name}: {plan} ms, {ratio} of it; first plan {figures['first_plan_differs_by']:.1g} apart"
                )
    record("plan_in_graph", {"plans": found})


if __name__ == "__main__":
    main()
