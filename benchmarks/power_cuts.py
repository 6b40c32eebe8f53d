"""A robot's power is cut while it updates: does it still have a model that drives, and what it was told it has?

Run it with ``make power-cuts``; ``QUICK=1`` cuts each flow a few times and records nothing.  The real code runs on real file systems, whose
disk remembers every block it was told and every flush; each state that a power cut may leave of that is mounted, and a fresh
process starts the robot and completes the update (``tests/power_cuts``).  Interrupted, it goes on where it was.

Each flow is cut on ext4, btrfs and XFS, and on the weakest file system that POSIX allows.  From some of the states the recovery is
recorded and cut in its turn.  Some disks are damaged besides, or cannot be written any more.  Then one step after the other is left
out of the updates, and one check after the other out of the robot: every one must be found missing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.timing import ONE_THREAD, record
from tests.power_cuts.block_log import Image, Recording
from tests.power_cuts.campaign import Campaign, Case, Verdict
from tests.power_cuts.checks import CHECKS, WITHOUT
from tests.power_cuts.controls import controls
from tests.power_cuts.file_systems import FILE_SYSTEMS, missing
from tests.power_cuts.own_process import call_in_own_process
from tests.power_cuts.recorder import Flow
from tests.power_cuts.robots import CHECK, record_case, record_recovery, robot_at, spread_cuts
from tests.power_cuts.weakest import WEAKEST
from tests.power_cuts.writeback import Writeback
from tests.update.flows import CASES, SCENARIO, Scenario

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "power_cuts"
KEPT_S = 12 * 3600.0
"""A campaign is not taken up again after so long: the repository's metadata expire."""
QUICK_FILE_SYSTEMS = ("ext4", WEAKEST)
WRITEBACKS: tuple[Writeback, ...] = ("late", "names")
RECOVERED_CASES = ("first install", "full", "delta", "commit", "repair of the store", "repair of a slot")
COPYING_CASES = ("full", "delta", "revocation")
"""They make a model of files that are here."""
WORSE = {
    "damaged": ("tests.power_cuts.decay:check", tuple(CASES)),
    "store damaged": ("tests.power_cuts.decay:check_store", COPYING_CASES),
    "downloads damaged": ("tests.power_cuts.decay:check_downloads", COPYING_CASES),
    "damaged meanwhile": ("tests.power_cuts.decay:check_meanwhile", COPYING_CASES),
    "read-only": ("tests.power_cuts.read_only:check", tuple(CASES)),
}
"""What a disk does besides losing its power, how it is checked, and after which flows."""


class Size(NamedTuple):
    """How many states.

    Attributes:
        states: of each flow, file system and way the kernel writes back.
        cuts: of each recovered flow, from which the recovery is recorded.
        recovery_states: of each recovery.
        worse: of each flow, with each thing that a disk does besides.
        control_states: at most, until a control is found.
    """

    states: int
    cuts: int
    recovery_states: int
    worse: int
    control_states: int


FULL = Size(80, 3, 30, 60, 120)
QUICK = Size(4, 1, 3, 2, 40)


class Job(NamedTuple):
    """Some states of one recording."""

    what: str
    flow: str
    file_system: str
    case: Case
    count: int
    make: Callable[[], Recording]


def main() -> int:
    """Exit code 0: every promise held and every control was found; 1: not; 2: something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.power_cuts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few states of each flow; recorded nowhere")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    wanted = QUICK_FILE_SYSTEMS if options.quick else (*FILE_SYSTEMS, WEAKEST)
    file_systems = [name for name in wanted if _can(name)]
    if not {"ext4", WEAKEST} <= set(file_systems):
        return 2
    size = QUICK if options.quick else FULL
    folder = _folder(FOLDER / ("quick" if options.quick else "full"))
    os.environ.update(ONE_THREAD)
    os.environ[SCENARIO] = str(folder / "scenario")
    began = time.monotonic()
    try:
        with Campaign(folder, options.jobs) as campaign, Progress(transient=True) as progress:
            verdicts = _promises(campaign, progress, _jobs(file_systems, size))
            found = _controls(campaign, progress, [WEAKEST] if options.quick else file_systems, size)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 1
    return _report(folder, verdicts, found, time.monotonic() - began, options.quick)


def _can(file_system: str) -> bool:
    why = missing(file_system)
    if why:
        print(f"left out: {file_system}: {why}", file=sys.stderr)
    return why is None


def _folder(folder: Path) -> Path:
    """Of the campaign: of an earlier run, if it was of the same code, or a new one."""
    sources = [
        *ROOT.glob("edge_wm/**/*.py"),
        *ROOT.glob("tests/power_cuts/*.py"),
        *ROOT.glob("tests/update/*.py"),
        Path(__file__),
    ]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()
    made_of = folder / "made_of"
    same = made_of.exists() and made_of.read_text() == digest
    if not same or time.time() - made_of.stat().st_mtime > KEPT_S:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call_in_own_process(_make_scenario, folder / "scenario", timeout_s=120.0, method="spawn")
        made_of.write_text(digest)
    return folder


def _make_scenario(folder: Path) -> None:
    """What the publisher says meanwhile is not what this is about."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    Scenario(folder).make()


