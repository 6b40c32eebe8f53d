"""What updates do to a robot's disk, as flows that are cut off anywhere, and what must hold afterwards.

A scenario is a repository and robots in the states in which the flows begin.  It lies on a disk of its own, so that only what
the robot does is cut off.  Promises are what a flow has been told is done: they must hold whatever comes after.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_wm.bundle.load import load_bundle
from edge_wm.cli import run
from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.update.boot import start
from edge_wm.update.config import UpdateConfig
from edge_wm.update.database import DamagedStore
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, MAX_FAILURES, Installed, State, Store
from edge_wm.update.updater import Updater, open_updater, repair
from edge_wm.world_model import WorldModel
from tests import tiny_model
from tests.update.bundles import KIND, noise

Promise = Callable[[str], None]
Flow = Callable[[Path, Promise], None]

SCENARIO = "EDGE_WM_SCENARIO"
"""Environment variable: the folder of the scenario."""

VERSIONS = {"0.1.0": "0", "1.0.0": "1", "2.0.0": "2", "2.0.1": "2"}
"""Each model's content: those with the same seed differ in a few bytes, and travel as a delta."""


@dataclass(frozen=True)
class Proven:
    """The flows are about the disk: their proof is that the bundle loads."""

    refusal: str | None
    undecided: bool = False


def prove(bundle: Path) -> Proven:
    try:
        load_bundle(bundle)
    except BadInput as why:
        return Proven(str(why))
    return Proven(None)


def make_bundle(directory: Path, version: str) -> Path:
    weights = bytearray(noise(VERSIONS[version], 24_000))
    weights[1000:1008] = version.encode().ljust(8)
    return tiny_model.write_tiny(directory, other_files={"MODEL_CARD.md": bytes(weights)}, version=version)


class Scenario:
    """A repository after each of its decisions, and robots to begin with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_environment(cls) -> Scenario:
        return cls(Path(os.environ[SCENARIO]))

    @property
    def factory(self) -> Path:
        return self.folder / "bundles" / "0.1.0"

    def repository(self, after: str) -> Path:
        return self.folder / "repositories" / after

    def robot(self, state: str) -> Path:
        """A robot's folder to begin a flow with; it may not be there, as on a new robot."""
        return self.folder / "robots" / state

    def make(self) -> None:
        for version in VERSIONS:
            make_bundle(self.folder / "bundles" / version, version)
        work = self.folder / "fleet"
        self._command("init-repo", work, "--robot-kind", KIND)
        for version in ("1.0.0", "2.0.0", "2.0.1"):
            self._command("publish", work, self.folder / "bundles" / version, "--channel", "stable")
            shutil.copytree(work, self.repository(version))
        for role in ("timestamp", "root"):
            self._command("rotate-keys", work, "--role", role)
        shutil.copytree(work, self.repository("rotated"))
        self._command("revoke", work, "2.0.0", "--channel", "stable")
        shutil.copytree(work, self.repository("revoked"))
        for state, steps in ROBOTS.items():
            robot = self.robot(state)
            robot.mkdir(parents=True)
            for step in steps:
                step(self, robot)

    def _command(self, *words: object) -> None:
        code = run(["update", *map(str, words)])
        if code != 0:
            raise AssertionError(f"edge-wm update {words[0]}: exit code {code}")

    def folders(self, robot: Path) -> Folders:
        return Folders(robot / "edge-wm", self.factory)

    @contextmanager
    def updater(self, robot: Path, after: str):
        repository = self.repository(after)
        config = UpdateConfig(
            url=repository.as_uri(),
            robot_kind=KIND,
            robot_id="rover",
            root=str(robot / "edge-wm"),
        )
        trusted_root = (self.repository("1.0.0") / "metadata" / "1.root.json").read_bytes()
        with open_updater(config, self.folders(robot), trusted_root, prove, RobotFetcher()) as updater:
            yield updater


def nothing(text: str) -> None:
    """Nobody is promised anything."""


# --- steps -----------------------------------------------------------------------------------------------------------


def fetch(scenario: Scenario, robot: Path, version: str, promise: Promise) -> None:
    with scenario.updater(robot, version) as updater:
        decision = updater.check()
        promise(f"trusts {trusted(updater)}")
        if decision.release is not None:
            updater.fetch(decision.release)
        if updater.store.attempt.state is State.STAGED:
            promise(f"staged {updater.store.installed(str(updater.store.attempt.slot)).model}")


