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
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, State, Store
from edge_wm.update.updater import Updater, open_updater
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
        promise(f"given up {tried.model}")


def rolled_back(robot: Path, promise: Promise) -> None:
    scenario = Scenario.of_environment()
    with Store(scenario.folders(robot).store) as store:
        left = store.installed(store.active)
        assert left is not None
        store.go_back("given up by hand")
        promise(f"given up {left.model}")


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


@dataclass(frozen=True)
class Case:
    """A flow, and the robot that it begins with."""

    flow: Flow
    begins: str
    repository: str


CASES = {
    "first install": Case(first_install, "new", "1.0.0"),
    "full": Case(whole, "at 1.0.0", "2.0.0"),
    "delta": Case(delta, "at 2.0.0", "2.0.1"),
    "commit": Case(trial_passed, "trying 2.0.0", "2.0.0"),
    "failed trial": Case(trial_failed, "trying 2.0.0", "2.0.0"),
    "rollback": Case(rolled_back, "at 2.0.0", "2.0.1"),
    "root rotation": Case(root_rotated, "at 2.0.0", "rotated"),
    "crash during recovery": Case(recovered, "trying 2.0.0", "2.0.0"),
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
    before = _sequence(scenario.folders(scenario.robot(case.begins)))
    _check_store(folders, said)
    started = start(folders, run_once)
    sequence = started.installed.sequence if started.installed is not None else 0
    for what, *facts in said:
        if what == "committed":
            assert (sequence, started.model) == (int(facts[0]), facts[1]), "an acknowledged commit is lost"
        if what == "given up":
            assert started.model != facts[0], "a model drives that was given up"
    if case.flow is not rolled_back:
        assert sequence >= before, f"went back from release {before} to {sequence}"
    _complete(scenario, robot, case)


def _sequence(folders: Folders) -> int:
    if not folders.store.exists():
        return 0
    with Store(folders.store) as store:
        installed = store.installed(store.active)
    return installed.sequence if installed is not None else 0


def _check_store(folders: Folders, said: list[list[str]]) -> None:
    """What the store says is so."""
    if not folders.store.exists():
        assert not said, "the store is lost"
        return
    with Store(folders.store) as store:
        attempt = store.attempt
        for slot in {store.active, store.previous, attempt.slot or FACTORY} - {FACTORY}:
            installed = store.installed(slot)
            if installed is not None:
                assert load_bundle(folders.slot(slot)).sha256 == installed.model, f"slot {slot} is damaged"
        floors = store.trust().floors
        for what, *facts in said:
            if what == "trusts":
                assert floors["timestamp"].version >= int(facts[0]), "what was trusted is forgotten"
            if what == "staged":
                models = [store.installed(slot) for slot in ("a", "b")]
                given_up = any(event.event == "rolled back" for event in store.history())
                assert given_up or facts[0] in [model.model for model in models if model], "staged, and gone"


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
