"""Evaluate: drive every candidate on validation worlds and choose by closed-loop success, not by loss.

Every evaluation is a report of ``edge-wm eval``, kept beside its candidate, so that an interrupted stage goes on where it
stopped.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from edge_wm.errors import BadInput
from edge_wm.evaluate.evaluation import evaluate_once, make_settings
from edge_wm.evaluate.report import Report
from edge_wm.sim.generator import TEST_SEEDS, VALIDATION_SEEDS
from edge_wm.sim.tasks import FILE_NAME
from edge_wm.sim.world_folder import write_worlds
from export.config import EvaluateConfig

RESULT = "evaluation.json"


class Evaluation(msgspec.Struct, frozen=True):
    """What was measured: the chosen candidate, and by candidate and kind of world a line for the model card."""

    chosen: str
    figures: dict[str, dict[str, str]]


def choose(candidates: dict[str, Path], config: EvaluateConfig, folder: Path, jobs: int) -> Evaluation:
    """Drive all candidates, take the one that succeeds most often, write ``folder/evaluation.json``.

    Args:
        candidates: a bundle by name; a tie goes to the last one, which has learned most.
        config: how much to drive, and where.
        folder: where worlds, reports and the result go.
        jobs: parallel processes.

    Raises:
        BadInput: the configuration asks for seeds that are not for tuning, or a bundle cannot be used.
    """
    if not VALIDATION_SEEDS <= config.first_seed < TEST_SEEDS - config.episodes:
        raise BadInput(
            f"evaluate.first_seed is {config.first_seed}: choosing a model is tuning, which is done on seeds from"
            f" {VALIDATION_SEEDS} to {TEST_SEEDS - 1}"
        )
    reports = {
        name: {kind: _drive(bundle, kind, config, folder, name, jobs) for kind in config.kinds}
        for name, bundle in candidates.items()
    }

    successes = {
        name: sum(episode.success for report in by_kind.values() for episode in report.episodes)
        for name, by_kind in reports.items()
    }
    chosen = max(reversed(list(candidates)), key=lambda name: successes[name])
    figures = {
        name: {kind: _line(report, config.first_seed) for kind, report in by_kind.items()}
        for name, by_kind in reports.items()
    }
    result = Evaluation(chosen, figures)
    (folder / RESULT).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    _print(result)
    return result


def read_evaluation(folder: Path) -> Evaluation:
    """What :func:`choose` wrote into ``folder``.  Raises BadInput if it has not."""
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Evaluation)
    except (OSError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{folder / RESULT}: {reason}: run the evaluate command first") from error


def _drive(bundle: Path, kind: str, config: EvaluateConfig, folder: Path, name: str, jobs: int) -> Report:
    worlds = folder / "worlds" / kind
    if not (worlds / FILE_NAME).exists():
        write_worlds(worlds, kind, config.first_seed, config.episodes)
    settings, tasks = make_settings(worlds, "world-model", model=bundle)
    return evaluate_once(settings, tasks, config.episodes, jobs, folder / f"{name}.{kind}.json")


def _line(report: Report, first_seed: int) -> str:
    s = report.summary
    low, high = s.success_ci95
    return (
        f"success {s.success_rate:.1%} [{low:.0%}, {high:.0%}], collisions {s.collision_rate:.1%}, SPL {s.spl:.2f},"
        f" n = {s.n}, worlds {first_seed} and up, {report.precision}"
    )


def _print(result: Evaluation) -> None:
    table = Table("candidate", "worlds", "closed loop")
    for name, by_kind in result.figures.items():
        for kind, line in by_kind.items():
            table.add_row(f"{name} (chosen)" if name == result.chosen else name, kind, line)
    Console().print(table)
