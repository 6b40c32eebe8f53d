"""What an update costs the driving loop: deadlines missed and tick times, with an update going on and without.

Run it with ``python -m benchmarks.update_while_driving``; ``--quick`` drives to a few goals and records nothing.  The simulated robot drives to the
same goals in real time three times, one after the other: alone; while another process, which begins with the first tick, fetches an update from a web
server and proves it in its sandbox; and while the new model plans beside the one that drives.  A drive counts only if the update was at work beside
enough of its ticks.  The physics and the camera of the simulation run on the same cores, which no robot has to bear.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.timing import record
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.cli import run
from edge_wm.control.loop import Tick
from edge_wm.drive.model_changes import pilot_by_updates
from edge_wm.drive.run import RunOptions, run_tasks
from edge_wm.drive.simulated import task_in_generated_world
from edge_wm.paths import shipped
from edge_wm.robot import load_robot
from edge_wm.update.config import UpdateConfig, folders_of, load_config
from edge_wm.update.criteria import ShadowCriteria, TrialCriteria
from edge_wm.update.slots import Folders
from edge_wm.update.store import State, Store

GOALS, QUICK_GOALS = 20, 2
FIRST_SEED = 40
LEAST_BESIDE = {"alone": 0.0, "fetched and proven": 0.1, "shadow": 0.5}
"""The modes, and the share of each drive's ticks beside which the update must have been at work: from the beginning of its fetch to the end of its proof,
or as a shadow that took the tick.  A proof is over in some seconds, and a shadow is loaded while the robot sets off."""
ENDLESS = ShadowCriteria(ticks=100_000)
"""A shadow that plans as long as the robot drives."""
WAITS = 'read go && exec "$@"'
"""For a shell: a command that begins with a line on its stdin."""

CONFIG = """
url = "{url}"
trusted_root = "root.json"
robot_kind = "{kind}"
robot_id = "rover"
root = "{root}"
factory = "factory"
"""


class Drive(NamedTuple):
    """One drive: ticks, those beside which an update was at work, deadlines missed, tick times in ms, and whether the update got where it should."""

    ticks: int
    beside: int
    misses: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    done: bool


class Bench:
    """A repository behind a web server, with a model that is newer than the factory's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bundle = shipped("models", "rooms-student")
        shutil.copytree(bundle, folder / "factory")
        manifest = folder / "factory" / MANIFEST_NAME
        facts = msgspec.json.decode(manifest.read_bytes())
        manifest.write_bytes(msgspec.json.encode(facts | {"version": "0.0.1"}))
        repository = folder / "fleet"
        for words in (
            ["init-repo", str(repository), "--robot-kind", facts["robot_kind"]],
            ["publish", str(repository), str(bundle), "--channel", "stable"],
        ):
            if run(["update", *words]) != 0:
                raise SystemExit("error: the repository could not be made: see above")
        shutil.copy(repository / "metadata" / "1.root.json", folder / "root.json")
        handler = partial(_Quiet, directory=str(repository))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.file = folder / "update.toml"
        url = f"http://127.0.0.1:{self.server.server_port}/"
        root = folder / "robot"
        self.file.write_text(CONFIG.format(url=url, kind=facts["robot_kind"], root=root))

    @property
    def config(self) -> UpdateConfig:
        """What the robot's ``update.toml`` says."""
        return load_config(self.file)

    def drive(self, mode: str, seed: int) -> Drive:
        """One drive by a robot that has had no update before."""
        folders = folders_of(self.config, self.file)
        shutil.rmtree(folders.root, ignore_errors=True)
        folders.make()
        if mode == "shadow":
            self._fetch().communicate(b"\n")
        options = RunOptions(self.folder / "runs", view=False, pictures=False)
        clock, said = options.clock(), []
        fetching = self._fetch() if mode == "fetched and proven" else None
        ticks: list[float] = []
        with pilot_by_updates(folders, load_robot(), clock, ENDLESS, TrialCriteria(), said.append) as (
            pilot,
            changes,
        ):
            shown = changes.tick

            def tick(this: Tick) -> None:
                if fetching is not None and fetching.stdin is not None and not ticks:
                    fetching.stdin.write(b"\n")
                    fetching.stdin.flush()
                ticks.append(time.time())
                shown(this)

            changes.tick = tick  # type: ignore[method-assign]
            task = task_in_generated_world("rooms", seed)
            summary = run_tasks("update", pilot, clock, [task], options, said.append, changes).summary
            shadow = changes._shadow  # None once there is a verdict, as on one that died
            beside = shadow.sent if shadow is not None else 0
        done = mode != "shadow" or shadow is not None
        if fetching is not None:
            fetching.communicate()
            began, ended = self._at_work(folders)
            beside = sum(began <= at <= ended for at in ticks)
            with Store(folders.store) as store:
                done = store.attempt.state in (State.STAGED, State.TRIAL)  # taken at the rest
        return Drive(
            summary["ticks"],
            beside,
            summary["misses"],
            summary["tick_p50_ms"],
            summary["tick_p99_ms"],
            summary["tick_max_ms"],
            done and beside >= LEAST_BESIDE[mode] * summary["ticks"],
        )

    def _at_work(self, folders: Folders) -> tuple[float, float]:
        """When the update began to be fetched and when its proof was over, in seconds since 1970; never and never if it was not."""
        with Store(folders.store) as store:
            at = {event.event: event.at for event in store.history()}
        return at.get("fetching", float("inf")), at.get("staged", 0.0)

    def _fetch(self) -> subprocess.Popen[bytes]:
        """An update that begins with a line on its stdin."""
        command = [
            *("sh", "-c", WAITS, "sh"),
            str(Path(sys.executable).with_name("edge-wm")),
            "update",
            "fetch",
            "--config",
            str(self.file),
        ]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


