"""What a whole fleet says, as the broker keeps it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from edge_wm.errors import BadInput, one_line
from edge_wm.fleet.broker import (
    BrokerConnection,
    availability_topic,
    status_topic,
)
from edge_wm.fleet.config import BrokerConfig
from edge_wm.fleet.status import Availability, RobotStatus, SeenRobot, decode_status

QUIET_S = 3.0
"""A broker that keeps nothing says nothing: after so long without a word there are no robots."""
TOTAL_S = 60.0
MAX_ROBOTS = 100_000
MAX_REFUSED = 20
MAX_TOPIC = 200


class Fleet(Struct, frozen=True):
    """What was heard.

    Attributes:
        robots: by kind and id.
        refused: what was not believed and why: the first :data:`MAX_REFUSED` of them.
        refused_count: how many messages were not believed.
        silent: robots that can be heard, or could, of which the broker sent no status: what it looks like when a broker drops
            messages because they are too many at once.
        complete: whether it is certain that the broker had no more to say when it was left.
    """

    robots: tuple[SeenRobot, ...]
    refused: tuple[str, ...]
    refused_count: int
    silent: tuple[str, ...]
    complete: bool


class Collector:
    """Takes messages of topics, and keeps for each robot what can be believed."""

    def __init__(self) -> None:
        self._status: dict[tuple[str, str], RobotStatus] = {}
        self._availability: dict[tuple[str, str], Availability] = {}
        self._refused: list[str] = []
        self._refused_count = 0

    def take(self, topic: str, content: bytes) -> None:
        """One message, of whatever topic and content."""
        try:
            self._take(topic, content)
        except BadInput as why:
            self._refused_count += 1
            if len(self._refused) < MAX_REFUSED:
                self._refused.append(str(why))

    def _take(self, topic: str, content: bytes) -> None:
        parts = topic.split("/")
        if len(parts) != 4 or len(topic) > MAX_TOPIC or topic != one_line(topic):
            raise BadInput(f"{one_line(topic)[:MAX_TOPIC]}: no topic of a fleet")
        _, robot_kind, robot_id, what = parts
        robot = (robot_kind, robot_id)
        if not content:  # retained content that was deleted: a robot that left the fleet
            self._status.pop(robot, None) if what == "status" else self._availability.pop(robot, None)
        elif what == "availability":
            try:
                availability = Availability(content.decode())
            except ValueError:
                raise BadInput(f"{topic}: none of {', '.join(Availability)}") from None
            self._refuse_crowd(self._availability, robot)
            self._availability[robot] = availability
        else:
            self._refuse_crowd(self._status, robot)
            self._status[robot] = decode_status(content, robot_kind, robot_id)

    def _refuse_crowd(self, known: Mapping[tuple[str, str], object], robot: tuple[str, str]) -> None:
        if robot not in known and len(known) >= MAX_ROBOTS:
            raise BadInput(f"more than {MAX_ROBOTS} robots: name a kind")

    def fleet(self, complete: bool) -> Fleet:
        """All that was taken."""
        robots = tuple(
            SeenRobot(status, self._availability.get(robot)) for robot, status in sorted(self._status.items())
        )
        silent = tuple("/".join(robot) for robot in sorted(self._availability.keys() - self._status.keys()))
        return Fleet(robots, tuple(self._refused), self._refused_count, silent, complete)


def gather(
    config: BrokerConfig,
    folder: Path,
    *,
    robot_kind: str = "+",
    total_s: float | None = None,
    quiet_s: float | None = None,
) -> Fleet:
    """Ask a broker for the newest word of every robot.

    A broker gives no sign that this was all, and a slow link pauses in the middle.  So a word that came is asked for once
    more, and when it has come again all has come.

    Args:
        config: the broker.
        folder: what the paths in it are relative to.
        robot_kind: of this kind only; ``+`` for all.
        total_s: after so long what came is all; None for :data:`TOTAL_S`.
        quiet_s: a broker that says nothing for so long has nothing to say; None for :data:`QUIET_S`.

    Raises:
        BadInput: it cannot be reached, or does not let this client read.
    """
    total_s = TOTAL_S if total_s is None else total_s
    quiet_s = QUIET_S if quiet_s is None else quiet_s
    collector = Collector()
    with BrokerConnection(
        config, folder, f"edge-wm-fleet-{os.getpid()}-{time.time_ns()}", on_message=collector.take
    ) as broker:
        broker.subscribe([status_topic(robot_kind, "+"), availability_topic(robot_kind, "+")])
        began = time.monotonic()
        complete = False
        while not complete and time.monotonic() - began < total_s:
            broker.turn()
            if broker.retained is None:
                complete = time.monotonic() - began >= quiet_s
            elif broker.again:
                complete = True
            elif broker.delivered:
                broker.ask_again(broker.retained)
    return collector.fleet(complete)