# --- promises --------------------------------------------------------------------------------------------------------


def _jobs(file_systems: list[str], size: Size) -> list[Job]:
    jobs = []
    for file_system in file_systems:
        for flow in CASES:
            for writeback in _writebacks(flow, file_system, size):
                name = _file_name(file_system, flow, writeback)
                make = partial(_record, flow, file_system, writeback)
                jobs.append(Job("cut", flow, file_system, Case(name, f"{CHECK}:{flow}"), size.states, make))
        for flow in RECOVERED_CASES:
            for cut in range(size.cuts):
                name = _file_name(file_system, flow, "recovery", str(cut))
                make = partial(_record_recovery, flow, file_system, cut, size)
                case = Case(name, f"{CHECK}:{flow}")
                jobs.append(Job("cut again", flow, file_system, case, size.recovery_states, make))
    for what, (check, flows) in WORSE.items():
        for flow in flows:
            case = Case(_file_name(WEAKEST, flow, what), f"{check}:{flow}")
            jobs.append(Job(what, flow, WEAKEST, case, size.worse, partial(_recorded, flow, WEAKEST)))
    return jobs


def _writebacks(flow: str, file_system: str, size: Size) -> tuple[Writeback, ...]:
    """In the short form one of them: the first where a recovery is recorded, which goes on from it."""
    if file_system == WEAKEST or (size is QUICK and flow in RECOVERED_CASES):
        return WRITEBACKS[:1]
    return WRITEBACKS[1:] if size is QUICK else WRITEBACKS


def _promises(campaign: Campaign, progress: Progress, jobs: list[Job]) -> list[tuple[Job, Verdict]]:
    task = progress.add_task("promises", total=sum(job.count for job in jobs))
    found = []
    for job in jobs:
        progress.update(task, description=f"{job.what}: {job.flow}, {job.file_system}")
        campaign.recording(job.case.name, job.make)
        for verdict in campaign.run(job.case, job.count):
            found.append((job, verdict))
            progress.advance(task)
    return found


def _record(flow: str, file_system: str, writeback: Writeback, without: Flow | None = None) -> Recording:
    return record_case(flow, file_system, writeback, _robot_at(CASES[flow].begins, file_system), without)


@cache
def _robot_at(begins: str, file_system: str) -> Image:
    return robot_at(begins, file_system)


def _recorded(flow: str, file_system: str) -> Recording:
    """That of a job before."""
    return Recording.load(
        Path(os.environ[SCENARIO]).parent / f"{_file_name(file_system, flow, 'late')}.recording"
    )


def _record_recovery(flow: str, file_system: str, cut: int, size: Size) -> Recording:
    first = _recorded(flow, file_system)
    writeback = WRITEBACKS[cut % len(WRITEBACKS)]
    return record_recovery(flow, first, spread_cuts(first, size.cuts, seed=1)[cut], writeback)


def _file_name(*words: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else "_" for letter in word) for word in words)


# --- controls --------------------------------------------------------------------------------------------------------


def _controls(
    campaign: Campaign, progress: Progress, file_systems: list[str], size: Size
) -> dict[str, dict[str, str | None]]:
    """What was said first, on each file system, when a step was left out; None where nobody noticed."""
    left_out = controls()
    task = progress.add_task("controls", total=len(left_out) * len(file_systems) + len(CHECKS))
    found: dict[str, dict[str, str | None]] = {}
    for what, (flow, without) in left_out.items():
        found[what] = {}
        for file_system in file_systems:
            progress.update(task, description=f"without {what}, {file_system}", advance=1)
            found[what][file_system] = _said(campaign, what, flow, file_system, without, size)
    for what, control in CHECKS.items():
        progress.update(task, description=f"without {what}", advance=1)
        name = _file_name(WEAKEST, "without", what)
        campaign.recording(name, partial(_recorded, control.case, WEAKEST))
        case = Case(name, f"{WITHOUT}:{what}:{control.case}")
        found[what] = {WEAKEST: _first_failure(campaign, case, 4 * size.control_states)}
    return found


