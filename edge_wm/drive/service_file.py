"""``drive.toml``: what the driving service drives, where to, and what it keeps of that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from edge_wm.control.realtime import Realtime
from edge_wm.errors import BadInput
from edge_wm.toml_file import checked, read_table

DEFAULT_FILE = Path("/etc/edge-wm/drive.toml")
DEFAULT_SOCKET = Path("/run/edge-wm/drive.sock")

Metres = Annotated[float, Meta(ge=-1000.0, le=1000.0)]
Point = tuple[Metres, Metres]
File = Annotated[str, Meta(min_length=1)]


class Mission(Struct, frozen=True, forbid_unknown_fields=True):
    """Goals that nobody has to ask for.

    Attributes:
        goals: x, y in metres from where the robot stood when the service was started first, x ahead.
        worlds: numbers of generated worlds, of the simulated robot: it drives to the goal of each.
        kind: of these worlds.
        repeat: from the beginning again, without end.
        rest_s: between two goals; after a goal that was not reached, twice as long each time, up to ``MOST_REST_S``.
    """

    goals: tuple[Point, ...] = ()
    worlds: tuple[Annotated[int, Meta(ge=0, le=9999)], ...] = ()
    kind: Literal["rooms", "rooms-hard", "corridors", "mazes"] = "rooms"
    repeat: bool = False
    rest_s: Annotated[float, Meta(ge=0.0, le=86400.0)] = 1.0


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of drives: a folder each, the oldest go first.

    Attributes:
        folder: for them.
        keep: so many.
        megabytes: together.
    """

    folder: File = "/var/lib/edge-wm/runs"
    keep: Annotated[int, Meta(ge=1, le=10_000)] = 200
    megabytes: Annotated[int, Meta(ge=1, le=1_000_000)] = 500


class ServiceFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.  Names of files in it are relative to it.

    Attributes:
        robot: the robot file; None for the simulated robot.
        model: bundle to drive by; None for the shipped one.
        updates: the robot's ``update.toml``: drive by the model that updates chose.
        socket: where requests come in.
        mission: goals that nobody has to ask for.
        record: what is kept.
        realtime: what the kernel is asked for.
    """

    robot: File | None = None
    model: File | None = None
    updates: File | None = None
    socket: File = str(DEFAULT_SOCKET)
    mission: Mission = Mission()
    record: Record = Record()
    realtime: Realtime = Realtime()


def load_service_file(path: Path) -> ServiceFile:
    """Read and check ``drive.toml``.

    Raises:
        BadInput: it cannot be read, or the key that is wrong and why.
    """
    file = checked(read_table(path, "service file"), ServiceFile, path)
    mission = file.mission
    if file.model is not None and file.updates is not None:
        raise BadInput(f"{path}: model: updates choose the model: name one of the two")
    if mission.goals and mission.worlds:
        raise BadInput(f"{path}: mission.worlds: each has a goal of its own: name goals or worlds")
    return file
