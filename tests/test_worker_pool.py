"""Parallel processes hear no stop signal and end with the one that started them."""

from __future__ import annotations

import os
import signal

import pytest

from edge_wm.stop_signals import STOP_SIGNALS, interrupted_by_stop_signals
from edge_wm.worker_pool import _Context, worker_pool


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_stop_signals_do_not_reach_a_worker_and_the_end_does() -> None:
    with worker_pool(1) as pool:
        worker = pool.apply(os.getpid)
        for number in STOP_SIGNALS:
            os.kill(worker, number)
        assert pool.apply(os.getpid) == worker
    assert is_gone(worker)


def test_only_stop_signals_are_held_back() -> None:
    """The control of the above: a worker is no stone."""
    with worker_pool(1) as pool:
        assert pool.apply(signal.pthread_sigmask, (signal.SIG_BLOCK, ())) == set(STOP_SIGNALS)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOP_SIGNALS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_while_the_pool_starts_is_heard_when_it_has(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    started: list[int] = []
    original = _Context.Pool

    def start(context: _Context, *arguments: object) -> object:
        os.kill(os.getpid(), number)
        pool = original(context, *arguments)
        started.append(pool.apply(os.getpid))
        return pool

    monkeypatch.setattr(_Context, "Pool", start)
    with interrupted_by_stop_signals(), pytest.raises(KeyboardInterrupt), worker_pool(1):
        pytest.fail("the body must not run")
    assert len(started) == 1
    assert is_gone(started[0])
