"""How long the motors go on after something went wrong: the real firmware, simulated to the cycle, and every fault at random moments.

Run it with ``make drill``; ``QUICK=1`` does each fault a few times and records nothing.  The faults are in
``firmware_bridge/simulator/faults.py``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.timing import machine, record
from firmware_bridge.simulator.avr_bench import AvrBench
from firmware_bridge.simulator.faults import FAULTS, PERIOD_US, Computer, Drill, drill
from firmware_bridge.wire import Drive

ALLOWED_MS = 205.0
"""The deadman of 200 ms and a tick of 5 ms."""
COMMANDS, QUICK_COMMANDS = 2_000, 100


def main() -> None:
    """Do it all, print, record.  Exit code 1 if the motors went on for too long, or turned again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firmware", type=Path, default=Path("build/firmware"))
    parser.add_argument("--times", type=int, default=100, help="each fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="each fault 5 times, recorded nowhere")
    options = parser.parse_args()
    times = 5 if options.quick else options.times
    with ProcessPoolExecutor(options.jobs) as pool:
        latency = pool.submit(
            command_latency, options.firmware, QUICK_COMMANDS if options.quick else COMMANDS
        )
        asked = [(options.firmware, fault, number) for fault in FAULTS for number in range(times)]
        done = list(track(pool.map(_drill, asked), description="drills", total=len(asked)))
        latency_ms = latency.result()
    results = {
        fault: _result(done[index * times : (index + 1) * times]) for index, fault in enumerate(FAULTS)
    }
    Console().print(_table(results, times))
    worst_ms = max(result["worst_ms"] for result in results.values())
    failed = sum(result["too_late"] + result["again"] for result in results.values())
    facts = {"machine": machine(), "times": times, "faults": results, "command_ms": latency_ms}
    if not options.quick:
        record("drill", facts)
    print(
        f"RESULT drills={len(done)} failed={failed} neutral_max_ms={worst_ms:.1f}"
        f" command_p50_ms={latency_ms['p50']:.2f} command_p99_ms={latency_ms['p99']:.2f}"
    )
    sys.exit(failed > 0)


def _drill(asked: tuple[Path, str, int]) -> Drill:
    folder, fault, number = asked
    bench = AvrBench(folder)
    try:
        return drill(bench, fault, random.Random(f"{fault} {number}"))
    finally:
        bench.close()


def command_latency(folder: Path, commands: int) -> dict[str, float]:
    """Milliseconds from the first bit of a command on the line until a motor that stood has power, among 50 commands a second."""
    bench, chance = AvrBench(folder), random.Random(1)
    computer = Computer(bench, chance)
    computer.start()
    spent_ms = []
    for _ in range(commands):
        while bench.state().neutral_us is None:
            computer.command(Drive(0, 0))
            bench.run(PERIOD_US)
        bench.run(chance.randrange(PERIOD_US))
        sent_us = bench.state().now_us
        computer.command(Drive(100, 0))
        bench.run(PERIOD_US)
        spent_ms.append((bench.state().powered_us - sent_us) / 1000.0)
    bench.close()
    p50, p99, most = np.percentile(spent_ms, (50, 99, 100))
    return {"n": commands, "p50": p50, "p99": p99, "max": most}


def _result(drills: list[Drill]) -> dict[str, Any]:
    neutral = sorted(found.neutral_us / 1000.0 for found in drills if found.neutral_us is not None)
    return {
        "n": len(drills),
        "median_ms": neutral[len(neutral) // 2],
        "worst_ms": neutral[-1],
        "too_late": len(drills) - sum(time_ms <= ALLOWED_MS for time_ms in neutral),
        "again": sum(found.again for found in drills),
    }


def _table(results: dict[str, dict[str, Any]], times: int) -> Table:
    table = Table("fault", "times", "median, ms", "worst, ms", f"after {ALLOWED_MS:g} ms", "turned again")
    for fault, found in results.items():
        table.add_row(
            fault,
            str(times),
            f"{found['median_ms']:.1f}",
            f"{found['worst_ms']:.1f}",
            str(found["too_late"]),
            str(found["again"]),
        )
    return table


if __name__ == "__main__":
    main()
