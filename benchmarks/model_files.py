"""Model files that somebody who can sign has made, or a bug: does one of them end the process that drives?

Run it with ``make model-files``; ``QUICK=1`` is the short form, which records nothing.  Every bundle goes the way that a bundle goes on a
robot: the guard looks at it, the proof runs it in the sandbox, and only what has passed both is loaded and driven by
(``tests/model_files``).  Crafted ones must end where they should.  Mutated ones may end anywhere, but for a crash, a hang, an exception
that nobody expects or a file that is changed outside of the sandbox; in it a crash is contained, and counted.

Then the guard is taken out, and mistakes are planted in the stages: each must be seen.  Interrupted, it goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.timing import ONE_THREAD, record
from edge_wm.errors import one_line
from tests.model_files import seeds
from tests.model_files.campaign import Campaign, Checked, Verdict, place, take_one, written
from tests.model_files.controls import DEADLY, PLANTED
from tests.model_files.crafted import CRAFTED
from tests.model_files.mutations import mutant
from tests.model_files.stages import Stages
from tests.power_cuts.own_process import call_in_own_process

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "model_files"
FULL, QUICK = 100_000, 1_500
QUICK_COMPARED = 20
"""Of so many crafted bundles one is proven in a fresh interpreter too; in the long form all are."""
SEEDS_S = 900.0
SOURCES = (
    "edge_wm/bundle/*.py",
    "edge_wm/engines/*.py",
    "edge_wm/update/confined.py",
    "edge_wm/update/proof.py",
    "edge_wm/update/sandbox*.py",
    "edge_wm/update/seccomp.py",
    "edge_wm/world_model.py",
    "tests/model_files/*.py",
)
"""What verdicts depend on: of other sources they are not taken up again."""


def main() -> int:
    """Exit code 0: nothing failed and every control was seen; 1: not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_files", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer mutated ones; recorded nowhere")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--again", type=int, metavar="NUMBER", help="take one mutated bundle again, and keep it"
    )
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    folder = _folder(FOLDER / ("quick" if options.quick else "full"))
    if options.again is not None:
        return _again(folder, options.again)
    began = time.monotonic()
    try:
        with Campaign(folder, options.jobs) as campaign, Progress(transient=True) as progress:
            crafted = _done(
                progress, "crafted", len(CRAFTED), campaign.crafted(QUICK_COMPARED if options.quick else 1)
            )
            count = QUICK if options.quick else FULL
            mutated = _done(progress, "mutated", count, campaign.run(range(count)))
            controls = _done(progress, "controls", 2 * len(DEADLY) + len(PLANTED), campaign.controls())
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 1
    return _report(crafted, mutated, controls, time.monotonic() - began, options.quick)


def _folder(folder: Path) -> Path:
    """Of the campaign: of an earlier run, if it was of the same code, or a new one."""
    sources = sorted(
        source for pattern in SOURCES for source in ROOT.glob(pattern) if not source.name.startswith("test_")
    )
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    made_of = folder / "made_of"
    if not made_of.exists() or made_of.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call_in_own_process(seeds.save, folder, timeout_s=SEEDS_S, method="spawn")
        made_of.write_text(digest)
    return folder


def _done(progress: Progress, what: str, count: int, results: Any) -> list[Any]:
    task = progress.add_task(what, total=count)
    found = []
    for result in results:
        found.append(result)
        progress.advance(task)
    return found


def _again(folder: Path, number: int) -> int:
    """Say what becomes of one mutated bundle, and where it is; exit code 1 if it fails."""
    made_of = seeds.load(folder)
    made = mutant(number, made_of)
    kept = FOLDER / f"again-{number}"
    shutil.rmtree(kept, ignore_errors=True)
    written(made_of.templates[made.template], made, kept)
    with tempfile.TemporaryDirectory(prefix="model-files-") as temporary:
        where = place(made_of, Path(temporary))
        with Stages(where.folder) as stages:
            verdict = take_one(made, where, stages)
    print(f"{made.seed}, {made.way}: {kept / made.file}")
    for stage in ("guard", "proof", "drive", "failure"):
        print(f"  {stage}: {getattr(verdict.way, stage)}")
    return int(verdict.way.failure is not None)


