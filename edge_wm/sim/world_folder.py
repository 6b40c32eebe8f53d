"""A folder of generated worlds with their tasks."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track

from edge_wm.errors import BadInput
from edge_wm.sim import generator
from edge_wm.sim.tasks import FILE_NAME, Task, save_tasks


def write_worlds(directory: Path, kind: str, seed: int, count: int, *, movers: int = 0) -> None:
    """Generate ``count`` worlds of ``kind`` from ``seed`` on, one task each, into a new folder.

    Raises:
        BadInput: the folder holds worlds already.
    """
    if (directory / FILE_NAME).exists():
        raise BadInput(f"{directory}: holds worlds already ({FILE_NAME}); name a new folder")
    directory.mkdir(parents=True, exist_ok=True)
    tasks = []
    for number in track(range(count), kind, console=Console(stderr=True)):
        world = generator.generate(kind, seed + number, movers=movers)
        file = directory / f"{kind}_{number:03d}.xml"
        file.write_text(world.xml, encoding="utf-8")
        tasks.append(Task(file, world.start, world.goal, world.geodesic_m))
    save_tasks(directory, tasks)  # last: a folder without tasks.json is one that was not finished
