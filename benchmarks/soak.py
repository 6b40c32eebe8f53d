"""Whether the driving service grows: its memory, its descriptors, its threads, and the time of a tick.

Run it with ``python -m benchmarks.soak``; ``--quick`` runs for two minutes and records nothing.  Real processes, the shipped model, the simulated
robot: in simulated time, as fast as this machine goes, and at the real rate.  In simulated time it plans in one iteration instead of two, for haste;
nothing else differs.  Each is recorded by itself.  The process is sampled from outside.  A slope is Theil and Sen's, its interval is 95 % from blocks
of samples drawn again and again: neighbours are alike, and a plain interval would believe itself too much.  The first tenth is left out: allocators
settle.

Of each measure it says "grows" if the interval is above nothing and what came together is more than noise, "does not grow" if a day would bring less than
is allowed or the whole run brought less than can be seen, and otherwise "undecided".  A service with planted leaks must be found to grow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.timing import record
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from tests.drive.service_process import ServiceProcess, service, write_file

TICK_S = 0.1
EVERY_S, QUICK_EVERY_S = 20.0, 1.0
QUICK_S = 50.0
LEAK_S = 45.0
SETTLES = 0.1
RESAMPLED = 400
BLOCKS = 8
"""Of samples, each drawn as a whole."""
PARTS = {"simulated": ("--fast",), "real": ()}
WORLDS = 40
MISSION = f"[mission]\nworlds = {list(range(WORLDS))}\nrepeat = true\nrest_s = 0.0\n"
LEAKS = """
from edge_wm.drive.service import Service
tick, kept = Service._lives, []
def leaking(self, now):
    kept.append(bytearray(100_000))
    if len(kept) % 20 == 0:
        kept.append(open("/dev/null"))
    tick(self, now)
Service._lives = leaking
"""


class Measure(NamedTuple):
    """What must not grow.

    Attributes:
        unit: of its samples.
        allowed: growth in a day of driving.
        hidden: growth in the whole of a shorter run that nobody can tell from none.
        noise: what may come and go.
        decided: whether it has to be known in the end.
    """

    unit: str
    allowed: float
    hidden: float
    noise: float
    decided: bool = True


MEASURES = {
    "memory": Measure("MB", 5.0, 2.0, 30.0),
    "descriptors": Measure("", 0.5, 0.5, 1.5),
    "threads": Measure("", 0.5, 0.5, 1.5),
    "tick_cpu": Measure("ms", 0.5, 1.0, 10.0),
    # On the clock: whoever else computes on this machine is in it.
    "tick_p50": Measure("ms", 2.0, 2.0, 50.0, decided=False),
}


class Sample(NamedTuple):
    """The process at one moment: hours of driving, then as in ``MEASURES``; what is not known is NaN.

    ``tick_cpu`` is of the process, simulator and all, and the mean since the last sample; ``tick_p50`` of the newest drive that was recorded.
    """

    hours: float
    memory: float
    descriptors: float
    threads: float
    tick_cpu: float
    tick_p50: float


class Growth(NamedTuple):
    """Of one measure: a day's growth with its interval, and what it comes to."""

    measure: str
    first: float
    last: float
    a_day: float
    low: float
    high: float
    verdict: str


