"""One run: one or more tasks driven one after the other, watched live, and recorded in one folder."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_wm.clock import Clock, MonotonicClock, SimulatedClock
from edge_wm.control.loop import Outcome
from edge_wm.drive.body import Trip
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.tick_records import TickRecords
from edge_wm.output_file import write_json
from edge_wm.record.live import LiveView
from edge_wm.record.recorder import RunRecorder
from edge_wm.record.run_folder import create_run_folder
from edge_wm.record.tick_record import GoalResult, GoalStart, TickRecord
from edge_wm.stop_signals import on_stop_signals

if TYPE_CHECKING:
    from edge_wm.drive.model_changes import ModelChanges


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is driven and what is kept of it.

    Attributes:
        runs: where the run's folder is made.
        view: show it live on the terminal.
        pictures: make the video, the picture and the report.
        fast: simulated time instead of the machine's; no deadline can then be missed.
        json_file: where to write the summary once more.
    """

    runs: Path = Path("runs")
    view: bool = True
    pictures: bool = True
    fast: bool = False
    json_file: Path | None = None

    def clock(self) -> Clock:
        """A new clock to drive by."""
        return SimulatedClock() if self.fast else MonotonicClock()


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What a run left.

    Attributes:
        folder: everything recorded.
        summary: as in its ``summary.json``.
        interrupted: somebody stopped it.
    """

    folder: Path
    summary: Mapping[str, Any]
    interrupted: bool


def run_tasks(
    title: str,
    pilot: Pilot,
    clock: Clock,
    tasks: Sequence[Trip],
    options: RunOptions,
    say: Callable[[str], object],
    changes: ModelChanges | None = None,
) -> RunEnd:
    """Drive every task, and record.

    Args:
        title: heading of the report.
        pilot: who drives; made with ``clock``.
        clock: from ``options.clock()``.
        tasks: at least one.
        options: see there.
        say: prints a line for the person.
        changes: brings the pilot new models; None where it drives by one.

    Raises:
        BadInput: the run cannot be recorded, or the robot is not there; nothing has moved.
    """
    if pilot.fell_back is not None:
        say(f"warning: {pilot.fell_back}")
    folder = create_run_folder(options.runs)
    recorder = RunRecorder(folder, tick_s=pilot.robot.rates.tick_s, title=title, pictures=options.pictures)
    facts = _facts(pilot, tasks, options)
    view = LiveView(len(tasks)) if options.view else None
    try:
        for task in tasks:
            task.save(folder / "worlds")
        pilot.rehearse()
        with view or contextlib.nullcontext():
            interrupted = _drive_tasks(pilot, clock, tasks, recorder, view, options, say, changes)
    except KeyboardInterrupt:  # while nothing was driving: the robots stop before they let go of an exception
        interrupted = True
    except BaseException:
        if recorder.statistics.ticks:
            recorder.finish(facts)  # whatever went wrong, what was driven is kept
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if interrupted:
        with contextlib.suppress(OSError):  # perhaps it was the terminal that went
            say("interrupted: motors at rest; writing down what was driven (Ctrl-C again: without pictures)")
    try:
        summary = recorder.finish(facts)
    except KeyboardInterrupt:
        interrupted = True
        with on_stop_signals(signal.SIG_IGN):
            summary = recorder.finish(facts)
    for problem in (recorder.problem, view.problem if view is not None else ""):
        if problem:
            say(f"note: {problem}")
    if options.json_file is not None:
        write_json(options.json_file, summary)
    return RunEnd(folder, summary, interrupted)


def _drive_tasks(
    pilot: Pilot,
    clock: Clock,
    tasks: Sequence[Trip],
    recorder: RunRecorder,
    view: LiveView | None,
    options: RunOptions,
    say: Callable[[str], object],
    changes: ModelChanges | None,
) -> bool:
    """Drive one task after the other; return whether somebody stopped it."""
    for number, task in enumerate(tasks, 1):
        result, interrupted = _drive_task(
            pilot, clock, task, number, len(tasks), recorder, view, options, changes
        )
        say(f"goal {number}/{len(tasks)} {task.name}: {_told(result)}")
        if changes is not None:
            changes.rest()
        if interrupted:
            return True
        recorder.draw_goal()
    return False


def _drive_task(
    pilot: Pilot,
    clock: Clock,
    task: Trip,
    number: int,
    of: int,
    recorder: RunRecorder,
    view: LiveView | None,
    options: RunOptions,
    changes: ModelChanges | None,
) -> tuple[GoalResult, bool]:
    """Drive one task; return what became of it, and whether somebody stopped it, perhaps at the goal.

    However it ends, the motors are at rest afterwards.
    """
    receivers: Sequence[Callable[[TickRecord], None]] = (recorder.tick, *([view.show] if view else ()))
    with task.begin(pilot.robot, clock) as body:
        top_view = body.top_view() if options.pictures else None
        goal = body.goal_in_view if top_view is not None else body.goal_xy
        recorder.goal_started(GoalStart(number, of, goal, top_view, task.name))
        records = TickRecords(
            pilot,
            number,
            body.goal_xy,
            receivers,
            true_pose=body.true_pose,
            with_map=options.pictures or options.view,
        )
        if changes is None:
            ended = pilot.drive(body.sensors, body.bridge, body.goal_xy, [records.tick])
        else:
            changes.begin(body.goal_xy)
            watching = [records.tick, changes.tick]
            ended = pilot.drive(
                body.sensors, body.bridge, body.goal_xy, watching, stop=changes.reason_to_stop
            )
        records.end(ended)
        result = body.result(ended)
        if changes is not None:
            changes.ended(ended, result.outcome)
        recorder.goal_done(result)
        return result, ended.outcome is Outcome.INTERRUPTED


def _told(result: GoalResult) -> str:
    """One line for a person."""
    known = [
        words.format(metres)
        for words, metres in (
            (", drove {:.2f} m", result.travelled_m),
            (" (shortest path {:.2f} m)", result.geodesic_m),
            (", least clearance {:.2f} m", result.min_clearance_m),
        )
        if metres is not None
    ]
    return f"{result.outcome} after {result.time_s:.1f} s{''.join(known)}{result.message and f': {result.message}'}"


def _facts(pilot: Pilot, tasks: Sequence[Trip], options: RunOptions) -> dict[str, Any]:
    manifest = pilot.model.manifest
    return {
        "model": f"{manifest.name} {manifest.version}",
        "model_sha256": pilot.model.sha256,
        "execution": str(pilot.execution),
        "fell_back": pilot.fell_back,
        "robot": pilot.robot.name,
        "clock": "simulated" if options.fast else "real time",
        "worlds": ", ".join(task.name for task in tasks),
    }
