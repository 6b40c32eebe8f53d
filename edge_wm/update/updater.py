"""One update of one robot, step by step: look, fetch, prove, put on trial.

``check`` asks the repository, ``fetch`` brings the release into the slot that does not drive and proves it, ``apply`` puts
it on trial.  Each can be stopped at any point and called again; whatever happens, the robot keeps a model that drives.
How the trial goes is for the driving process to say (``edge_wm/drive/model_changes.py``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

from edge_wm import __version__
from edge_wm.bundle.load import Bundle, load_bundle
from edge_wm.errors import BadInput
from edge_wm.update.assemble import (
    BrokenForm,
    Piece,
    Plan,
    contents,
    files_of,
    plan,
    read_unchanged,
    without,
)
from edge_wm.update.config import UpdateConfig
from edge_wm.update.database import DamagedStore
from edge_wm.update.download import download
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.locks import DRIVING, UPDATING, held
from edge_wm.update.metered import is_metered
from edge_wm.update.release import Channel, Release, form_target
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, PIN, SLOTS, Installed, State, Store
from edge_wm.update.time_trust import trusted_time
from edge_wm.update.trust import Target, TrustedRepository

SPARE_BYTES = 16 << 20
"""Left free on the disk: a full one stops more than updates."""
REVOKED = "revoked by its publisher"


class Proven(Protocol):
    """What came of proving a bundle on this board; see ``proof.py``."""

    @property
    def refusal(self) -> str | None:
        """Why it must not drive; None if it may."""

    @property
    def undecided(self) -> bool:
        """Whether the refusal says nothing against the model."""


Prove = Callable[[Path], Proven]


@dataclass(frozen=True)
class Decision:
    """What a look at the repository came to.

    Attributes:
        release: what to fetch; None if nothing.
        why: one line for a person.
    """

    release: Release | None
    why: str


class Updater:
    """The updates of one robot, see ``open_updater``.

    Attributes:
        choose: which release of a channel is for this robot now; a rollout server may have a word in it.
    """

    def __init__(
        self,
        config: UpdateConfig,
        folders: Folders,
        store: Store,
        trusted_root: bytes,
        prove: Prove,
        fetcher: RobotFetcher,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config, self.folders, self.store = config, folders, store
        self._trusted_root, self._prove, self._fetcher, self._wall = trusted_root, prove, fetcher, wall
        self._repository: TrustedRepository | None = None
        self._choice: tuple[str, str] | None = None
        self.choose: Callable[[Channel], Release | None] = lambda channel: channel.release_for(
            config.robot_id
        )

    # --- look --------------------------------------------------------------------------------------------------------

    def check(self, *, again: bool = False) -> Decision:
        """Ask the repository which model this robot should have.

        Args:
            again: also a model that is in quarantine here, unless its publisher has revoked it.

        Raises:
            BadInput: it cannot be reached or not be believed; the robot keeps its model.
        """
        self._fetcher.begin()
        state = self.store.trust()
        now = trusted_time(state.time_floor, self._wall, unset=self.config.believe_unset_clock)
        repository = TrustedRepository(self.config.url, self._trusted_root, state, self._fetcher, now=now)
        try:
            repository.refresh(self.config.robot_kind)
        finally:  # of a look that failed a newer root may have come of it
            if repository.state is not state:
                self.store.keep_trust(repository.state)
        self._repository = repository
        channel = repository.channel(self.config.robot_kind, self.config.channel)
        self.store.revoke(channel.revoked, REVOKED)
        self._choice = self.store.choice  # a process that drives may end a trial at any time
        return self._decide(channel, again)

    def _decide(self, channel: Channel, again: bool) -> Decision:
        pin = self.store.setting(PIN)
        release = channel.find(pin) if pin else self.choose(channel)
        if release is None and pin:
            raise BadInput(
                f"{pin}: pinned, and not on channel {channel.channel}: edge-wm update pin --none, or another"
            )
        if release is None:
            return Decision(None, f"channel {channel.channel} has nothing for this robot")
        new = Installed.of(release, channel.channel)
        if again:  # no release of a channel is revoked
            self.store.forgive(release.model)
        why = self.store.why_quarantined(release.model)
        if why is not None:
            return Decision(None, f"{new} is in quarantine: {why}")
        if _numbers(release.requires) > _numbers(__version__):
            raise BadInput(
                f"{new} needs edge-wm {release.requires}, this is {__version__}: install a newer edge-wm"
            )
        if self.store.coming == new:
            where = "staged" if self.store.attempt.state is State.STAGED else "on trial"
            return Decision(None, f"{new} is {where}")
        slot, _ = self._drives()
        has = self.store.installed(slot)
        if has is not None:
            if has.model == release.model:
                return Decision(None, f"{has} is the newest")
            if not pin and has.channel == channel.channel and release.sequence <= has.sequence:
                return Decision(None, f"{has} is newer than what the channel offers")
        return Decision(release, f"{new} is to come")

    def _drives(self) -> tuple[str, Bundle | None]:
        """The slot of the next start, and its bundle: not always the active one, after a revocation or with a damaged disk."""
        for slot, installed in self.store.committed():
            if self.store.why_quarantined(installed.model) is None:
                bundle = self._sound(slot)
                if bundle is not None and bundle.sha256 == installed.model:
                    return slot, bundle
        return FACTORY, None

    def _sound(self, slot: str) -> Bundle | None:
        try:
            return load_bundle(self.folders.slot(slot), roles=(), golden=False)
        except BadInput:
            return None

    # --- fetch -------------------------------------------------------------------------------------------------------

    def plan(self, release: Release) -> Plan:
        """What must be fetched for a release, given what is here."""
        here: dict[str, Path] = {}
        for bundle in (self._sound(FACTORY), self._drives()[1]):  # what does not verify is no source
            here |= files_of(bundle) if bundle is not None else {}
        return plan(release, here)

    def fetch(
        self,
        release: Release,
        progress: Callable[[int, int], None] | None = None,
        *,
        metered_ok: bool = False,
    ) -> None:
        """Bring a release of ``check`` into the slot that does not drive, and prove it: then it is staged.

        Args:
            release: what to fetch.
            progress: is told the bytes that are here and the bytes of all.
            metered_ok: whatever the bytes cost.

        Raises:
            BadInput: it cannot be fetched, costs too much, or fails in its proof; the robot keeps its model.
        """
        new = Installed.of(release, self.config.channel)
        to_do = self.plan(release)
        self._allow(to_do, metered_ok)
        slot = self.store.begin_fetch(new, self._drives()[0], self._choice)
        self._fetcher.begin()
        while (broken := self._fill(slot, to_do, progress or (lambda here, of: None))) is not None:
            try:
                to_do = self.plan(without(to_do.release, broken.piece))
            except BadInput:  # there is no other way to this file
                self.store.fail(new, str(broken))
                raise BadInput(f"{new} is refused, the robot keeps its model: {broken}") from None
            self._allow(to_do, metered_ok)
        proven = self._prove(self.folders.slot(slot))
        if proven.undecided:
            raise BadInput(f"{new} could not be proven now, the robot keeps its model: {proven.refusal}")
        refusal = proven.refusal or self._misfit(slot, release)
        if refusal is not None:
            self.store.fail(new, refusal)
            raise BadInput(f"{new} is refused, the robot keeps its model: {refusal}")
        self.store.stage(new)
        with suppress(OSError):  # the next fetch tries again
            for file in self.folders.incoming.iterdir():
                file.unlink()

    def _allow(self, to_do: Plan, metered_ok: bool) -> None:
        """Raise BadInput if fetching this costs too much, or there is no room for it."""
        if not metered_ok:
            self._refuse_metered(to_do)
        try:
            self._make_room(to_do)
        except OSError as error:
            raise BadInput(f"{error.filename or self.folders.incoming}: {error.strerror}") from error

    def _fill(self, slot: str, to_do: Plan, progress: Callable[[int, int], None]) -> BrokenForm | None:
        """Fetch what is missing and put the bundle together.  Returns what does not give its file, if there is such a thing."""
        self._bring(to_do, progress)
        try:
            self.folders.fill(slot, contents(to_do, self._fetched))
        except BrokenForm as broken:
            with suppress(OSError):  # it is not wanted again
                self._incoming(broken.piece).unlink()
            return broken
        except OSError as error:
            raise BadInput(f"{error.filename or self.folders.slot(slot)}: {error.strerror}") from error
        return None

    def _bring(self, to_do: Plan, progress: Callable[[int, int], None]) -> None:
        done = 0
        for piece in to_do.to_fetch:
            assert piece.form is not None
            target = self._target(piece)
            if target.size != piece.form.size:
                raise BadInput(
                    f"{target.url}: the channel says {piece.form.size} bytes, its signature {target.size}"
                )
            download(
                self._fetcher,
                target.url,
                self._incoming(piece),
                size=target.size,
                sha256=target.sha256,
                progress=partial(_add, progress, done, to_do.bytes_to_fetch),
            )
            done += target.size

    def _fetched(self, piece: Piece) -> bytes:
        """What :meth:`_bring` brought.  Raises BadInput if it has changed since, or OSError."""
        return read_unchanged(self._incoming(piece), self._target(piece).sha256)

    def _target(self, piece: Piece) -> Target:
        assert self._repository is not None, "check comes first"
        return self._repository.target(self._path(piece))

    def _incoming(self, piece: Piece) -> Path:
        """Where it is downloaded to."""
        return self.folders.incoming / self._path(piece).rpartition("/")[2]

    def _path(self, piece: Piece) -> str:
        """Of the target that is fetched for a piece."""
        assert piece.form is not None
        return form_target(self.config.robot_kind, piece.file, piece.form)

    def _make_room(self, to_do: Plan) -> None:
        """Throw away what was fetched for other releases.  Raises BadInput if the update does not fit, or OSError."""
        wanted = {self._incoming(piece).name for piece in to_do.to_fetch}
        here = 0
        for file in self.folders.incoming.iterdir():
            if file.name in wanted:
                here += file.stat().st_size
            else:
                file.unlink()
        needed = to_do.release.size + to_do.bytes_to_fetch - here + SPARE_BYTES
        free = shutil.disk_usage(self.folders.root).free
        if free < needed:
            raise BadInput(
                f"{self.folders.root}: {free >> 20} MiB free, the update needs {(needed >> 20) + 1}: make room"
            )

    def _misfit(self, slot: str, release: Release) -> str | None:
        """Why a bundle that was proven is not the one that was asked for; None if it is."""
        bundle = load_bundle(self.folders.slot(slot), roles=(), golden=False)
        kind = bundle.manifest.robot_kind
        if bundle.sha256 != release.model:
            return f"the bundle is {bundle.sha256[:12]}, the release {release.model[:12]}"
        if kind != self.config.robot_kind:
            return f"it is made for {kind}, this robot is a {self.config.robot_kind}"
        return None

    def _refuse_metered(self, to_do: Plan) -> None:
        """Raise BadInput if the link costs money and the update is larger than what is allowed then."""
        to_fetch, network = to_do.bytes_to_fetch, self.config.network
        if to_fetch > network.metered_bytes and is_metered(network.metered):
            raise BadInput(
                f"the link is metered and the update is {to_fetch / 1e6:.1f} MB, more than network.metered_bytes:"
                " edge-wm update fetch --metered-ok fetches it nevertheless"
            )

    # --- put on trial, and go back -----------------------------------------------------------------------------------

    def apply(self) -> Installed:
        """Put the staged model on trial: the next drive is by it.

        Raises:
            BadInput: nothing is staged, or the robot drives.
        """
        with held(self.folders.driving_lock, DRIVING):
            self.store.begin_trial()
        new = self.store.coming
        assert new is not None
        return new

    def roll_back(self) -> str:
        """End a trial, or give up the active model for the one before; either is not taken again.  Returns what was given up.

        Raises:
            BadInput: there is nothing to go back to, or the robot drives.
        """
        with held(self.folders.driving_lock, DRIVING):
            tried = self.store.coming
            if tried is not None:
                self.store.fail(tried, "given up by hand", quarantine=True)
                return str(tried)
            active = self.store.installed(self.store.active)
            self.store.go_back("given up by hand")
            return str(active)


@contextmanager
def open_updater(
    config: UpdateConfig,
    folders: Folders,
    trusted_root: bytes,
    prove: Prove,
    fetcher: RobotFetcher,
    wall: Callable[[], float] = time.time,
) -> Iterator[Updater]:
    """The updater of this robot, alone at work on it.

    Raises:
        BadInput: another one is at work, or the folder or the store cannot be used.
    """
    _make(folders)
    with held(folders.updating_lock, UPDATING), Store(folders.store, wall) as store:
        yield Updater(config, folders, store, trusted_root, prove, fetcher, wall)


def repair(folders: Folders) -> Path | None:
    """Put a damaged store aside and start a new one; None if it is sound.  Returns where the damaged one is.

    With the store the robot forgets which metadata it has seen: what the time and the signatures allow is believed again.

    Raises:
        BadInput: the robot drives or is updated, or the folder cannot be used.
    """
    _make(folders)
    with held(folders.updating_lock, UPDATING), held(folders.driving_lock, DRIVING):
        try:
            with Store(folders.store) as store:
                _read_all(store)
        except DamagedStore:
            names = (f"{folders.store.name}.damaged-{number}" for number in count(1))
            aside = next(path for name in names if not (path := folders.store.with_name(name)).exists())
            folders.store.rename(aside)
            folders.store.with_name(folders.store.name + "-journal").unlink(missing_ok=True)
            Store(folders.store).close()
            return aside
    return None


def _make(folders: Folders) -> None:
    try:
        folders.make()
    except OSError as error:
        raise BadInput(f"{error.filename or folders.root}: {error.strerror}") from error


def _read_all(store: Store) -> None:
    """Everything that is ever read of a store.  Raises DamagedStore."""
    for slot in SLOTS:
        store.installed(slot)
    store.attempt, store.active, store.trust(), store.history(), store.quarantined()


def _add(progress: Callable[[int, int], None], before: int, of: int, here: int) -> None:
    progress(before + here, of)


def _numbers(version: str) -> tuple[int, ...]:
    """``1.2.3`` of a version, whatever follows."""
    return tuple(int(part) for part in version.partition("+")[0].partition("-")[0].split(".")[:3])