class Sampler:
    """Looks at a service from outside."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = process
        self._ticks, self._cpu_s = 0, 0.0

    def sample(self) -> Sample:
        """What the service, the kernel and the newest record say."""
        now = self._process.now()
        about = Path(f"/proc/{self._process.process.pid}")
        status = dict(
            line.split(":", 1) for line in (about / "status").read_text().splitlines() if ":" in line
        )
        times = (about / "stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        ticks, self._ticks = now.ticks - self._ticks, now.ticks
        spent, self._cpu_s = cpu_s - self._cpu_s, cpu_s
        return Sample(
            now.ticks * TICK_S / 3600.0,
            int(status["VmRSS"].split()[0]) / 1024.0,
            float(len(list((about / "fd").iterdir()))),
            float(status["Threads"]),
            spent / ticks * 1e3 if ticks > 0 else float("nan"),
            _newest_tick_ms(self._process.folder / "runs"),
        )


def _newest_tick_ms(runs: Path) -> float:
    for folder in sorted(runs.glob("*Z*"), reverse=True):
        try:
            return float(json.loads((folder / "summary.json").read_text())["tick_p50_ms"])
        except (OSError, ValueError, KeyError, TypeError):  # the drive goes on, or was removed meanwhile
            continue
    return float("nan")


def watch(process: ServiceProcess, until: float, hours: float, every_s: float) -> list[Sample]:
    """Sample it until so many hours were driven, or until ``until``."""
    samples: list[Sample] = []
    sampler = Sampler(process)
    while time.monotonic() < until and (not samples or samples[-1].hours < hours):
        process.hear(every_s)
        process.told.clear()
        try:
            samples.append(sampler.sample())
        except BadInput:
            if process.process.poll() is not None:
                raise
    return samples


def growth(samples: Iterable[Sample]) -> list[Growth]:
    """Of every measure."""
    table = np.array(list(samples))
    table = table[round(SETTLES * len(table)) :]
    found = []
    for column, (name, measure) in enumerate(MEASURES.items(), start=1):
        known = ~np.isnan(table[:, column])
        days, values = table[known, 0] / 24.0, table[known, column]
        a_day, low, high = slope(days, values)
        length = float(days[-1] - days[0])
        verdict = "undecided"
        if low > 0.0 and (high + low) / 2.0 * length > measure.noise:
            verdict = "grows"
        elif high < measure.allowed or high * length < measure.hidden:
            verdict = "does not grow"
        found.append(Growth(name, float(values[0]), float(values[-1]), a_day, low, high, verdict))
    return found


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Theil and Sen's slope of ``y`` over ``x``, and 95 % of it from blocks of residuals drawn again."""
    chance = np.random.default_rng(0)
    middle = _theil_sen(x, y)
    rest = y - middle * x
    blocks = np.array_split(np.arange(len(x)), BLOCKS)
    drawn = []
    for _ in range(RESAMPLED):
        order = np.concatenate([blocks[number] for number in chance.integers(0, len(blocks), len(blocks))])
        order = np.resize(order, len(x))
        drawn.append(_theil_sen(x, middle * x + rest[order]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return middle, float(low), float(high)


def _theil_sen(x: np.ndarray, y: np.ndarray) -> float:
    few = np.linspace(0, len(x) - 1, min(len(x), 120)).astype(int)  # pairs grow with the square
    x, y = x[few], y[few]
    one, other = np.triu_indices(len(x), 1)
    apart = x[other] - x[one]
    return float(np.median(((y[other] - y[one])[apart > 0.0]) / apart[apart > 0.0]))


def drive(
    words: tuple[str, ...], hours: float, most_s: float, every_s: float, before: str = ""
) -> list[Sample]:
    """One service for so long; its samples."""
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        folder = Path(scratch)
        model = shipped("models", "rooms-student")
        write_file(folder, _hasty(model, folder / "hasty") if words else model, MISSION)
        with service(folder, *words, before=before) as process:
            process.wait_for("READY=1")
            return watch(process, time.monotonic() + most_s, hours, every_s)


def _hasty(model: Path, folder: Path) -> Path:
    """The same model, planned with in one iteration."""
    shutil.copytree(model, folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    manifest["planner"]["iterations"] = 1
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    return folder


def show(console: Console, title: str, rows: list[Growth]) -> None:
    table = Table("measure", "first", "last", "a day of driving", "95 %", "", title=title)
    for row in rows:
        unit = MEASURES[row.measure].unit
        interval = f"{row.low:+.2f} to {row.high:+.2f}"
        table.add_row(
            f"{row.measure} {unit}",
            f"{row.first:.1f}",
            f"{row.last:.1f}",
            f"{row.a_day:+.2f}",
            interval,
            row.verdict,
        )
    console.print(table)


def part(name: str, hours: float, quick: bool, console: Console) -> dict[str, Any]:
    """Run one part, and say what it found."""
    words = PARTS[name]
    most_s = QUICK_S if quick else 3600.0 * hours * (1.0 if words else 1.3)
    samples = drive(words, hours, most_s, QUICK_EVERY_S if quick else EVERY_S)
    rows = growth(samples)
    driven = samples[-1].hours
    show(console, f"{name} time: {driven:.2f} hours of driving, {len(samples)} samples", rows)
    return {
        "hours": round(driven, 3),
        "samples": len(samples),
        "growth": [row._asdict() for row in rows],
    }


def main() -> int:
    """Exit code 0: nothing grows, and the leaks were found; 1: something grows, is undecided in the long form, or a leak was not found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--simulated-h", type=float, default=24.0, help="hours of driving in simulated time")
    parser.add_argument("--real-h", type=float, default=2.0, help="hours of driving at the real rate")
    parser.add_argument("--only", choices=PARTS, help="one part; both can run at once")
    parser.add_argument("--quick", action="store_true", help="two minutes; recorded nowhere")
    options = parser.parse_args()
    console = Console()
    leaks = {
        row.measure: row.verdict for row in growth(drive(("--fast",), 1e9, LEAK_S, QUICK_EVERY_S, LEAKS))
    }
    leaks_found = leaks["memory"] == "grows" and leaks["descriptors"] == "grows"
    hours = {"simulated": options.simulated_h, "real": options.real_h}
    driven, verdicts = "", set[str]()
    for name in [options.only] if options.only else PARTS:
        found = part(name, hours[name], options.quick, console)
        if not options.quick:
            record(f"soak_{name}", {**found, "planted_leaks_found": leaks_found})
        driven += f" {name}_h={found['hours']}"
        verdicts |= {
            row["verdict"]
            for row in found["growth"]
            if row["verdict"] == "grows" or MEASURES[row["measure"]].decided
        }
    print(
        f"RESULT{driven} grows={'yes' if 'grows' in verdicts else 'no'}"
        f" undecided={'yes' if 'undecided' in verdicts else 'no'} planted_leaks_found={'yes' if leaks_found else 'no'}"
    )
    return 0 if leaks_found and not verdicts & ({"grows"} if options.quick else {"grows", "undecided"}) else 1


if __name__ == "__main__":
    sys.exit(main())
