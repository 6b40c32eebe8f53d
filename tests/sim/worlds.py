"""Small worlds for tests, written the way other people write MJCF."""

from __future__ import annotations

import json
from pathlib import Path

WALLS = """
    <geom type="box" pos="0 2 0.2" size="2 0.05 0.2"/>
    <geom type="box" pos="0 -2 0.2" size="2 0.05 0.2"/>
    <geom type="box" pos="2 0 0.2" size="0.05 2 0.2"/>
    <geom type="box" pos="-2 0 0.2" size="0.05 2 0.2"/>
"""


def world(things: str = "", floor: str = '<geom type="plane" size="5 5 0.1"/>', assets: str = "") -> str:
    """A room of 4 by 4 metres around the origin, with ``things`` in it."""
    return f"<mujoco><asset>{assets}</asset><worldbody>{floor}{WALLS}{things}</worldbody></mujoco>"


def write_tasks(directory: Path, entries: object, **worlds: str) -> Path:
    """A folder with ``tasks.json`` and worlds by name."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, xml in worlds.items():
        (directory / f"{name}.xml").write_text(xml)
    (directory / "tasks.json").write_text(json.dumps(entries))
    return directory


def task(world: str = "room.xml", **changes: object) -> dict[str, object]:
    return {"world": world, "start": [-1.0, 0.0, 0.0], "goal": [1.0, 0.0], "geodesic_m": 2.0, **changes}
