"""What a robot knows of its models and updates; every step is one transaction.

``state.db`` is the only place where anything is decided: a slot's files are nothing until a row says what they are.  The
files themselves are in ``slots.py``; who may change what, and when, in ``updater.py`` and ``model_changes.py``.

    idle ─▶ fetching ─▶ staged ─▶ trial ─▶ committed
                │          │        └────▶ rolled back
                └──────────┴──────────────▶ rolled back
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from edge_wm.errors import BadInput
from edge_wm.update.database import DamagedStore, Database
from edge_wm.update.release import Release

if TYPE_CHECKING:
    from edge_wm.update.trust import TrustState

SCHEMA_VERSION = 1
MAX_FAILURES = 3
"""After so many failures a model is in quarantine: no update brings it again."""
KEPT_HISTORY = 1000
PIN = "pin"
"""Setting: the model of the channel that the robot stays with."""
LOOK_FAILED = "look failed"
"""Setting: when the newest look of the service failed, and why; not set if it went well."""
TIME_FLOOR = "time floor"
"""Setting: the latest time that was certain."""

FACTORY = "factory"
SLOTS = ("a", "b")

_SCHEMA = """
CREATE TABLE slot (name TEXT PRIMARY KEY, model TEXT, title TEXT, version TEXT, channel TEXT, sequence INTEGER) WITHOUT ROWID;
INSERT INTO slot (name) VALUES ('a'), ('b');
CREATE TABLE choice (one INTEGER PRIMARY KEY CHECK (one = 1), active TEXT NOT NULL, previous TEXT NOT NULL);
INSERT INTO choice VALUES (1, 'factory', 'factory');
CREATE TABLE attempt (one INTEGER PRIMARY KEY CHECK (one = 1), state TEXT NOT NULL, slot TEXT,
                      shadowed INTEGER NOT NULL, begun INTEGER NOT NULL, counts BLOB);
