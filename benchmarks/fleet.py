"""Many robots, one static server, one broker: a bad model, a good one, and a server that is killed in the middle.

Run it with ``make fleet``; ``QUICK=1`` has a few robots and records nothing.  Every robot is the real updater, store, start and status
(``tests/fleet/simulated_robot.py``); its model is tiny, and it proves a bundle by its golden vectors in its own process, without the sandbox.  Who
widens a release asks ``edge-wm fleet gate``, which asks the broker.  Figures of time are those of so many robots on one machine, not of a fleet's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.timing import record
from edge_wm.bundle.load import load_bundle
from edge_wm.fleet.collector import gather
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.verdict import Verdict, stage_verdict
from edge_wm.update.store import MAX_FAILURES
from tests.fleet.mosquitto import MOSQUITTO, Mosquitto, free_port
from tests.fleet.simulated_robot import SimulatedRobot, Step, make_bundle
from tests.publish.repositories import KIND, Keeper

SIZES, QUICK_SIZES = (10, 100, 1000), (10, 40)
FIRST_STAGE = 0.05
WORKERS = 4 * (os.cpu_count() or 1)
"""Most of the time a robot waits for its broker."""
CHANNEL = "stable"
MEMORY = Path("/dev/shm")


class StaticServer:
    """Python's own, in a process of its own, so that it can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, once ``kill`` was called again."""
        command = [
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(self.folder),
        ]
        self._process = subprocess.Popen(
            [*command, str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while True:
            with suppress(OSError), urllib.request.urlopen(self.url):
                return
            time.sleep(0.05)

    def kill(self) -> None:
        """Without a word."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Fleet:
    """So many robots, and the keeper's repository."""

    def __init__(self, folder: Path, size: int, broker: int | None, console: Console) -> None:
        self.folder, self.size, self.broker, self._console = folder, size, broker, console
        folder.mkdir()
        self.keeper = Keeper(folder / "repository")
        self.keeper.init(KIND)
        self.server = StaticServer(folder / "repository")
        self.server.start()
        shutil.copy(folder / "repository" / "metadata" / "1.root.json", folder / "root.json")
        make_bundle(folder / "factory", "0.1.0")

    def publish(self, version: str, fraction: float, *, bad: bool = False) -> str:
        """Returns the hash of the model."""
        bundle = make_bundle(self.folder / "bundles" / version, version, bad=bad)
        self.keeper.publish(bundle, CHANNEL, fraction)
        return load_bundle(bundle).sha256

    def promote(self, model: str, fraction: float) -> None:
        """To more robots."""
        self.keeper.promote(model, CHANNEL, fraction, source=CHANNEL)

    def robot(self, number: int) -> SimulatedRobot:
        """One of them."""
        return SimulatedRobot(self.folder, number, self.server.url, self.broker)

    def look(self, what: str, *, kill_after: int | None = None, drive: bool = True) -> list[Step]:
        """Every robot looks once, some at a time, and drives if it is to; the server is killed once so many have looked."""
        steps: list[Step] = []
        with (
            get_context("fork").Pool(WORKERS) as pool,
            Progress(console=self._console, transient=True) as progress,
        ):
            task = progress.add_task(f"{self.size} robots: {what}", total=self.size)
            for step in pool.imap_unordered(
                partial(_step, self.folder, self.server.url, self.broker, drive), range(self.size)
            ):
                steps.append(step)
                progress.advance(task)
                if len(steps) == kill_after:
                    self.server.kill()
        return steps

    def verdict(self, model: str) -> Verdict:
        """What ``edge-wm fleet gate`` says of the model."""
        assert self.broker is not None
        seen = gather(BrokerConfig(f"mqtt://127.0.0.1:{self.broker}"), self.folder, robot_kind=KIND)
        if len(seen.robots) != self.size:
            raise RuntimeError(f"{len(seen.robots)} of {self.size} robots have told the broker")
        return stage_verdict(seen.robots, model, min_passed=1, max_failures=0)

    def close(self) -> None:
        """Nobody serves any longer."""
        with suppress(AssertionError, ProcessLookupError):
            self.server.kill()


def _step(folder: Path, url: str, broker: int | None, drive: bool, number: int) -> Step:
    return SimulatedRobot(folder, number, url, broker).step(drives=drive)


def _bad_model(fleet: Fleet, problems: list[str]) -> dict[str, Any]:
    """A model that fails in bright light, how far it gets, and what the gate says each time that its robots try it."""
    model = fleet.publish("2.0.0", FIRST_STAGE, bad=True)
    chosen = [n for n in range(fleet.size) if _is_chosen(fleet, model, n)]
    for attempt in range(1, MAX_FAILURES + 1):
        what = f"a bad model, try {attempt}"
        for drive in (False, True):  # it is on trial; it failed in it
            fleet.look(what, drive=drive)
            verdict = fleet.verdict(model)
            failed = len(chosen) if drive or attempt > 1 else 0
            if verdict.go or verdict.outcomes["failed"] != failed:
                problems.append(f"{what}: the gate says {verdict.why}, {failed} have failed")
    touched = [n for n in range(fleet.size) if fleet.robot(n).events(model)]
    driving = [n for n in range(fleet.size) if fleet.robot(n).drives() == model]
    if touched != chosen:
        problems.append(f"robots {touched} had the bad model, {chosen} were chosen")
    if driving:
        problems.append(f"robots {driving} drive by the bad model")
    fleet.keeper.revoke(model)
    return {"chosen": len(chosen), "touched": len(touched), "driving": len(driving), "gate": verdict.why}


def _good_model(fleet: Fleet, problems: list[str]) -> dict[str, Any]:
    """A good model in three stages; in the second the server is killed."""
    model = fleet.publish("3.0.0", FIRST_STAGE)
    fleet.look("a good model, first stage")
    first = fleet.verdict(model)
    if not first.go:
        problems.append(f"after the first stage the gate says {first.why}")
    fleet.promote(model, 0.5)
    cut = fleet.look("second stage, server killed", kill_after=fleet.size // 4)
    unserved = sum(step.problem is not None for step in cut)
    lost = [n for n in range(fleet.size) if fleet.robot(n).events(model) and not _sound(fleet.robot(n))]
    fleet.server.start()
    fleet.look("second stage, served again")
    fleet.promote(model, 1.0)
    fleet.look("third stage")
    fleet.look("once more")
    installs = [fleet.robot(n).events(model).count("committed") for n in range(fleet.size)]
    drives = sum(fleet.robot(n).drives() == model for n in range(fleet.size))
    if unserved == 0:
        problems.append("the server was killed too late: nobody missed it")
    if lost:
        problems.append(f"robots {lost} lost their model when the server was killed")
    if drives != fleet.size or installs != [1] * fleet.size:
        problems.append(
            f"{drives} of {fleet.size} have it, installed {min(installs)} to {max(installs)} times"
        )
    return {
        "unserved": unserved,
        "lost": len(lost),
        "installed": drives,
        "double": sum(count > 1 for count in installs),
    }


def _is_chosen(fleet: Fleet, model: str, number: int) -> bool:
    from edge_wm.update.release import Release

    probe = Release(1, model, "tiny", "1.0.0", FIRST_STAGE, "0.1.0", ())
    return probe.is_for(fleet.robot(number).config.robot_id)


def _sound(robot: SimulatedRobot) -> bool:
    from edge_wm.update.boot import start

    return start(robot.folders, load_bundle).notes == ()


def _row(size: int, what: str, steps: Sequence[Step], wall_s: float) -> dict[str, Any]:
    seconds = [step.cpu_s for step in steps]
    return {
        "robots": size,
        "what": what,
        "wall_s": round(wall_s, 2),
        "robots_per_s": round(size / wall_s, 1),
        "cpu_s_p50": round(float(np.median(seconds)), 4),
        "cpu_s_p99": round(float(np.quantile(seconds, 0.99)), 4),
        "bytes_per_robot": round(sum(step.fetched for step in steps) / size),
        "problems": sum(step.problem is not None for step in steps),
    }


def main() -> int:
    """Exit code 0: all held; 1: something did not; 2: no broker."""
    parser = argparse.ArgumentParser(prog="make fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few robots; recorded nowhere")
    quick: bool = parser.parse_args().quick
    if MOSQUITTO is None:
        print("error: no MQTT broker: run  sudo apt install mosquitto", file=sys.stderr)
        return 2
    console = Console()
    problems: list[str] = []
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    sizes = QUICK_SIZES if quick else SIZES
    with tempfile.TemporaryDirectory(prefix="fleet-", dir=MEMORY if MEMORY.is_dir() else None) as name:
        for size in sizes:
            with Mosquitto(Path(name), "allow_anonymous true", "max_queued_messages 0") as broker:
                fleet = Fleet(Path(name) / str(size), size, broker.port, console)
                try:
                    for what in ("first install", "update", "nothing new"):
                        if what != "nothing new":
                            fleet.publish({"first install": "1.0.0", "update": "1.1.0"}[what], 1.0)
                        began = time.perf_counter()
                        rows.append(_row(size, what, fleet.look(what), time.perf_counter() - began))
                    if size == sizes[-1]:
                        facts["bad_model"] = _bad_model(fleet, problems)
                        facts["good_model"] = _good_model(fleet, problems)
                finally:
                    fleet.close()
                    shutil.rmtree(fleet.folder, ignore_errors=True)
    problems += [f"{row['what']}: {row['problems']} robots had a problem" for row in rows if row["problems"]]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    for key, value in facts.items():
        console.print(f"{key}: {value}")
    for problem in problems:
        console.print(problem[:2000], style="red", markup=False)
    if not quick:
        record("fleet", {"stages": rows, **facts, "held": not problems})
    largest = [row for row in rows if row["robots"] == sizes[-1]]
    bad, good = facts["bad_model"], facts["good_model"]
    print(
        f"RESULT robots={sizes[-1]} bad_model_on={bad['touched']} of_chosen={bad['chosen']} bad_driving={bad['driving']}"
        f" server_killed_unserved={good['unserved']} lost={good['lost']} installed={good['installed']}"
        f" double_installs={good['double']} update_bytes_per_robot={largest[1]['bytes_per_robot']}"
        f" update_cpu_s_p50={largest[1]['cpu_s_p50']} failed={len(problems)}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
