"""How long motors on a PCA9685 go on after something went wrong, and whether they ever turn again.

Run it with ``make guard``; ``QUICK=1`` does each fault a few times and records nothing.  The bridge and its guard are the real processes, killed and stopped
by real signals; the chip is a byte-exact fake behind a socket, the worst that its data sheet allows (``tests/firmware_bridge/fake_pca9685.py``).  Two
motors at 1 kHz and a car at 50 Hz take turns, with OE connected and without.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.timing import record
from firmware_bridge.pca9685_guard import LONGEST_RETRY_S
from tests.firmware_bridge.fake_pca9685 import Change
from tests.firmware_bridge.fake_pca9685_process import DEADMAN_S, ESC, NEUTRAL_US, TICK_S, Bench, start_host

SLACK_S = 0.015
"""For the scheduler of a machine that does other things too."""
WATCH_S = 0.4
"""The outputs must stay off for this long after they were, and the host has gone on for most of it."""


class Drill(NamedTuple):
    """What came of one fault.

    Attributes:
        neutral_s: until nothing moved, from the last pulses that a host sent that is gone, or from the fault, or from its end on a stuck bus;
            None if something moved at the end.
        again_s: for how long something moved afterwards.
        allowed_s: for ``neutral_s``.
        said: what the host said, if it could.
    """

    neutral_s: float | None
    again_s: float
    allowed_s: float
    said: str


class Scene(NamedTuple):
    """A host that drives."""

    bench: Bench
    host: subprocess.Popen[str]
    chance: random.Random

    def tell(self, number: signal.Signals) -> None:
        """Send the host a signal."""
        os.kill(self.host.pid, number)

    def wait(self, least_s: float, most_s: float) -> None:
        """For a random time."""
        time.sleep(self.chance.uniform(least_s, most_s))


def _killed(scene: Scene) -> float:
    scene.tell(signal.SIGKILL)
    scene.host.wait()
    return scene.bench.sent_at


def _stopped(scene: Scene) -> float:
    """And goes on later, as if nothing had been."""
    scene.tell(signal.SIGSTOP)
    return _continued(scene, 0.1)


def _stopped_within(scene: Scene) -> float:
    """Stopped between its look at the clock and its write, which then comes while the guard acts, or after."""
    scene.tell(signal.SIGUSR1)
    time.sleep(2.0 * TICK_S)
    return _continued(scene, 0.06)


def _continued(scene: Scene, most_s: float) -> float:
    sent_at = scene.bench.sent_at
    rest_s = sent_at + DEADMAN_S - time.monotonic()
    scene.wait(rest_s + 0.002, rest_s + most_s)
    scene.tell(signal.SIGCONT)
    return sent_at


def _hangs(scene: Scene) -> float:
    scene.tell(signal.SIGUSR2)
    time.sleep(TICK_S)
    return scene.bench.sent_at


def _guard_killed(scene: Scene) -> float:
    os.kill(scene.bench.guards[-1], signal.SIGKILL)
    return time.monotonic()


def _guard_stopped(scene: Scene) -> float:
    os.kill(scene.bench.guards[-1], signal.SIGSTOP)
    return time.monotonic()


def _killed_on_a_stuck_bus(scene: Scene) -> float:
    """Without OE nobody can do anything for a while; then the guard does."""
    scene.bench.bus.fault = lambda what, address, register: errno.ETIMEDOUT
    scene.tell(signal.SIGKILL)
    scene.wait(0.1, 0.4)
    scene.bench.bus.fault = lambda what, address, register: None
    return time.monotonic()


def _brown_out(scene: Scene) -> float:
    """The chip stops by itself; the host must not start it again."""
    scene.bench.chip.power_cycle()
    return time.monotonic()


class Fault(NamedTuple):
    """One of ``FAULTS``.

    Attributes:
        do: it; returns the time from which is counted.
        allowed_s: after which nothing may move any more.
        cycle: whether a PWM cycle is allowed on top.
    """

    do: Callable[[Scene], float]
    allowed_s: float
    cycle: bool = False


FAULTS = {
    "computer killed": Fault(_killed, TICK_S, cycle=True),
    "computer stopped, and goes on": Fault(_stopped, DEADMAN_S),
    "computer stopped within a command, and goes on": Fault(_stopped_within, DEADMAN_S),
    "planner hangs": Fault(_hangs, DEADMAN_S),
    "guard killed": Fault(_guard_killed, TICK_S, cycle=True),
    "guard stopped": Fault(_guard_stopped, DEADMAN_S + TICK_S),
    "computer killed on a stuck bus": Fault(_killed_on_a_stuck_bus, LONGEST_RETRY_S, cycle=True),
    "chip browned out": Fault(_brown_out, 0.0),
}


def drill(fault: str, number: int, *options: str) -> Drill:
    """Drive, let the fault come at a random moment, and watch the outputs.

    Args:
        fault: one of ``FAULTS``.
        number: of the drill: which outputs, and when.
        options: of the host, besides.
    """
    chance = random.Random(f"{fault} {number}")
    chosen = [option for bit, option in enumerate(("car", "oe")) if number >> bit & 1]
    cycle_s = 0.02 if "car" in chosen else 0.001
    allowed_s = FAULTS[fault].allowed_s + SLACK_S + (cycle_s if FAULTS[fault].cycle else 0.0)
    with tempfile.TemporaryDirectory(prefix="guard") as folder:
        bench = Bench(Path(folder))
        host = start_host(bench, *chosen, *options)
        try:
            scene = Scene(bench, host, chance)
            scene.wait(0.0, 5.0 * TICK_S)
            began = time.monotonic()
            since = FAULTS[fault].do(scene)
            time.sleep(DEADMAN_S + WATCH_S)
            _ = bench.chip.high  # notes its last change
            return _judged(bench.chip.changes, began, since, allowed_s, host)
        finally:
            host.kill()
            host.wait()
            bench.close()


def _moves(change: Change) -> bool:
    """Motors with any power, or an ESC that gets another pulse than the neutral one."""
    neutral = round(NEUTRAL_US / 4.88)
    if not any(change.high[2:]):  # a car
        return change.high[ESC] not in (0, neutral)
    return True


def _judged(
    changes: list[Change], began: float, since: float, allowed_s: float, host: subprocess.Popen[str]
) -> Drill:
    host.kill()
    said = host.stdout.read().strip() if host.stdout else ""
    ends = [*(change.at for change in changes[1:]), math.inf]
    spans = [
        (change.at, end) for change, end in zip(changes, ends, strict=True) if end > began and _moves(change)
    ]
    stop = began
    again_s = 0.0
    for start, end in spans:  # one after the other while speeds change
        if start <= max(stop, began):
            stop = end
        else:
            again_s += end - start
    if stop == math.inf:
        return Drill(None, 0.0, allowed_s, said)
    return Drill(max(stop - since, 0.0), again_s, allowed_s, said)


def main() -> None:
    """Do it all, print, record.  Exit code 1 if something moved for too long, or again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="each fault")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--quick", action="store_true", help="each fault 4 times, recorded nowhere")
    options = parser.parse_args()
    times = 4 if options.quick else options.times
    asked = [(fault, number) for fault in FAULTS for number in range(times)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        drills = list(track(pool.map(_drill, asked), description="faults", total=len(asked)))
        unguarded = pool.submit(drill, "computer killed", 0, "unguarded").result()
    results = {fault: _result(drills[at * times : (at + 1) * times]) for at, fault in enumerate(FAULTS)}
    Console().print(_table(results, times))
    failed = sum(result["too_late"] + result["again"] for result in results.values())
    worst_ms = max(result["worst_ms"] for result in results.values())
    ever = unguarded.neutral_s is None
    if not options.quick:
        record("guard", {"times": times, "faults": results, "unguarded_drives_on": ever})
    print(
        f"RESULT faults={len(drills)} neutral_max_ms={worst_ms:.1f} too_late_or_again={failed} unguarded_drives_on={int(ever)}"
    )
    sys.exit(failed > 0 or not ever)


def _drill(asked: tuple[str, int]) -> Drill:
    return drill(*asked)


def _result(drills: list[Drill]) -> dict[str, Any]:
    """What is told of one fault; what never stopped is infinitely late."""
    neutral = sorted(math.inf if found.neutral_s is None else 1000.0 * found.neutral_s for found in drills)
    return {
        "n": len(drills),
        "median_ms": neutral[len(neutral) // 2],
        "worst_ms": neutral[-1],
        "too_late": sum(found.neutral_s is None or found.neutral_s > found.allowed_s for found in drills),
        "again": sum(found.again_s > 0.0 for found in drills),
        "again_worst_ms": 1000.0 * max(found.again_s for found in drills),
    }


def _table(results: dict[str, dict[str, Any]], times: int) -> Table:
    table = Table("fault", "times", "median, ms", "worst, ms", "too late", "moved again", "worst, ms")
    for fault, found in results.items():
        table.add_row(
            fault,
            str(times),
            f"{found['median_ms']:.1f}",
            f"{found['worst_ms']:.1f}",
            str(found["too_late"]),
            str(found["again"]),
            f"{found['again_worst_ms']:.1f}",
        )
    return table


if __name__ == "__main__":
    main()
