"""The real firmware in the loop: rooms driven through it, and how long the motors go on after something went wrong.

Run it with ``make hil``; ``QUICK=1`` drives two rooms, does each fault a few times and records nothing.  The ATmega328P's own program runs in
simavr: below the world model and in MuJoCo's robot for the rooms (``edge_wm/sim/board_in_the_loop.py``), on a bench for the faults
(``firmware_bridge/simulator/faults.py``), and on a pseudo-terminal, at the pace of the wall, for those of a real process that drives it
(``firmware_bridge/simulator/host_drills.py``).  Time is that of the simulated processor.
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
from typing import Any, NamedTuple

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
from firmware_bridge.bridge import BridgeError
from firmware_bridge.simulator.avr_bench import AvrBench
from firmware_bridge.simulator.avr_pty import AvrOnPty
from firmware_bridge.simulator.faults import FAULTS, MS, PERIOD_US, Computer, Drill, drill
from firmware_bridge.simulator.host_drills import ALLOWED_US, HOST_FAULTS, HostDrill, host_drill
from firmware_bridge.wire import Drive

ROBOT = shipped("boards", "robots", "sim-avr.toml")
ALLOWED_MS = ALLOWED_US / MS
COMMANDS, QUICK_COMMANDS = 2_000, 100
DRILLS_A_BOOT = 10
"""Of a real process."""
BOARDS_A_CORE = 2
"""That keep the pace of the wall: a board takes a quarter of a core, its process and all."""


class OnTheWall(NamedTuple):
    """Drills of one fault on one board, and how well the board kept the pace of the wall.

    Attributes:
        drills: in the order in which they were done.
        worst_lag_ms, lost_ms: see ``AvrOnPty``.
    """

    drills: list[HostDrill]
    worst_lag_ms: float
    lost_ms: float


def main() -> None:
    """Do it all, print, record.  Exit code 1 if the motors went on for too long, or turned again, or a process did not do as it should."""
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
    try:
        boards = _on_the_wall(options.firmware, times, BOARDS_A_CORE * options.jobs)
    except BridgeError as error:
        sys.exit(f"error: {error}")
    faults = {
        fault: _result(drills[index * times : (index + 1) * times]) for index, fault in enumerate(FAULTS)
    }
    host_faults = {fault: _host_result(boards[fault]) for fault in HOST_FAULTS}
    Console().print(_table({**faults, **host_faults}))
    results = [*faults.values(), *host_faults.values()]
    worst_ms = max(result["worst_ms"] for result in results)
    failed = sum(result["too_late"] + result["again"] for result in results)
    host_wrong = sum(result["host_wrong"] for result in host_faults.values())
    kept = [board for found in boards.values() for board in found]
    reached = sum(drive.reached for drive in drives)
    collisions = sum(drive.collision is True for drive in drives)  # the simulation knows
    facts = {
        "rooms": {
            "goals": goals,
            "reached": reached,
            "reached_ci95": wilson_interval(reached, goals),
            "collisions": collisions,
        },
        "times": times,
        "faults": faults,
        "host_faults": host_faults,
        "pace": {
            "worst_lag_ms": max(board.worst_lag_ms for board in kept),
            "lost_ms": sum(board.lost_ms for board in kept),
        },
        "command_ms": latency_ms,
    }
    if not options.quick:
        record("hil", facts)
    print(
        f"RESULT goals={goals} reached={reached} collisions={collisions} command_p99_ms={latency_ms['p99']:.1f}"
        f" neutral_max_ms={worst_ms:.1f} faults={sum(result['n'] for result in results)} too_late_or_again={failed}"
        f" host_wrong={host_wrong}"
    )
    sys.exit(failed + host_wrong > 0)


def _drive(asked: tuple[Path, Path, int]) -> GoalResult:
    """One room, by the world model and through the firmware."""
    model, firmware, number = asked
    robot = load_robot(ROBOT)
    robot = msgspec.structs.replace(robot, bridge=msgspec.structs.replace(robot.bridge, folder=str(firmware)))
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


def _on_the_wall(folder: Path, times: int, boards: int) -> dict[str, list[OnTheWall]]:
    """Each fault of a real process, so many times, on so many boards at once."""
    asked = [
        (folder, fault, range(first, min(first + DRILLS_A_BOOT, times)))
        for fault in HOST_FAULTS
        for first in range(0, times, DRILLS_A_BOOT)
    ]
    with ProcessPoolExecutor(boards, mp_context=get_context("spawn")) as pool:
        done = list(track(pool.map(_host_drills, asked), description="faults of a process", total=len(asked)))
    found: dict[str, list[OnTheWall]] = {fault: [] for fault in HOST_FAULTS}
    for (_, fault, _), result in zip(asked, done, strict=True):
        found[fault].append(result)
    return found


def _host_drills(asked: tuple[Path, str, range]) -> OnTheWall:
    folder, fault, numbers = asked
    board = AvrOnPty(folder)
    try:
        drills = [host_drill(board, fault, random.Random(f"{fault} {number}")) for number in numbers]
        return OnTheWall(drills, board.worst_lag_us / MS, board.lost_us / MS)
    finally:
        board.close()


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


def _host_result(boards: list[OnTheWall]) -> dict[str, Any]:
    """The same, with what the process did that it should not have, and how often it was begun anew."""
    drills = [found for board in boards for found in board.drills]
    wrong = [found.wrong for found in drills if found.wrong]
    if wrong:
        print(f"a process did wrong: {wrong[0]}")
    return {
        **_result([found.drill for found in drills]),
        "host_wrong": len(wrong),
        "begun_anew": sum(found.attempts - 1 for found in drills),
    }


def _table(results: dict[str, dict[str, Any]]) -> Table:
    table = Table(
        "fault",
        "times",
        "median, ms",
        "worst, ms",
        f"after {ALLOWED_MS:g} ms",
        "turned again",
        "process did wrong",
    )
    for fault, found in results.items():
        table.add_row(
            fault,
            str(found["n"]),
            f"{found['median_ms']:.1f}",
            f"{found['worst_ms']:.1f}",
            str(found["too_late"]),
            str(found["again"]),
            str(found.get("host_wrong", "")),
        )
    return table


if __name__ == "__main__":
    main()
