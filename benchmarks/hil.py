"""The real firmware in the loop: rooms driven through it, and how long the motors go on after something went wrong.

Run it with ``make hil``; ``QUICK=1`` drives two rooms, does each fault a few times and records nothing.  The ATmega328P's own program runs in
simavr: below the world model and in MuJoCo's robot for the rooms (``edge_wm/sim/board_in_the_loop.py``), on a bench for the faults
(``firmware_bridge/simulator/faults.py``).  Time is that of the simulated processor.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.timing import record
from edge_wm.clock import SimulatedClock
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.simulated import SimulatedRobot, task_in_generated_world
from edge_wm.engines.execution import Execution
from edge_wm.evaluate.statistics import wilson_interval
from edge_wm.paths import shipped
from edge_wm.record.tick_record import GoalResult
from edge_wm.robot import load_robot
from firmware_bridge.simulator.avr_bench import AvrBench
from firmware_bridge.simulator.faults import FAULTS, PERIOD_US, Computer, Drill, drill
from firmware_bridge.wire import Drive

ROBOT = shipped("boards", "robots", "sim-avr.toml")
ALLOWED_MS = 205.0
"""The deadman of 200 ms and a tick of 5 ms."""
COMMANDS, QUICK_COMMANDS = 2_000, 100


def main() -> None:
    """Do it all, print, record.  Exit code 1 if the motors went on for too long, or turned again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--firmware", type=Path, default=Path("build/firmware"))
    parser.add_argument("--model", type=Path, default=Path("models/rooms-student"))
    parser.add_argument("--goals", type=int, default=100, help="rooms to drive")
    parser.add_argument("--times", type=int, default=100, help="each fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="2 rooms, each fault 3 times, recorded nowhere")
    options = parser.parse_args()
    goals, times = (2, 3) if options.quick else (options.goals, options.times)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        latency = pool.submit(
            command_latency, options.firmware, QUICK_COMMANDS if options.quick else COMMANDS
        )
        rooms = [(options.model, options.firmware, number) for number in range(goals)]
        drives = list(track(pool.map(_drive, rooms), description="rooms", total=goals))
        asked = [(options.firmware, fault, number) for fault in FAULTS for number in range(times)]
        drills = list(track(pool.map(_drill, asked), description="faults", total=len(asked)))
        latency_ms = latency.result()
    faults = {
        fault: _result(drills[index * times : (index + 1) * times]) for index, fault in enumerate(FAULTS)
    }
    Console().print(_table(faults, times))
    worst_ms = max(result["worst_ms"] for result in faults.values())
    failed = sum(result["too_late"] + result["again"] for result in faults.values())
    reached, collisions = sum(drive.reached for drive in drives), sum(drive.collision for drive in drives)
    facts = {
        "rooms": {
            "goals": goals,
            "reached": reached,
            "reached_ci95": wilson_interval(reached, goals),
            "collisions": collisions,
        },
        "times": times,
        "faults": faults,
        "command_ms": latency_ms,
    }
    if not options.quick:
        record("hil", facts)
    print(
        f"RESULT goals={goals} reached={reached} collisions={collisions} command_p99_ms={latency_ms['p99']:.1f}"
        f" neutral_max_ms={worst_ms:.1f} faults={len(drills)} too_late_or_again={failed}"
    )
    sys.exit(failed > 0)


def _drive(asked: tuple[Path, Path, int]) -> GoalResult:
    """One room, by the world model and through the firmware."""
    model, firmware, number = asked
    robot = load_robot(ROBOT)
    robot = msgspec.structs.replace(robot, bridge=msgspec.structs.replace(robot.bridge, device=str(firmware)))
    clock = SimulatedClock()
    pilot = Pilot(robot, model, clock, execution=Execution(precision="int8"), seed=number)
    with SimulatedRobot(robot, task_in_generated_world("rooms", number), clock) as body:
        return body.result(pilot.drive(body.sensors, body.bridge, body.goal_xy))


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
    p50, p99, most = (float(ms) for ms in np.percentile(spent_ms, (50, 99, 100)))
    return {"n": commands, "p50": p50, "p99": p99, "max": most}


def _result(drills: list[Drill]) -> dict[str, Any]:
    """What is told of one fault; motors that were never off are infinitely late."""
    neutral = sorted(math.inf if found.neutral_us is None else found.neutral_us / 1000.0 for found in drills)
    return {
        "n": len(drills),
        "median_ms": neutral[len(neutral) // 2],
        "worst_ms": neutral[-1],
        "too_late": sum(time_ms > ALLOWED_MS for time_ms in neutral),
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
