"""What the driving process costs without a simulator: import, cold start to the first command, memory, tick times.

Run it with ``make bench``; ``QUICK=1`` drives fewer ticks and records nothing.  Observations are noise of the right
shape, so the model drives nowhere; its costs are those of driving.  Every figure is taken in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM_UP_TICKS = 20
MORE_ITERATIONS = 3
"""A tick with so many iterations a plan is measured too: the room that is left for a harder task."""


def drive(model: Path, precision: str, ticks: int, began: float) -> dict[str, float]:
    """Observe and plan for ``ticks`` ticks; ``began`` is when the process was started, on the epoch clock."""
    import numpy as np

    from edge_wm.clock import MonotonicClock
    from edge_wm.drive.pilot import Pilot
    from edge_wm.engines.execution import Execution
    from edge_wm.robot import load_robot
    from edge_wm.sensors.observation import Observation
    from firmware_bridge import NEUTRAL

    clock = MonotonicClock()
    pilot = Pilot(load_robot(), model, clock, execution=Execution(precision=precision))
    rng = np.random.default_rng(0)
    policy = pilot.policy
    policy.reset((4.0, 1.0))
    spent = []
    cold_start = math.nan
    for tick in range(ticks):
        arrays = {
            "camera": rng.integers(0, 256, (48, 64, 3), dtype=np.uint8),
            "range": rng.uniform(0.3, 4.0, 8).astype(np.float32),
            "wheel": rng.normal(0.0, 0.05, 2).astype(np.float32),
            "gyro": rng.normal(0.0, 0.1, 1).astype(np.float32),
        }
        start = time.perf_counter()
        policy.act(Observation(clock.now(), tick, arrays), NEUTRAL, math.inf)
        spent.append((time.perf_counter() - start) * 1e3)
        if tick == 0:
            cold_start = time.time() - began
        policy.draw_ahead()
    steady = np.array(spent[WARM_UP_TICKS:])
    return {
        "cold_start_s": cold_start,
        "tick_p50_ms": float(np.percentile(steady, 50)),
        "tick_p99_ms": float(np.percentile(steady, 99)),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_fresh_process(*arguments: str) -> dict[str, float]:
    """Run this file with ``arguments`` on one core and read the figures it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--began", repr(time.time()), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure both precisions and the import of the command line, print and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/rooms-student"))
    parser.add_argument("--ticks", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="fewer ticks, recorded nowhere")
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.precision:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(drive(options.model, options.precision, options.ticks, options.began)))
        return
    from benchmarks.plan_sizes import copy_bundle

    ticks = 100 if options.quick else options.ticks
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import edge_wm"], check=True)
    bare = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as scratch:
        thorough = Path(scratch) / "bundle"
        copy_bundle(options.model, thorough, MORE_ITERATIONS)
        results = {
            name: in_fresh_process("--precision", precision, "--model", str(model), "--ticks", str(ticks))
            for name, precision, model in (
                ("int8", "int8", options.model),
                ("fp32", "fp32", options.model),
                (f"int8, {MORE_ITERATIONS} iterations", "int8", thorough),
            )
        }
    int8, fp32, more = results.values()
    if not options.quick:
        from benchmarks.timing import record

        record("runtime", {"python_and_import_edge_wm_s": bare, **results})
    print(
        f"RESULT import_s={bare:.3f} cold_start_s={int8['cold_start_s']:.2f} rss_mb={int8['rss_mb']:.0f}"
        f" int8_p50_ms={int8['tick_p50_ms']:.1f} int8_p99_ms={int8['tick_p99_ms']:.1f}"
        f" fp32_p50_ms={fp32['tick_p50_ms']:.1f} fp32_p99_ms={fp32['tick_p99_ms']:.1f}"
        f" int8_{MORE_ITERATIONS}_iterations_p50_ms={more['tick_p50_ms']:.1f}"
        f" int8_{MORE_ITERATIONS}_iterations_p99_ms={more['tick_p99_ms']:.1f}"
    )


if __name__ == "__main__":
    main()
