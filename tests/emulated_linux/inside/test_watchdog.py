"""The watchdog of a real kernel, ``softdog``: what ``edge-wm doctor`` says of it, and that it bites whoever stops feeding it.

systemd feeds it on a board; the test does here.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.doctor.finding import Finding, Level
from edge_wm.doctor.system import watchdog

DEVICE = "/dev/watchdog0"
SET_TIMEOUT = 3 << 30 | 4 << 16 | ord("W") << 8 | 6
"""``WDIOC_SETTIMEOUT`` of ``linux/watchdog.h``."""
TIMEOUT_S = 2
WOULD_RESET = "Triggered - Reboot ignored"
MAGIC_CLOSE = b"V"
"""Says that whoever fed it goes in peace."""


class Fed:
    """The watchdog, which bites after ``TIMEOUT_S`` without food."""

    def __init__(self) -> None:
        self._device = os.open(DEVICE, os.O_WRONLY)
        fcntl.ioctl(self._device, SET_TIMEOUT, struct.pack("i", TIMEOUT_S))
        self._log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._log, 0, os.SEEK_END)

    def feed(self) -> None:
        os.write(self._device, b"\0")

    def has_bitten(self) -> bool:
        """Whether it would have reset the machine since it was last asked."""
        bitten = False
        while True:
            try:
                bitten |= WOULD_RESET in os.read(self._log, 8192).decode(errors="replace")
            except BlockingIOError:
                return bitten

    def close(self) -> None:
        os.write(self._device, MAGIC_CLOSE)
        os.close(self._device)
        os.close(self._log)


@pytest.fixture
def fed() -> Iterator[Fed]:
    feeding = Fed()
    yield feeding
    feeding.close()


def said() -> Finding:
    """By ``edge-wm doctor``."""
    return watchdog(Path("/"))


def test_one_that_nobody_feeds_is_a_warning_with_the_command_that_lets_systemd_feed_it() -> None:
    finding = said()
    assert finding.level is Level.WARNING
    assert "Software Watchdog is there, and nobody feeds it" in finding.said
    assert "RuntimeWatchdogSec=10" in finding.remedy


def test_one_that_is_fed_is_right_and_has_its_time(fed: Fed) -> None:
    finding = said()
    assert (finding.level, finding.said) == (Level.OK, f"Software Watchdog, {TIMEOUT_S} s")


def test_it_is_a_warning_again_when_whoever_fed_it_has_gone() -> None:
    Fed().close()
    assert said().level is Level.WARNING


def test_it_bites_whoever_stops_feeding_it(fed: Fed) -> None:
    time.sleep(TIMEOUT_S + 1.0)
    assert fed.has_bitten()


def test_it_does_not_bite_as_long_as_it_is_fed(fed: Fed) -> None:
    for _ in range(2 * TIMEOUT_S + 1):
        fed.feed()
        time.sleep(TIMEOUT_S / 2)
    assert not fed.has_bitten()
