"""Records one run: what the drive and demo commands call.

    folder = create_run_folder(Path("runs"))        # before the robot moves
    recorder = RunRecorder(folder, tick_s=0.1, title="edge-wm demo")
    for each goal:
        recorder.goal_started(GoalStart(...))
        loop.run(on_tick=recorder.tick)             # only appends
        recorder.goal_done(GoalResult(...))         # the robot stands: its ticks and observations are written
        recorder.draw_goal()                        # video frames are drawn and encoded: slow
    summary = recorder.finish({"model": ...})       # summary.json, drive.mp4, picture.png, report.html

Nothing is written while the robot drives.  If the disk fills up later, recording stops; if a picture fails, that costs
the pictures.  ``problem`` then says why, and the drive goes on.
"""

from __future__ import annotations

import dataclasses
import io
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_wm import __version__
from edge_wm.errors import one_line
from edge_wm.record.observations import observations_file, write_observations
from edge_wm.record.run_folder import append_ticks, write_summary
from edge_wm.record.statistics import TickStatistics
from edge_wm.record.tick_record import GoalResult, GoalStart, TickRecord

if TYPE_CHECKING:
    from edge_wm.record.video import Video

SUMMARY_FORMAT = 1
KEPT_ROWS = 36_000
"""Rows for the report: an hour at 10 Hz."""
KEPT_PICTURES = 1_200
"""Complete records, about 30 kB each, of one drive to a goal: its newest two minutes at 10 Hz.  Observations, too, are written of these."""
PICTURE_LIBRARIES = {"PIL": "Pillow", "imageio_ffmpeg": "imageio-ffmpeg", "matplotlib": "matplotlib"}


