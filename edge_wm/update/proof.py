"""Proves a fetched bundle before it drives: that it loads, fits the robot, computes what was trained, and is fast enough.

All of it happens in the sandbox.  Until a bundle has passed, nothing of it is loaded into a process that matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput, one_line
from edge_wm.profile.measure import ON_CPU_CORES
from edge_wm.robot import Robot
from edge_wm.update.confined import STACK_BYTES, Limits
from edge_wm.update.sandbox import End, Ended, Sandboxed
from edge_wm.update.sandboxed import Findings, Request

MODULE = "edge_wm.update.sandboxed"
TICKS = 300
MAX_REFUSAL = 1000
ENGINES = 6
"""Graphs that a proof has loaded at once, at most; each has its own threads."""

BUSY, COLD = 1.5, 2.0
"""On a machine so busy that a tick's time on the wall is ``BUSY`` times its CPU time, the caches serve others meanwhile and
the CPU time grows too: by half, measured here behind two processes that burn both cores.  Up to ``COLD`` times the budget it
proves nothing then."""

NOT_THE_MODEL = frozenset({End.NOT_CONFINED, End.OUT_OF_TIME})
"""Ends that say something of the machine, not of the model: no filter in its kernel; no time beside what it does."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of proving a bundle.

    Attributes:
        refusal: why it must not drive, one line; None if it passed.
        undecided: the refusal says nothing against the model, only that it could not be proven here and now.
        findings: what is known of it.
        ended: how the sandboxed process ended, and what it used.
    """

    refusal: str | None
    undecided: bool
    findings: Findings
    ended: Ended

    @property
    def passed(self) -> bool:
        """Whether it may be put on trial."""
        return self.refusal is None

    def __str__(self) -> str:
        found = self.findings
        if self.refusal is not None or found.times is None:
            return f"not proven: {self.refusal}"
        return (
            f"{found.name} {found.version} proven in {self.ended.wall_s:.1f} s: golden vectors within tolerance,"
            f" a tick takes {found.times.p50_ms:.1f} ms, at the 99th percentile {found.times.p99_ms:.1f} ms"
            f" of {found.budget_ms:g} ms ({found.execution}), {(found.peak_bytes or 0) >> 20} MiB"
        )


def prove(
    bundle: Path,
    robot: Robot | None = None,
    execution: Execution | None = None,
    limits: Limits | None = None,
    *,
    ticks: int = TICKS,
) -> Proof:
    """Prove a bundle.

    Args:
        bundle: its directory.
        robot: that should drive by it; without one it is not asked whether the model fits.
        execution: how to run it; None: as the robot will.
        limits: of the process that proves it; None: the usual ones, with devices if an accelerator is asked for.
        ticks: how many are timed.

    Raises:
        BadInput: no process can be started here.
    """
    request = Request(str(bundle.resolve()), robot, execution, ticks)
    try:
        with Sandboxed(
            MODULE, msgspec.json.encode(request), limits or usual_limits(robot, execution)
        ) as process:
            ended = process.wait()
    except OSError as error:
        raise BadInput(f"{bundle}: cannot be proven here: {error.strerror}") from error
    return _judged(bundle, ended, ticks)


def usual_limits(robot: Robot | None, execution: Execution | None) -> Limits:
    """What a process may use that runs a model: devices too if an accelerator is asked for, and stacks for its threads."""
    asked = execution or (robot.board.engine if robot is not None else Execution())
    stacks_bytes = asked.threads * ENGINES * STACK_BYTES
    return Limits(
        memory_bytes=Limits().memory_bytes + stacks_bytes,
        address_space_bytes=Limits().address_space_bytes + stacks_bytes,
        devices=asked.accelerator not in ON_CPU_CORES,
    )


def _judged(bundle: Path, ended: Ended, ticks: int) -> Proof:
    """Make up one's mind, of what the process answered: a stranger may have written it."""
    if ended.end is not End.FINISHED:
        refusal = f"{bundle}: in the sandbox: {ended.end}: {ended.why}"
        return Proof(refusal, ended.end in NOT_THE_MODEL, Findings(), ended)
    try:
        found = msgspec.json.decode(ended.result, type=Findings)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Proof(f"{bundle}: in the sandbox: {End.NO_ANSWER}", False, Findings(), ended)
    if found.refusal is not None:
        return Proof(one_line(found.refusal)[:MAX_REFUSAL], False, found, ended)
    times, budget_ms = found.times, found.budget_ms
    if times is None or budget_ms is None or found.model is None or found.execution is None:
        return Proof(f"{bundle}: in the sandbox: {End.NO_ANSWER}", False, found, ended)
    if not times.p99_ms <= budget_ms:
        refusal = (
            f"{bundle}: too slow here: a tick takes {times.p99_ms:.1f} ms at the 99th percentile,"
            f" {times.p50_ms:.1f} ms in the median; its budget is {budget_ms:g} ms ({found.execution})"
        )
        busy = times.wall_p50_ms >= BUSY * times.p50_ms and times.p99_ms <= COLD * budget_ms
        return Proof(refusal + busy * ": measured on a busy machine", busy, found, ended)
    if times.ticks < ticks:
        return Proof(f"{bundle}: only {times.ticks} of {ticks} ticks were timed", False, found, ended)
    return Proof(None, False, found, ended)
