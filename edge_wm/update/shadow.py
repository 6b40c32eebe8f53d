"""A new model plans beside the one that drives, in a process of its own, and moves nothing.

The driving process shows it its ticks and never waits for it: a shadow that is slow, hangs or crashes misses ticks, and that is
all.  After enough of them there is a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_wm.control.loop import Tick
from edge_wm.drive.pilot import observed
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput, one_line
from edge_wm.robot import Robot
from edge_wm.update.confined import Limits
from edge_wm.update.criteria import ShadowCriteria
from edge_wm.update.proof import MAX_REFUSAL, NOT_THE_MODEL, usual_limits
from edge_wm.update.sandbox import End, Sandboxed
from edge_wm.update.shadowed import Report, Request
from edge_wm.update.tick_ring import TickRing
from firmware_bridge.bridge import NEUTRAL, Command

MODULE = "edge_wm.update.shadowed"
NO_END_S = 1e9
"""A shadow lives as long as it takes the robot to drive that far; its CPU time is limited."""


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """What a shadow came to.

    Attributes:
        refusal: why its model must not drive, one line; None if it may be tried.
        undecided: the refusal says nothing against the model: it could not plan for long enough.
        report: what it did.
        sent: ticks that it was shown.
        dropped: ticks that it was not, because it was still busy with others.
    """

    refusal: str | None
    undecided: bool
    report: Report
    sent: int
    dropped: int

    @property
    def passed(self) -> bool:
        """Whether its model may drive."""
        return self.refusal is None

    def __str__(self) -> str:
        if self.refusal is not None:
            return f"the shadow failed: {self.refusal}"
        done = self.report
        return (
            f"the shadow planned in {done.planned} of {done.ticks} ticks ({self.dropped} missed), {done.p50_ms:.1f} ms in"
            f" the median; from what drove it differs by {done.mean_dv:.2f} m/s and {done.mean_dw:.2f} rad/s"
        )


class Shadow:
    """One model as a shadow.  Start it while the robot stands; the thread that starts it must live as long.

    Args:
        bundle: the model's directory; it has passed its proof.
        robot: that drives.
        execution: how the model is run; None: as the robot will.
        criteria: what it must show.
        limits: of its process; None: the usual ones.

    Raises:
        BadInput: it cannot be started.

    Attributes:
        sent, dropped: ticks so far, see ``ShadowVerdict``.
    """

    def __init__(
        self,
        bundle: Path,
        robot: Robot,
        execution: Execution | None = None,
        criteria: ShadowCriteria | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._criteria = criteria or ShadowCriteria()
        self._patience = self._criteria.patience_s / robot.rates.tick_s
        limits = msgspec.structs.replace(limits or usual_limits(robot, execution), wall_s=NO_END_S)
        try:
            self._ring = TickRing(observed(robot))
        except OSError as error:
            raise BadInput(f"{bundle}: no shadow can be started: {error.strerror}") from error
        ends = self._ring.ends
        request = Request(str(bundle.resolve()), robot, execution, self._criteria.ticks, ends)
        try:
            self._process = Sandboxed(
                MODULE,
                msgspec.json.encode(request),
                limits,
                descriptors=msgspec.structs.astuple(ends),
                beside=True,
            )
        except OSError as error:
            self._ring.close()
            raise BadInput(f"{bundle}: no shadow can be started: {error.strerror}") from error
        finally:
            self._ring.close_ends()
        self._run, self._goal = 0, (0.0, 0.0)
        self._applied = NEUTRAL
        self.sent = self.dropped = self._dropped_in_a_row = 0
        self._verdict: ShadowVerdict | None = None

    def begin(self, goal_xy: tuple[float, float]) -> None:
        """Say where the next drive goes: metres, odometry frame.  Call it before each."""
        self._run, self._goal, self._applied = self._run + 1, goal_xy, NEUTRAL

    def tick(self, tick: Tick) -> None:
        """Show one tick: a callback of the control loop.  Takes some microseconds, whatever the shadow does."""
        applied, self._applied = self._applied, tick.applied
        if tick.observation is None or not self._ring.open:
            return
        driven: Command | None = None
        if tick.decision is not None:
            driven = tick.decision.command
        if self._ring.send(self._run, tick.observation, self._goal, applied, driven):
            self.sent += 1
            self._dropped_in_a_row = 0
        elif self._ring.open:
            self.dropped += 1
            self._dropped_in_a_row += 1

    def verdict(self, timeout_s: float = 0.0) -> ShadowVerdict | None:
        """What the shadow came to; None while it plans.  Ask while the robot stands.

        Args:
            timeout_s: how long to wait for something to come of it.
        """
        if self._verdict is None:
            ended = self._process.poll(timeout_s)
            if ended is not None:
                if ended.end is End.FINISHED:
                    self._verdict = self._judged(ended.result)
                else:
                    refusal = f"as a shadow: {ended.end}: {ended.why}"
                    self._verdict = self._refused(refusal, undecided=ended.end in NOT_THE_MODEL)
            elif self._dropped_in_a_row > self._patience:
                waited = (
                    f"as a shadow: took no tick while the robot drove for {self._criteria.patience_s:g} s"
                )
                self._verdict = self._refused(waited, undecided=True)
            if self._verdict is not None:
                self.close()
        return self._verdict

    def close(self) -> None:
        """End the shadow.  Safe to call twice."""
        self._ring.close()
        self._process.close()

    def _refused(self, refusal: str, report: Report | None = None, *, undecided: bool) -> ShadowVerdict:
        return ShadowVerdict(
            one_line(refusal)[:MAX_REFUSAL], undecided, report or Report(), self.sent, self.dropped
        )

    def _judged(self, result: bytes) -> ShadowVerdict:
        """Make up one's mind, of what the process answered: a stranger may have written it."""
        try:
            done = msgspec.json.decode(result, type=Report)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self._refused(f"as a shadow: {End.NO_ANSWER}", undecided=False)
        wanted = self._criteria
        if done.refusal is not None:
            return self._refused(f"as a shadow: {done.refusal}", done, undecided=False)
        if done.beyond_limits:
            beyond = f"as a shadow: {done.beyond_limits} plans beyond the robot's limits"
            return self._refused(beyond, done, undecided=False)
        if done.ticks < wanted.ticks:
            early = f"as a shadow: ended after {done.ticks} of {wanted.ticks} ticks"
            return self._refused(early, done, undecided=True)
        if done.planned < wanted.min_planned_share * done.ticks:
            few = f"as a shadow: planned in {done.planned} of {done.ticks} ticks, fewer than {wanted.min_planned_share:.0%}"
            return self._refused(few, done, undecided=False)
        return ShadowVerdict(None, False, done, self.sent, self.dropped)