def trusted(updater: Updater) -> int:
    return updater.store.trust().floors["timestamp"].version


def put_on_trial(scenario: Scenario, robot: Path, begun: bool = True) -> None:
    with Store(scenario.folders(robot).store) as store:
        store.begin_trial()
        store.shadow_passed()
        if begun:
            store.trial_drives()


def commit(scenario: Scenario, robot: Path, promise: Promise) -> None:
    with Store(scenario.folders(robot).store) as store:
        store.commit()
        installed = store.installed(store.active)
        assert installed is not None
        promise(f"committed {installed.sequence} {installed.model}")


def install(scenario: Scenario, robot: Path, version: str, promise: Promise = nothing) -> None:
    fetch(scenario, robot, version, promise)
    put_on_trial(scenario, robot)
    commit(scenario, robot, promise)


def damage_store(scenario: Scenario, robot: Path) -> None:
    file = scenario.folders(robot).store
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_slot(scenario: Scenario, robot: Path) -> None:
    """Of the slot that drives."""
    with Store(scenario.folders(robot).store) as store:
        active = store.active
    file = scenario.folders(robot).slot(active) / "MODEL_CARD.md"
    file.write_bytes(bytes(512) + file.read_bytes()[512:])


ROBOTS: dict[str, tuple[Callable[[Scenario, Path], None], ...]] = {
    "new": (),
    "at 1.0.0": (lambda scenario, robot: install(scenario, robot, "1.0.0"),),
    "at 2.0.0": (
        lambda scenario, robot: install(scenario, robot, "1.0.0"),
        lambda scenario, robot: install(scenario, robot, "2.0.0"),
    ),
    "trying 2.0.0": (
        lambda scenario, robot: install(scenario, robot, "1.0.0"),
        lambda scenario, robot: fetch(scenario, robot, "2.0.0", nothing),
        lambda scenario, robot: put_on_trial(scenario, robot),
    ),
    "at 2.0.0, its store damaged": (
        lambda scenario, robot: install(scenario, robot, "1.0.0"),
        lambda scenario, robot: install(scenario, robot, "2.0.0"),
        damage_store,
    ),
    "at 2.0.0, its slot damaged": (
        lambda scenario, robot: install(scenario, robot, "1.0.0"),
        lambda scenario, robot: install(scenario, robot, "2.0.0"),
        damage_slot,
    ),
}
"""What was done to each robot before."""


# --- flows -----------------------------------------------------------------------------------------------------------


def first_install(robot: Path, promise: Promise) -> None:
    install(Scenario.of_environment(), robot, "1.0.0", promise)


def whole(robot: Path, promise: Promise) -> None:
    """Another model, none of whose weights are on the robot."""
    install(Scenario.of_environment(), robot, "2.0.0", promise)


def delta(robot: Path, promise: Promise) -> None:
    """A model that is almost the same, into the slot of an older one."""
    install(Scenario.of_environment(), robot, "2.0.1", promise)


def trial_passed(robot: Path, promise: Promise) -> None:
    commit(Scenario.of_environment(), robot, promise)


def trial_failed(robot: Path, promise: Promise) -> None:
    scenario = Scenario.of_environment()
    with Store(scenario.folders(robot).store) as store:
        tried = store.installed(str(store.attempt.slot))
        assert tried is not None
        store.fail(tried, "missed 12 of 100 deadlines")
        promise(f"left {tried.model}")


def rolled_back(robot: Path, promise: Promise) -> None:
    scenario = Scenario.of_environment()
    with Store(scenario.folders(robot).store) as store:
        left = store.installed(store.active)
        assert left is not None
        store.go_back("given up by hand")
        promise(f"left {left.model}")


def root_rotated(robot: Path, promise: Promise) -> None:
    with Scenario.of_environment().updater(robot, "rotated") as updater:
        updater.check()
        promise(f"trusts {trusted(updater)}")


def recovered(robot: Path, promise: Promise) -> None:
    """A start after a crash in a trial, and the update once more."""
    scenario = Scenario.of_environment()
    started = start(scenario.folders(robot), run_once)
    promise("started " + started.model)
    install(scenario, robot, "2.0.0", promise)


