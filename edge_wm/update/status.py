"""What drives a robot and how far an update is, as facts for people and machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from edge_wm.bundle.load import load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.boot import open_store
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, LOOK_FAILED, PIN, Event, Failure, Installed, State, Store


class UpdateStatus(Struct, frozen=True):
    """Of one robot.

    Attributes:
        state: of the newest update.
        slot: the one that drives: ``a``, ``b`` or ``factory``.
        active: the model in it.
        previous: the model to go back to; None is the factory's.
        coming: the model that is staged or on trial.
        pin: what the robot stays with, if it does.
        quarantined: models that failed for good.
        newest: the newest event, if there was any.
        look_failed: when the service looked last and why that failed; None if it went well.
        problem: why the store cannot be read; the factory's model drives then.
    """

    state: State
    slot: str
    active: Installed
    previous: Installed | None
    coming: Installed | None
    pin: str | None
    quarantined: tuple[Failure, ...]
    newest: Event | None
    look_failed: str | None = None
    problem: str | None = None

    @property
    def well(self) -> bool:
        """Whether nothing failed."""
        return self.problem is None and self.state is not State.ROLLED_BACK and not self.quarantined

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"drives    {self.active}, slot {self.slot}, {self.active.channel or 'shipped'} {self.active.sequence or ''}".rstrip()
        yield f"before    {self.previous or 'the model it came with'}"
        yield f"update    {self.state.value}{f': {self.coming}' if self.coming else ''}"
        if self.pin:
            yield f"pinned    {self.pin}"
        if self.newest is not None and self.newest.detail:
            yield f"last      {self.newest.event}: {self.newest.detail}"
        if self.look_failed:
            yield f"look      failed {self.look_failed}"
        for failure in self.quarantined:
            yield f"never     {failure.model[:12]}, failed {failure.times} times: {failure.reason}"
        if self.problem:
            yield f"problem   {self.problem}"


def status_of(folders: Folders) -> UpdateStatus:
    """The facts of one robot; changes nothing.

    Raises:
        BadInput: not even the factory's model can be read.
    """
    try:
        with open_store(folders) as (store, _):
            return _status(store, folders)
    except BadInput as why:
        problem = str(why) if folders.store.exists() else None
        return UpdateStatus(
            State.IDLE, FACTORY, factory_model(folders), None, None, None, (), None, problem=problem
        )


def driving_bundle(folders: Folders) -> Path:
    """The bundle that drives a robot; the factory's, which is not looked at, if nothing better is known."""
    try:
        return folders.slot(status_of(folders).slot)
    except BadInput:
        return folders.factory


def _status(store: Store, folders: Folders) -> UpdateStatus:
    attempt, events = store.attempt, store.history(1)
    slot = _drives(store)
    return UpdateStatus(
        state=attempt.state,
        slot=slot,
        active=store.installed(slot) or factory_model(folders),
        previous=store.installed(store.previous),
        coming=store.coming,
        pin=store.setting(PIN),
        quarantined=store.quarantined(),
        newest=events[0] if events else None,
        look_failed=store.setting(LOOK_FAILED),
    )


def _drives(store: Store) -> str:
    """The slot that drives as far as the store knows: whether its files are sound is found out at the start."""
    attempt = store.attempt
    if attempt.begun and attempt.slot is not None:
        return attempt.slot
    usable = (slot for slot, model in store.committed() if store.why_quarantined(model.model) is None)
    return next(usable, FACTORY)


def factory_model(folders: Folders) -> Installed:
    """The model that the robot came with; of no channel."""
    bundle = load_bundle(folders.factory, roles=(), golden=False)
    return Installed(bundle.sha256, bundle.manifest.name, bundle.manifest.version, "", 0)
