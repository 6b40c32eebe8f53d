"""How much computation the shipped model needs: closed-loop success against the size of a plan.

Run it with ``make sweep`` after ``make model``; ``QUICK=1`` drives a few episodes of two sizes to see that it works.
All sizes drive the same validation worlds, never test worlds: what is found here chooses a default.  Bundles and
reports are kept in ``--work``, so that an interrupted sweep goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.plan_sizes import Bundles, Size
from benchmarks.timing import RESULTS, Spread, alternate, machine, record
from edge_wm.bundle.load import load_bundle
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.evaluate.episode import Episode
from edge_wm.evaluate.evaluation import evaluate_once, make_settings
from edge_wm.evaluate.report import summarise
from edge_wm.evaluate.statistics import mcnemar_p
from edge_wm.planner.icem import ICEM
from edge_wm.planner.plan import ActionLimits, PlannerConfig
from edge_wm.sim.generator import TEST_SEEDS, VALIDATION_SEEDS
from edge_wm.sim.tasks import FILE_NAME
from edge_wm.sim.world_folder import write_worlds
from edge_wm.world_model import WorldModel

KIND = "rooms-hard"
FIRST_SEED = 1_400_000
WITHIN = 0.01
"""Success that may be lost for less computation."""
NEAR = 0.03
"""What is this close to the best after the first block of worlds drives the second one too."""
GOAL = np.array([3.0, 1.0], dtype=np.float32)


GRID = (
    *(Size(candidates, 12, iterations) for candidates in (16, 32, 64, 128) for iterations in (1, 2, 3)),
    *(Size(candidates, 8, iterations) for candidates in (32, 64) for iterations in (1, 2, 3)),
    *(Size(*size, "fp32") for size in ((16, 12, 1), (64, 12, 1), (64, 12, 3))),
)
SIZES = {str(size): size for size in GRID}
QUICK_GRID = GRID[:2]


def main() -> None:
    """Drive all sizes, time their plans, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/runs/distilled"))
    parser.add_argument("--config", type=Path, default=Path("export/configs/student.toml"))
    parser.add_argument("--work", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of the worlds")
    parser.add_argument("--episodes", type=int, default=100, help="in each of the two blocks of worlds")
    parser.add_argument("--only", nargs="+", choices=SIZES, metavar="SIZE", help="such as 32x12x2-int8")
    parser.add_argument(
        "--finished", action="store_true", help="drive nothing more, report what has been driven"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="two sizes, a few episodes, recorded nowhere")
    options = parser.parse_args()
    grid = [SIZES[name] for name in options.only or SIZES]
    try:
        if options.quick:
            sweep(options, QUICK_GRID, episodes=2)
        else:
            _record(sweep(options, grid, options.episodes), options.first_seed)
    except BadInput as error:
        parser.error(str(error))


def sweep(options: argparse.Namespace, grid: Sequence[Size], episodes: int) -> dict[Size, dict[str, Any]]:
    """Drive and time ``grid``; what was found of each size, which is printed.

    Raises:
        BadInput: the seeds are not for tuning, or there is no trained model.
    """
    blocks = [options.first_seed, options.first_seed + episodes]
    if not VALIDATION_SEEDS <= blocks[0] <= blocks[1] + episodes <= TEST_SEEDS:
        raise BadInput(
            f"--first-seed {options.first_seed}: choosing a size is tuning, which is done on seeds from"
            f" {VALIDATION_SEEDS} to {TEST_SEEDS - 1}"
        )
    bundles = Bundles(options.checkpoint, options.config, options.work)

    def drive(size: Size, first_seed: int) -> list[Episode]:
        worlds = options.work / f"{KIND}-{first_seed}-{episodes}"
        report = worlds / f"{size}.json"
        if options.finished and not report.exists():
            return []
        if not (worlds / FILE_NAME).exists():
            write_worlds(worlds, KIND, first_seed, episodes)
        settings, tasks = make_settings(
            worlds, "world-model", model=bundles.of(size), precision=size.precision, seed=first_seed
        )
        return evaluate_once(settings, tasks, episodes, options.jobs, report).episodes

    driven = {size: episodes_of for size in grid if (episodes_of := drive(size, blocks[0]))}
    if not driven:
        raise BadInput(f"{options.work}: nothing has been driven yet: leave out --finished")
    for size in driven if options.finished else near_the_best(driven):
        driven[size] = driven[size] + drive(size, blocks[1])
    rounds = 5 if options.quick else 40
    found = compare(driven, plan_times({size: bundles.of(size) for size in driven}, rounds))
    print(as_markdown(found))
    best, chosen = best_of(found), smallest(found)
    print(
        f"RESULT best={best} best_success={found[best]['success_rate']:.3f}"
        f" best_plan_ms={found[best]['plan_ms']['median']:.2f} smallest={chosen}"
        f" smallest_success={found[chosen]['success_rate']:.3f}"
        f" smallest_plan_ms={found[chosen]['plan_ms']['median']:.2f}"
    )
    return found


def plan_times(bundles: Mapping[Size, Path], rounds: int) -> dict[Size, Spread]:
    """CPU milliseconds of a plan, all iterations and the noise included; the sizes take turns, on one thread."""
    spent = alternate({str(size): _planner(size, directory) for size, directory in bundles.items()}, rounds)
    return {size: Spread.of(spent[str(size)]) for size in bundles}


def _planner(size: Size, directory: Path) -> Callable[[], object]:
    model = WorldModel(
        load_bundle(directory, golden=False).only(size.precision, "onnx"), Execution(precision=size.precision)
    )
    limits = ActionLimits(model.manifest.action.low, model.manifest.action.high)
    planner = ICEM(model, PlannerConfig.from_manifest(model.manifest), limits)
    state = model.initial_state()

    def plan() -> None:
        planner.plan(state, GOAL)
        planner.draw_ahead()

    return plan


def near_the_best(driven: Mapping[Size, Sequence[Episode]]) -> list[Size]:
    """The sizes whose success is within ``NEAR`` of the best."""
    rates = {size: summarise(episodes).success_rate for size, episodes in driven.items()}
    return [size for size in driven if rates[size] >= max(rates.values()) - NEAR - 1e-9]


def compare(
    driven: Mapping[Size, Sequence[Episode]], plan_ms: Mapping[Size, Spread]
) -> dict[Size, dict[str, Any]]:
    """What is recorded of each size; ``won`` and ``lost`` against the best, in the episodes that both drove."""
    found: dict[Size, dict[str, Any]] = {
        size: {
            **msgspec.to_builtins(summarise(episodes)),
            "imagined_steps": size.imagined_steps,
            "plan_ms": plan_ms[size]._asdict(),
        }
        for size, episodes in driven.items()
    }
    best = driven[best_of(found)]
    for size, episodes in driven.items():
        pairs = list(zip(episodes, best, strict=False))  # the first block, or both
        assert all((a.index, a.world, a.seed) == (b.index, b.world, b.seed) for a, b in pairs)
        won = sum(a.success and not b.success for a, b in pairs)
        lost = sum(b.success and not a.success for a, b in pairs)
        found[size] |= {"won": won, "lost": lost, "p": mcnemar_p(won, lost)}
    return found


def best_of(found: Mapping[Size, Mapping[str, Any]]) -> Size:
    """The size that succeeds most often, of those that drove most; of equals the quickest."""
    return max(_driven_most(found), key=lambda size: (found[size]["success_rate"], -_plan_ms(found, size)))


def smallest(found: Mapping[Size, Mapping[str, Any]]) -> Size:
    """The size with the quickest plan whose success is within ``WITHIN`` of the best, of those that drove most."""
    enough = found[best_of(found)]["success_rate"] - WITHIN - 1e-9
    able = [size for size in _driven_most(found) if found[size]["success_rate"] >= enough]
    return min(able, key=lambda size: _plan_ms(found, size))


def _driven_most(found: Mapping[Size, Mapping[str, Any]]) -> list[Size]:
    most = max(result["n"] for result in found.values())
    return [size for size, result in found.items() if result["n"] == most]


def _plan_ms(found: Mapping[Size, Mapping[str, Any]], size: Size) -> float:
    median: float = found[size]["plan_ms"]["median"]
    return median


def as_markdown(found: Mapping[Size, Mapping[str, Any]]) -> str:
    """A table, the quickest plan first."""
    best, chosen = best_of(found), smallest(found)
    marks = {best: " (best)", chosen: " (smallest within a point)"}
    lines = [
        "| candidates x steps x iterations | imagined steps | plan, ms | n | success [95 %] | collisions | SPL | time of a success, s |"
        " against the best: won, lost, p |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in sorted(found, key=lambda size: _plan_ms(found, size)):
        result = found[size]
        low, high = result["success_ci95"]
        lines.append(
            f"| {size}{marks.get(size, '')} | {size.imagined_steps} | {Spread(**result['plan_ms'])} | {result['n']}"
            f" | {result['success_rate']:.1%} [{low:.0%}, {high:.0%}] | {result['collision_rate']:.1%}"
            f" | {result['spl']:.2f} | {result['time_s']:.1f} | {result['won']}, {result['lost']}, {result['p']:.2g} |"
        )
    return "\n".join(lines) + "\n"


def _record(found: Mapping[Size, Mapping[str, Any]], first_seed: int) -> None:
    facts = machine()
    sizes = {str(size): result for size, result in found.items()}
    record(
        "sweep",
        {
            "worlds": KIND,
            "first_world_seed": first_seed,
            "best": str(best_of(found)),
            "smallest": str(smallest(found)),
            "sizes": sizes,
        },
    )
    title = (
        "# Success against computation\n\n"
        f"{facts['date']}, {facts['machine']}, commit {facts['commit'][:12]}. Validation worlds {KIND} from seed"
        f" {first_seed} on. Plans on one thread, CPU milliseconds, median [quartiles]. Written by `make sweep`.\n\n"
    )
    (RESULTS / "sweep.md").write_text(title + as_markdown(found))
    _plot(found, RESULTS / "sweep.png")


def _plot(found: Mapping[Size, Mapping[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for family in dict.fromkeys((size.candidates, size.steps, size.precision) for size in found):
        sizes = [size for size in found if (size.candidates, size.steps, size.precision) == family]
        rates = 100 * np.array([found[size]["success_rate"] for size in sizes])
        low, high = 100 * np.array([found[size]["success_ci95"] for size in sizes]).T
        label = "{} x {} {}".format(*family)
        axes.errorbar(
            [_plan_ms(found, size) for size in sizes],
            rates,
            (rates - low, high - rates),
            fmt="o-",
            label=label,
            capsize=3,
            elinewidth=0.8,
        )
    axes.set_xlim(left=0.0)
    axes.set_xlabel("plan, CPU ms on one thread; along a line: 1, 2, 3 iterations")
    axes.set_ylabel("success, %")
    figure.legend(loc="outside right center", fontsize="small", title="candidates x steps")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
