"""A chip that is gone: said once, said again when it is back, and tried less and less often in between."""

from __future__ import annotations

import logging

from edge_wm.clock import Clock
from firmware_bridge.i2c import I2cError

RETRIES_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses before the next try.  The first is none: noise may spoil one transfer.  A try may cost a whole time-out of the bus."""

log = logging.getLogger(__name__)


class Outage:
    """Of one chip.

    Args:
        name: of the chip, in messages.
        clock: time.

    Attributes:
        why: the last error; None while there is no outage.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.why: I2cError | None = None
        self._name, self._clock = name, clock
        self._began = self._next = 0.0
        self._tries = 0

    @property
    def resting(self) -> bool:
        """Whether the chip is to be left alone until its next try."""
        return self.why is not None and self._clock.now() < self._next

    def failed(self, error: I2cError) -> I2cError:
        """The chip did not do what it should.  Returns the error with the chip's name before it."""
        now, why = self._clock.now(), self.named(error)
        if self.why is None:
            self._began, self._tries = now, 0
            log.warning("%s", why)
        self.why = why
        self._next = now + RETRIES_S[min(self._tries, len(RETRIES_S) - 1)]
        self._tries += 1
        return why

    def named(self, error: I2cError) -> I2cError:
        """The same error with the chip's name before it."""
        return I2cError(f"{self._name}: {error}")

    def ended(self) -> None:
        """The chip does what it should."""
        if self.why is not None:
            log.warning("%s: is back after %.1f s", self._name, self._clock.now() - self._began)
        self.why = None
