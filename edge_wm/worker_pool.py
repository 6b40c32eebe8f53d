"""Parallel processes that end only with the one that started them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.pool import Pool
from typing import Any

from edge_wm.stop_signals import on_stop_signals, without_stop_signals


@contextmanager
def worker_pool(
    jobs: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[Pool]:
    """A pool of processes, ended when the ``with`` statement ends, however it does.

    Args:
        jobs: how many.
        start: called first in each of them.
        arguments: what it is called with.
    """
    resource_tracker.ensure_running()  # or the pool starts it, and older Pythons then let the signals through
    pool: Pool | None = None
    try:
        # A stop signal often reaches all processes at once.  It is the business of this one: a process that it ended
        # while waiting for work would keep the lock that the others wait for.
        with without_stop_signals():
            pool = _Context().Pool(jobs, start, arguments)
        yield pool
    finally:
        if pool is not None:
            with on_stop_signals(signal.SIG_IGN):
                pool.terminate()


class _Worker(SpawnProcess):
    """A process that hears no stop signals."""

    def terminate(self) -> None:
        """End it with the one that cannot be blocked."""
        self.kill()


class _Context(SpawnContext):
    """Fork would copy an OpenGL context and an engine's threads, neither of which survives it."""

    Process = _Worker
