"""Shows that the campaign would see a crash: guards that are taken out, and mistakes that are planted in each stage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from edge_wm.bundle import load
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.update.sandbox import End
from tests.model_files import stages
from tests.model_files.crafted import CRAFTED, Crafted
from tests.model_files.forked import in_child
from tests.model_files.stages import DRIVE, Asked, Stages, Way, drive, real_proof, said
from tests.model_files.unguarded import MODULE, guards_out

DEADLY = [crafted for crafted in CRAFTED if crafted.kills]
"""Bundles that end a process which runs them without the guard."""
CONTAINED = [crafted for crafted in DEADLY if not crafted.late]
LATE = [crafted for crafted in DEADLY if crafted.late]


def kills_unguarded(crafted: Crafted, bundle: Path, execution: Execution) -> str:
    """What becomes of a process that drives by a bundle with nothing in between."""

    def work() -> str:
        with guards_out():
            return drive(bundle, execution)

    return str(in_child(work, DRIVE))


def is_contained(bundle: Path, execution: Execution, good: Path, good_execution: Execution) -> str:
    """What becomes of it in the real sandbox, without the guard; and that who started that drives on."""

    def work() -> str:
        with patch("edge_wm.update.proof.MODULE", MODULE):
            proof = real_proof(bundle, execution)
        if proof.ended.end is not End.KILLED:
            return f"not killed: {proof}"
        return f"{proof.ended.why.split()[0]} in the sandbox, outside: {drive(good, good_execution)}"

    return str(in_child(work, DRIVE))


def passes_unguarded(bundle: Path, execution: Execution) -> str:
    """What the proof says of it in the real sandbox, without the guard."""
    with patch("edge_wm.update.proof.MODULE", MODULE):
        return said(real_proof(bundle, execution))


def _abort(*unused: object) -> None:
    os.abort()


def _loop(*unused: object) -> None:
    while True:
        pass


def _sleep(*unused: object) -> None:
    time.sleep(3600)


def _allocate(*unused: object) -> None:
    kept = []
    while True:
        kept.append(bytearray(1 << 24))


def _raise(*unused: object) -> None:
    raise KeyError("planted")


def _two_lines(*unused: object) -> None:
    raise BadInput("one line\nand another")


def _write(data: bytes, where: str, *unused: object) -> None:
    Path(where).with_name("planted").touch()


PLANTED: dict[str, tuple[str, Callable[..., None], str]] = {
    "the guard aborts": ("guard", _abort, "guard: SIGABRT"),
    "the guard computes for ever": ("guard", _loop, "guard: hung"),
    "the guard waits for ever": ("guard", _sleep, "guard: hung"),
    "the guard allocates for ever": ("guard", _allocate, "guard: raised: MemoryError"),
    "the guard raises what nobody expects": ("guard", _raise, "guard: raised: KeyError"),
    "the guard says two lines": ("guard", _two_lines, "guard: refused: one line"),
    "the guard makes a file": ("guard", _write, "the bundle was changed"),
    "the driving process aborts": ("drive", _abort, "drive: SIGABRT"),
    "the driving process computes for ever": ("drive", _loop, "drive: hung"),
    "the driving process raises what nobody expects": ("drive", _raise, "drive: raised: KeyError"),
}
"""A mistake, the stage that it is in, what it does there, and the failure that it must be."""


def planted(what: str, bundle: Path, execution: Execution, good: Path) -> Way:
    """Take a bundle through the stages, one of which has a mistake."""
    stage, mistake, _ = PLANTED[what]
    check_graph = load.check_graph

    def wrong(data: bytes, where: str, *rest: object) -> object:
        mistake(data, where)
        return check_graph(data, where, *rest)  # type: ignore[arg-type]

    quick = {
        "GUARD": stages.GUARD._replace(cpu_s=1, wall_s=4.0),
        "DRIVE": stages.DRIVE._replace(cpu_s=1, wall_s=4.0),
    }
    where = "edge_wm.bundle.load.check_graph" if stage == "guard" else "tests.model_files.stages.drive"
    with (
        patch.multiple(stages, **quick),
        patch(where, wrong if stage == "guard" else mistake),
        Stages(good) as all_of_them,
    ):
        return all_of_them.take(Asked(str(bundle), execution))
