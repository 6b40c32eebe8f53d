"""The live terminal view.  It can never delay the robot.

The control loop calls :meth:`LiveView.show`, which only appends to a bounded queue and sets an event; when the
queue is full the oldest record is lost.  A thread draws what it finds there.  It is woken at the end of a tick,
so it draws while the loop waits for the next one.

The thread keeps the priority of the process.  A lower one looks right and is wrong: on a busy core the thread is
then put aside while it holds Python's interpreter lock, and the control loop waits for it (with two busy cores
p99 of what follows a command was 60 ms that way and is 15 ms).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console

from edge_wm.record.live_screens import Panels, PlainLines
from edge_wm.record.statistics import TickStatistics
from edge_wm.record.tick_record import TickRecord

QUEUED_RECORDS = 64
DRAW_PERIOD_S = 0.2
JOIN_TIMEOUT_S = 2.0


class Screen(Protocol):
    """Where the view appears."""

    def draw(self, records: Sequence[TickRecord], statistics: TickStatistics) -> None:
        """Show the new records, oldest first; at least one."""

    def close(self) -> None:
        """Leave the terminal as it was found.  Safe to call twice."""


class LiveView:
    """Context manager; ``show`` is the loop's callback.

    Args:
        goals: how many goals there are, for "goal 2/5".
        screen: where to draw; by default panels on a terminal, else one plain line a second.
        queued_records: how many records may wait before the oldest is lost.
    """

    def __init__(
        self,
        goals: int,
        screen: Screen | None = None,
        queued_records: int = QUEUED_RECORDS,
    ) -> None:
        self._screen = screen or _screen_for(Console(), goals)
        self._queue: deque[TickRecord] = deque(maxlen=queued_records)
        self._statistics = TickStatistics()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_closed, name="live view", daemon=True)
        self.problem = ""
        """Why the view stopped drawing, if it had to; the drive goes on without it."""

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, record: TickRecord) -> None:
        """Hand over one tick.  Never waits for the drawing."""
        self._statistics.add(record)
        self._queue.append(record)
        self._wake.set()

    def close(self) -> None:
        """Draw what is left and give the terminal back.  Safe to call twice."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_TIMEOUT_S)

    def _draw_until_closed(self) -> None:
        try:
            while not self._closing.wait(DRAW_PERIOD_S):
                self._wake.clear()
                self._wake.wait(DRAW_PERIOD_S)  # draw right after a tick, while the loop waits for the next
                self._draw_waiting()
            self._draw_waiting()
        except Exception as error:  # a closed terminal, or a mistake of ours, must not reach the robot
            self.problem = f"live view stopped: {error}"
        finally:
            with contextlib.suppress(Exception):
                self._screen.close()

    def _draw_waiting(self) -> None:
        records = []
        while self._queue:
            records.append(self._queue.popleft())
        if records:
            self._screen.draw(records, self._statistics)


def _screen_for(console: Console, goals: int) -> Screen:
    return Panels(console, goals) if console.is_terminal else PlainLines(console, goals)
