"""``observations-<goal>.npz`` of a run folder: what the sensors said in every tick of one drive, bit for bit, so that it can be replayed.

=============  ==========================  =========================================================================
in the file    shape                       holds
=============  ==========================  =========================================================================
``format``     int64                       ``FORMAT``
``tick_s``     float64                     seconds a tick
``goal``       float64[2]                  x, y in the odometry frame, metres
``tick``       int64[T]                    number of each tick; one is left out where the sensors failed
``tick_time``  float64[T]                  seconds from the first tick to this one
``time``       float64[T]                  of the camera's frame, from the same zero
``sequence``   int64[T]                    of the camera's frame
``of.NAME``    that of the array, [T, …]   an array of the observations
=============  ==========================  =========================================================================
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_wm.errors import BadInput, one_line
from edge_wm.output_file import write_atomically
from edge_wm.record.tick_record import Array, TickRecord

FORMAT = 1
OF = "of."
"""Before the names of the observations' own arrays."""
SCHEMA = {"tick_s": 0, "goal": 1, "tick": 1, "tick_time": 1, "time": 1, "sequence": 1}
"""Numbers of axes."""


@dataclass(frozen=True, slots=True)
class RecordedObservations:
    """All observations of one drive.  See the module for shapes and units.

    Attributes:
        arrays: those of the observations by name, T of each, read-only.
    """

    tick_s: float
    goal: tuple[float, float]
    tick: npt.NDArray[np.int64]
    tick_time: npt.NDArray[np.float64]
    time: npt.NDArray[np.float64]
    sequence: npt.NDArray[np.int64]
    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.tick)


def observations_file(folder: Path, goal_number: int) -> Path:
    """Where the observations of one drive are.

    Args:
        folder: of the run.
        goal_number: counts from 1.
    """
    return folder / f"observations-{goal_number}.npz"


def write_observations(path: Path, tick_s: float, records: Sequence[TickRecord]) -> None:
    """Write the observations of one drive.

    Not compressed: the noise in a camera's picture leaves a quarter to gain, and a small computer has better things to do.

    Args:
        path: from ``observations_file``.
        tick_s: seconds a tick.
        records: of the drive, at least one; all have the same goal.

    Raises:
        ValueError: the arrays of the observations do not all have the same names and shapes.
        OSError: it cannot be written.
    """
    observations = [record.observation for record in records]
    names = observations[0].arrays.keys()
    if any(observation.arrays.keys() != names for observation in observations):
        raise ValueError("some observations have arrays that others do not have")
    start_s = records[0].time_s
    content = io.BytesIO()
    columns: dict[str, Any] = {
        "format": FORMAT,
        "tick_s": float(tick_s),
        "goal": np.array(records[0].goal or (0.0, 0.0), dtype=np.float64),
        "tick": np.array([record.tick for record in records], dtype=np.int64),
        "tick_time": np.array([record.time_s - start_s for record in records], dtype=np.float64),
        "time": np.array([observation.time - start_s for observation in observations], dtype=np.float64),
        "sequence": np.array([observation.sequence for observation in observations], dtype=np.int64),
        **{OF + name: np.stack([observation.arrays[name] for observation in observations]) for name in names},
    }
    np.savez(content, **columns)
    write_atomically(path, content.getvalue())


def read_observations(path: Path) -> RecordedObservations:
    """Read the observations of one drive, all into memory: some 10 kB a tick with a picture of 48 x 64.

    Raises:
        BadInput: there are none, they are damaged, or they do not begin with the first tick of the drive: one line.
    """
    try:
        columns = _columns(path)
    except FileNotFoundError:
        raise BadInput(
            f"{path}: there is none: the run was driven with --no-pictures, by a service, or by an edge-wm that kept no observations"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise BadInput(f"{path}: damaged: {one_line(str(error))}") from error
    found = int(columns["format"]) if "format" in columns and columns["format"].ndim == 0 else None
    if found != FORMAT:
        raise BadInput(f"{path}: its format is {found}, this edge-wm reads {FORMAT}")
    if problem := _wrong(columns):
        raise BadInput(f"{path}: damaged: {problem}")
    if columns["tick"][0] != 0:
        raise BadInput(
            f"{path}: begins with tick {columns['tick'][0]}, as of a longer drive than is kept: a replay needs its first one"
        )
    for column in columns.values():
        column.flags.writeable = False
    return RecordedObservations(
        tick_s=float(columns["tick_s"]),
        goal=(float(columns["goal"][0]), float(columns["goal"][1])),
        tick=columns["tick"],
        tick_time=columns["tick_time"],
        time=columns["time"],
        sequence=columns["sequence"],
        arrays={name.removeprefix(OF): array for name, array in columns.items() if name.startswith(OF)},
    )


def _columns(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        if (spoilt := archive.testzip()) is not None:  # numpy reads what has the right length
            raise ValueError(f"the checksum of {spoilt} is wrong")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _wrong(columns: Mapping[str, Array]) -> str:
    """What is wrong with columns of the right format; empty if nothing is."""
    for name, axes in SCHEMA.items():
        if name not in columns or columns[name].ndim != axes or columns[name].dtype.kind not in "if":
            return f"no usable {name!r}"
        if not np.isfinite(columns[name]).all():
            return f"{name!r} has numbers that are none"
    per_tick = [name for name in columns if name.startswith(OF) or name in ("tick_time", "time", "sequence")]
    ticks = len(columns["tick"])
    if ticks == 0 or len(columns["goal"]) != 2 or not any(name.startswith(OF) for name in per_tick):
        return "there is nothing in it"
    for name in per_tick:
        if columns[name].ndim == 0 or len(columns[name]) != ticks:
            return f"{name!r} is not of {ticks} ticks"
    if (np.diff(columns["tick"]) <= 0).any():
        return "its ticks are not in order"
    return ""
