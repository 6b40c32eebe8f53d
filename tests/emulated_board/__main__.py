"""An emulated arm64 board with Debian and the project, and everything that can happen to one: run it with ``make emulated-board``.

Debian's kernel and packages make an image, ``edge-wm flash`` makes a card of it, which boots in QEMU; cloud-init and ``install.sh`` install the
project from an offline bundle, systemd starts the service, and it drives the simulated robot.  What is right here is right on an Arm board as far as the system goes; how fast it is says nothing
about one.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import record
from tests.emulated_board.image import missing_on_host
from tests.emulated_board.installed import INSTALLED, copy, make_installed, switched_on
from tests.emulated_board.machine import BoardError
from tests.emulated_board.scenarios import LONG, QUICK, Failed, Figures, Scenario, prepare, wait_until_ready


def run_scenarios(scenarios: Sequence[Scenario]) -> tuple[Figures, dict[str, str]]:
    """Do all of them to one board, one after the other, each as long as the board can go on.

    Returns:
        What was measured, and by the scenario's name what did not hold.
    """
    figures, failed = Figures(), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="emulated-board-") as folder:
        disk = Path(folder) / "disk.img"
        copy(INSTALLED, disk)
        with switched_on(disk) as board:
            prepare(board)
            board.reset()
            for scenario in scenarios:
                name, began = scenario.__name__.replace("_", " "), time.monotonic()
                try:
                    scenario(board, figures)
                except (Failed, BoardError) as why:
                    failed[name] = str(why)
                verdict = f"FAIL: {failed[name]}" if name in failed else "ok"
                print(f"{name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
                if name in failed:
                    board.reset()
                    wait_until_ready(board)
    return figures, failed


def main() -> int:
    """Exit code 0: everything held; 1: something did not; 2: this machine lacks something."""
    parser = argparse.ArgumentParser(prog="make emulated-board", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form, recorded nowhere")
    parser.add_argument(
        "--make-only", action="store_true", help="make the board, for a later run, and do nothing to it"
    )
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
    if options.make_only:
        return 0
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
            "held": [each.__name__ for each in scenarios if each.__name__.replace("_", " ") not in failed],
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
