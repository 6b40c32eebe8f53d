"""The driving service: a process that runs for months, drives where a mission or somebody says, and rests in between.

At rest the motors are disarmed, the model is loaded and rehearsed, and requests are heard.  Everything happens in one
thread: what feeds the watchdog is the tick itself while the robot drives, and the wait for requests while it rests.  Whatever
hangs, hangs the feeding with it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_wm.clock import Clock, MonotonicClock, SimulatedClock
from edge_wm.control.loop import Outcome, Tick
from edge_wm.control.realtime import RealtimeSetup
from edge_wm.drive.errands import Errand, Errands, errands_of
from edge_wm.drive.kept_runs import prune
from edge_wm.drive.pilot import Pilot
from edge_wm.drive.requests import Accepted, Client, Ended, Go, Now, Refused, Request, RequestSocket, Status
from edge_wm.drive.service_file import Mission, ServiceFile, load_service_file
from edge_wm.drive.systemd import ServiceManager
from edge_wm.drive.tick_records import TickRecords
from edge_wm.errors import BadInput
from edge_wm.paths import DEFAULT_MODEL
from edge_wm.record.recorder import RunRecorder
from edge_wm.record.run_folder import create_run_folder
from edge_wm.record.tick_record import GoalResult, GoalStart
from edge_wm.robot import DEFAULT_ROBOT, Robot, load_robot
from edge_wm.stop_signals import interrupted_by_stop_signals

if TYPE_CHECKING:
    from edge_wm.drive.model_changes import ModelChanges

LISTEN_S = 0.25
"""At rest: how long to wait for a request before the next sign of life."""
LOOK_S = 30.0
"""At rest: so often is looked whether a model has come."""
BUSY_S = 60.0
"""The most that something at rest may take: a model to load, a disk to write to."""
MOST_REST_S = 60.0
"""The longest rest after goals that were not reached, unless the mission itself asks for more."""

STOPPED = "stopped by request"

Say = Callable[[str], object]


class _Asked(NamedTuple):
    """A drive that somebody asked for, and who waits for its end."""

    errand: Errand
    client: Client

    def answer(self, ended: Ended) -> None:
        """Tell how it ended."""
        self.client.waits = self.client.going = False
        self.client.answer(ended)


class _MissionState:
    """Which goal of a mission is next, and when."""

    def __init__(self, mission: Mission, errands: Sequence[Errand], clock: Clock) -> None:
        self._mission, self._errands, self._clock = mission, errands, clock
        self._index, self._rest_s = 0, mission.rest_s
        self.due = clock.now()
        self.stopped = False
        """Somebody stopped it: it waits for "go"."""

    @property
    def over(self) -> bool:
        """Whether nothing is left of it."""
        return self._index == len(self._errands)

    @property
    def under_way(self) -> bool:
        """Whether it will drive on by itself."""
        return not (self.stopped or self.over)

    @property
    def next(self) -> Errand | None:
        """The goal that is due now, if one is."""
        due = self.under_way and self._clock.now() >= self.due
        return self._errands[self._index] if due else None

    def driven(self, reached: bool) -> None:
        """The goal that was due has been driven to.  One that was not reached is not tried again before its next turn."""
        asked_s = self._mission.rest_s
        self._rest_s = asked_s if reached else max(asked_s, min(2.0 * max(self._rest_s, 1.0), MOST_REST_S))
        self.due = self._clock.now() + self._rest_s
        self._index += 1
        if self._mission.repeat and self._index == len(self._errands):
            self._index = 0

    def resume(self) -> None:
        """Go on where it was stopped; from the beginning if it was over."""
        if self.over:
            self._index = 0
        self.stopped, self.due = False, self._clock.now()


class Service:
    """Drives one robot.  ``run`` returns when somebody asks the process to end; the robot stands then.

    Args:
        config: of this service.
        file: where that is from.
        pilot: rehearsed.
        changes: brings the pilot new models; None where it drives by one.
        errands: where the robot can go.
        clock: the loop's.
        realtime: what the kernel gives.
        manager: who is told.
        say: prints a line for the journal.

    Raises:
        BadInput: another service answers at the socket.
    """

    def __init__(
        self,
        config: ServiceFile,
        file: Path,
        pilot: Pilot,
        changes: ModelChanges | None,
        errands: Errands,
        clock: Clock,
        realtime: RealtimeSetup,
        manager: ServiceManager,
        say: Say,
    ) -> None:
        self._pilot, self._changes, self._errands, self._clock = pilot, changes, errands, clock
        self._realtime, self._manager, self._say = realtime, manager, say
        self._record = config.record
        self._runs = file.parent / config.record.folder
        self._mission = _MissionState(config.mission, errands.of_mission(), clock)
        self._asked: _Asked | None = None
        self._driving_to: tuple[float, float] | None = None
        self._stop_why: str | None = None
        self._ending = False
        """The process was asked to end."""
        self._goals = self._reached = self._ticks = self._missed = 0
        self._problem = pilot.fell_back or ""
        self._look_at = clock.now() + LOOK_S
        self._requests = RequestSocket(file.parent / config.socket, self._take)
        # There from the first drive on, also at rest: where that drive began, this process alone knows.  Gone when it was asked to
        # end; and where the socket usually is, when the board was started anew.
        self._sign_of_driving = self._requests.path.with_name("driving")
        if errands.has_place and self._sign_of_driving.exists():
            self._mission.stopped = True
            waits = "" if self._mission.over else ": the mission waits for edge-wm go"
            say(f"note: it ended unasked after it had driven, and takes where it is now for its start{waits}")

    def close(self) -> None:
        """Hear no more requests."""
        self._requests.close()

    def forget(self) -> None:
        """The process was asked to end: the next one begins where the robot stands then, and that is meant so."""
        with contextlib.suppress(OSError):
            self._sign_of_driving.unlink(missing_ok=True)

    def run(self, signals: Sequence[str]) -> None:
        """Drive and rest until somebody asks the process to end.

        Args:
            signals: the stop signals that came.  What they raise is lost in the middle of a finalizer.
        """
        self._manager.ready()
        while not signals:
            if not self._drive_next():
                self._rest()
            elif self._ending:
                return

    # --- at rest -----------------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """One sign of life, one look around, one wait for a request."""
        self._manager.alive()
        self._manager.status(self._state_for_people())
        if self._changes is not None and self._clock.now() >= self._look_at:
            self._look(self._changes)
        if isinstance(self._clock, SimulatedClock) and self._mission.under_way:
            self._clock.sleep_until(self._mission.due)
            self._requests.poll()
        else:
            self._requests.poll(LISTEN_S)

    def _look(self, changes: ModelChanges) -> None:
        self._manager.busy(BUSY_S)
        changes.rest()
        self._look_at = self._clock.now() + LOOK_S

    def _state_for_people(self) -> str:
        if self._mission.stopped and not self._mission.over:
            state = "the mission waits for edge-wm go"
        elif self._mission.under_way:
            state = "rests before the next goal"
        else:
            state = "rests: edge-wm go X,Y"
        problem = f"; {self._problem}" if self._problem else ""
        return f"{state}; {self._reached} of {self._goals} goals reached{problem}"

    # --- requests, heard at rest and within ticks --------------------------------------------------------------------

    def _take(self, request: Request, client: Client) -> None:
        if isinstance(request, Status):
            client.answer(self._now())
        elif isinstance(request, Go):
            self._take_go(request, client)
        elif self._driving_to is not None:
            self._mission.stopped, self._stop_why = True, STOPPED
            client.answer(Accepted("it brakes"))
        else:
            self._mission.stopped = True
            asked, self._asked = self._asked, None
            if asked is not None:  # it has not set off yet
                asked.answer(Ended(False, str(Outcome.INTERRUPTED), STOPPED))
            client.answer(Accepted("it rests"))

    def _take_go(self, go: Go, client: Client) -> None:
        if self._driving_to is not None or self._asked is not None:
            client.answer(Refused("it drives to a goal: edge-wm stop ends that"))
        elif go.goal is None and self._errands.of_mission():
            if client.accept_go("the mission goes on"):
                self._mission.resume()
        elif go.goal is None:
            client.answer(Refused("it has no mission: name a goal, or put [mission] into its drive.toml"))
        elif self._mission.under_way:
            client.answer(Refused("a mission is under way: edge-wm stop ends that"))
        else:
            try:
                errand = self._errands.to_point(go.goal, from_here=go.frame == "here")
            except BadInput as why:
                client.answer(Refused(str(why)))
                return
            if client.accept_go(f"it drives to {errand.name}"):
                self._asked, client.waits = _Asked(errand, client), True

    def _now(self) -> Now:
        manifest = self._pilot.model.manifest
        waiting = self._mission.stopped and not self._mission.over
        return Now(
            state="driving" if self._driving_to is not None else "waiting" if waiting else "resting",
            model=f"{manifest.name} {manifest.version}",
            goal=self._driving_to,
            pose=self._errands.pose,
            goals=self._goals,
            reached=self._reached,
            ticks=self._ticks,
            missed=self._missed,
            realtime=tuple(self._realtime.got),
            problem=self._problem,
        )

    # --- driving -----------------------------------------------------------------------------------------------------

    def _drive_next(self) -> bool:
        """Drive to what was asked for, or else to the mission's goal if one is due.  Returns whether there was any."""
        asked, self._asked = self._asked, None
        errand = asked.errand if asked is not None else self._mission.next
        if errand is None:
            return False
        self._stop_why = None
        result, outcome = self._drive(errand)
        self._goals += 1
        self._reached += result.reached
        self._say(f"{errand.name}: {_told(result)}")
        if asked is not None:
            asked.answer(Ended(result.reached, result.outcome, result.message))
        elif outcome is not Outcome.INTERRUPTED:
            self._mission.driven(result.reached)
        if self._changes is not None and outcome is not Outcome.INTERRUPTED:
            self._look(self._changes)
        # An exception that ended a drive, and all that it holds, are otherwise there until Python finds a full collection
        # worth its while: seen as 2 MB a drive.
        gc.collect()
        return True

    def _drive(self, errand: Errand) -> tuple[GoalResult, Outcome]:
        """One drive, recorded if that can be.  Raises BadInput if the robot is not there."""
        self._manager.status(f"drives to {errand.name}")
        self._manager.busy(BUSY_S)
        with errand.begin() as body:
            recorder = self._recorder()
            watching: list[Callable[[Tick], None]] = [self._lives, self._errands.tick]
            if self._errands.has_place:
                with contextlib.suppress(OSError):
                    self._sign_of_driving.touch()
            self._driving_to = body.goal_xy
            if recorder is not None:
                recorder.goal_started(GoalStart(1, 1, body.goal_xy, None, errand.name))
                records = TickRecords(
                    self._pilot, 1, body.goal_xy, [recorder.tick], true_pose=body.true_pose, with_map=False
                )
                watching.append(records.tick)
            if self._changes is not None:
                self._changes.begin(body.goal_xy)
                watching.append(self._changes.tick)
            try:
                with self._realtime.driving():
                    ended = self._pilot.drive(
                        body.sensors, body.bridge, body.goal_xy, watching, stop=self._reason_to_stop
                    )
            finally:
                self._driving_to = None
            self._ending = ended.outcome is Outcome.INTERRUPTED  # by a signal, whatever else was asked
            if ended.outcome is Outcome.FAULT and ended.message == self._stop_why:
                ended = replace(ended, outcome=Outcome.INTERRUPTED)
            self._manager.busy(BUSY_S)
            self._missed += ended.missed
            result = body.result(ended)
            self._errands.ended(ended)
            if self._changes is not None:
                self._changes.ended(ended, result.outcome)
            if recorder is not None:
                records.end(ended)
                self._write_down(recorder, result)
        return result, ended.outcome

    def _lives(self, tick: Tick) -> None:
        """The loop's first callback: hear requests, count, and give the sign of life that only a tick can give.

        Nothing else belongs here: a callback that raises is not called again, and nobody could stop the robot then.
        """
        self._ticks += 1
        self._requests.poll()
        self._manager.alive()

    def _reason_to_stop(self) -> str | None:
        if self._stop_why is not None:
            return self._stop_why
        return self._changes.reason_to_stop() if self._changes is not None else None

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _recorder(self) -> RunRecorder | None:
        """For one drive; None, and one line the first time, if nothing can be recorded."""
        prune(self._runs, self._record.keep - 1, (self._record.megabytes << 20))
        try:
            folder = create_run_folder(self._runs)
        except BadInput as why:
            self._complain(f"drives are not recorded: {why}")
            return None
        return RunRecorder(
            folder, tick_s=self._pilot.robot.rates.tick_s, title="edge-wm serve", pictures=False
        )

    def _write_down(self, recorder: RunRecorder, result: GoalResult) -> None:
        recorder.goal_done(result)
        recorder.finish(self._facts())
        self._complain(recorder.problem)

    def _complain(self, problem: str) -> None:
        if problem and problem != self._problem:
            self._say(f"warning: {problem}")
        self._problem = problem or self._pilot.fell_back or ""

    def _facts(self) -> dict[str, Any]:
        manifest = self._pilot.model.manifest
        return {
            "model": f"{manifest.name} {manifest.version}",
            "model_sha256": self._pilot.model.sha256,
            "execution": str(self._pilot.execution),
            "fell_back": self._pilot.fell_back,
            "robot": self._pilot.robot.name,
            "clock": "simulated" if isinstance(self._clock, SimulatedClock) else "real time",
            "realtime": ", ".join(self._realtime.got),
            "not_permitted": "; ".join(self._realtime.refused),
        }


