"""A rollout server's word on *when*: which model it wants on this robot now, and what it hears of that.

It never has a word on *what is authentic*: it names a model or a version, and only a release of the signed channel that is
for this robot, and no older than what drives, is fetched, from the signed repository.  So whoever holds the rollout server can
hold updates back, and can no more than that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta, Struct

from edge_wm.errors import BadInput, one_line
from edge_wm.update.locks import DRIVING, held
from edge_wm.update.release import Channel, Release
from edge_wm.update.slots import Folders
from edge_wm.update.store import Installed, State, Store

ORDER = "rollout order"
"""Setting of the store: the ``Order`` that has not ended."""

ActionId = Annotated[str, Meta(pattern=r"^-?[0-9]{1,19}\Z")]
Progress = Literal["proceeding", "success", "failure"]


class Wanted(Struct, frozen=True):
    """What the server wants now: the model, by version or by (the beginning of) its hash, and what it calls this wish."""

    action_id: ActionId
    model: str


class Cancel(Struct, frozen=True):
    """The server wants an action ended before it is done."""

    action_id: ActionId
    stops: ActionId


class Rollouts(Protocol):
    """A rollout server.  All of its methods raise BadInput if it cannot be reached or not be understood."""

    def wanted(self) -> Wanted | Cancel | None:
        """What it wants of this robot; None if nothing, or not yet."""

    def report(self, action_id: str, state: Progress, details: str) -> None:
        """Say how far an action is, or how it ended."""

    def answer(self, cancel: Cancel, accepted: bool, details: str) -> None:
        """Say whether an action was ended."""


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """An action that the robot is at work on.

    Attributes:
        action_id: what the server calls it.
        model: hash of the release's model.
        failures: how often that had failed here before.
        told: what the server heard last.
    """

    action_id: ActionId
    model: str
    failures: int
    told: str = ""


def released(model: str, channel: Channel, robot_id: str, has: Installed | None) -> Release:
    """The release that a rollout server may give to this robot.

    Args:
        model: version or beginning of the hash, as the server named it.
        channel: signed.
        robot_id: of this robot.
        has: what drives; None if that is the factory's.

    Raises:
        BadInput: the channel has no such release, or not for this robot, or the robot would go back.
    """
    named = f"{one_line(model)[:64]}: the rollout server wants it, but"
    if len(model) >= 8 and any(revoked.startswith(model) for revoked in channel.revoked):
        raise BadInput(f"{named} its publisher has revoked it")
    release = channel.find(model)
    if release is None:
        raise BadInput(f"{named} channel {channel.channel} has no such release: publish it first")
    if not release.is_for(robot_id):
        raise BadInput(
            f"{named} it is released for {release.fraction:.0%} of the robots, and not this one: promote it first"
        )
    older = has is not None and has.channel == channel.channel and release.sequence < has.sequence
    if older and has is not None and has.model != release.model:
        raise BadInput(f"{named} it is older than what the robot has: to go back, publish it again")
    return release


class Follower:
    """Follows a rollout server: remembers in the store what it is at work on, and tells how that ends.

    Args:
        rollouts: the server.
        store: of this robot; its updating lock is held.
        folders: of this robot.
        robot_id: of this robot.
    """

    def __init__(self, rollouts: Rollouts, store: Store, folders: Folders, robot_id: str) -> None:
        self._rollouts, self._store, self._folders, self._robot_id = rollouts, store, folders, robot_id

    def release(self, channel: Channel) -> Release | None:
        """What to fetch now; None if nothing is wanted, or what is wanted drives already.

        Raises:
            BadInput: the server cannot be reached, or wants what it may not give; it is told so.
        """
        wanted = self._rollouts.wanted()
        if isinstance(wanted, Cancel):
            self._cancel(wanted)
            return None
        if wanted is None:
            return None
        has = self._store.installed(self._store.active)
        try:
            release = released(wanted.model, channel, self._robot_id, has)
            why = self._store.why_quarantined(release.model)
            if why is not None:
                raise BadInput(f"{release.name} {release.version} is in quarantine on this robot: {why}")
        except BadInput as why:
            self._remember(None)
            self._rollouts.report(wanted.action_id, "failure", str(why))
            raise
        order = self._order()
        if order is None or (order.action_id, order.model) != (wanted.action_id, release.model):
            failure = self._store.failure(release.model)
            self._remember(Order(wanted.action_id, release.model, failure.times if failure else 0))
        if has is not None and has.model == release.model:
            self.settle()
            return None
        return release

    def settle(self, problem: str | None = None) -> None:
        """Tell the server how its newest order fares, if that has changed.

        Args:
            problem: what keeps the robot from carrying it out for now, such as a repository that is away.

        Raises:
            BadInput: the server cannot be reached; the next call tells it.
        """
        order = self._order()
        if order is None:
            return
        state, details = self._progress(order)
        if problem is not None and state == "proceeding":
            details = problem
        if details != order.told or state != "proceeding":
            self._rollouts.report(order.action_id, state, details)
        self._remember(msgspec.structs.replace(order, told=details) if state == "proceeding" else None)

    def _progress(self, order: Order) -> tuple[Progress, str]:
        active = self._store.installed(self._store.active)
        failure = self._store.failure(order.model)
        if failure is not None and (failure.quarantined or failure.times > order.failures):
            return "failure", failure.reason
        if active is not None and active.model == order.model:
            return "success", f"{active} drives"
        return "proceeding", {State.STAGED: "staged", State.TRIAL: "on trial", None: "to be fetched"}[
            self._stage(order)
        ]

    def _stage(self, order: Order) -> Literal[State.STAGED, State.TRIAL] | None:
        """How far the order's model is; None before it is staged and after its trial."""
        coming = self._store.coming
        if coming is None or coming.model != order.model:
            return None
        return State.STAGED if self._store.attempt.state is State.STAGED else State.TRIAL

    def _cancel(self, cancel: Cancel) -> None:
        """End an order whose model is not on trial yet; of one that the robot does not know nothing is left to end."""
        order = self._order()
        if order is None or order.action_id != cancel.stops:
            self._rollouts.answer(cancel, True, "nothing of it is left on the robot")
            return
        with suppress(BadInput), held(self._folders.driving_lock, DRIVING):
            self._withdraw(order)
        stage = self._stage(order)
        state, details = self._progress(order)
        if stage is State.STAGED:
            return  # the robot drives, and may take the model at its next rest: a later look knows
        if stage is State.TRIAL or state == "success":
            self._rollouts.answer(cancel, False, f"too late: {details}")
        else:
            self._rollouts.answer(cancel, True, "ended before its trial")
            self._remember(None)

    def _withdraw(self, order: Order) -> None:
        """Empty the slot of a staged model.  The driving lock is held: nobody takes it meanwhile."""
        if self._stage(order) is State.STAGED:
            self._store.withdraw("canceled by the rollout server")

    def _order(self) -> Order | None:
        said = self._store.setting(ORDER)
        if said is None:
            return None
        try:
            return msgspec.json.decode(said, type=Order)
        except (msgspec.DecodeError, ValueError):
            return None

    def _remember(self, order: Order | None) -> None:
        said = msgspec.json.encode(order).decode() if order is not None else None
        if said != self._store.setting(ORDER):
            self._store.set(ORDER, said)
