"""Requests over a line that answers nothing, under a clock that does what a clock should not."""

from __future__ import annotations

import pytest

from firmware_bridge import BridgeError
from firmware_bridge.framing import FrameReader, encode
from firmware_bridge.link import ANSWER_S, Link
from firmware_bridge.wire import Poll, Status

READ_S = 0.002
HOUR_S = 3600.0
STATUS = Status(0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7400)


class Wall:
    """A line on which time passes while it is read, and its clock, which jumps at one of the readings."""

    in_waiting = 0

    def __init__(self, jump_s: float, at_read: int, answers_from: int | None = None) -> None:
        self.now, self.reads, self.written = 1000.0, 0, 0
        self._jump_s, self._at_read, self._answers_from = jump_s, at_read, answers_from
        self._requests = FrameReader()
        self._asked: list[int] = []

    def clock(self) -> float:
        return self.now

    def read(self, size: int = 1) -> bytes:
        self.reads += 1
        assert self.reads < 1000, "it waits for ever"
        self.now += READ_S + (self._jump_s if self.reads == self._at_read else 0.0)
        if self._answers_from is None or self.reads < self._answers_from:
            return b""
        return b"".join(encode(STATUS, number) for number in self._asked)

    def write(self, data: bytes) -> int:
        asked = [number for number, _ in self._requests.feed(data)]
        self._asked += asked
        self.written += len(asked)
        return len(data)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("jump_s", [0.0, HOUR_S, -HOUR_S, -ANSWER_S])
@pytest.mark.parametrize("at_read", [1, 10, 25])
def test_a_silent_line_is_given_up_whatever_the_clock_does(jump_s: float, at_read: int) -> None:
    wall = Wall(jump_s, at_read)
    with pytest.raises(BridgeError, match="no answer to Poll, sent 3 times"):
        Link(wall, wall.clock).ask(Poll(), Status)
    assert wall.written == 3
    assert wall.reads <= 3 * round(ANSWER_S / READ_S) + 3


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_an_answer_is_taken_after_a_jump_and_none_came_before_it_was_asked_for(jump_s: float) -> None:
    """An answer that comes with the jump, and with one that comes before the repeated request, would have a length below zero."""
    wall = Wall(jump_s, at_read=3, answers_from=3)
    status, exchange = Link(wall, wall.clock).ask(Poll(), Status)
    assert status == STATUS
    assert exchange.sent <= exchange.received
    assert wall.written <= 2
