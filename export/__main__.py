"""``python -m export``: the way from nothing to the shipped bundle, a command a stage, and from any model to its bundle.

Every stage reads one configuration file, shows its progress, can be interrupted, and goes on where it stopped when
it is started again.  ``all`` runs them in order; that is what ``make model`` does.  ``bundle`` exports a model of yours.

What is heavy is imported inside the commands, so that Ctrl-C is heard while PyTorch is imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import click

from edge_wm.bundle.manifest import Format, Precision
from edge_wm.cli import main
from edge_wm.errors import BadInput

CONFIGS = Path(__file__).parent / "configs"
STAGES = ("collect", "teacher", "student", "on-policy", "distil", "evaluate", "package")
"""In order, as in ``export.stages``."""

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"show_default": True})
def command() -> None:
    """Make the shipped model, a stage at a time or all of it, or make a bundle of a model of yours."""


def _stage(name: str) -> click.Command:
    """The command that runs one stage, or all of them."""

    @click.command(name, help="Run all stages in order." if name == "all" else f"Run the stage {name}.")
    @click.option("--config", type=_PATH, default=CONFIGS / "student.toml")
    @click.option("--work", "folder", type=_PATH, default=Path("checkpoints"))
    @click.option("--bundle", type=_PATH, default=Path("models/rooms-student"))
    @click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1)
    def run(config: Path, folder: Path, bundle: Path, jobs: int) -> None:
        import msgspec

        from export.config import load_config

        described = load_config(config)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(described)))
        with _goes_on():
            import torch

            from export import stages

            torch.set_num_threads(jobs)
            work = stages.Work(described, folder, bundle, jobs)
            for stage in STAGES if name == "all" else [name]:
                click.echo(f"== {stage}")
                stages.STAGES[stage](work)

    return run


for _name in (*STAGES, "all"):
    command.add_command(_stage(_name))


@command.command("bundle")
@click.argument("file", type=_PATH)
@click.option("--checkpoint", type=_PATH, help="Handed to adapter() in FILE.")
@click.option("--out", "directory", metavar="DIR", type=_PATH, required=True, help="Where the bundle goes.")
@click.option("--version", default="0.1.0")
@click.option(
    "--format",
    "formats",
    type=click.Choice(get_args(Format)),
    multiple=True,
    default=["onnx"],
    help="Repeat it.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(get_args(Precision)),
    multiple=True,
    default=["fp32", "int8"],
    help="Repeat it.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1, 65536),
    multiple=True,
    help="Of a plan; default: the adapter's. Repeat it for a bundle that `edge-wm profile` chooses from.",
)
@click.option(
    "--work",
    type=_PATH,
    default=Path("checkpoints/graphs"),
    help="Finished graphs, to go on from after a stop.",
)
def bundle(
    file: Path,
    checkpoint: Path | None,
    directory: Path,
    version: str,
    formats: tuple[Format, ...],
    precisions: tuple[Precision, ...],
    candidates: tuple[int, ...],
    work: Path,
) -> None:
    """Export the model that FILE declares, prove every graph and write the bundle; see docs/your-own-model.md."""
    with _goes_on(), _enough_memory(file):
        from export.adapter import load_adapter
        from export.forms import Form
        from export.package import package

        forms = [Form(format, precision) for format in formats for precision in precisions]
        package(
            load_adapter(file, checkpoint),
            directory,
            version=version,
            forms=forms,
            work=work,
            candidates=candidates,
        )
        click.echo(f"written to {directory}: check it on the board with  edge-wm model verify {directory}")


@contextmanager
def _goes_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("start the same command again to go on", err=True)
        raise


@contextmanager
def _enough_memory(file: Path) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        raise BadInput(f"{file}: the model needs more memory than this machine has free") from None


if __name__ == "__main__":
    main(command, "python -m export")
