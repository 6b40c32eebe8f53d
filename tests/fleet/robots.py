"""Robots that say something."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_wm.fleet.status import Availability, LastTrial, ReportedModel, RobotStatus, SeenRobot
from edge_wm.update.store import State

KIND = "differential-drive"
OLD = ReportedModel("a" * 64, "rooms", "1.0.0", "stable", 1)
NEW = ReportedModel("b" * 64, "rooms", "1.1.0", "stable", 2)

ON_OLD = RobotStatus(
    robot_id="r1",
    robot_kind=KIND,
    edge_wm="0.1.0",
    channel="stable",
    state=State.COMMITTED,
    slot="a",
    active=OLD,
    previous=None,
    coming=None,
    trial=LastTrial(OLD.model, OLD.version, "passed", "600 ticks", 1e9),
    quarantined=(),
    error=None,
    pin=None,
    at=1.7e9,
    time_trusted=True,
    boot="00000000-1111-2222-3333-444444444444",
    uptime_s=12.5,
)


def robot(robot_id: str = "r1", **changes: Any) -> RobotStatus:
    """One that drives by the old model, but for ``changes``."""
    return msgspec.structs.replace(ON_OLD, robot_id=robot_id, **changes)


def passed(robot_id: str = "r1") -> RobotStatus:
    """One whose trial of the new model went well."""
    return robot(
        robot_id,
        active=NEW,
        previous=OLD,
        slot="b",
        trial=LastTrial(NEW.model, NEW.version, "passed", "", 1e9),
    )


def failed(robot_id: str = "r1", reason: str = "ticks were late") -> RobotStatus:
    """One that went back from the new model."""
    return robot(
        robot_id,
        state=State.ROLLED_BACK,
        trial=LastTrial(NEW.model, NEW.version, "failed", reason, 1e9),
    )


def trying(robot_id: str = "r1") -> RobotStatus:
    """One that drives by the new model, on trial."""
    return robot(robot_id, state=State.TRIAL, coming=NEW)


def retrying(robot_id: str = "r1") -> RobotStatus:
    """One that went back from the new model and is on trial with it once more."""
    return robot(robot_id, state=State.TRIAL, coming=NEW, trial=failed().trial)


def seen(status: RobotStatus, availability: Availability | None = Availability.ONLINE) -> SeenRobot:
    """As a fleet keeper sees it."""
    return SeenRobot(status, availability)
