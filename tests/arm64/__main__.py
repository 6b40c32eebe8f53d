"""The runtime and the shipped bundles on aarch64, emulated: run it with ``make test-arm64``.

On Debian's Python for arm64, with the aarch64 wheels that a board would install: the tests of what computes, the golden
vectors of every graph of every shipped bundle, and a drive of the simulated robot with each precision.  What is right here
is right on an Arm board as far as instructions go; how fast it is says nothing about one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from tests.arm64.root import CACHE, REPOSITORY, Root, missing_on_host

LITERT = "ai-edge-litert==2.1.6"
"""Later releases crash in QEMU 7.2 when they load a graph."""
OLDEST = Root(
    "bookworm",
    "3.11",
    (
        "-r",
        "pyproject.toml",
        "--extra",
        "sim",
        "--extra",
        "litert",
        "--extra",
        "dev",
        "--resolution",
        "lowest-direct",
    ),
    overrides=(LITERT,),
)
"""The oldest Python that Debian still has, and the oldest libraries that pyproject.toml allows."""
NEWEST = Root(
    "trixie",
    "3.13",
    ("-r", "requirements/test.txt"),
    overrides=("onnxruntime==1.27.0", LITERT),
)
"""The newest Python and the pinned libraries; releases of ONNX Runtime after 1.27 crash in QEMU 7.2, too."""

CORES = ("cortex-a72", "cortex-a76")
"""Of a Raspberry Pi 4, where int8 goes without dot-product instructions, and of a Pi 5, where it has them."""
TESTS = (
    "tests/engines",
    "tests/planner",
    "tests/control/test_world_model_policy.py",
    "tests/bundle/test_verify.py",
)
"""What computes and starts no other process."""
TOO_SLOW = "tests/bundle/test_verify.py::test_golden_vectors_that_unpack_to_too_much_are_refused"
"""Packs 300 MB, which is quick on a real processor only."""
TEST_TIMEOUT_S = 1800
EDGE_WM = ("-c", "from edge_wm.cli import main; main()")
FACTS = """
import json, platform
from importlib.metadata import distributions
libraries = {found.name: found.version for found in distributions()}
print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "libraries": libraries}))
"""
ENGINES = {"onnx": ("onnxruntime",), "tflite": ("ai-edge-litert", "tflite-runtime")}
"""The libraries that can run a format; the first one installed does."""
RESULTS = REPOSITORY / "benchmarks" / "results" / "arm64.json"


@dataclass
class Row:
    """What passed in one tree.

    Attributes:
        suite: of Debian.
        python: its version.
        engines: name and version of each engine that ran a graph.
        graphs: how many graphs repeated their golden vectors, counted once for each core.
        checks: how many comparisons that were: outputs, and plans.
        tests: how many tests passed.
        drives: how many drives reached their goal without touching anything.
        failed: what did not pass, named.
    """

    suite: str
    python: str
    engines: list[str] = field(default_factory=list)
    graphs: int = 0
    checks: int = 0
    tests: int = 0
    drives: int = 0
    failed: list[str] = field(default_factory=list)


class Emulation:
    """Runs the checks in one tree and keeps count in ``row``."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._reports = CACHE / "reports" / root.suite
        self._reports.mkdir(parents=True, exist_ok=True)
        facts = json.loads(self._run("-c", FACTS, capture=True) or "{}")
        if facts.get("machine") != "aarch64":
            raise SystemExit(
                f"error: {root.directory}: no Python for aarch64 runs there: remove it and start again"
            )
        self._libraries: dict[str, str] = facts["libraries"]
        self.row = Row(root.suite, facts["python"])

    def repeat_golden_vectors(self, bundle: Path, core: str) -> None:
        """Count the graphs of a bundle whose every output and plan is within tolerance."""
        report = self._reports / f"{bundle.name}.{core}.json"
        report.unlink(missing_ok=True)
        print(f"{bundle.name} on {core}", flush=True)
        self._run(*EDGE_WM, "model", "verify", bundle, "--json", report, core=core)
        graphs: dict[tuple[str, str, str], bool] = {}
        for check in json.loads(report.read_text())["checks"] if report.is_file() else ():
            graph = (check["role"], check["format"], check["precision"])
            graphs[graph] = graphs.get(graph, True) and check["passed"]
            self.row.checks += check["passed"]
        for graph in graphs_of(bundle):
            if graphs.get(graph):
                self.row.graphs += 1
                self._note_engine(graph[1])
            else:
                self.row.failed.append(f"{bundle.name} {' '.join(graph)} on {core}")

    def test(self) -> None:
        """Run those tests of the project that are about computing."""
        report = self._reports / "tests.xml"
        report.unlink(missing_ok=True)
        options = ("-q", "-p", "no:cacheprovider", "--deselect", TOO_SLOW, f"--timeout={TEST_TIMEOUT_S}")
        self._run("-m", "pytest", *options, f"--junitxml={report}", *TESTS)
        if not report.is_file():
            self.row.failed.append("pytest did not finish")
            return
        for case in ElementTree.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                self.row.failed.append(f"{case.get('classname')}::{case.get('name')}")
            elif case.find("skipped") is None:
                self.row.tests += 1

    def drive(self, bundle: Path, precision: str) -> None:
        """Let the simulated robot drive to one goal in a room it has never seen, camera and all, in simulated time."""
        quiet = ("--fast", "--no-view", "--no-pictures", "--runs", self._reports / "runs")
        words = ("--goals", "1", "--model", bundle, "--precision", precision)
        if self._run(*EDGE_WM, "demo", *quiet, *words) is None:
            self.row.failed.append(f"{bundle.name} {precision} drive")
        else:
            self.row.drives += 1

    def _run(self, *words: str | Path, core: str = CORES[-1], capture: bool = False) -> str | None:
        """Run this tree's Python; None if it did not exit with 0."""
        done = subprocess.run(
            self._root.command(core, *words),
            cwd=REPOSITORY,
            env=self._root.environment(),
            stdout=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )
        return None if done.returncode else done.stdout or ""

    def _note_engine(self, format: str) -> None:
        library = next(name for name in ENGINES[format] if name in self._libraries)
        engine = f"{library}-{self._libraries[library]}"
        if engine not in self.row.engines:
            self.row.engines.append(engine)