def _said(
    campaign: Campaign, what: str, flow: str, file_system: str, without: Flow, size: Size
) -> str | None:
    for writeback in WRITEBACKS:
        name = _file_name(file_system, "without", what, writeback)
        campaign.recording(name, partial(_record, flow, file_system, writeback, without))
        said = _first_failure(campaign, Case(name, f"{CHECK}:{flow}"), size.control_states)
        if said is not None or file_system == WEAKEST:
            return said
    return None


def _first_failure(campaign: Campaign, case: Case, count: int) -> str | None:
    return next((verdict.failure for verdict in campaign.run(case, count) if verdict.failure), None)


# --- what came of it -------------------------------------------------------------------------------------------------


def _report(
    folder: Path,
    verdicts: list[tuple[Job, Verdict]],
    found: dict[str, dict[str, str | None]],
    took_s: float,
    quick: bool,
) -> int:
    console = Console()
    failures = [(job, verdict) for job, verdict in verdicts if verdict.failure]
    console.print(_states_table(verdicts))
    console.print(_controls_table(found))
    for job, verdict in failures[:10]:
        console.print(
            f"{job.what}: {job.flow}, {job.file_system}: {verdict.failure}", style="red", markup=False
        )
        console.print(f"  again: {_again(folder, job.case, verdict)}", markup=False, soft_wrap=True)
    counts = Counter(job.what for job, _ in verdicts)
    facts = {
        "states": len(verdicts),
        "failed": len(failures),
        "cut_again": counts["cut again"],
        "damaged": sum(counts[what] for what in WORSE if "damaged" in what),
        "read_only": counts["read-only"],
        "controls": len(found),
        "controls_found": sum(any(said.values()) for said in found.values()),
    }
    if not quick:
        states = Counter((job.what, job.flow, job.file_system) for job, _ in verdicts)
        rows = [
            {"what": what, "flow": flow, "file_system": file_system, "states": count}
            for (what, flow, file_system), count in states.items()
        ]
        record(
            "power_cuts",
            {**facts, "took_s": took_s, "kernel": os.uname().release, "flows": rows, "without": found},
        )
    print("RESULT " + " ".join(f"{key}={value}" for key, value in facts.items()))
    held = not failures and all(any(said.values()) for said in found.values())
    if held:
        shutil.rmtree(folder)
    return 0 if held else 1


def _again(folder: Path, case: Case, verdict: Verdict) -> str:
    state = verdict.state
    return (
        f"{SCENARIO}={os.environ[SCENARIO]} {sys.executable} -m tests.power_cuts.campaign"
        f" {folder} {case.name} '{case.check}' {state.cut} {state.lost} {state.seed}"
    )


def _states_table(verdicts: list[tuple[Job, Verdict]]) -> Table:
    file_systems = list(dict.fromkeys(job.file_system for job, _ in verdicts))
    table = Table("", "flow", *file_systems, "failed")
    for what in dict.fromkeys(job.what for job, _ in verdicts):
        for flow in CASES:
            of = [(job, verdict) for job, verdict in verdicts if (job.what, job.flow) == (what, flow)]
            if of:
                counts = Counter(job.file_system for job, _ in of)
                failed = sum(verdict.failure is not None for _, verdict in of)
                table.add_row(what, flow, *(str(counts[name] or "") for name in file_systems), str(failed))
    return table


def _controls_table(found: dict[str, dict[str, str | None]]) -> Table:
    file_systems = list(dict.fromkeys(name for said in found.values() for name in said))
    table = Table("without", *file_systems, "what was lost")
    for what, said in found.items():
        cells = ("" if name not in said else "found" if said[name] else "-" for name in file_systems)
        lost = next((words for words in said.values() if words), "NOT FOUND")
        table.add_row(what, *cells, lost[:90])
    return table


if __name__ == "__main__":
    sys.exit(main())
