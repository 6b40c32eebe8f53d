"""Updates on a schedule: look, fetch, prove, put on trial; and tell the fleet.

After failures the waits grow, up to the usual one.  Robots of one fleet look at different times, so that they do not all ask
at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from edge_wm.clock import Clock, MonotonicClock
from edge_wm.errors import BadInput
from edge_wm.fleet.hawkbit import Hawkbit, attributes_of
from edge_wm.fleet.publisher import StatusPublisher
from edge_wm.fleet.rollouts import Follower
from edge_wm.fleet.status import RobotStatus, robot_status
from edge_wm.update.boot import open_store
from edge_wm.update.config import UpdateConfig, folders_of, load_config
from edge_wm.update.release import Channel, Release
from edge_wm.update.robot_updater import robot_updater
from edge_wm.update.status import status_of
from edge_wm.update.store import LOOK_FAILED, State, Store
from edge_wm.update.time_trust import trusted_time
from edge_wm.update.updater import Updater

FIRST_RETRY_S = 60.0
SPREAD = 0.2
"""A wait is so much longer or shorter, by chance."""
TELL_EVERY_S = 30.0
"""So often is looked whether there is something to tell: the process that drives changes it, too."""
OVERDUE_AFTER = 2.0
"""A robot that looks once every so often is overdue after so many times as long."""
TELL_ONCE_S = 10.0
"""How long to wait for a broker when there is one look only."""

Say = Callable[[str], object]


class Schedule:
    """When to look next; ``chance`` is this robot's."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._retry_s = FIRST_RETRY_S

    def after(self, well: bool, every_s: float) -> float:
        """Seconds until the next look: ``every_s`` if this one went well; if not, twice as long each time, up to that."""
        wait = every_s if well else min(self._retry_s, every_s)
        self._retry_s = FIRST_RETRY_S if well else 2.0 * self._retry_s
        return wait * self._chance.uniform(1.0 - SPREAD, 1.0 + SPREAD)


def look(updater: Updater, say: Say) -> None:
    """One look: whatever is to come is fetched, proven, and put on trial if the robot stands still.

    A robot that drives takes the staged model itself, at its next rest.

    Raises:
        BadInput: see ``Updater.check`` and ``Updater.fetch``.
    """
    decision = updater.check()  # during a trial too: its model may have been revoked
    say(decision.why)
    if decision.release is not None and updater.store.attempt.state is not State.TRIAL:
        updater.fetch(decision.release)
    if updater.store.attempt.state is State.STAGED:
        try:
            say(f"{updater.apply()} is on trial from the next drive on")
        except BadInput as why:
            say(f"staged: {why}")


