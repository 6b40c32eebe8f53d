"""An emulated arm64 board with Debian and the project, and everything that can happen to one: run it with ``make emulated-board``.

Debian's kernel and packages make an image, ``edge-wm flash`` makes a card of it, which boots in QEMU; cloud-init and ``install.sh``
install the project from an offline bundle, systemd starts the service, and it drives the simulated robot.  What is right here is
right on an Arm board as far as the system goes; how fast it is says nothing about one.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.timing import record
from tests.emulated_board.image import missing_on_host
from tests.emulated_board.installed import INSTALLED, copy, make_installed, switched_on
from tests.emulated_board.machine import Board, BoardError
from tests.emulated_board.scenarios import LONG, QUICK, Failed, Figures, Scenario, prepare, wait_until_ready


def run_scenarios(scenarios: Sequence[Scenario]) -> tuple[Figures, dict[str, str]]:
    """Do all of them, one after the other, to one board; after one that fails, whatever it has left behind, to another one.

    Returns:
        What was measured, and by the scenario's name what did not hold.

    Raises:
        Failed, BoardError: a board on which nothing was done yet is not ready.
    """
    figures, failed = Figures(), dict[str, str]()
    to_do = deque(scenarios)
    while to_do:
        with ready_board() as board:
            while to_do:
                scenario = to_do.popleft()
                if (why := what_fails(scenario, board, figures)) is not None:
                    failed[words(scenario)] = why
                    break
    return figures, failed


@contextmanager
def ready_board() -> Iterator[Board]:
    """One that was installed and has booted, on which nothing was done yet."""
    with tempfile.TemporaryDirectory(prefix="emulated-board-") as folder:
        disk = Path(folder) / "disk.img"
        copy(INSTALLED, disk)
        with switched_on(disk) as board:
            prepare(board)
            board.reset()
            wait_until_ready(board)
            yield board


def what_fails(scenario: Scenario, board: Board, figures: Figures) -> str | None:
    """What does not hold; None if all does."""
    began, why = time.monotonic(), None
    try:
        scenario(board, figures)
    except Exception as error:  # whatever it is: the others are done all the same
        why = str(error) if isinstance(error, Failed | BoardError) else repr(error)
    verdict = "ok" if why is None else f"FAIL: {why}"
    print(f"{words(scenario)}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    return why


def words(scenario: Scenario) -> str:
    """Its name for people."""
    return scenario.__name__.replace("_", " ")


def main() -> int:
    """Exit code 0: everything held; 1: something did not; 2: this machine lacks something."""
    parser = argparse.ArgumentParser(prog="make emulated-board", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form, recorded nowhere")
    options = parser.parse_args()
    quick: bool = options.quick
    if (lacking := missing_on_host()) is not None:
        print(f"error: {lacking}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # QEMU must not outlive this
    began = time.monotonic()
    try:
        make_installed()
    except subprocess.CalledProcessError as error:
        print(f"error: {error.cmd[0]} failed: see above, then start again", file=sys.stderr)
        return 2
    except BoardError as error:
        print(f"error: the project could not be installed on it: {error}", file=sys.stderr)
        return 1
    made_s = time.monotonic() - began
    scenarios = QUICK if quick else LONG
    try:
        figures, failed = run_scenarios(scenarios)
    except (Failed, BoardError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not quick:
        facts = {
            "minutes": round((time.monotonic() - began) / 60),
            "made_s": round(made_s),
            "held": [words(each) for each in scenarios if words(each) not in failed],
            "failed": failed,
            "figures": figures.values,
            "emulated": f"QEMU -cpu cortex-a72, 2 cores, on {os.cpu_count()}",
        }
        record("emulated_board", facts)
    told = " ".join(
        f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figures.values.items()
    )
    print(
        f"RESULT scenarios={len(scenarios)} held={len(scenarios) - len(failed)} failed={len(failed)} {told}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
