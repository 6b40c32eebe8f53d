"""Worlds as people write them: MJCF read for this simulation, in which only moving bodies move."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mujoco

from edge_wm.errors import BadInput

MOVING = "moving_"
"""What the name of a body that may move begins with; what hangs on it moves along."""

log = logging.getLogger(__name__)
# By itself, MuJoCo would print it and write a log file into the working directory.
mujoco.set_mju_user_warning(lambda text: log.info("MuJoCo: %s", text))


def world_name(world: str | Path) -> str:
    """What messages call ``world``, which is MJCF text or the path of a file."""
    return str(world) if isinstance(world, Path) else "generated world"


@contextmanager
def refusals(world: str | Path) -> Iterator[None]:
    """Turn what MuJoCo has against ``world`` into BadInput of one line."""
    try:
        yield
    except (ValueError, OSError, mujoco.FatalError) as error:
        text = " ".join(str(error).split())
        raise BadInput(f"{world_name(world)}: MuJoCo refuses the world: {text}") from error


def read_world(world: str | Path) -> Any:
    """Read MJCF text or an MJCF file into a MuJoCo specification, ready for a robot and for compiling.

    The joints of all bodies but the moving ones are taken out, and the physics' options are MuJoCo's own: gravity,
    solver and flags of the world would make another robot of ours.

    Raises:
        BadInput: MuJoCo refuses the world, or something in it depends on a joint that was taken out.
    """
    with refusals(world):
        spec = _parse(world)
    spec.option = mujoco.MjSpec().option
    spec.compiler.settotalmass = -1.0  # it would weigh the robot as well
    for unused in (*spec.sensors, *spec.keys):
        spec.delete(unused)
    _hold_still(spec, world)
    return spec


def _parse(world: str | Path) -> Any:
    if isinstance(world, str):
        return mujoco.MjSpec.from_string(world)
    if world.suffix == ".xml":
        return mujoco.MjSpec.from_file(str(world))
    spec = mujoco.MjSpec.from_string(world.read_text(encoding="utf-8"))  # MuJoCo opens no other ending
    spec.modelfiledir = str(world.parent)
    return spec


def _hold_still(spec: Any, world: str | Path) -> None:
    """Take the joints out of everything that is not moving."""
    still = [joint for joint in spec.joints if not _moves(joint.parent)]
    if not still:
        return
    names = sorted({joint.parent.name for joint in still})
    for joint in still:
        spec.delete(joint)
    try:
        spec.compile()
    except ValueError as error:
        raise BadInput(
            f"{world_name(world)}: body {names[0]!r} has a joint, but only bodies whose name begins with {MOVING}"
            f" may move, and the world needs the joint: {' '.join(str(error).split())}; rename the body, or take out"
            " the joint and what refers to it"
        ) from error


def _moves(body: Any) -> bool:
    while body.name != "world":
        if body.name.startswith(MOVING):
            return True
        body = body.parent
    return False
