"""How far two clocks are apart, from requests and answers between them.

The microcontroller read its clock at some moment between the request leaving and the answer coming: half of that time is how wrong
the middle of it can be.  The narrowest of the last exchanges counts, as in NTP's clock filter (RFC 5905, section 10); an old one
is the less worth the longer the clocks have drifted since.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

DRIFT = 5e-3
"""Most that the two clocks run apart, s/s: an Uno and a Nano have a ceramic resonator of 0.5 %."""
WRAP_US = 1 << 32


class _Exchange(NamedTuple):
    received: float
    offset: float
    error: float


class ClockOffset:
    """Turns times of the microcontroller into those of the computer's monotonic clock.

    Args:
        remembered: exchanges that are kept.
    """

    def __init__(self, remembered: int = 64) -> None:
        self._exchanges: deque[_Exchange] = deque(maxlen=remembered)
        self._remote_us = 0

    def observe(self, sent: float, received: float, remote_us: int) -> None:
        """Take in one exchange.

        Args:
            sent: the computer's clock before the request was sent, seconds.
            received: and after its answer had come.
            remote_us: the microcontroller's clock in between, microseconds modulo 2**32.
        """
        self._remote_us = self._unwrapped(remote_us)
        offset = (sent + received) / 2.0 - self._remote_us * 1e-6
        error = (received - sent) / 2.0
        if self._exchanges:
            before, wrong = self._best(received)
            if (
                abs(offset - before) > error + wrong
            ):  # one of the clocks has jumped: what was so before counts no more
                self._exchanges.clear()
        self._exchanges.append(_Exchange(received, offset, error))

    def to_host(self, remote_us: int) -> tuple[float, float]:
        """The computer's time of a moment of the microcontroller's clock.

        Args:
            remote_us: within 35 minutes of the last exchange.

        Returns:
            Seconds on the computer's monotonic clock, and how wrong they may be.

        Raises:
            ValueError: nothing was observed yet.
        """
        if not self._exchanges:
            raise ValueError("no exchange has been observed")
        offset, error = self._best(self._exchanges[-1].received)
        return self._unwrapped(remote_us) * 1e-6 + offset, error

    def _best(self, now: float) -> tuple[float, float]:
        """The narrowest offset at a moment of the computer's clock, and how wrong it may be."""
        grown = [
            (exchange.error + DRIFT * abs(now - exchange.received), exchange.offset)
            for exchange in self._exchanges
        ]
        error, offset = min(grown)
        return offset, error

    def _unwrapped(self, remote_us: int) -> int:
        """The moment nearest to the last one."""
        ahead = (remote_us - self._remote_us) % WRAP_US
        return self._remote_us + ahead - (WRAP_US if ahead >= WRAP_US // 2 else 0)