def crashing(robot: Path, promise: Promise) -> None:
    """A model whose trials all end in a crash, until it is in quarantine."""
    scenario = Scenario.of_environment()
    folders = scenario.folders(robot)
    for _ in range(MAX_FAILURES):
        fetch(scenario, robot, "2.0.0", nothing)
        with Store(folders.store) as store:
            if store.attempt.state is State.STAGED:
                store.begin_trial()
                store.shadow_passed()
        tried = start(folders, run_once)
        if tried.on_trial:
            promise(f"tries {tried.model}")
        start(folders, run_once)


def revoked(robot: Path, promise: Promise) -> None:
    """The model that drives is revoked, and another one comes in its place."""
    scenario = Scenario.of_environment()
    with scenario.updater(robot, "revoked") as updater:
        left = updater.store.installed(updater.store.active)
        assert left is not None
        updater.check()
        promise(f"left {left.model}")
    install(scenario, robot, "revoked", promise)


def store_repaired(robot: Path, promise: Promise) -> None:
    scenario = Scenario.of_environment()
    aside = repair(scenario.folders(robot))
    assert aside is not None
    promise(f"repaired {aside.name}")
    install(scenario, robot, "2.0.1", promise)


def slot_repaired(robot: Path, promise: Promise) -> None:
    """The model that should drive is damaged: it is fetched once more."""
    install(Scenario.of_environment(), robot, "2.0.0", promise)


@dataclass(frozen=True)
class Case:
    """A flow, and the robot that it begins with.

    Attributes:
        flow: what is done.
        begins: the robot, see ``ROBOTS``.
        repository: what its publisher has decided by then.
        goes_back: whether it gives up the model that drives.
        store_damaged: whether the robot's store is, until somebody has repaired it.
    """

    flow: Flow
    begins: str
    repository: str
    goes_back: bool = False
    store_damaged: bool = False


CASES = {
    "first install": Case(first_install, "new", "1.0.0"),
    "full": Case(whole, "at 1.0.0", "2.0.0"),
    "delta": Case(delta, "at 2.0.0", "2.0.1"),
    "commit": Case(trial_passed, "trying 2.0.0", "2.0.0"),
    "failed trial": Case(trial_failed, "trying 2.0.0", "2.0.0"),
    "rollback": Case(rolled_back, "at 2.0.0", "2.0.1", goes_back=True),
    "root rotation": Case(root_rotated, "at 2.0.0", "rotated"),
    "crash during recovery": Case(recovered, "trying 2.0.0", "2.0.0"),
    "crashes in trials": Case(crashing, "at 1.0.0", "2.0.0"),
    "revocation": Case(revoked, "at 2.0.0", "revoked", goes_back=True),
    "repair of the store": Case(store_repaired, "at 2.0.0, its store damaged", "2.0.1", store_damaged=True),
    "repair of a slot": Case(slot_repaired, "at 2.0.0, its slot damaged", "2.0.0"),
}


# --- what must hold --------------------------------------------------------------------------------------------------


def run_once(bundle: Path) -> str:
    """Load the model and make it observe once.  Returns its hash."""
    loaded = load_bundle(bundle)
    model = WorldModel(loaded, Execution(precision="fp32"))
    state = model.initial_state()
    plans = np.zeros((tiny_model.N, tiny_model.H, 2), dtype=np.float32)
    assert np.isfinite(model.imagine(state, plans, np.zeros(2, dtype=np.float32))["value"]).all()
    return loaded.sha256


