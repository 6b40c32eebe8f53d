"""The bridge of a replay: it answers as another one was recorded to, and moves nothing.

A recording is the ``ticks.jsonl`` of a run folder, or any file with one JSON object a line that has ``command`` and ``applied``, each [v, w] in
m/s and rad/s.  Whoever replays a run with other code sees in ``differences`` where that code would have decided otherwise.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firmware_bridge.bridge import NEUTRAL, BridgeError, Command, Telemetry

SAME = 0.001
"""Velocities are recorded to so many m/s and rad/s."""


class Row(NamedTuple):
    """One tick of a recording."""

    command: Command
    applied: Command


class Difference(NamedTuple):
    """A command that was another one when it was recorded.

    Attributes:
        tick: counted from 0.
        asked: now.
        recorded: then.
    """

    tick: int
    asked: Command
    recorded: Command


class RecordedBridge:
    """Plays a recording back.  See :class:`firmware_bridge.bridge.Bridge` for the methods.

    Args:
        file: the recording.
        clock: stamps the telemetry.
        goal: of a run to several goals only the ticks on the way to this one, counted from 1; None for all.

    Attributes:
        differences: where the commands are not those of the recording.
    """

    def __init__(
        self, file: Path, clock: Callable[[], float] = time.monotonic, goal: int | None = None
    ) -> None:
        self.differences: list[Difference] = []
        self._file, self._clock, self._goal = file, clock, goal
        self._rows: list[Row] = []
        self._tick = 0
        self._armed = False
        self._applied = NEUTRAL

    @property
    def ticks(self) -> int:
        """How many there are in the recording; 0 before it was read."""
        return len(self._rows)

    @property
    def asked(self) -> int:
        """How many of them were played."""
        return self._tick

    def connect(self) -> None:
        """Read the recording.  Raises BridgeError, which names the line, if it is none."""
        self._rows = _read(self._file, self._goal)
        self._tick = 0
        self.differences.clear()

    def arm(self) -> None:
        """The next ``apply`` goes on where the last one was."""
        if not self._rows:
            raise BridgeError(f"{self._file}: not connected")
        self._armed = True

    def apply(self, command: Command) -> Command:
        """What was applied in this tick of the recording.  Raises BridgeError after its last tick."""
        if not self._armed:
            raise BridgeError(f"{self._file}: it is disarmed")
        if self._tick == len(self._rows):
            raise BridgeError(f"{self._file}: the recording ends after {self._tick} ticks")
        row = self._rows[self._tick]
        if not _same(command, row.command):
            self.differences.append(Difference(self._tick, command, row.command))
        self._tick += 1
        self._applied = row.applied
        return row.applied

    def telemetry(self) -> Telemetry:
        """What is in force by the recording."""
        return Telemetry(self._clock(), self._armed, self._applied)

    def stop(self) -> None:
        """Disarm."""
        self._armed, self._applied = False, NEUTRAL

    def close(self) -> None:
        """Disarm; there is no link to release."""
        self.stop()


def _same(a: Command, b: Command) -> bool:
    return math.isclose(a.v, b.v, abs_tol=SAME) and math.isclose(a.w, b.w, abs_tol=SAME)


def _read(file: Path, goal: int | None) -> list[Row]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError(f"{file}: cannot be read as a recording: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            tick = json.loads(line)
            row = Row(Command(*map(float, tick["command"])), Command(*map(float, tick["applied"])))
            if goal is None or tick.get("goal", 1) == goal:
                rows.append(row)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BridgeError(
                f"{file}, line {number}: no tick: it needs command and applied, each [v, w]"
            ) from None
    if not rows:
        raise BridgeError(
            f"{file}: an empty recording" if goal is None else f"{file}: has no tick of goal {goal}"
        )
    return rows