def main() -> int:
    """Exit code 0: no more deadlines were missed with an update than alone; 1: more were, or an update did not get through or was over too soon."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update_while_driving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few goals; recorded nowhere")
    quick: bool = parser.parse_args().quick
    drives: dict[str, list[Drive]] = {mode: [] for mode in LEAST_BESIDE}
    console = Console()
    with tempfile.TemporaryDirectory(prefix="update-") as folder:
        bench = Bench(Path(folder))
        for number in range(QUICK_GOALS if quick else GOALS):
            for mode in LEAST_BESIDE:
                drives[mode].append(bench.drive(mode, FIRST_SEED + number))
                console.print(f"goal {number + 1} {mode}: {drives[mode][-1]}")
    rows = [_row(mode, drives[mode]) for mode in LEAST_BESIDE]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
    if not quick:
        record("update_while_driving", {"modes": rows})
    alone, *updating = rows
    done = all(drive.done for mode in LEAST_BESIDE for drive in drives[mode])
    misses = [row["misses"] for row in updating]
    print(
        f"RESULT goals={alone['goals']} ticks={sum(row['ticks'] for row in rows)} misses_alone={alone['misses']}"
        f" misses_fetch={misses[0]} misses_shadow={misses[1]} updates_through={'all' if done else 'not all'}"
    )
    return 0 if done and all(number <= alone["misses"] for number in misses) else 1


def _row(mode: str, drives: list[Drive]) -> dict[str, Any]:
    """Medians over the goals, but for the counts and the maximum."""
    return {
        "mode": mode,
        "goals": len(drives),
        "ticks": sum(drive.ticks for drive in drives),
        "ticks_beside_update": sum(drive.beside for drive in drives),
        "misses": sum(drive.misses for drive in drives),
        "p50_ms": round(float(np.median([drive.p50_ms for drive in drives])), 2),
        "p99_ms": round(float(np.median([drive.p99_ms for drive in drives])), 2),
        "max_ms": max(drive.max_ms for drive in drives),
    }


if __name__ == "__main__":
    sys.exit(main())