def check(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """What must hold after the flow of this name was cut off, and that the update can still be completed.

    Raises:
        AssertionError: something does not hold.
    """
    scenario, case = Scenario.of_environment(), CASES[name]
    folders = scenario.folders(robot)
    said = [promise.split() for promise in promises]
    _check_store(scenario, folders, case, said)
    check_start(name, robot, promises)
    _check_trials(folders, said)
    if case.store_damaged:
        repair(folders)
    _complete(scenario, robot, case)


def check_start(name: str, robot: Path, promises: tuple[str, ...]) -> None:
    """That the robot starts with what it was promised.

    Raises:
        AssertionError: it does not.
    """
    scenario, case = Scenario.of_environment(), CASES[name]
    said = [promise.split() for promise in promises]
    before = _sequence(scenario.folders(scenario.robot(case.begins)))
    started = start(scenario.folders(robot), run_once)
    sequence = started.installed.sequence if started.installed is not None else 0
    left = set()
    for what, *facts in said:
        if what == "left":
            left.add(facts[0])
        if what == "committed":
            left.discard(facts[1])
            assert (sequence, started.model) == (int(facts[0]), facts[1]), "an acknowledged commit is lost"
    assert started.model not in left, "a model drives that was given up"
    if not case.goes_back:
        assert sequence >= before, f"went back from release {before} to {sequence}"


def _sequence(folders: Folders) -> int:
    """Of the release that a robot starts with, as far as its disk is sound."""
    if not folders.store.exists():
        return 0
    try:
        with Store(folders.store) as store:
            return next((model.sequence for slot, model in store.committed() if _is_whole(folders, slot)), 0)
    except DamagedStore:
        return 0


def _is_whole(folders: Folders, slot: str) -> bool:
    try:
        load_bundle(folders.slot(slot))
    except BadInput:
        return False
    return True


def _holds(folders: Folders, slot: str, installed: Installed) -> bool:
    return _is_whole(folders, slot) and load_bundle(folders.slot(slot)).sha256 == installed.model


def _check_store(scenario: Scenario, folders: Folders, case: Case, said: list[list[str]]) -> None:
    """What the store says is so."""
    began = scenario.folders(scenario.robot(case.begins))
    asides = [facts[0] for what, *facts in said if what == "repaired"]
    for aside in asides:
        kept = folders.store.with_name(aside)
        assert kept.read_bytes() == began.store.read_bytes(), "the damaged store is not kept"
    if not folders.store.exists():
        assert not said, "the store is lost"
        return
    try:
        store = Store(folders.store)
    except DamagedStore:
        if asides or not case.store_damaged:
            raise
        return
    with store:
        attempt = store.attempt
        for slot in {store.active, store.previous, attempt.slot or FACTORY} - {FACTORY}:
            installed = store.installed(slot)
            if installed is not None and not _holds(folders, slot, installed):
                assert _damaged_before(began, slot, store), f"slot {slot} is damaged"
        floors = store.trust().floors
        for what, *facts in said:
            if what == "trusts":
                assert floors["timestamp"].version >= int(facts[0]), "what was trusted is forgotten"
            if what == "staged":
                models = [store.installed(slot) for slot in ("a", "b")]
                given_up = any(event.event == "rolled back" for event in store.history())
                assert given_up or facts[0] in [model.model for model in models if model], "staged, and gone"


def _damaged_before(began: Folders, slot: str, store: Store) -> bool:
    """Whether a slot was damaged before the flow, and no update has begun since."""
    if not began.store.exists() or _is_whole(began, slot):
        return False
    with Store(began.store) as before:
        return before.history(1) == store.history(1)


def _check_trials(folders: Folders, said: list[list[str]]) -> None:
    """Each trial that began, and that nobody ended, counts; three are a quarantine."""
    if ["committed"] in [words[:1] for words in said]:
        return
    for model in {words[1] for words in said if words[0] == "tries"}:
        crashes = said.count(["tries", model])
        with Store(folders.store) as store:
            failure = store.failure(model)
        counted = failure.times if failure is not None else 0
        assert counted >= crashes, f"{counted} of {crashes} crashes in a trial count"
        assert failure is None or failure.quarantined or counted < MAX_FAILURES, (
            "failed for good, and may come again"
        )


def _complete(scenario: Scenario, robot: Path, case: Case) -> None:
    """The next look brings the robot to what the repository offers, unless it gave that up."""
    fetch(scenario, robot, case.repository, nothing)
    folders = scenario.folders(robot)
    with Store(folders.store) as store:
        state = store.attempt.state
    if state is State.STAGED:
        put_on_trial(scenario, robot)
        commit(scenario, robot, nothing)
    elif state is State.TRIAL:
        commit(scenario, robot, nothing)
    started = start(folders, run_once)
    with Store(folders.store) as store:
        assert store.attempt.state in (State.COMMITTED, State.ROLLED_BACK, State.IDLE)
        floor = store.trust().floors["timestamp"].version
        has = store.installed(store.active)
    assert started.slot == FACTORY or (has is not None and started.model == has.model)
    metadata = msgspec.json.decode(
        (scenario.repository(case.repository) / "metadata" / "timestamp.json").read_bytes()
    )
    assert floor == metadata["signed"]["version"]
