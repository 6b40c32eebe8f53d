"""Models that the right keys have signed, and that are bad: what the sandbox makes of them.

Whoever holds the kind's key and the online keys can sign any model.  It may compute what it likes: in the sandbox, until it
is proven.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from edge_wm.bundle.load import load_bundle
from edge_wm.robot import load_robot
from edge_wm.update.confined import Limits
from edge_wm.update.proof import prove
from tests.attacks.attack import Attack, Deed
from tests.attacks.releases import KIND_KEYS
from tests.attacks.taken_over import card
from tests.attacks.world import CHANNEL, KIND, World
from tests.tiny_model import replace_file
from tests.update.provable import large, slow, write_provable

GOOD, EVIL = "9.0.0", "9.1.0"
LIMITS = Limits(cpu_s=5, wall_s=600.0)
"""Of wall time more than enough, or a busy machine ends what the limit of CPU time should."""
TICKS = 30
MAX_WALL_S = 900.0


def proven_for_real(world: World) -> None:
    """The robot proves what it fetches in the sandbox; its publisher has a model that passes."""
    robot = load_robot()
    world.prove = lambda bundle: prove(bundle, robot, limits=LIMITS, ticks=TICKS)
    world.load = lambda bundle: load_bundle(bundle).sha256
    good = write_provable(world.folder / "good", version=GOOD, robot_kind=KIND)
    world.keeper.publish(good, CHANNEL)


def hostile(write: Callable[[Path], object]) -> Deed:
    """This model is released as a newer one."""

    def deed(world: World) -> None:
        write(world.folder / "evil")
        world.forger().release(KIND, world.folder / "evil")

    return deed


def spoiled(path: str, data: bytes) -> Callable[[Path], None]:
    def write(bundle: Path) -> None:
        write_provable(bundle, version=EVIL, robot_kind=KIND)
        replace_file(bundle, path, data)

    return write


def taken_over(deed: str, *arguments: object, wall_s: float = LIMITS.wall_s, cpu_s: int = 2) -> Deed:
    """The engine's process is the attacker's from its first instruction on."""

    def attack(world: World) -> None:
        resolved = [
            str(world.folder / argument[1:])
            if isinstance(argument, str) and argument.startswith("@")
            else argument
            for argument in arguments
        ]
        hostile(spoiled("MODEL_CARD.md", card(deed, *resolved)))(world)
        world.use(patch("edge_wm.update.proof.MODULE", "tests.attacks.taken_over"))
        limits = Limits(cpu_s=cpu_s, wall_s=wall_s)
        world.prove = lambda bundle: prove(bundle, load_robot(), limits=limits, ticks=TICKS)

    return attack


def _model(name: str, must: str, write: Callable[[Path], object], says: str, slow: bool = True) -> Attack:
    return Attack(
        f"a model {name}",
        KIND_KEYS,
        must,
        hostile(write),
        says,
        setting=proven_for_real,
        control=GOOD,
        slow=slow,
        max_wall_s=MAX_WALL_S,
    )


def _taken(name: str, must: str, deed: Deed, says: str, slow: bool = True) -> Attack:
    return Attack(
        f"the engine is taken over: it {name}",
        KIND_KEYS,
        must,
        deed,
        says,
        setting=proven_for_real,
        control=GOOD,
        slow=slow,
        max_wall_s=MAX_WALL_S,
    )


ATTACKS = (
    _model(
        "that computes without an end",
        "out of CPU time: refused",
        lambda bundle: write_provable(bundle, imagine=slow(15_000, 512), version=EVIL, robot_kind=KIND),
        "out of CPU time",
    ),
    _model(
        "that allocates without an end",
        "out of memory: refused",
        lambda bundle: write_provable(bundle, imagine=large(11_000), version=EVIL, robot_kind=KIND),
        "needs more than",
    ),
    _model(
        "that passes its golden vectors and is too slow",
        "refused",
        lambda bundle: write_provable(bundle, imagine=slow(5, 512), version=EVIL, robot_kind=KIND),
        "too slow here|out of CPU time",
    ),
    _model(
        "that fails its golden vectors",
        "refused",
        lambda bundle: write_provable(bundle, off=0.01, version=EVIL, robot_kind=KIND),
        "is another model here",
        slow=False,
    ),
    _model(
        "whose graph is noise",
        "refused before an engine sees it",
        spoiled("observe.int8.onnx", bytes(range(256)) * 40),
        "observe.int8.onnx",
    ),
    _model(
        "whose golden vectors are noise",
        "refused",
        spoiled("golden.npz", bytes(range(256)) * 40),
        "golden.npz",
    ),
    _model(
        "for another rate",
        "refused",
        lambda bundle: write_provable(bundle, tick_s=0.2, version=EVIL, robot_kind=KIND),
        "ticks every 0.2 s",
    ),
    _taken("ends with SIGSEGV", "the robot goes on: refused", taken_over("segfault"), "SIGSEGV", slow=False),
    _taken("aborts", "the robot goes on: refused", taken_over("abort"), "SIGABRT"),
    _taken("computes without an end", "out of CPU time: refused", taken_over("loop deaf"), "out of CPU time"),
    _taken("sleeps without an end", "out of time: refused", taken_over("sleep", wall_s=3.0), "out of time"),
    _taken(
        "allocates without an end",
        "out of memory: refused",
        taken_over("allocate without end"),
        "MiB of memory",
    ),
    _taken("writes without an end", "cut off: refused", taken_over("print", 1), "wrote more than"),
    _taken("opens a socket", "killed: refused", taken_over("socket"), "forbids|not implemented"),
    _taken("starts a process", "killed: refused", taken_over("fork"), "forbids|not permitted"),
    _taken("starts a program", "killed: refused", taken_over("exec"), "forbids"),
    _taken(
        "changes the store",
        "refused",
        taken_over("change", "@robot/edge-wm/state.db"),
        "forbids|denied|failed",
    ),
    _taken(
        "removes the store",
        "refused",
        taken_over("remove", "@robot/edge-wm/state.db"),
        "forbids|denied|failed",
    ),
    _taken(
        "changes its own bundle",
        "refused",
        taken_over("change", "@robot/edge-wm/slots/b/MODEL_CARD.md"),
        "forbids|denied|failed",
    ),
    _taken(
        "signals the updater",
        "killed: refused",
        taken_over("signal", os.getpid()),
        "forbids|denied|permitted",
    ),
    _taken("answers nonsense", "refused", taken_over("answer", b"{}".hex(), 1), "no answer"),
)
