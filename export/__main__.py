"""The way from nothing to a shipped bundle, a command a stage: ``python -m export STAGE``.

Every stage reads one configuration file, shows its progress, can be interrupted, and goes on where it stopped when
it is started again.  ``all`` runs them in order; that is what ``make model`` does.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_wm.cli import main

CONFIGS = Path(__file__).parent / "configs"
STAGES = ("collect", "teacher", "student", "on-policy", "distil", "evaluate", "package")
"""In order.  As in ``export.stages``, here so that Ctrl-C is heard while PyTorch is imported."""


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
    import msgspec

    from export.config import load_config

    described = load_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(described)))
    try:
        import torch

        from export import stages

        torch.set_num_threads(jobs)
        work = stages.Work(described, folder, bundle, jobs)
        for name in STAGES if stage == "all" else [stage]:
            click.echo(f"== {name}")
            stages.STAGES[name](work)
    except KeyboardInterrupt:
        click.echo("start the same command again to go on", err=True)
        raise


if __name__ == "__main__":
    main(command, "python -m export")
