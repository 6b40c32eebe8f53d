"""The inside of a shadow, run by ``confined.py``: a new model sees what the driving one sees, and plans for nobody."""

from __future__ import annotations

import math
import time
from pathlib import Path

import msgspec
import numpy as np

from edge_wm.bundle.load import load_bundle
from edge_wm.clock import MonotonicClock
from edge_wm.drive.pilot import observed, prepared
from edge_wm.engines.engine import EngineError
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.planner.plan import PlanError
from edge_wm.robot import Limits, Robot
from edge_wm.sensors.observation import all_finite
from edge_wm.update.tick_ring import Ends, shown
from firmware_bridge.bridge import Command

ROUNDING = 1e-6
"""How far a float32 may be beyond a limit that it was clipped to."""


class Request(msgspec.Struct, frozen=True):
    """Which model plans, for which robot, run how, over how many ticks, and where they come from."""

    bundle: str
    robot: Robot
    execution: Execution | None
    ticks: int
    ends: Ends


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow did.

    Attributes:
        refusal: what ended it before its time, one line; None if nothing did.
        ticks: ticks that it was asked for a plan in.
        planned: of these, ticks in which it had one.
        beyond_limits: plans whose command was not finite, or more than the robot may do.
        compared: plans in ticks in which the driving model had one too.
        mean_dv: mean difference between the two commands in these, m/s.
        mean_dw: the same in rad/s.
        p50_ms: median CPU time of a tick.
        p99_ms: its 99th percentile.
    """

    refusal: str | None = None
    ticks: int = 0
    planned: int = 0
    beyond_limits: int = 0
    compared: int = 0
    mean_dv: float = 0.0
    mean_dw: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


def main(request: bytes) -> bytes:
    """Plan as the ``Request`` says; returns a ``Report``."""
    wanted = msgspec.json.decode(request, type=Request)
    shadow = _Shadow(wanted.robot.limits)
    refusal = None
    try:
        shadow.plan(wanted)
    except (BadInput, EngineError) as error:
        refusal = str(error)
    return msgspec.json.encode(shadow.report(refusal))


class _Shadow:
    """Plans, and counts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._planned = self._beyond_limits = self._compared = 0
        self._dv = self._dw = 0.0
        self._ticks_s: list[float] = []

    def plan(self, wanted: Request) -> None:
        """Plan until it has planned for long enough, or the driver ends.

        Raises:
            BadInput, EngineError: the model cannot be used.
        """
        clock = MonotonicClock()
        model = prepared(wanted.robot, load_bundle(Path(wanted.bundle)), clock, execution=wanted.execution)
        model.rehearse(clock)
        run = -1
        for tick in shown(wanted.ends, observed(wanted.robot)):
            if tick.run != run:
                run = tick.run
                model.policy.reset(tick.goal)
            if not all_finite(tick.observation):
                continue
            began = time.thread_time()
            try:
                decision = model.policy.act(tick.observation, tick.applied, math.inf)
            except PlanError:
                self._ticks_s.append(time.thread_time() - began)
            else:
                if decision.plan is None:  # it is at the goal, as it believes
                    continue
                self._ticks_s.append(time.thread_time() - began)
                self._count(decision.command, tick.driven)
            model.policy.draw_ahead()
            if len(self._ticks_s) >= wanted.ticks:
                break

    def _count(self, planned: Command, driven: Command | None) -> None:
        self._planned += 1
        limits = self._limits
        within = (
            -limits.max_reverse_v - ROUNDING <= planned.v <= limits.max_v + ROUNDING
            and abs(planned.w) <= limits.max_w + ROUNDING
        )
        self._beyond_limits += not within
        if driven is not None and within:
            self._compared += 1
            self._dv += abs(planned.v - driven.v)
            self._dw += abs(planned.w - driven.w)

    def report(self, refusal: str | None) -> Report:
        """What was counted."""
        p50, p99 = np.percentile(self._ticks_s or [0.0], [50, 99]) * 1e3
        compared = max(self._compared, 1)
        return Report(
            refusal=refusal,
            ticks=len(self._ticks_s),
            planned=self._planned,
            beyond_limits=self._beyond_limits,
            compared=self._compared,
            mean_dv=round(self._dv / compared, 4),
            mean_dw=round(self._dw / compared, 4),
            p50_ms=round(float(p50), 3),
            p99_ms=round(float(p99), 3),
        )
