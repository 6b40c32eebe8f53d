"""New models in a process that drives: beside the old one as a shadow, then on trial, then kept or given up.

The model changes only while the robot rests between two goals, and only in this process: it holds the driving lock.  What is
about to happen is in the store before it happens, so that a crash is found to be one at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edge_wm.clock import Clock
from edge_wm.control.loop import RunResult, Tick
from edge_wm.drive.pilot import Pilot, Prepared
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.robot import Robot
from edge_wm.update.boot import CRASHED, Started, refuse_another, start
from edge_wm.update.criteria import ShadowCriteria, TrialCriteria
from edge_wm.update.locks import held
from edge_wm.update.shadow import Shadow
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, Installed, State, Store
from edge_wm.update.trial import Trial, TrialCounts, TrialState

TAKEN = "another process drives this robot already"

Say = Callable[[str], object]


class ModelChanges:
    """Watches one pilot's drives, and changes its model between them.

    Args:
        folders: of the robot.
        pilot: who drives.
        started: what it drives by.
        shadow, trial: what a new model must show.
        say: prints a line for the person or the journal.
    """

    def __init__(
        self,
        folders: Folders,
        pilot: Pilot,
        started: Started[Pilot],
        shadow: ShadowCriteria,
        trial: TrialCriteria,
        say: Say,
    ) -> None:
        self._folders, self._pilot, self._say = folders, pilot, say
        self._shadow_criteria, self._trial_criteria = shadow, trial
        self._shadow: Shadow | None = None
        self._trial: Trial | None = None
        self._former: tuple[Prepared, str] | None = None
        self._model: Installed | None = None
        self._unwritten: str | None = None
        """Why a model was given up, as long as the store has not taken that."""
        self._begin(started)

    # --- while it drives ---------------------------------------------------------------------------------------------

    def begin(self, goal_xy: tuple[float, float]) -> None:
        """Call it before each drive: metres, odometry frame."""
        if self._shadow is not None:
            self._shadow.begin(goal_xy)

    def tick(self, tick: Tick) -> None:
        """A callback of the control loop."""
        if self._shadow is not None:
            self._shadow.tick(tick)
        if self._trial is not None:
            self._trial.tick(tick)

    def reason_to_stop(self) -> str | None:
        """Why the drive should end now; None if it should not."""
        if self._trial is None:
            return None
        verdict = self._trial.verdict()
        return f"the trial failed: {verdict.why}" if verdict.state is TrialState.FAILED else None

    def ended(self, result: RunResult, outcome: str) -> None:
        """Call it at the end of each drive; ``outcome`` is what became of it, see ``Trial.ended``."""
        if self._trial is not None:
            self._trial.ended(result, outcome)

    # --- while it rests ----------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """The robot stands: decide what has to be decided.  Whatever goes wrong here, it drives on by the model it has."""
        try:
            with Store(self._folders.store) as store:
                if self._revoked(store):
                    return
                if self._trial is not None:
                    self._judge_trial(store, self._trial)
                elif self._shadow is not None:
                    self._judge_shadow(store, self._shadow)
                else:
                    self._look(store)
        except BadInput as why:
            self._say(f"warning: {why}")

    def _revoked(self, store: Store) -> bool:
        """Give up the model that drives if it has come into quarantine meanwhile; whether that is so.

        The factory's is all that there is then, whatever its publisher says of it.
        """
        why = store.why_quarantined(self._pilot.model.sha256)
        if why is None or self._slot == FACTORY:
            return False
        if self._trial is not None:
            self._give_up(store, why)
        else:
            self._drive_by(start(self._folders, self._pilot.prepare))
            self._say(f"the model that drove is given up, the model before drives: {why}")
        return True

    def _drive_by(self, started: Started[Prepared]) -> None:
        self._pilot.take(started.model)
        self._begin(started)

    def _begin(self, started: Started[Any]) -> None:
        """What drives now, and whether it is on trial."""
        self._slot = started.slot
        if started.on_trial:
            with Store(self._folders.store) as store:
                self._trial = Trial(self._trial_criteria, _counts(store.attempt.counts))
            self._model = started.installed

    def _look(self, store: Store) -> None:
        """Let a model that has come plan beside the one that drives."""
        attempt = store.attempt
        if attempt.state is State.STAGED:
            store.begin_trial()
        elif attempt.state is not State.TRIAL:
            return
        self._model = store.coming
        if attempt.begun:  # it was given up here, and that could not be written down then
            self._give_up(store, self._unwritten or CRASHED)
            return
        if attempt.shadowed:
            self._take(store, str(attempt.slot))
            return
        bundle = self._folders.slot(str(attempt.slot))
        assert self._model is not None
        try:
            refuse_another(bundle, self._model)
        except BadInput as why:
            self._give_up(store, str(why))
            return
        self._shadow = Shadow(bundle, self._pilot.robot, criteria=self._shadow_criteria)
        self._say(f"{self._model} plans beside the model that drives")

    def _judge_shadow(self, store: Store, shadow: Shadow) -> None:
        verdict = shadow.verdict()
        if verdict is None:
            return
        self._shadow = None
        assert self._model is not None
        revoked = store.why_quarantined(self._model.model)  # meanwhile
        if revoked is not None:
            self._give_up(store, revoked)
        elif verdict.passed:
            self._say(f"{self._model}: {verdict}")
            store.shadow_passed()
            self._take(store, str(store.attempt.slot))
        elif verdict.undecided:
            self._say(f"{self._model} is asked again: {verdict}")
        else:
            self._give_up(store, verdict.refusal or str(verdict))

    def _take(self, store: Store, slot: str) -> None:
        """Drive by the new model from the next goal on."""
        assert self._model is not None
        store.trial_drives()  # first: even to load it may be the end of this process
        try:
            refuse_another(self._folders.slot(slot), self._model)
            prepared = self._pilot.prepare(self._folders.slot(slot))
        except BadInput as why:
            self._give_up(store, str(why))
            return
        except KeyboardInterrupt:  # somebody ends the process, not the model
            store.trial_pauses(store.attempt.counts)
            raise
        self._former = self._pilot.take(prepared), self._slot
        self._slot = slot
        self._trial = Trial(self._trial_criteria, _counts(store.attempt.counts))
        self._say(f"{self._model} is on trial: it drives from now on")

    def _judge_trial(self, store: Store, trial: Trial) -> None:
        verdict = trial.verdict()
        if verdict.state is TrialState.PASSED:
            store.commit(verdict.why)
            self._say(f"{self._model} has passed its trial: {verdict.why}")
            self._trial = self._former = None
        elif verdict.state is TrialState.FAILED:
            self._give_up(store, verdict.why)

    def _give_up(self, store: Store, reason: str) -> None:
        """Back to the model before.  It drives again even if that cannot be written down: the next start finds a crash."""
        in_use, self._trial = self._trial is not None, None
        assert self._model is not None
        self._unwritten = reason
        try:
            store.fail(self._model, reason)
            self._unwritten = None
        finally:
            if in_use:
                self._go_back()
            self._say(f"{self._model} is given up, the model before drives: {reason}")

    def _go_back(self) -> None:
        if self._former is None:  # the trial began in an earlier process
            self._drive_by(start(self._folders, self._pilot.prepare))
            return
        former, self._slot = self._former
        self._pilot.take(former)
        self._former = None

    def close(self) -> None:
        """Let go of the shadow."""
        if self._shadow is not None:
            self._shadow.close()
            self._shadow = None

    def pause(self) -> None:
        """The process ends in good order: a trial goes on with the next one."""
        if self._trial is None:
            return
        verdict = self._trial.verdict()
        try:
            with Store(self._folders.store) as store:
                if verdict.state is TrialState.FAILED and self._model is not None:
                    store.fail(self._model, verdict.why)
                else:
                    store.trial_pauses(msgspec.json.encode(self._trial.counts))
        except BadInput as why:
            self._say(f"warning: {why}: the trial will count as a crash")


def _counts(data: bytes | None) -> TrialCounts | None:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=TrialCounts)
    except msgspec.DecodeError:
        return None


@contextmanager
def pilot_by_updates(
    folders: Folders,
    robot: Robot,
    clock: Clock,
    shadow: ShadowCriteria,
    trial: TrialCriteria,
    say: Say,
    *,
    execution: Execution | None = None,
    seed: int = 0,
) -> Iterator[tuple[Pilot, ModelChanges]]:
    """A pilot that drives by the model that updates chose, and what changes its model.

    Args:
        folders: of the robot.
        robot: that drives.
        clock: the loop's.
        shadow: what a new model must show beside the old one.
        trial: what it must show when it drives.
        say: prints a line for the person or the journal.
        execution: see ``Pilot``.
        seed: see ``Pilot``.

    Raises:
        BadInput: another process drives this robot, or not even the factory's model can be used.
    """
    try:
        folders.make()
    except OSError as error:
        say(f"warning: {error.filename or folders.root}: {error.strerror}: no update can be tried")
    with held(folders.driving_lock, TAKEN):

        def rehearsed(bundle: Path) -> Pilot:
            pilot = Pilot(robot, bundle, clock, execution=execution, seed=seed)
            pilot.rehearse()  # here, so that a model that fails in it is passed over
            return pilot

        started = start(folders, rehearsed)
        for note in started.notes:
            say(f"note: {note}")
        changes = ModelChanges(folders, started.model, started, shadow, trial, say)
        try:
            changes.rest()
            yield started.model, changes
        except (KeyboardInterrupt, BadInput):
            changes.pause()
            raise
        else:  # any other exception is a crash, which the next start finds
            changes.pause()
        finally:
            changes.close()
