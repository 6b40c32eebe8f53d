"""Processes that keep all cores busy for a while: what a robot's tick takes beside other work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edge_wm.stop_signals import without_stop_signals

BURN = """
import os, sys
parent = int(sys.argv[1])
print(flush=True)
while os.getppid() == parent:
    for number in range(200_000):
        number * number
"""
"""Ends within some milliseconds of the process that started it, however that ended."""

SETTLE_S = 0.5
"""For the scheduler and the clock to react to the load."""


@contextmanager
def cpu_load(processes: int, settle_s: float = SETTLE_S) -> Iterator[list[int]]:
    """Burn CPU in so many processes of usual priority; all of them have ended afterwards.

    Yields:
        Their process ids.
    """
    burners: list[subprocess.Popen[bytes]] = []
    try:
        # The terminal's Ctrl-C is the business of this process, which ends them.
        with without_stop_signals():
            for _ in range(processes):
                command = [sys.executable, "-I", "-S", "-c", BURN, str(os.getpid())]
                burners.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
        for burner in burners:
            assert burner.stdout is not None
            burner.stdout.readline()  # it burns from here on
        time.sleep(settle_s)
        yield [burner.pid for burner in burners]
    finally:
        with without_stop_signals():
            for burner in burners:
                burner.kill()
            for burner in burners:
                burner.communicate()