def _report(
    crafted: list[Checked], mutated: list[Verdict], controls: list[Checked], took_s: float, quick: bool
) -> int:
    console = Console()
    console.print(_stages_table(crafted, mutated))
    contained = _contained(mutated)
    for died, count in contained.most_common(20):
        console.print(f"{count} died in the sandbox: {died}", markup=False, highlight=False)
    for control in controls:
        console.print(
            f"{control.name}: {'seen' if control.wrong is None else 'NOT SEEN'}: {one_line(control.said)[:110]}",
            markup=False,
        )
    failures = [verdict for verdict in mutated if verdict.way.failure]
    wrong = [one for one in crafted if one.wrong]
    for one in wrong[:20]:
        console.print(f"crafted: {one.name}: {one.wrong}", style="red", markup=False)
    for verdict in failures[:20]:
        console.print(f"{verdict.number}: {verdict.way.failure}", style="red", markup=False)
        console.print(
            f"  again: {sys.executable} -m benchmarks.model_files {'--quick ' * quick}--again {verdict.number}",
            markup=False,
        )
    seen = [control for control in controls if control.wrong is None]
    ends = Counter(verdict.way.end for verdict in mutated)
    facts = {
        "crafted": len(crafted),
        "crafted_wrong": len(wrong),
        "mutated": len(mutated),
        "tflite": sum(verdict.format == "tflite" for verdict in mutated),
        "crashes": len(failures),
        "passed_guard": ends["proof"] + ends["drive"],
        "died_in_sandbox": sum(contained.values()),
        "drove": ends["drive"],
        "proven_twice": sum(verdict.compared is not None for verdict in mutated),
        "controls_seen": f"{len(seen)}/{len(controls)}",
    }
    if not quick:
        record(
            "model_files",
            {
                **facts,
                "took_s": took_s,
                "stages": _rows(mutated),
                "died": dict(contained.most_common()),
                "table": [msgspec.to_builtins(one) for one in crafted],
                "controls": [msgspec.to_builtins(control) for control in controls],
            },
        )
    print("RESULT " + " ".join(f"{key}={value}" for key, value in facts.items()))
    return 0 if not failures and not wrong and len(seen) == len(controls) else 1


def _contained(mutated: list[Verdict]) -> Counter[str]:
    """Deaths in the sandbox by format and kind, without numbers."""
    died = (
        f"{verdict.format}: {re.sub('[0-9]+', 'N', verdict.way.contained)}"
        for verdict in mutated
        if verdict.way.contained
    )
    return Counter(died)


def _rows(mutated: list[Verdict]) -> list[dict[str, Any]]:
    """How many of each kind ended where."""
    kinds = sorted({(verdict.format, verdict.mutated) for verdict in mutated})
    rows = []
    for format, how in kinds:
        of = [verdict.way for verdict in mutated if (verdict.format, verdict.mutated) == (format, how)]
        ends = Counter(way.end for way in of)
        rows.append(
            {
                "format": format,
                "mutated": how,
                "files": len(of),
                "refused_by_guard": ends["guard"],
                "refused_in_proof": ends["proof"],
                "died_in_sandbox": sum(way.contained is not None for way in of),
                "drove": ends["drive"],
                "failed": sum(way.failure is not None for way in of),
            }
        )
    return rows


def _stages_table(crafted: list[Checked], mutated: list[Verdict]) -> Table:
    columns = ("files", "refused_by_guard", "refused_in_proof", "died_in_sandbox", "drove", "failed")
    table = Table("format", "mutated", *(column.replace("_", " ") for column in columns))
    ends = Counter(one.end for one in crafted)
    counts = (
        len(crafted),
        ends["guard"],
        ends["proof"],
        "",
        ends["drive"],
        sum(bool(one.wrong) for one in crafted),
    )
    table.add_row("both", "crafted", *map(str, counts))
    for row in _rows(mutated):
        table.add_row(row["format"], row["mutated"], *(str(row[column]) for column in columns))
    return table


if __name__ == "__main__":
    sys.exit(main())
