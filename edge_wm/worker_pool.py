"""Parallel processes that end only with the one that started them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.pool import Pool
from typing import Any

from edge_wm.stop_signals import on_stop_signals


def worker_pool(jobs: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()) -> Pool:
    """A pool of ``jobs`` processes, to be used in a ``with`` statement, whose end ends them.

    Args:
        jobs: how many.
        start: called first in each of them.
        arguments: what it is called with.
    """
    # What is ignored when a process is started stays ignored in it: Ctrl-C and a lost terminal reach all processes at
    # once, and are the business of the one that ends the others.
    with on_stop_signals(signal.SIG_IGN, (signal.SIGINT, signal.SIGHUP)):
        # Fork would copy an OpenGL context and an engine's threads, neither of which survives it.
        return multiprocessing.get_context("spawn").Pool(jobs, start, arguments)