INSERT INTO attempt VALUES (1, 'idle', NULL, 0, 0, NULL);
CREATE TABLE failed (model TEXT PRIMARY KEY, times INTEGER NOT NULL, quarantined INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE metadata (role TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE floor (name TEXT PRIMARY KEY, version INTEGER NOT NULL, keys TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE history (number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, event TEXT NOT NULL, model TEXT,
                      version TEXT, sequence INTEGER, detail TEXT NOT NULL);
"""


class State(str, Enum):
    """Of the newest update."""

    IDLE = "idle"
    FETCHING = "fetching"
    STAGED = "staged"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


_SAID = {State.TRIAL: "on trial", State.FETCHING: "being fetched"}
"""How a state is spoken of, if not by its name."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model in a slot: the hash of its manifest, its name and version, and which release of which channel it was."""

    model: str
    title: str
    version: str
    channel: str
    sequence: int

    @classmethod
    def of(cls, release: Release, channel: str) -> Installed:
        """What a slot holds after this release."""
        return cls(release.model, release.name, release.version, channel, release.sequence)

    def __str__(self) -> str:
        return f"{self.title} {self.version} ({self.model[:12]})"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The newest update.

    Attributes:
        state: how far it is.
        slot: where it goes to.
        shadowed: whether its model has planned beside the one that drives, and did well.
        begun: whether it drives, or drove when the process ended that should have said how it went.
        counts: of a trial that was paused, see ``trial.py``.
    """

    state: State
    slot: str | None
    shadowed: bool
    begun: bool
    counts: bytes | None


@dataclass(frozen=True, slots=True)
class Failure:
    """How often a model failed on this robot, why it did last, and whether it is in quarantine."""

    model: str
    times: int
    quarantined: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the history; ``at`` is wall-clock seconds, as right as the clock was."""

    at: float
    event: str
    model: str | None
    version: str | None
    sequence: int | None
    detail: str


class Store(Database):
    """The open ``state.db`` of one robot; made if it is not there.

    Args:
        file: where it is; its folder exists.
        wall: seconds since 1970, for the history only.

    Raises:
        BadInput: see ``Database``.
    """

    def __init__(self, file: Path, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        super().__init__(file, _SCHEMA, SCHEMA_VERSION)

    # --- which model drives ------------------------------------------------------------------------------------------

    @property
    def choice(self) -> tuple[str, str]:
        """The slot that drives, ``a``, ``b`` or ``factory``, and the slot to go back to."""
        active, previous = self._one("SELECT active, previous FROM choice")
        return str(active), str(previous)

    @property
    def active(self) -> str:
        """The slot that drives."""
        return self.choice[0]

    @property
    def previous(self) -> str:
        """The slot to go back to."""
        return self.choice[1]

    def installed(self, slot: str) -> Installed | None:
        """The model that is whole in this slot; None for an empty or unfinished one, and for the factory's."""
        rows = self._rows(
            "SELECT model, title, version, channel, sequence FROM slot WHERE name = ? AND model IS NOT NULL",
            slot,
        )
        return Installed(*rows[0]) if rows else None

    @property
    def attempt(self) -> Attempt:
        """The newest update."""
        state, slot, shadowed, begun, counts = self._one(
            "SELECT state, slot, shadowed, begun, counts FROM attempt"
        )
        try:
            return Attempt(State(state), slot, bool(shadowed), bool(begun), counts)
        except ValueError as error:
            raise DamagedStore(self.file, str(error)) from error

    @property
    def coming(self) -> Installed | None:
        """The model that is staged or on trial; None if there is none."""
        attempt = self.attempt
        if attempt.slot is None or attempt.state not in (State.STAGED, State.TRIAL):
            return None
        return self.installed(attempt.slot)

    def committed(self) -> list[tuple[str, Installed]]:
        """The slots to drive by, the best first; the factory's is what is left if none of them will do."""
        slots = [(slot, self.installed(slot)) for slot in (self.active, self.previous)]
        return [(slot, installed) for slot, installed in slots if installed is not None]

    # --- the steps of an update --------------------------------------------------------------------------------------

    def begin_fetch(
        self, new: Installed, keep: str | None = None, choice: tuple[str, str] | None = None
    ) -> str:
        """``-> fetching``: from now on a slot that does not drive is nobody's model.  Returns that slot.

        Args:
            new: what is fetched.
            keep: the slot that drives, or would at the next start; None for the active one.  After a revocation, or damage,
                that is another.
            choice: ``choice`` when it was decided to fetch this, and to keep that; None for what it is now.

        Raises:
            BadInput: a trial has not ended, or has ended since that was decided.
        """
        with self.transaction() as db:
            attempt = self.attempt
            if attempt.state is State.TRIAL:
                raise BadInput(
                    "a model is on trial: wait until its trial has ended, or end it: edge-wm update rollback"
                )
            active, previous = self.choice
            if choice not in (None, (active, previous)):
                raise BadInput(
                    "a trial has ended meanwhile, and another model drives: ask again what is to come: edge-wm update fetch"
                )
            keep = keep or active
            free = [name for name in SLOTS if name != keep]
            if attempt.state is State.FETCHING and attempt.slot in free:
                slot = str(attempt.slot)
            else:
                slot = min(free, key=lambda name: (name == active, name == previous))
            if slot == active:
                db.execute("UPDATE choice SET active = ?, previous = ?", (keep, FACTORY))
            elif slot == previous:
                db.execute("UPDATE choice SET previous = ?", (FACTORY,))
            self._empty(slot)
            told = [(event.event, event.model) for event in self.history(1)]
            if attempt.state is not State.FETCHING or told != [("fetching", new.model)]:
                self._note("fetching", new)
            self._now(State.FETCHING, slot)
        return slot

    def stage(self, new: Installed) -> None:
        """``fetching -> staged``: the slot holds the whole model, on disk and proven."""
        with self.transaction() as db:
            attempt = self._expect(State.FETCHING)
            db.execute(
                "UPDATE slot SET model = ?, title = ?, version = ?, channel = ?, sequence = ? WHERE name = ?",
                (new.model, new.title, new.version, new.channel, new.sequence, attempt.slot),
            )
            self._now(State.STAGED, attempt.slot)
            self._note("staged", new)

    def begin_trial(self) -> None:
        """``staged -> trial``: the next drive is by the new model."""
        with self.transaction():
            attempt = self._expect(State.STAGED)
            self._now(State.TRIAL, attempt.slot)
            self._note("trial", self.installed(str(attempt.slot)))

    def shadow_passed(self) -> None:
        """The model on trial has planned beside the one that drives, and may drive itself."""
        with self.transaction() as db:
            self._expect(State.TRIAL)
            db.execute("UPDATE attempt SET shadowed = 1")

    def trial_drives(self) -> None:
        """The new model begins to drive: if nobody says how that ended, it ended badly."""
        with self.transaction() as db:
            self._expect(State.TRIAL)
            db.execute("UPDATE attempt SET begun = 1")

    def trial_pauses(self, counts: bytes | None) -> None:
        """The robot was stopped in an orderly way before the trial was decided; it goes on with the next drive."""
        with self.transaction() as db:
            self._expect(State.TRIAL)
            db.execute("UPDATE attempt SET begun = 0, counts = ?", (counts,))

    def commit(self, detail: str = "") -> None:
        """``trial -> committed``: from now on the new model drives, and no release before it is taken."""
        with self.transaction() as db:
            attempt = self._expect(State.TRIAL)
            new = self.installed(str(attempt.slot))
            assert new is not None
            active, _ = self.choice
            db.execute("UPDATE choice SET active = ?, previous = ?", (attempt.slot, active))
            self._now(State.COMMITTED, attempt.slot)
            db.execute("DELETE FROM failed WHERE model = ? AND NOT quarantined", (new.model,))
            self._note("committed", new, detail)

    def fail(self, model: Installed, reason: str, *, quarantine: bool = False) -> Failure:
        """``-> rolled back``: the model failed; after :data:`MAX_FAILURES` times, or at once if asked, for good."""
        with self.transaction():
            self._fail(model, reason, quarantine)
            failure = self.failure(model.model)
        assert failure is not None
        return failure

    def _fail(self, model: Installed, reason: str, quarantine: bool) -> None:
        coming = self.coming
        if coming is not None and coming.model == model.model:
            self._empty(str(self.attempt.slot))
        self._now(State.ROLLED_BACK, None)
        self._count_failure(model, reason, quarantine)
        self._note("rolled back", model, reason)

    def withdraw(self, reason: str) -> None:
        """``staged -> idle``: the model is not wanted any more; it did not fail."""
        with self.transaction():
            attempt = self._expect(State.STAGED)
            model = self.installed(str(attempt.slot))
            self._empty(str(attempt.slot))
            self._now(State.IDLE, None)
            self._note("withdrawn", model, reason)

    def go_back(self, reason: str) -> str:
        """Drive by the previous slot again; the model that drove is quarantined.  Returns the slot.

        Raises:
            BadInput: the factory's model drives already.
        """
        with self.transaction() as db:
            active, previous = self.choice
            left = self.installed(active)
            if active == FACTORY or left is None:
                raise BadInput("the factory's model drives already: there is nothing to go back to")
            db.execute("UPDATE choice SET active = ?, previous = ?", (previous, FACTORY))
            self._now(State.ROLLED_BACK, None)
            self._count_failure(left, reason, True)
            self._note("rolled back", left, reason)
        return previous

    def _count_failure(self, model: Installed, reason: str, quarantine: bool) -> None:
        self._db.execute(
            "INSERT INTO failed VALUES (?, 1, ?, ?) ON CONFLICT (model) DO UPDATE SET times = times + 1,"
            " quarantined = quarantined OR excluded.quarantined OR times + 1 >= ?, reason = excluded.reason",
            (model.model, int(quarantine or MAX_FAILURES <= 1), reason, MAX_FAILURES),
        )

    def _now(self, state: State, slot: str | None) -> None:
        """Another state; what was only true in the one before is forgotten."""
        self._db.execute(
            "UPDATE attempt SET state = ?, slot = ?, shadowed = 0, begun = 0, counts = NULL",
            (state.value, slot),
        )

    def _empty(self, slot: str) -> None:
        self._db.execute(
            "UPDATE slot SET model = NULL, title = NULL, version = NULL, channel = NULL, sequence = NULL WHERE name = ?",
            (slot,),
        )

    def _expect(self, state: State) -> Attempt:
        attempt = self.attempt
        if attempt.state is not state:
            raise BadInput(
                f"no update is {_SAID.get(state, state.value)}; the newest one is {attempt.state.value}: edge-wm update status"
            )
        return attempt

    # --- what the repository has signed ------------------------------------------------------------------------------

    def trust(self) -> TrustState:
        """The metadata that was believed last, and what no later metadata may fall below."""
        from edge_wm.update.trust import Floor, TrustState

        metadata = {
            str(role): bytes(content) for role, content in self._rows("SELECT role, content FROM metadata")
        }
        floors = {
            str(name): Floor(int(version), str(keys))
            for name, version, keys in self._rows("SELECT name, version, keys FROM floor")
        }
        said = self.setting(TIME_FLOOR)
        try:
            time_floor = datetime.fromisoformat(said) if said else None
        except ValueError as error:
            raise DamagedStore(self.file, str(error)) from error
        return TrustState(metadata.pop("root", None), metadata, floors, time_floor)

    def keep_trust(self, state: TrustState) -> None:
        """All of it is on disk when this returns, or none: half of it would be no repository that ever was."""
        rows = dict(state.metadata)
        if state.root is not None:
            rows["root"] = state.root
        with self.transaction() as db:
            db.execute("DELETE FROM metadata")
            db.executemany("INSERT INTO metadata VALUES (?, ?)", rows.items())
            db.execute("DELETE FROM floor")
            db.executemany(
                "INSERT INTO floor VALUES (?, ?, ?)",
                ((name, floor.version, floor.keys) for name, floor in state.floors.items()),
            )
            db.execute("DELETE FROM setting WHERE name = ?", (TIME_FLOOR,))
            if state.time_floor is not None:
                db.execute("INSERT INTO setting VALUES (?, ?)", (TIME_FLOOR, state.time_floor.isoformat()))

    # --- what failed, settings, history ------------------------------------------------------------------------------

    def failure(self, model: str) -> Failure | None:
        """How often this model failed here; None if it never did."""
        rows = self._rows("SELECT model, times, quarantined, reason FROM failed WHERE model = ?", model)
        return Failure(rows[0][0], rows[0][1], bool(rows[0][2]), rows[0][3]) if rows else None

    def why_quarantined(self, model: str) -> str | None:
        """Why no update brings this model again and no start takes it; None if they do."""
        failure = self.failure(model)
        return failure.reason if failure is not None and failure.quarantined else None

    def quarantined(self) -> tuple[Failure, ...]:
        """All models that no update brings again."""
        rows = self._rows("SELECT model, times, reason FROM failed WHERE quarantined ORDER BY model")
        return tuple(Failure(model, times, True, reason) for model, times, reason in rows)

    def revoke(self, models: Container[str], reason: str) -> None:
        """No update brings these models again; one that drives, or is on trial, is given up at the robot's next rest or start."""
        with self.transaction():
            coming = self.coming
            if coming is not None and coming.model in models and self.attempt.state is State.STAGED:
                self._fail(coming, reason, True)
                coming = None
            here = [installed for _, installed in self.committed()] + ([coming] if coming is not None else [])
            for installed in here:
                if installed.model in models and self.why_quarantined(installed.model) is None:
                    self._count_failure(installed, reason, True)
                    self._note("quarantined", installed, reason)

    def forgive(self, model: str) -> None:
        """Forget that a model failed."""
        with self.transaction() as db:
            db.execute("DELETE FROM failed WHERE model = ?", (model,))

    def setting(self, name: str) -> str | None:
        """What was set by hand; None if nothing was."""
        rows = self._rows("SELECT value FROM setting WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def set(self, name: str, value: str | None) -> None:
        """Remember a setting; None forgets it."""
        with self.transaction() as db:
            db.execute("DELETE FROM setting WHERE name = ?", (name,))
            if value is not None:
                db.execute("INSERT INTO setting VALUES (?, ?)", (name, value))

    def history(self, newest: int = KEPT_HISTORY) -> list[Event]:
        """The newest events, the oldest of them first."""
        rows = self._rows(
            "SELECT at, event, model, version, sequence, detail FROM history ORDER BY number DESC LIMIT ?",
            newest,
        )
        return [Event(*row) for row in reversed(rows)]

    def _note(self, event: str, what: Installed | None, detail: str = "") -> None:
        """A line of the history, in the transaction of what it tells."""
        named = (what.model, what.version, what.sequence) if what else (None, None, None)
        self._db.execute(
            "INSERT INTO history (at, event, model, version, sequence, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (self._wall(), event, *named, detail),
        )
        self._db.execute(
            "DELETE FROM history WHERE number <= (SELECT max(number) FROM history) - ?", (KEPT_HISTORY,)
        )