class Service:
    """The updates of one robot, as its ``update.toml`` says now; a context manager, which takes leave of the fleet.

    Args:
        file: ``update.toml``.
        say: prints a line for the person or the journal.

    Raises:
        BadInput: the file is wrong.
    """

    def __init__(self, file: Path, say: Say) -> None:
        self._file, self._say = file, say
        self.config = load_config(file)
        self.poll_s: float | None = None
        """Seconds after which a rollout server wants to be asked again; None if none said so."""
        self._problem: str | None = None
        self._publisher: StatusPublisher | None = None

    def __enter__(self) -> Service:
        self._meet()
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave()

    def reload(self) -> None:
        """Read the file again; what it said before holds if it is wrong now."""
        before = self.config
        try:
            self.config = load_config(self._file)
        except BadInput as why:
            self._say(f"{why}: what it said before still holds")
        if _told_to(self.config) != _told_to(before):
            self._leave()
            self._meet()

    def _meet(self) -> None:
        """Begin to tell the fleet, if the file names a broker."""
        config = self.config
        if config.mqtt is not None:
            self._publisher = StatusPublisher(
                config.mqtt, self._file.parent, config.robot_kind, config.robot_id
            )
            self._publisher.start()

    def _leave(self, asleep_s: float | None = None) -> None:
        if self._publisher is not None:
            self._publisher.close(asleep_s=asleep_s)
        self._publisher = None

    def sleep(self) -> None:
        """Take leave of the fleet until somebody starts the next look."""
        self._leave(OVERDUE_AFTER * self.config.every_h * 3600.0)

    def look(self) -> bool:
        """See ``look``.  Returns whether it went well; what went wrong is said, and told to the fleet."""
        try:
            with robot_updater(self._file, self.config) as updater:
                self._look(updater)
        except (BadInput, OSError) as why:
            self._remember(str(why))
            self._say(f"warning: {why}")
            return False
        self._remember(None)
        return True

    def _remember(self, problem: str | None) -> None:
        """What went wrong: for the fleet, and on the disk for the person, as a look by a timer ends with its process."""
        self._problem = problem
        at = datetime.now().astimezone().isoformat(" ", "seconds")
        said = f"{at}: {problem}" if problem is not None else None
        with suppress(BadInput, OSError), Store(folders_of(self.config, self._file).store) as store:
            if said is not None or store.setting(LOOK_FAILED) is not None:
                store.set(LOOK_FAILED, said)

    def _look(self, updater: Updater) -> None:
        config = self.config
        if config.rollout is None:
            look(updater, self._say)
            return
        try:
            server = Hawkbit(config.rollout, self._file.parent, config.robot_id, attributes_of(self.status()))
        except BadInput as why:  # what the publisher has revoked must be heard of nevertheless
            updater.choose = partial(_nothing, why)
            look(updater, self._say)
            raise
        follower = Follower(server, updater.store, updater.folders, config.robot_id)
        updater.choose = follower.release
        try:
            look(updater, self._say)
        except BadInput as why:
            follower.settle(str(why))
            raise
        finally:
            self.poll_s = server.poll_s
        follower.settle()

    def tell(self) -> None:
        """Tell the fleet, if there is one, how this robot is now."""
        if self._publisher is None:
            return
        try:
            self._publisher.publish(self.status())
        except (BadInput, OSError) as why:  # not even the factory's model can be read
            self._say(f"warning: {why}")

    def wait_told(self, limit_s: float) -> None:
        """Wait until the fleet has heard of this robot; say so if it has not."""
        if self._publisher is not None and not self._publisher.wait_delivered(limit_s):
            self._say(f"warning: {self._publisher.problem or 'the broker has not heard of it'}")

    def status(self) -> RobotStatus:
        """What this robot tells its fleet.  Raises BadInput if not even the factory's model can be read."""
        folders = folders_of(self.config, self._file)
        status = status_of(folders)
        try:
            with open_store(folders) as (store, _):
                history, floor = store.history(), store.trust().time_floor
        except BadInput:
            history, floor = [], None
        try:
            trusted_time(floor, unset=self.config.believe_unset_clock)
        except BadInput:
            time_trusted = False
        else:
            time_trusted = True
        return robot_status(self.config, status, history, time_trusted=time_trusted, error=self._problem)


def serve(
    file: Path,
    *,
    once: bool,
    say: Say,
    clock: Clock | None = None,
    chance: random.Random | None = None,
) -> int:
    """Look every so many hours, and tell the fleet, until somebody stops it.

    Args:
        file: ``update.toml``; read again before each look.
        once: look once, then return.
        say: prints a line for the person or the journal.
        clock: to wait on.
        chance: for the spread of the waits.

    Returns:
        0 after a look that went well, 1 after one that did not; only with ``once``.

    Raises:
        BadInput: the file is wrong at the start.
    """
    clock = clock or MonotonicClock()
    schedule = Schedule(chance or random.Random())
    with Service(file, say) as service:
        while True:
            well = service.look()
            service.tell()
            if once:
                service.wait_told(TELL_ONCE_S)
                service.sleep()
                return 0 if well else 1
            wait = schedule.after(well, service.config.every_h * 3600.0)
            due = clock.now() + (wait if service.poll_s is None else min(wait, service.poll_s))
            while clock.now() < due:
                clock.sleep_until(min(due, clock.now() + TELL_EVERY_S))
                service.tell()
            service.reload()


def _nothing(why: BadInput, channel: Channel) -> Release | None:
    """No release is for this robot as long as its rollout server cannot be asked."""
    raise why


def _told_to(config: UpdateConfig) -> tuple[object, ...]:
    return config.mqtt, config.robot_kind, config.robot_id
