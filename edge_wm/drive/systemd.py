"""What systemd is told by a service of ``Type=notify``: datagrams to the socket that it names, see sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping

FEEDS = 4
"""Signs of life for each period of the watchdog; two are what systemd recommends."""


class ServiceManager:
    """Whoever started this process and wants to hear of it; nobody, where nothing says who.

    Nothing here waits or raises: a service manager that does not listen keeps no robot from driving.

    Args:
        environment: what names the socket and the watchdog's period; the names are taken out, children have no part in it.
        stopwatch: real seconds.
    """

    def __init__(
        self,
        environment: MutableMapping[str, str] = os.environ,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        period_us = environment.pop("WATCHDOG_USEC", "")
        whose = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        mine = period_us.isdecimal() and whose == str(os.getpid())
        self._every_s = int(period_us) / 1e6 / FEEDS if mine else None
        self._stopwatch, self._due = stopwatch, 0.0
        self._status = ""
        self._socket: socket.socket | None = None
        if address:
            self._address = "\0" + address[1:] if address.startswith("@") else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """The robot could drive now."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The process ends in order."""
        self._tell("STOPPING=1")

    def status(self, line: str) -> None:
        """One line for ``systemctl status``."""
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def alive(self) -> None:
        """Feed the watchdog.  Call it often, and only from what must not hang: most calls do nothing."""
        now = self._stopwatch()
        if self._every_s is not None and now >= self._due:
            self._due = now + self._every_s
            self._tell("WATCHDOG=1")

    def busy(self, seconds: float) -> None:
        """Something comes, once, that may take so long without a sign of life."""
        self._due = 0.0  # the next one counts from its end
        self._tell(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Nothing more is told.  Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, assignment: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(assignment.encode(), self._address)