def serve(file: Path, *, fast: bool, say: Say) -> int:
    """Drive until the process is asked to end.

    Args:
        file: ``drive.toml``.
        fast: simulated time; of use with the simulated robot only.
        say: prints a line for the journal.

    Returns:
        0: it was asked to end, and the robot stands.

    Raises:
        BadInput: the file is wrong, the robot does not answer, or there is no model that it can drive by.
    """
    manager = ServiceManager()
    manager.busy(BUSY_S)
    try:
        with interrupted_by_stop_signals() as signals, ExitStack() as stack:
            stack.callback(manager.stopping)
            service = _begin(file, SimulatedClock() if fast else MonotonicClock(), manager, say, stack)
            with contextlib.suppress(KeyboardInterrupt):  # while nothing was driving
                service.run(signals)
            service.forget()
    except KeyboardInterrupt:  # while it began
        pass
    except BadInput as why:
        manager.status(f"error: {why}")
        raise
    finally:
        manager.close()
    say("ends as asked: motors at rest")
    return 0


def _begin(file: Path, clock: Clock, manager: ServiceManager, say: Say, stack: ExitStack) -> Service:
    """Everything that must be there before the robot can drive; ``stack`` takes it down in reverse order."""
    config = load_service_file(file)
    robot_file = file.parent / config.robot if config.robot is not None else DEFAULT_ROBOT
    robot = load_robot(robot_file)
    realtime = RealtimeSetup(config.realtime)
    realtime.begin()
    # First of all: whoever drove before may have been killed, and its motors are disarmed here.
    errands = stack.enter_context(errands_of(robot, robot_file, clock, config.mission))
    pilot, changes = stack.enter_context(_pilot(config, file, robot, clock, _without_repetitions(say)))
    realtime.rehearsed()
    service = Service(config, file, pilot, changes, errands, clock, realtime, manager, say)
    stack.callback(service.close)
    manifest = pilot.model.manifest
    say(f"{manifest.name} {manifest.version} ({pilot.execution}) is ready to drive robot {robot.name}")
    for line in realtime.got:
        say(f"real time: {line}")
    for line in realtime.refused:
        say(f"warning: {line}")
    return service


@contextmanager
def _pilot(
    config: ServiceFile, file: Path, robot: Robot, clock: Clock, say: Say
) -> Iterator[tuple[Pilot, ModelChanges | None]]:
    """A rehearsed pilot, and what changes its model."""
    if config.updates is None:
        pilot = Pilot(robot, file.parent / config.model if config.model else DEFAULT_MODEL, clock)
        pilot.rehearse()
        yield pilot, None
        return
    # A robot without updates starts sooner without them.
    from edge_wm.drive.model_changes import pilot_by_updates
    from edge_wm.update.config import folders_of, load_config

    updates = file.parent / config.updates
    told = load_config(updates)
    with pilot_by_updates(folders_of(told, updates), robot, clock, told.shadow, told.trial, say) as both:
        yield both


def _without_repetitions(say: Say) -> Say:
    """A full disk is found anew at every look; the journal need not hear of it every time."""
    last = ""

    def said(line: str) -> None:
        nonlocal last
        if line != last:
            last = line
            say(line)

    return said


def _told(result: GoalResult) -> str:
    """One line for a person."""
    return f"{result.outcome} after {result.time_s:.1f} s{result.message and f': {result.message}'}"
