"""How many candidates a plan can have on this machine: as many as keep the bundle's latency budget."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from edge_wm.bundle.load import Bundle
from edge_wm.engines.execution import Execution
from edge_wm.profile.choice import choose
from edge_wm.profile.measure import Measured, measure, ways

HOPELESS = 2.0
"""A way that takes more than this many times the fastest's time is not tried with fewer candidates."""


def measure_sizes(
    bundle: Bundle,
    cores: int,
    board: Execution,
    on_progress: Callable[[float], None] = lambda share: None,
    *,
    of: Callable[[list[Execution]], list[Execution]] = list,
) -> tuple[list[Measured], Measured | None]:
    """Measure the sizes of the bundle from the largest on, until one keeps the latency budget.

    A smaller size than the largest that keeps it would not be chosen, and is not measured.

    Args:
        bundle: loaded with all graphs and golden vectors.
        cores: of this machine.
        board: the board file's engine.
        on_progress: called with the share that is done.
        of: picks those that are tried of all ways of one size.

    Returns:
        All rows, and the chosen one: the best way of the largest size that keeps the budget in 99 of 100 ticks, else of
        the smallest that can be used; None if nothing can be used.
    """
    manifest = bundle.manifest
    rows: list[Measured] = []
    chosen: Measured | None = None
    hopeless: set[Execution] = set()
    for number, size in enumerate(manifest.sizes):
        candidates = None if size == manifest.imagine.candidates else size
        known = ways(manifest, cores, board, candidates)
        tried = [way for way in of(known) if _of_any_size(way) not in hopeless]
        part = partial(_part_of, on_progress, number, len(manifest.sizes))
        found = measure(bundle, tried, part)
        rows += found
        best = choose(found)
        if best is None or best.tick_p99_ms is None:
            continue
        chosen = best
        if best.tick_p99_ms <= manifest.latency_budget_ms:
            break
        fastest = min(row.tick_p50_ms for row in found if row.tick_p50_ms is not None)
        hopeless |= {
            _of_any_size(row.execution)
            for row in found
            if row.tick_p50_ms is not None and row.tick_p50_ms > HOPELESS * fastest
        }
    on_progress(1.0)
    return rows, chosen


def _of_any_size(execution: Execution) -> Execution:
    return msgspec.structs.replace(execution, candidates=None)


def _part_of(on_progress: Callable[[float], None], number: int, count: int, share: float) -> None:
    on_progress((number + share) / count)
