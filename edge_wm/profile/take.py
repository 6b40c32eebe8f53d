"""Takes a profile: choose among all ways, then measure those that can be used, each alone and at the robot's rate."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

import edge_wm
from edge_wm.board import Board
from edge_wm.bundle.load import Bundle
from edge_wm.errors import BadInput
from edge_wm.profile.accuracy import accuracy
from edge_wm.profile.choice import this_machine
from edge_wm.profile.machine_state import kernel, machine_state
from edge_wm.profile.measure import Measured, cores, plausible
from edge_wm.profile.own_process import Request, measure_alone
from edge_wm.profile.profile_file import FORMAT_VERSION, Profile, Row
from edge_wm.profile.sizes import measure_sizes
from edge_wm.recognise import recognise
from edge_wm.robot import Robot

STAND_IN = "stand-ins: pictures of noise at once, motors that move nothing"
REAL = "the robot's own sensors, and its motors at rest"

LEAST_TICKS = 20

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        quick: only the plausible ways, and only the chosen one at the robot's rate.
        seconds: of steady ticks at the robot's rate for each way, without a load and once more with it.
    """

    quick: bool
    seconds: float

    def ticks(self, tick_s: float) -> int:
        """How many ticks that are; of too few nothing can be said."""
        return max(LEAST_TICKS, round(self.seconds / tick_s))


WHOLE, QUICK = Effort(quick=False, seconds=20.0), Effort(quick=True, seconds=10.0)


def take_profile(
    bundle: Bundle,
    robot: Robot,
    effort: Effort = WHOLE,
    on_progress: OnProgress = lambda what, share: None,
    note: str | None = None,
    robot_file: Path | None = None,
) -> Profile:
    """Measure everything.

    Args:
        bundle: loaded with golden vectors and the graphs of the control path.
        robot: its board, its rate and its limits.
        effort: how much.
        on_progress: called with what is done and the share of that.
        note: what a reader must know of this machine.
        robot_file: of a robot whose own sensors are read, and whose motors are kept at rest; None for stand-ins.
    """
    board, ticks = board_of(robot), effort.ticks(robot.rates.tick_s)
    before = machine_state(board.health)
    found, chosen = measure_sizes(
        bundle,
        cores(),
        robot.board.engine,
        lambda share: on_progress("choosing", share),
        of=partial(plausible, board=robot.board.engine) if effort.quick else list,
    )
    usable = [row for row in found if row.tick_p50_ms is not None and (row is chosen or not effort.quick)]
    measured = {}
    for number, row in enumerate(usable):

        def told(share: float, number: int = number, row: Measured = row) -> None:
            on_progress(f"at the robot's rate: {row.execution}", (number + share) / len(usable))

        told(0.0)
        request = Request(
            bundle=str(bundle.directory.resolve()),
            execution=row.execution,
            robot=robot,
            ticks=ticks,
            burners=cores(),
            robot_file=None if robot_file is None else str(robot_file.resolve()),
        )
        measured[row.execution] = measure_alone(request, board.health, told)
    own = bundle.manifest.imagine.candidates
    return Profile(
        format_version=FORMAT_VERSION,
        measured_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        quick=effort.quick,
        board=board.name,
        machine=this_machine(),
        note=note,
        kernel=kernel(),
        python=platform.python_version(),
        edge_wm=edge_wm.__version__,
        model=bundle.manifest.name,
        model_version=bundle.manifest.version,
        model_sha256=bundle.sha256,
        iterations=bundle.manifest.planner.iterations,
        robot=robot.name,
        body=STAND_IN if robot_file is None else REAL,
        tick_ms=robot.rates.tick_s * 1e3,
        budget_ms=bundle.manifest.latency_budget_ms,
        ticks=ticks,
        burners=cores(),
        chosen=chosen.execution if chosen else None,
        candidates=(chosen.execution.candidates or own) if chosen else None,
        rows=tuple(Row(**msgspec.structs.asdict(row), alone=measured.get(row.execution)) for row in found),
        accuracy=accuracy(bundle, [row.execution for row in found]),
        before=before,
        after=machine_state(board.health),
    )


def board_of(robot: Robot) -> Board:
    """The board that this machine is: the robot's, or if that is only ever named, as the simulated robot's, what is recognised."""
    if robot.board.recognised is not None:
        return robot.board
    try:
        return recognise().board
    except BadInput:
        return robot.board
