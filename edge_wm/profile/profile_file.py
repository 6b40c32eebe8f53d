"""One profile, as a file: what was measured, and on what."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.profile.accuracy import Accuracy
from edge_wm.profile.machine_state import MachineState
from edge_wm.profile.measure import Measured
from edge_wm.profile.own_process import Measurement
from edge_wm.profile.stages import TICK

FORMAT_VERSION = 1


class Row(Measured, frozen=True, kw_only=True, omit_defaults=True):
    """One way of running the model.

    Attributes:
        alone: in a process of its own, at the robot's rate; None where that was not measured.
    """

    alone: Measurement | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of ``edge-wm profile`` measured.

    Attributes:
        format_version: of this file.
        measured_at: date and time, UTC.
        quick: whether only the plausible ways were tried, over fewer ticks.
        board: name of the board file.
        machine: processor, cores and engines.
        note: what a reader must know of this machine.
        kernel, python, edge_wm: their versions.
        model, model_version, model_sha256: the bundle.
        iterations: of a plan.
        robot: name in the robot file, whose rate and limits are used; None in a contributed profile.
        body: what gave the observations and took the commands.
        tick_ms: the robot's.
        budget_ms: the bundle's, for a tick.
        ticks: steady ticks at the robot's rate that were asked for of each way, without a load and with it.
        burners: processes of the load.
        chosen: the way that was chosen.
        candidates: of a plan by it.
        rows: all ways.
        accuracy: of each form.
        before, after: how the machine was.
    """

    format_version: int
    measured_at: str
    quick: bool
    board: str
    machine: str
    note: str | None = None
    kernel: str
    python: str
    edge_wm: str
    model: str
    model_version: str
    model_sha256: str
    iterations: int
    robot: str | None
    body: str
    tick_ms: float
    budget_ms: float
    ticks: int
    burners: int
    chosen: Execution | None
    candidates: int | None
    rows: tuple[Row, ...]
    accuracy: tuple[Accuracy, ...]
    before: MachineState
    after: MachineState

    def row(self, execution: Execution | None) -> Row | None:
        """The row of one way; None if it was not tried."""
        return next((row for row in self.rows if row.execution == execution), None)

    @property
    def chosen_p99_ms(self) -> float:
        """Of a tick of the chosen way: one after another or at the robot's rate, whichever is slower; infinite without a choice."""
        row = self.row(self.chosen)
        if row is None or row.tick_p99_ms is None:
            return math.inf
        idle = row.alone.idle if row.alone is not None else None
        return max(row.tick_p99_ms, idle.stages[TICK].p99 if idle is not None else 0.0)

    @property
    def keeps_budget(self) -> bool:
        """Whether 99 of 100 ticks of the chosen way keep the bundle's budget."""
        return self.chosen_p99_ms <= self.budget_ms


class _Versioned(msgspec.Struct):
    format_version: int


def read_profile(file: Path) -> Profile:
    """Read a file that ``edge-wm profile --json`` wrote.

    Raises:
        BadInput: it cannot be read, is none, or one of another format version.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: cannot read the profile: {error.strerror}") from error
    try:
        version = msgspec.json.decode(content, type=_Versioned).format_version
        if version != FORMAT_VERSION:
            raise BadInput(
                f"{file}: format_version: {version}, this edge-wm reads {FORMAT_VERSION}: measure it again"
            )
        return msgspec.json.decode(content, type=Profile)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadInput(f"{file}: is no profile: {str(error)[:1].lower()}{str(error)[1:]}") from error