class RunRecorder:
    """One run into one folder.

    Args:
        folder: from ``create_run_folder``.
        tick_s: duration of a tick.
        title: heading of the report.
        pictures: make video, picture and report, for which ``problem`` may say that libraries are missing; and keep the observations.
        now: source of the UTC time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tick_s: float,
        title: str,
        pictures: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.folder = folder
        self.statistics = TickStatistics()
        self.problem = ""
        """What could not be recorded, and why; one line for the person."""
        self._broken = False
        self._tick_s = tick_s
        self._title = title
        self._started = now()
        self._pictures = self._observations = pictures
        if pictures and (missing := _missing_picture_libraries()):
            self._pictures = False
            self.problem = (
                f"no video and no report: run  pip install 'edge-wm[sim]'  ({', '.join(missing)} is missing)"
            )
        self._start: GoalStart | None = None
        self._undrawn: tuple[GoalStart, GoalResult] | None = None
        self._start_s = 0.0
        self._misses_before = 0
        self._records: deque[TickRecord] = deque(maxlen=KEPT_PICTURES)
        self._rows_of_goal: deque[dict[str, Any]] = deque(maxlen=KEPT_ROWS)
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT_ROWS)
        self._results: list[dict[str, Any]] = []
        self._worlds: list[tuple[str, bytes]] = []
        self._video: Video | None = None
        self._best_interest = float("-inf")
        self._finishing = False
        self._summary: dict[str, Any] | None = None

    def goal_started(self, start: GoalStart) -> None:
        """The robot is about to set off."""
        self._start, self._undrawn = start, None
        self._records.clear()
        self._rows_of_goal.clear()
        self._misses_before = self.statistics.misses

    def tick(self, record: TickRecord) -> None:
        """Keep one tick.  Called by the control loop: appends to bounded queues, nothing else."""
        if not self._records:
            self._start_s = record.time_s
        self.statistics.add(record)
        self._records.append(record)
        self._rows_of_goal.append(record.row(self._start_s))

    def goal_done(self, result: GoalResult) -> None:
        """The robot stands: keep how it went, and write down its ticks."""
        start = self._start
        if start is None:
            raise RuntimeError("goal_done without goal_started")
        self._results.append(
            {
                "number": start.number,
                "name": start.name,
                **dataclasses.asdict(result),
                "ticks": len(self._rows_of_goal),
                "misses": self.statistics.misses - self._misses_before,
            }
        )
        self._start, self._undrawn = None, (start, result)
        self._rows.extend(self._rows_of_goal)
        if not self._broken:
            self._write(lambda: append_ticks(self.folder, self._rows_of_goal))
        if self._observations and self._records and not self._broken:
            self._write(lambda: self._keep_observations(start.number))

    def draw_goal(self) -> None:
        """Draw the drive that is done, if pictures are wanted: some 30 ms for each of its ticks."""
        if self._undrawn is not None and self._records:
            start, result = self._undrawn
            self._draw(lambda: self._add_pictures(start, result))
        self._undrawn = None
        self._records.clear()

    def finish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary, then draw what is left, and return the summary.

        Safe to call twice, and after Ctrl-C: a second call, after the first was interrupted, draws nothing.

        Args:
            facts: model, robot, seed …: shown in the report and kept under ``facts``; JSON values.
        """
        if self._summary is not None:
            return self._summary
        self._pictures = self._pictures and not self._finishing
        self._finishing = True
        if self._start is not None:
            interrupted_s = self._rows_of_goal[-1]["time_s"] if self._rows_of_goal else 0.0
            self.goal_done(GoalResult("interrupted", reached=False, collision=None, time_s=interrupted_s))
        summary = self._summarise(facts)
        self._write(lambda: write_summary(self.folder, summary))
        self.draw_goal()
        if self._video is not None:
            self._write(self._video.close)
        self._draw(lambda: self._write_report(summary))
        if summary["problem"] != self.problem:
            summary["problem"] = self.problem
            self._write(lambda: write_summary(self.folder, summary))
        self._summary = summary
        return summary

    def _summarise(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "format_version": SUMMARY_FORMAT,
            "edge_wm": __version__,
            "title": self._title,
            "started_utc": self._started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tick_s": self._tick_s,
            "goals": len(self._results),
            "reached": sum(result["reached"] for result in self._results),
            "collisions": _collisions([result["collision"] for result in self._results]),
            **self.statistics.summary(),
            "goal_results": self._results,
            "facts": dict(facts),
            "problem": self.problem,
        }

    def _keep_observations(self, goal_number: int) -> None:
        try:
            write_observations(
                observations_file(self.folder, goal_number), self._tick_s, tuple(self._records)
            )
        except ValueError as error:  # of sensors that do not give the same arrays in every tick
            self._tell(f"observations of goal {goal_number} not kept: {error}")

    def _add_pictures(self, start: GoalStart, result: GoalResult) -> None:
        from edge_wm.record.frame import FrameComposer
        from edge_wm.record.video import Video, most_telling, save_still

        records = list(self._records)
        composer = FrameComposer(start, records, result)
        world = io.BytesIO()
        composer.world_at_end().save(world, "PNG")
        self._worlds.append((f"Goal {start.number}: {result.outcome}", world.getvalue()))
        best, interest = most_telling(records)
        if interest > self._best_interest:
            self._best_interest = interest
            save_still(self.folder / "picture.png", start, records, best)
        if self._video is None:
            self._video = Video(self.folder / "drive.mp4", self._tick_s)
        self._video.add_goal(composer, len(records))

    def _write_report(self, summary: Mapping[str, Any]) -> None:
        from edge_wm.record.report import write_report

        video = self.folder / "drive.mp4"
        write_report(
            self.folder / "report.html", summary, self._rows, video if video.is_file() else None, self._worlds
        )

    def _write(self, write: Callable[[], object]) -> None:
        """A full disk never ends a drive: tell it, and let no more ticks follow those that are missing."""
        try:
            write()
        except OSError as error:
            self._broken = True
            self._tell(f"recording stopped: {_reason(error)} in {self.folder}")

    def _draw(self, draw: Callable[[], object]) -> None:
        """Whatever goes wrong with pictures, a library that Ctrl-C left half imported included, costs only them."""
        if not self._pictures or self._broken:
            return
        try:
            draw()
        except OSError as error:
            self._pictures = False
            self._tell(f"recording stopped: {_reason(error)} in {self.folder}")
        except Exception as error:
            self._pictures = False
            self._tell(f"no more pictures: {type(error).__name__}: {_reason(error)}")
        except BaseException:  # Ctrl-C: somebody does not want to wait for them
            self._pictures = False
            raise

    def _tell(self, told: str) -> None:
        if told not in self.problem:
            self.problem = f"{self.problem}; {told}" if self.problem else told


def _reason(error: Exception) -> str:
    return one_line((isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0])


def _collisions(known: Sequence[bool | None]) -> int | None:
    """How many drives touched something, of those where somebody could tell; None if nobody could in any of them."""
    told = [collision for collision in known if collision is not None]
    return None if known and not told else sum(told)


def _missing_picture_libraries() -> list[str]:
    return [package for module, package in PICTURE_LIBRARIES.items() if find_spec(module) is None]
