"""The control loop.  ``Loop.run`` is one run to one goal, ``Loop._tick`` one whole tick from top to bottom.

However a run ends, the robot first brakes along the supervisor's ramp if anything still answers, and then
``bridge.stop()`` is called.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from edge_wm.clock import Clock
from edge_wm.control.policy import ARRIVE_M, Decision, Policy
from edge_wm.control.rate import Rate
from edge_wm.control.supervisor import Reason, SupervisedCommand, Supervisor
from edge_wm.planner.plan import PlanError
from edge_wm.sensors.observation import MalformedReading, Observation, Sensors, all_finite, malformed
from edge_wm.stop_signals import on_stop_signals
from firmware_bridge.bridge import NEUTRAL, Bridge, Command

RESERVE_S = 0.005
"""Time kept from the policy for the supervisor and the bridge."""
GIVE_UP_S = 10.0
"""A robot that faults have kept at rest for this long will not recover by itself."""
BRAKE_S = 5.0
"""Longest time to brake at the end of a run; the bridge stops the motors afterwards in any case."""
COLLECT_TICKS = 10
"""Ticks between two collections of garbage."""

log = logging.getLogger(__name__)


class Outcome(str, Enum):
    """How a run ended."""

    REACHED = "reached"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    FAULT = "fault"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick, as callbacks see it, after its command was sent.

    Attributes:
        index: 0 for the first tick of the run.
        time: when the tick began, on the loop's clock.
        observation: None if the sensors failed.
        decision: None if the policy was not asked or failed.
        supervised: what the supervisor made of it.
        applied: what was really sent.
        compute_s: real seconds from reading the sensors to the command being sent.
        policy_s: real seconds of these in the policy.
        missed: deadlines missed in this run before this tick.
    """

    index: int
    time: float
    observation: Observation | None
    decision: Decision | None
    supervised: SupervisedCommand
    applied: Command
    compute_s: float
    policy_s: float
    missed: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run went.

    Attributes:
        outcome: how it ended.
        message: why, one line for a person.
        error: the exception behind a fault, if one was raised.
        ticks, missed, worst_late_s, skipped: see ``Rate``.
        duration_s: on the loop's clock.
        signal: name of the signal that stopped it, such as ``SIGTERM``; None if none did.
    """

    outcome: Outcome
    message: str
    error: BaseException | None
    ticks: int
    missed: int
    worst_late_s: float
    skipped: int
    duration_s: float
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """Why the run is ending; once there is one, the policy is not asked any more and the robot brakes."""

    outcome: Outcome
    message: str
    error: BaseException | None = None
    signal: str | None = None


class Loop:
    """Runs sensors, policy, supervisor and bridge at a fixed rate.

    Args:
        sensors, policy, supervisor, bridge: the parts; the bridge is connected, ``run`` arms it.
        clock: time.
        tick_s: seconds a tick.
        on_tick: called in order with every ``Tick`` after its command was sent.  They share the rest of the
            tick, so they must be quick; one that raises is reported once and not called again.
        arrive_m: nearer to the goal than this the run has reached it.
        stop: asked after every tick for a reason to end the run; the robot then brakes.
        stopwatch: real seconds, for ``compute_s``.
    """

    def __init__(
        self,
        sensors: Sensors,
        policy: Policy,
        supervisor: Supervisor,
        bridge: Bridge,
        clock: Clock,
        tick_s: float,
        *,
        on_tick: Sequence[Callable[[Tick], None]] = (),
        arrive_m: float = ARRIVE_M,
        stop: Callable[[], str | None] = lambda: None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sensors, self._policy, self._supervisor, self._bridge = sensors, policy, supervisor, bridge
        self._clock, self._tick_s, self._arrive_m, self._stopwatch = clock, tick_s, arrive_m, stopwatch
        self._on_tick, self._stop = list(on_tick), stop

    def run(self, goal_xy: tuple[float, float]) -> RunResult:
        """Drive to ``goal_xy`` (metres, odometry frame: the robot starts at its origin); never raises for a fault."""
        rate = Rate(self._tick_s, self._clock)
        began = self._clock.now()
        try:
            end = self._drive(goal_xy, rate)
        except KeyboardInterrupt as error:
            end = _End(Outcome.INTERRUPTED, "stopped by the user", error)
        except Exception as error:
            end = _End(Outcome.FAULT, _one_line(error), error)
        finally:
            with on_stop_signals(signal.SIG_IGN):  # a third Ctrl-C must not leave the motors running
                self._bridge.stop()
        duration_s = self._clock.now() - began
        return RunResult(
            end.outcome,
            end.message,
            end.error,
            rate.ticks,
            rate.missed,
            rate.worst_late_s,
            rate.skipped,
            duration_s,
            end.signal,
        )

    def _drive(self, goal_xy: tuple[float, float], rate: Rate) -> _End:
        """Tick until the run has a reason to end and the robot stands."""
        with _stop_signals() as signals, _garbage_between_ticks() as collect:
            self._policy.reset(goal_xy)
            self._bridge.arm()
            rate.start()
            self._begin()
            end = _asked_to_stop(signals)
            while end is None or not self._stands():
                try:
                    end = self._tick(rate, end)
                    if rate.ticks % COLLECT_TICKS == 0:
                        collect()
                    self._late = rate.keep() > 0.0
                except KeyboardInterrupt as error:
                    if end is not None:
                        raise
                    end = _End(Outcome.INTERRUPTED, "stopped by the user", error)
                end = _asked_to_stop(signals) or end or self._told_to_stop()
            return end

    def _told_to_stop(self) -> _End | None:
        reason = self._stop()
        return None if reason is None else _End(Outcome.FAULT, reason)

    def _begin(self) -> None:
        now = self._clock.now()
        self._supervisor.start(now)
        self._applied = NEUTRAL
        self._index = 0
        self._late = False
        self._drove_at = now
        self._braking_since: float | None = None

    def _tick(self, rate: Rate, end: _End | None) -> _End | None:
        """One tick: read, decide, supervise, send, tell.  Returns why the run should end, None to go on."""
        now, stopwatch_start = self._clock.now(), self._stopwatch()
        observation, decision, wanted = None, None, NEUTRAL if end is not None else None
        policy_s = 0.0
        try:
            reading = self._sensors.read()
            if problem := malformed(reading):
                raise MalformedReading(problem)
            observation = reading
            if end is None and all_finite(observation):
                asked = self._stopwatch()
                decision = self._policy.act(observation, self._applied, rate.deadline - RESERVE_S)
                policy_s = self._stopwatch() - asked
                wanted = decision.command
                if decision.goal_distance <= self._arrive_m:
                    wanted = NEUTRAL
                    end = _End(Outcome.REACHED, f"{decision.goal_distance:.2f} m from the goal")
        except PlanError as error:
            log.warning("no plan: %s", error)
        except Exception as error:
            end = end or _End(Outcome.FAULT, _one_line(error), error)
            wanted = NEUTRAL

        supervised = self._supervisor.check(
            wanted, observation, now=self._clock.now(), applied=self._applied, late=self._late
        )
        self._applied = self._bridge.apply(supervised.command)
        compute_s = self._stopwatch() - stopwatch_start

        self._tell(
            Tick(
                self._index,
                now,
                observation,
                decision,
                supervised,
                self._applied,
                compute_s,
                policy_s,
                rate.missed,
            )
        )
        self._index += 1
        return end or self._supervisor_end(supervised)

    def _supervisor_end(self, supervised: SupervisedCommand) -> _End | None:
        """End the run on a time-out, and when faults have held the robot for too long."""
        now = self._clock.now()
        if not supervised.halted:
            self._drove_at = now
        elif supervised.reason is Reason.GOAL_TIMEOUT:
            return _End(Outcome.TIMEOUT, str(supervised.reason))
        elif supervised.reason is Reason.EMERGENCY_STOP or now - self._drove_at > GIVE_UP_S:
            return _End(Outcome.FAULT, str(supervised.reason))
        return None

    def _stands(self) -> bool:
        """Whether the robot stands, or should have long ago.  Asked from the moment on that the run is ending."""
        now = self._clock.now()
        if self._braking_since is None:
            self._braking_since = now
        return self._applied == NEUTRAL or now - self._braking_since > BRAKE_S

    def _tell(self, tick: Tick) -> None:
        for callback in tuple(self._on_tick):
            try:
                callback(tick)
            except Exception:
                # A full disk or a broken terminal must not stop a robot in a doorway.
                log.exception("a tick callback failed and is not called again")
                self._on_tick.remove(callback)


def _asked_to_stop(signals: Sequence[str]) -> _End | None:
    if not signals:
        return None
    return _End(Outcome.INTERRUPTED, f"stopped by {signals[0]}", signal=signals[0])


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Turn Ctrl-C, SIGTERM and a lost terminal into a request, so that the robot can brake; a second one interrupts at once.

    Python lets only the main thread set handlers; elsewhere the list stays empty.
    """
    received: list[str] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    with on_stop_signals(receive):
        yield received


@contextmanager
def _garbage_between_ticks() -> Iterator[Callable[[], object]]:
    """No garbage collection within a tick.  Yields what collects between ticks.

    What exists already is frozen, so that a collection looks at the garbage of the run alone and is quick.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