def graphs_of(bundle: Path) -> list[tuple[str, str, str]]:
    """Role, format and precision of every graph that a bundle's manifest names."""
    graphs = json.loads((bundle / "manifest.json").read_text())["graphs"]
    return [(graph["role"], graph["format"], graph["precision"]) for graph in graphs]


def check(root: Root, quick: bool) -> Row:
    """Run in a tree what can be run there."""
    print(f"--- {root.suite}, Python {root.python}", flush=True)
    emulation = Emulation(root)
    bundles = sorted(file.parent for file in (REPOSITORY / "models").glob("*/manifest.json"))
    for bundle in bundles:
        for core in CORES:
            emulation.repeat_golden_vectors(bundle, core)
    if quick:
        return emulation.row
    emulation.test()
    if root is NEWEST:
        for bundle in bundles:
            for precision in sorted({precision for _, _, precision in graphs_of(bundle)}):
                emulation.drive(bundle, precision)
    return emulation.row


def record(rows: Sequence[Row], minutes: float) -> None:
    """Write down what passed, where and when."""
    commit = subprocess.run(
        "git rev-parse HEAD", shell=True, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "machine": f"aarch64 emulated on {platform.machine()}, {os.cpu_count()} cores",
        "commit": commit.stdout.strip(),
        "minutes": round(minutes),
        "results": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Exit code 0: everything passed; 1: something did not; 2: this machine lacks something."""
    parser = argparse.ArgumentParser(prog="make test-arm64", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="golden vectors on the newest Python only, nothing recorded"
    )
    quick = parser.parse_args().quick
    if (lacking := missing_on_host()) is not None:
        print(f"error: {lacking}", file=sys.stderr)
        return 2
    began = time.monotonic()
    roots = (NEWEST,) if quick else (OLDEST, NEWEST)
    try:
        for root in roots:
            root.make()
    except subprocess.CalledProcessError as error:
        print(
            f"error: {error.cmd[0]} could not fetch arm64 packages: see above, then start again",
            file=sys.stderr,
        )
        return 2
    rows = [check(root, quick) for root in roots]
    if not quick:
        record(rows, (time.monotonic() - began) / 60)
    for row in rows:
        for name in row.failed:
            print(f"FAIL {row.suite}: {name}")
    passed = sum(row.graphs + row.tests + row.drives for row in rows)
    print(
        f"RESULT python={','.join(row.python for row in rows)}"
        f" engines={','.join(engine for row in rows for engine in row.engines)}"
        f" graphs={sum(row.graphs for row in rows)} tests={sum(row.tests for row in rows)}"
        f" drives={sum(row.drives for row in rows)} passed={passed} failed={sum(len(row.failed) for row in rows)}"
    )
    return 1 if any(row.failed or not row.graphs for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
