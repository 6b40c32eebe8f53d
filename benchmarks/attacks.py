"""Attacks on updates over the air: what attackers of every kind do, and what a robot says to it.

``make attacks`` carries all of them out, each against a repository and a robot of their own, through the same code that runs on
robots.  Each has a control: the same steps without the attack, after which the robot has its update.  Then every file of a
repository is changed in every way, and defences are taken out, one at a time: the attack that each is for must then succeed.
``QUICK=1`` leaves out most of what needs the sandbox, and records nothing.

An attack is accepted if the robot drives by what it must not, has lost its model, changed files outside of its folder, took
too long, needed too much memory, did not end with one line, or said something else than what this attack is refused with.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.timing import record
from tests.attacks.attack import attack, control
from tests.attacks.table import ATTACKS, TABLE
from tests.attacks.tampered import tampered
from tests.attacks.without_defence import WITHOUT, succeeds
from tests.attacks.world import Fleet

MEMORY = Path("/dev/shm")
QUICK_STEP = 17
"""Of all changes of files the short form tries every so many."""

_fleets: dict[str, Fleet] = {}
"""Of this process, by folder."""


def main() -> int:
    """Exit code 0: nothing was accepted, every control held, and every defence was needed; 1: not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the slow ones; recorded nowhere")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    options = parser.parse_args()
    quick: bool = options.quick
    with tempfile.TemporaryDirectory(prefix="attacks-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        changes = len(tampered(_fleet(folder)))
        numbers = [number for number, case in enumerate(ATTACKS) if not (quick and case.slow)]
        changed = range(0, changes, QUICK_STEP if quick else 1)
        context = get_context("spawn")  # memory of an attack must not be another one's
        with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
            rows = list(track(pool.map(partial(_row, folder), numbers), "attacks", len(numbers)))
            files = list(track(pool.map(partial(_change, folder), changed), "changed files", len(changed)))
            planted = list(
                track(pool.map(partial(_without, folder), range(len(WITHOUT))), "defences", len(WITHOUT))
            )
    console = Console()
    _show(console, rows, files, planted)
    accepted = [row for row in [*rows, *files] if row["accepted"] is not None]
    controls = [row["control"] for row in rows if row["control"] is not None]
    needed = [row["succeeds"] for row in planted]
    facts = {
        "attacks": len(rows) + len(files),
        "accepted": len(accepted),
        "controls": f"{controls.count('held')}/{len(controls)}",
        "changed_files": len(files),
        "without_defence": f"{sum(needed)}/{len(needed)}",
    }
    if not quick:
        record("attacks", {**facts, "table": rows, "changes": _ends(files), "planted": planted})
    print("RESULT " + " ".join(f"{key}={value}" for key, value in facts.items()))
    return 0 if not accepted and set(controls) == {"held"} and all(needed) else 1


def _fleet(folder: str) -> Fleet:
    """The fleet that this process' attacks begin with."""
    if folder not in _fleets:
        _fleets[folder] = Fleet(Path(folder) / f"fleet-{os.getpid()}")
    return _fleets[folder]


def _row(folder: str, number: int) -> dict[str, Any]:
    """One attack and its control."""
    fleet, case = _fleet(folder), ATTACKS[number]
    result = attack(fleet, case, Path(folder))
    held = None
    if case.control is not None:
        held = control(fleet, case, Path(folder)).accepted or "held"
    return {
        "about": next(name for name, cases in TABLE.items() if case in cases),
        "attack": case.name,
        "holds": case.holder,
        "must": case.must,
        "said": _anywhere(result.attempt.said, folder),
        "wall_s": round(result.attempt.wall_s, 2),
        "grew_mib": max(0, result.attempt.grew_bytes) >> 20,
        "accepted": result.accepted,
        "control": held,
    }


def _change(folder: str, number: int) -> dict[str, Any]:
    fleet = _fleet(folder)
    case = tampered(fleet)[number]
    result = attack(fleet, case, Path(folder))
    return {"attack": case.name, "drives": result.attempt.drives, "accepted": result.accepted}


def _without(folder: str, number: int) -> dict[str, Any]:
    without = WITHOUT[number]
    succeeded, result = succeeds(_fleet(folder), without, Path(folder))
    return {
        "defence": without.defence,
        "attack": without.attack.name,
        "what_happens": _anywhere(str(result.accepted), folder),
        "succeeds": succeeded,
    }


def _anywhere(text: str, folder: str) -> str:
    """What was said, the same on every machine: no folders, ports and hashes of this run."""
    text = re.sub(re.escape(folder) + r"/[^ :,;]*/world", "…", text)
    text = re.sub(r"localhost:\d+", "localhost", text)
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,56}\b", r"\1…", text)


def _ends(files: list[dict[str, Any]]) -> dict[str, int]:
    """How many changes ended with which model."""
    models = sorted({row["drives"] for row in files})
    return {model: sum(row["drives"] == model for row in files) for model in models}


def _show(
    console: Console, rows: list[dict[str, Any]], files: list[dict[str, Any]], planted: list[dict[str, Any]]
) -> None:
    for about in TABLE:
        table = Table("attack", "attacker holds", "must", "the robot said", "", title=about)
        for row in rows:
            if row["about"] == about:
                held = row["accepted"] is None and row["control"] in (None, "held")
                end = "ok" if held else f"ACCEPTED: {row['accepted']}; control: {row['control']}"
                table.add_row(row["attack"], row["holds"], row["must"], row["said"][:160], end)
        console.print(table)
    console.print(f"{len(files)} changes of files on the server; afterwards drives: {_ends(files)}")
    for row in files:
        if row["accepted"] is not None:
            console.print(f"ACCEPTED: {row['attack']}: {row['accepted']}", markup=False)
    table = Table("defence taken out", "attack", "what happens", "")
    for row in planted:
        table.add_row(
            row["defence"], row["attack"], row["what_happens"], "succeeds" if row["succeeds"] else "FAILS"
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
