"""What each stage of ``python -m export`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.collect import collect
from export.config import RunConfig
from export.evaluate import choose, read_evaluation
from export.forms import Form
from export.package import package
from export.shipped import adapter
from export.train import load_model, train
from export.world_model import WorldModel

CANDIDATES = ("student", "distilled")
"""Runs whose models may be shipped."""
SHIPPED_FORMS = tuple(
    Form(format, precision) for format in ("onnx", "tflite") for precision in ("fp32", "int8")
)


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
    package(
        shipped,
        work.bundle,
        version=work.config.version,
        forms=SHIPPED_FORMS,
        figures=figures,
        work=work.graphs,
    )


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
