"""Every call by which an update changes a file: the process is killed at it, and it fails.

``make power-cuts`` runs it beside the power cuts; ``QUICK=1`` tries a few calls of each flow and records nothing.  Killing loses nothing that was
written, so this says nothing about fsync: that is for ``power_cuts.py``.  It says whether there is a step at which an update can
be stopped, or a disk be full, break or turn read-only, so that a robot does not get out of it.

The calls are counted and made to fail between the program and libc (``tests/file_faults/shim.c``).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.timing import record
from edge_wm.errors import BadInput
from edge_wm.update import slots, store, updater
from tests.file_faults.injector import (
    Outcome,
    build,
    calls,
    every,
    fresh,
    look,
    run_below_shim,
    run_with,
)
from tests.update import flows
from tests.update.flows import CASES, SCENARIO, Scenario, check

QUICK_STEP = 53
MEMORY = Path("/dev/shm")
CASE_OF_CONTROLS = "delta"

Control = Callable[[], Any]


def _keeps_the_name_of_a_slot() -> None:
    """While a slot is written it is still said to hold what it held."""
    store.Store._empty = lambda self, slot: None  # type: ignore[method-assign]


def _swallows_errors() -> None:
    """What cannot be written is left out, and nobody looks at the bundle afterwards."""
    whole = slots.write_file

    def write_file(path: Path, content: bytes) -> None:
        try:
            whole(path, content)
        except OSError:
            path.touch()

    slots.write_file = write_file
    flows.prove = lambda bundle: flows.Proven(None)
    updater.Updater._misfit = lambda self, slot, release: None  # type: ignore[method-assign]


def _commits_in_two_steps() -> None:
    """The model of a slot is on disk before its name in the store, and the promise is given in between."""
    commit = store.Store.commit

    def early(self: store.Store, detail: str = "") -> None:
        with self.transaction() as database:
            database.execute("UPDATE choice SET active = (SELECT slot FROM attempt)")
            database.execute("UPDATE slot SET sequence = 0 WHERE name = (SELECT slot FROM attempt)")
        commit(self, detail)

    store.Store.commit = early  # type: ignore[method-assign]


CONTROLS: dict[str, Control] = {
    "a slot keeps its name while it is written": _keeps_the_name_of_a_slot,
    "errors of the disk are swallowed": _swallows_errors,
    "a commit in two steps": _commits_in_two_steps,
}
"""Mistakes that the campaign must find, or it shows nothing."""


def main() -> int:
    """Exit code 0: every promise held and every planted mistake was found; 1: not; 2: something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.file_faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls of each flow; recorded nowhere")
    quick: bool = parser.parse_args().quick
    try:
        run_below_shim(build(_build_folder()))
    except BadInput as why:
        print(f"error: {why}", file=sys.stderr)
        return 2
    console = Console()
    with tempfile.TemporaryDirectory(
        prefix="file-faults-", dir=MEMORY if MEMORY.is_dir() else None
    ) as folder:
        scenario = Scenario(Path(folder) / "scenario")
        os.environ[SCENARIO] = str(scenario.folder)
        with _quiet():
            scenario.make()
        robot = Path(folder) / "robot"
        rows, failures = [], []
        for name in CASES:
            row, failed = _case(name, scenario, robot, QUICK_STEP if quick else 1, console)
            rows.append(row)
            failures += failed
        found = {what: _finds(plant, scenario, robot, quick) for what, plant in CONTROLS.items()}
    _show(console, rows, found)
    for failure in failures[:5]:
        console.print(failure, markup=False, style="red")
    facts = {
        "faults": sum(row["faults"] for row in rows),
        "calls": sum(row["calls"] for row in rows),
        "failed": len(failures),
        "refused": sum(row["refused"] for row in rows),
        "controls_found": sum(found.values()),
        "controls": len(found),
    }
    if not quick:
        record("file_faults", {**facts, "flows": rows, "planted": found})
    print("RESULT " + " ".join(f"{key}={value}" for key, value in facts.items()))
    return 0 if not failures and all(found.values()) else 1


def _case(
    name: str, scenario: Scenario, robot: Path, step: int, console: Console
) -> tuple[dict[str, Any], list[str]]:
    """Every fault at every call of one flow."""
    case = CASES[name]
    template, root = scenario.robot(case.begins), robot / "edge-wm"
    fresh(template, robot)
    found = calls(lambda promise: case.flow(robot, promise), root)
    ends: Counter[str] = Counter()
    failures: list[str] = []
    pairs = list(every(found, step))
    with Progress(console=console, transient=True) as progress:
        for call, fault in progress.track(pairs, description=name):
            fresh(template, robot)
            outcome = run_with(fault, call, lambda promise: case.flow(robot, promise), root)
            ends[outcome.ended if outcome.ended in ("done", "refused", "killed") else "broke"] += 1
            what = _what_failed(name, robot, outcome)
            if what is not None:
                failures.append(f"{name}: {fault.name} at call {call}, {found[call - 1]}: {what}")
    kinds = Counter(line.partition(" ")[0] for line in found)
    row = {
        "flow": name,
        "calls": len(found),
        "kinds": dict(sorted(kinds.items())),
        "faults": len(pairs),
        "failed": len(failures),
        **{end: ends[end] for end in ("killed", "refused", "done", "broke")},
    }
    return row, failures


def _what_failed(name: str, robot: Path, outcome: Outcome) -> str | None:
    if outcome.ended not in ("done", "refused", "killed"):
        return outcome.ended
    if outcome.ended == "refused" and (not outcome.said or "\n" in outcome.said):
        return f"refused without a line: {outcome.said!r}"
    return look(lambda: check(name, robot, outcome.marks))


def _finds(plant: Control, scenario: Scenario, robot: Path, quick: bool) -> bool:
    """Whether a planted mistake is found, at any call of one flow."""
    case = CASES[CASE_OF_CONTROLS]
    template, root = scenario.robot(case.begins), robot / "edge-wm"

    def planted(promise: Callable[[str], None]) -> None:
        plant()
        case.flow(robot, promise)

    fresh(template, robot)
    found = calls(planted, root)
    for call, fault in every(found, 2 if quick else 1):
        fresh(template, robot)
        outcome = run_with(fault, call, planted, root)
        if _what_failed(CASE_OF_CONTROLS, robot, outcome) is not None:
            return True
    return False


def _build_folder() -> Path:
    folder = Path("build") / "file_faults"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@contextmanager
def _quiet() -> Iterator[None]:
    """What the publisher says is not what this is about."""
    kept = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        sys.stdout.flush()
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def _show(console: Console, rows: list[dict[str, Any]], found: dict[str, bool]) -> None:
    table = Table("flow", "calls", "faults", "killed", "refused", "done", "broke", "failed")
    for row in rows:
        names = ("calls", "faults", "killed", "refused", "done", "broke", "failed")
        table.add_row(row["flow"], *(str(row[name]) for name in names))
    console.print(table)
    for what, seen in found.items():
        console.print(f"planted: {what}: {'found' if seen else 'NOT FOUND'}")


if __name__ == "__main__":
    sys.exit(main())
