"""What a robot says about its models, as one message; and what a fleet keeper believes of such a message.

A message comes from the network: its size is bounded, every field has a type and bounds, and it must say the same robot as
the topic that it came on, which is what a broker lets a robot write.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edge_wm import __version__
from edge_wm.bundle.manifest import ModelName, Sha256, Version
from edge_wm.errors import BadInput, one_line
from edge_wm.update.config import RobotId
from edge_wm.update.release import ChannelName
from edge_wm.update.store import Event, Installed, State

if TYPE_CHECKING:
    from edge_wm.update.config import UpdateConfig
    from edge_wm.update.status import UpdateStatus

MAX_STATUS_BYTES = 32 << 10
MAX_LINE = 300
MAX_QUARANTINED = 64

Line = Annotated[str, Meta(max_length=MAX_LINE)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]


class ReportedModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A model on a robot; of no channel, and of sequence 0, if the robot came with it."""

    model: Sha256
    name: ModelName
    version: Version
    channel: Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]{0,31})?\Z")]
    sequence: Count

    @classmethod
    def of(cls, installed: Installed) -> ReportedModel:
        """What a slot holds."""
        return cls(installed.model, installed.title, installed.version, installed.channel, installed.sequence)


class LastTrial(Struct, frozen=True, forbid_unknown_fields=True):
    """How the newest model fared that came to an end here: in its trial, or in its proof before.

    Attributes:
        model: hash of its manifest.
        version: of it.
        result: whether it drives, or did.
        reason: for a person.
        at: wall-clock seconds since 1970, as right as the robot's clock was.
    """

    model: Sha256
    version: Version
    result: Literal["passed", "failed"]
    reason: Line
    at: Seconds


class RobotStatus(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One robot.

    Attributes:
        edge_wm: version of the software.
        state: of the newest update.
        slot: the one that drives.
        active: the model in it.
        previous: the model to go back to; None is the factory's.
        coming: the model that is staged or on trial.
        trial: of the newest model that came to an end; None if none did yet.
        quarantined: hashes of models that failed for good; the first :data:`MAX_QUARANTINED`.
        error: the newest thing that went wrong, in one line.
        pin: what the robot stays with, if it does.
        at: wall-clock seconds since 1970 when this was said.
        time_trusted: whether that is certain.
        boot: identifies the boot of the machine; None if it cannot be known.
        uptime_s: seconds since then.
    """

    format_version: Literal[1] = 1
    robot_id: RobotId
    robot_kind: ModelName
    edge_wm: Version
    channel: ChannelName
    state: State
    slot: Literal["a", "b", "factory"]
    active: ReportedModel
    previous: ReportedModel | None
    coming: ReportedModel | None
    trial: LastTrial | None
    quarantined: Annotated[tuple[Sha256, ...], Meta(max_length=MAX_QUARANTINED)]
    error: Line | None
    pin: Line | None
    at: Seconds
    time_trusted: bool
    boot: Annotated[str, Meta(pattern=r"^[0-9a-f-]{36}\Z")] | None
    uptime_s: Seconds


class Availability(str, Enum):
    """Whether a broker hears from a robot."""

    ONLINE = "online"
    OFFLINE = "offline"
    """The connection broke, or the robot left for it does not know how long."""
    ASLEEP = "asleep"
    """It has looked, and left until its next look; when that is overdue the broker forgets it."""


class SeenRobot(Struct, frozen=True):
    """A robot's newest word, and whether the broker hears from it; None if the broker does not know, or not any longer."""

    status: RobotStatus
    availability: Availability | None


def robot_status(
    config: UpdateConfig,
    status: UpdateStatus,
    history: Sequence[Event],
    *,
    time_trusted: bool,
    error: str | None = None,
    wall: float | None = None,
) -> RobotStatus:
    """The message of this robot.

    Args:
        config: its ``update.toml``.
        status: what drives and how far an update is.
        history: of its store, the newest event last.
        time_trusted: whether the clock is right for certain.
        error: the newest thing that went wrong, if anything did.
        wall: seconds since 1970; None for the machine's clock.
    """
    error = status.problem or error
    return RobotStatus(
        robot_id=config.robot_id,
        robot_kind=config.robot_kind,
        edge_wm=__version__,
        channel=config.channel,
        state=status.state,
        slot=status.slot,  # type: ignore[arg-type]  # of three, which only the store knows
        active=ReportedModel.of(status.active),
        previous=ReportedModel.of(status.previous) if status.previous else None,
        coming=ReportedModel.of(status.coming) if status.coming else None,
        trial=_last_trial(history),
        quarantined=tuple(failure.model for failure in status.quarantined)[:MAX_QUARANTINED],
        error=_line(error) if error else None,
        pin=_line(status.pin) if status.pin else None,
        at=max(0.0, time.time() if wall is None else wall),
        time_trusted=time_trusted,
        boot=_boot(),
        uptime_s=time.clock_gettime(time.CLOCK_BOOTTIME),
    )


def _last_trial(history: Sequence[Event]) -> LastTrial | None:
    results: dict[str, Literal["passed", "failed"]] = {
        State.COMMITTED.value: "passed",
        State.ROLLED_BACK.value: "failed",
    }
    for event in reversed(history):
        if event.event in results and event.model is not None and event.version is not None:
            return LastTrial(
                event.model,
                event.version,
                results[event.event],
                _line(event.detail),
                max(0.0, event.at),
            )
    return None


def _line(text: str) -> str:
    return one_line(text)[:MAX_LINE]


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def encode_status(status: RobotStatus) -> bytes:
    """The message."""
    return msgspec.json.encode(status)


def decode_status(data: bytes, robot_kind: str, robot_id: str) -> RobotStatus:
    """Parse and check a message of this robot.

    Raises:
        BadInput: it is too large, wrong in a field, or of another robot.
    """
    where = f"{robot_kind}/{robot_id}"
    if len(data) > MAX_STATUS_BYTES:
        raise BadInput(f"{where}: a status of {len(data)} bytes; none has more than {MAX_STATUS_BYTES}")
    try:
        status = msgspec.json.decode(data, type=RobotStatus)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadInput(f"{where}: {one_line(str(error))[:MAX_LINE]}") from None
    if (status.robot_kind, status.robot_id) != (robot_kind, robot_id):
        raise BadInput(f"{where}: speaks for {status.robot_kind}/{status.robot_id}")
    return status
