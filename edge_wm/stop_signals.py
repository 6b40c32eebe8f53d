"""Who hears of the signals that ask a process to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, the service manager, and a terminal that is gone."""

Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextmanager
def on_stop_signals(handler: Handler, signals: Sequence[signal.Signals] = STOP_SIGNALS) -> Iterator[None]:
    """Put ``handler`` in the place of those of ``signals`` for a while.

    Python lets only the main thread set handlers; in others nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


@contextmanager
def interrupted_by_stop_signals() -> Iterator[list[str]]:
    """Raise KeyboardInterrupt on every stop signal, but for those that are ignored already, as under ``nohup``.

    Yields the names of those that came: an interrupt in the middle of C code, such as an import, may surface as any
    other error.
    """
    received: list[str] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    with on_stop_signals(receive, [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]):
        yield received


@contextmanager
def without_stop_signals() -> Iterator[None]:
    """Put stop signals off until the end; a process that is started meanwhile never hears of them."""
    received: list[int] = []
    with on_stop_signals(lambda number, frame: received.append(number)):  # for those that other threads take
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for number in received[:1]:
        signal.raise_signal(number)
