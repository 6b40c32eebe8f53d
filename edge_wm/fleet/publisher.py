"""Tells a broker what this robot has, for as long as it runs, and waits for nobody.

A thread of its own connects, publishes the newest status and keeps the connection; a broker that is away, wrong or hostile is
one line in ``problem``, and is tried again later.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_wm.errors import BadInput, MissingExtra, one_line
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import Availability, RobotStatus, encode_status

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 300.0
SPREAD = 0.2
"""A wait is so much longer or shorter, by chance: robots do not all come back at once."""
STEADY_S = 60.0
"""A connection that lasted so long was a good one: the next wait is the shortest again."""
SAME_AGAIN_S = 900.0
"""A status that says nothing new is published once in so long: bytes may cost money."""
LEAVE_S = 3.0
"""How long to wait until the broker has heard that the robot leaves."""


class StatusPublisher:
    """Publishes from ``start`` to ``close``; neither these nor ``publish`` raise or wait for the network.

    Args:
        config: the broker.
        folder: what the paths in it are relative to.
        robot_kind: of this robot.
        robot_id: of this robot.
        first_retry_s: how long to wait before connecting again for the first time; then twice as long each time.
        chance: for the spread of the waits.
    """

    def __init__(
        self,
        config: BrokerConfig,
        folder: Path,
        robot_kind: str,
        robot_id: str,
        *,
        first_retry_s: float = FIRST_RETRY_S,
        chance: random.Random | None = None,
    ) -> None:
        self._config, self._folder = config, folder
        self._robot_kind, self._robot_id = robot_kind, robot_id
        self._first_retry_s, self._chance = first_retry_s, chance or random.Random()
        self._state = threading.Condition()
        self._told: RobotStatus | None = None
        self._newest: bytes | None = None
        self._delivered: bytes | None = None
        self._problem: str | None = None
        self._leave = threading.Event()
        self._asleep_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why the newest status is not with the broker; None if it is, or is on its way."""
        return self._problem

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def publish(self, status: RobotStatus) -> None:
        """Let this be the newest status, whenever the broker can be reached; unless but time has passed, and not much of it."""
        told = self._told
        if told is None or _timeless(status) != _timeless(told) or not _soon_after(told, status):
            self._told = status
            with self._state:
                self._newest = encode_status(status)

    def wait_delivered(self, limit_s: float) -> bool:
        """Wait until the broker has the newest status, up to ``limit_s``; whether it has it."""
        with self._state:
            return self._state.wait_for(
                lambda: self._newest is not None and self._newest == self._delivered, limit_s
            )

    def close(self, limit_s: float = LEAVE_S, *, asleep_s: float | None = None) -> None:
        """Take leave and end; after ``limit_s`` in any case.

        Args:
            limit_s: seconds to wait until the broker has heard it.
            asleep_s: the robot is asleep, and is overdue after so many seconds; None if nobody knows when it is heard again.
        """
        self._asleep_s = asleep_s
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join(limit_s)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        retry_s = self._first_retry_s
        while not self._leave.is_set():
            begun = time.monotonic()
            self._session_or_problem()
            self._forget_delivered()
            if time.monotonic() - begun > STEADY_S:
                retry_s = self._first_retry_s
            self._leave.wait(retry_s * self._chance.uniform(1.0 - SPREAD, 1.0 + SPREAD))
            retry_s = min(2.0 * retry_s, LAST_RETRY_S)

    def _session_or_problem(self) -> None:
        try:
            self._session()
        except BadInput as why:
            self._problem = str(why)
        except ModuleNotFoundError:
            self._problem = str(MissingExtra("paho-mqtt", "fleet"))
        except Exception as error:  # the thread is all that tells the fleet of this robot: nothing may end it
            self._problem = f"{self._config.url}: {type(error).__name__}: {one_line(str(error))}"

    def _session(self) -> None:
        """Connect, and publish until the robot leaves or the connection is lost.  Raises BadInput."""
        # Here, so that a robot without paho-mqtt has a problem and not an updater that does not start.
        from edge_wm.fleet.broker import BrokerConnection, availability_topic, status_topic

        availability = availability_topic(self._robot_kind, self._robot_id)
        topic = status_topic(self._robot_kind, self._robot_id)
        with BrokerConnection(
            self._config,
            self._folder,
            f"edge-wm-{self._robot_kind}-{self._robot_id}",
            will=(availability, _said(Availability.OFFLINE)),
        ) as broker:
            published: bytes | None = None
            while not self._leave.is_set():
                newest = self._newest
                if newest is not None and newest != published:
                    broker.publish(topic, newest)
                    if published is None:  # and not before: a robot that can be heard has said something
                        broker.publish(availability, _said(Availability.ONLINE))
                    published = newest
                broker.turn()
                if broker.delivered:
                    self._note_delivered(published)
            if published is not None:
                leaves = Availability.OFFLINE if self._asleep_s is None else Availability.ASLEEP
                broker.publish(availability, _said(leaves), self._asleep_s)
            self._until(lambda: broker.delivered, broker.turn)

    def _until(self, done: Callable[[], bool], turn: Callable[[], None]) -> None:
        end = time.monotonic() + LEAVE_S
        while not done() and time.monotonic() < end:
            turn()

    def _note_delivered(self, published: bytes | None) -> None:
        if published != self._delivered or self._problem is not None:
            with self._state:
                self._delivered, self._problem = published, None
                self._state.notify_all()

    def _forget_delivered(self) -> None:
        """A broker may lose what it has; the next session tells it again."""
        with self._state:
            self._delivered = None


def _said(availability: Availability) -> bytes:
    return availability.value.encode()


def _timeless(status: RobotStatus) -> RobotStatus:
    return msgspec.structs.replace(status, at=0.0, uptime_s=0.0)


def _soon_after(before: RobotStatus, after: RobotStatus) -> bool:
    return 0.0 <= after.uptime_s - before.uptime_s < SAME_AGAIN_S
