"""One attack: what the attacker has, what he does, and what must come of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.world import NEW, OLD, Attempt, Fleet, World

MAX_WALL_S = 20.0
"""Of an attempt without a sandbox, on a busy machine; the robot's own limits are far below."""
MAX_GROWTH = 96 << 20
"""Bytes of memory."""

Deed = Callable[[World], object]


def nothing(world: World) -> None:
    """Nothing is done."""


@dataclass(frozen=True)
class Attack:
    """An attack and its control.

    Attributes:
        name: what it is called.
        holder: what the attacker holds.
        must: what must happen, for people.
        deed: the attack.
        says: a regular expression for what the robot must say, so that it is this attack that it refuses.
        setting: what is done before, in the control as well.
        drives: version of the model that must drive afterwards; several with | between them.
        control: version that must drive without the attack; None if the attack is part of the setting.
        slow: needs the sandbox.
        max_wall_s: how long the robot may take.
    """

    name: str
    holder: str
    must: str
    deed: Deed
    says: str
    setting: Deed = nothing
    drives: str = OLD
    control: str | None = NEW
    slow: bool = False
    max_wall_s: float = MAX_WALL_S


@dataclass(frozen=True)
class Result:
    """What came of an attack.

    Attributes:
        attempt: of the robot.
        accepted: why the attack succeeded; None if it did not.
    """

    attempt: Attempt
    accepted: str | None


def attack(fleet: Fleet, case: Attack, folder: Path | None = None) -> Result:
    """Carry the attack out in a new world."""
    with _world(fleet, folder) as world:
        case.setting(world)
        case.deed(world)
        outside = _outside(world)
        attempt = world.attempt()
        return Result(attempt, _changed(outside, _outside(world)) or _accepted(case, attempt))


def control(fleet: Fleet, case: Attack, folder: Path | None = None) -> Result:
    """The same without the attack."""
    with _world(fleet, folder) as world:
        case.setting(world)
        attempt = world.attempt()
        failed = attempt.broke or (
            f"drives by {attempt.drives}: {attempt.said}" if attempt.drives != case.control else None
        )
        return Result(attempt, failed)


@contextmanager
def _world(fleet: Fleet, folder: Path | None) -> Iterator[World]:
    with (
        tempfile.TemporaryDirectory(prefix="attack-", dir=folder) as scratch,
        World(fleet, Path(scratch) / "world") as world,
    ):
        yield world


def _accepted(case: Attack, attempt: Attempt) -> str | None:
    if attempt.broke is not None:
        return attempt.broke
    if attempt.drives not in case.drives.split("|"):
        return f"it drives by {attempt.drives}"
    if attempt.wall_s > case.max_wall_s:
        return f"it took {attempt.wall_s:.0f} s"
    if attempt.grew_bytes > MAX_GROWTH:
        return f"it needed {attempt.grew_bytes >> 20} MiB more memory"
    if re.search(case.says, attempt.said) is None:
        return f"it does not say {case.says!r}"
    return None


def _outside(world: World) -> dict[str, bytes | None]:
    """All files that the robot has no business with."""
    files = {}
    for path in world.folder.rglob("*"):
        if not path.is_relative_to(world.folders.root) and path.is_file() and not path.is_symlink():
            files[str(path.relative_to(world.folder))] = path.read_bytes()
    return files


def _changed(before: dict[str, bytes | None], after: dict[str, bytes | None]) -> str | None:
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    return f"files outside of its folder changed: {', '.join(changed)}" if changed else None
