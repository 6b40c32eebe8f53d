"""The way from nothing to a shipped bundle, a command a stage: ``python -m export STAGE``.

Every stage reads one configuration file, shows its progress, can be interrupted, and goes on where it stopped when
it is started again.  ``all`` runs them in order; that is what ``make model`` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import torch

from edge_wm.errors import BadInput
from export.collect import collect
from export.config import RunConfig, load_config
from export.evaluate import choose, read_evaluation
from export.package import package
from export.shipped import adapter
from export.train import load_model, train
from export.world_model import WorldModel

CONFIGS = Path(__file__).parent / "configs"
CANDIDATES = ("student", "distilled")
"""Runs whose models may be shipped."""


@dataclass(frozen=True)
class Work:
    """Where one run of the pipeline reads and writes."""

    config: RunConfig
    folder: Path
    bundle: Path
    jobs: int

    def data(self, name: str) -> Path:
        """Folder of shards."""
        return self.folder / "data" / name

    def run(self, name: str) -> Path:
        """Folder of a training run."""
        return self.folder / "runs" / name

    @property
    def graphs(self) -> Path:
        """Folder of finished graphs, from which an interrupted export goes on."""
        return self.folder / "graphs"

    @property
    def evaluation(self) -> Path:
        """Folder of the candidates' bundles, of the worlds they drive in and of what came of it."""
        return self.folder / "evaluation"


def _collect(work: Work) -> None:
    """Drive generated worlds with the shaken expert."""
    collect(work.config.collect, work.data("base"), work.jobs)


def _teacher(work: Work) -> None:
    """Train the teacher, which also sees the depth picture."""
    train(work.config.teacher, work.config.train_teacher, [work.data("base")], work.run("teacher"))


def _student(work: Work) -> None:
    """Train the student by itself."""
    train(work.config.student, work.config.train_student, [work.data("base")], work.run("student"))


def _on_policy(work: Work) -> None:
    """Let the student's own planner drive, and record what it meets."""
    driver = work.folder / "driver"
    if not driver.exists():
        package(adapter(load_model(work.run("student"))), driver, version="0.0.1", work=work.graphs)
    collect(work.config.on_policy, work.data("on-policy"), work.jobs, driver)


def _distil(work: Work) -> None:
    """Go on with the student: the teacher beside it, and with what its own planner met."""
    train(
        work.config.student,
        work.config.train_distil,
        [work.data("base"), work.data("on-policy")],
        work.run("distilled"),
        teacher=load_model(work.run("teacher")),
        start_from=work.run("student"),
    )


def _evaluate(work: Work) -> None:
    """Drive the student and the distilled student on validation worlds and choose the better one."""
    bundles = {}
    for name in CANDIDATES:
        bundles[name] = work.evaluation / name
        if not bundles[name].exists():
            package(
                adapter(_shipped(work, name)), bundles[name], version=work.config.version, work=work.graphs
            )
    choose(bundles, work.config.evaluate, work.evaluation, work.jobs)


def _package(work: Work) -> None:
    """Export, quantise, prove and write the chosen candidate's bundle, with what was measured of it."""
    evaluation = read_evaluation(work.evaluation)
    shipped = adapter(_shipped(work, evaluation.chosen))
    figures = {"run": evaluation.chosen, **evaluation.figures[evaluation.chosen]}
    package(shipped, work.bundle, version=work.config.version, figures=figures, work=work.graphs)


def _shipped(work: Work, run: str) -> WorldModel:
    """The model of a run on the map that is shipped."""
    return load_model(work.run(run)).with_map(work.config.shipped_cells, work.config.shipped_value_iterations)


STAGES: dict[str, Callable[[Work], None]] = {
    "collect": _collect,
    "teacher": _teacher,
    "student": _student,
    "on-policy": _on_policy,
    "distil": _distil,
    "evaluate": _evaluate,
    "package": _package,
}


@click.command()
@click.argument("stage", type=click.Choice([*STAGES, "all"]))
@click.option(
    "--config", type=click.Path(path_type=Path), default=CONFIGS / "student.toml", show_default=True
)
@click.option(
    "--work", "folder", type=click.Path(path_type=Path), default=Path("checkpoints"), show_default=True
)
@click.option(
    "--bundle", type=click.Path(path_type=Path), default=Path("models/rooms-student"), show_default=True
)
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def command(stage: str, config: Path, folder: Path, bundle: Path, jobs: int) -> None:
    """Run one STAGE of making a model, or all of them in order."""
    torch.set_num_threads(jobs)
    work = Work(load_config(config), folder, bundle, jobs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(work.config)))
    for name in STAGES if stage == "all" else [stage]:
        click.echo(f"== {name}")
        STAGES[name](work)


def main() -> None:
    """Entry point: one line and exit code 2 for bad input, no traceback on Ctrl-C."""
    try:
        command(standalone_mode=False)
    except BadInput as error:
        sys.exit(_say(f"error: {error}", 2))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_say("interrupted: start the same command again to go on", 130))


def _say(line: str, code: int) -> int:
    click.echo(line, err=True)
    return code


if __name__ == "__main__":
    main()
