"""A robot that drives goal after goal, and the models that come while it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_wm.bundle.load import load_bundle
from edge_wm.clock import SimulatedClock
from edge_wm.control.loop import Outcome, RunResult, Tick
from edge_wm.drive.model_changes import TAKEN, ModelChanges, pilot_by_updates
from edge_wm.drive.pilot import Pilot
from edge_wm.errors import BadInput
from edge_wm.robot import load_robot
from edge_wm.sensors.observation import Observation
from edge_wm.update.criteria import ShadowCriteria, TrialCriteria
from edge_wm.update.slots import Folders
from edge_wm.update.store import FACTORY, Installed, State, Store
from tests.blind_model import node, observe_graph_with_memory, write_blind
from tests.control.fakes import FakeBridge, FakeSensors
from tests.tiny_model import read_manifest, write_manifest
from tests.update.bundles import contents_of

SHADOW = ShadowCriteria(ticks=5, min_planned_share=1.0)
TRIAL = TrialCriteria(min_driven_s=1.0, min_ticks=20, min_goals=2, max_unreached_share=0.5)
GOAL = (1.0, 0.0)
SHADOW_WAIT_S = 30.0


def blind(directory: Path, version: str) -> Path:
    write_blind(directory)
    write_manifest(directory, read_manifest(directory) | {"version": version})
    return directory


def installed(bundle: Path, sequence: int) -> Installed:
    loaded = load_bundle(bundle)
    return Installed(loaded.sha256, loaded.manifest.name, loaded.manifest.version, "stable", sequence)


class Rover:
    """A robot in the open whose wheels do what they are told."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(folder / "robot", blind(folder / "factory", "0.1.0"))
        self.folders.make()
        self.new = blind(folder / "new", "1.0.0")
        self.said: list[str] = []
        self.ticks: list[Tick] = []
        self.clock = SimulatedClock(50.0)
        self.beyond: Callable[[int, Observation], Observation] = lambda index, observation: observation
        self.waits_for_shadow = True

    def stage(self, bundle: Path, sequence: int = 1) -> None:
        with Store(self.folders.store) as store:
            self.folders.fill(store.begin_fetch(installed(bundle, sequence)), contents_of(bundle))
            store.stage(installed(bundle, sequence))

    @contextmanager
    def running(self) -> Iterator[tuple[Pilot, ModelChanges]]:
        with pilot_by_updates(
            self.folders, load_robot(), self.clock, SHADOW, TRIAL, self.said.append
        ) as running:
            yield running

    def drive(self, pilot: Pilot, changes: ModelChanges) -> RunResult:
        bridge, sensors = FakeBridge(), FakeSensors(self.clock)

        def moving(index: int, observation: Observation) -> Observation:
            v, w = bridge.in_force.v, bridge.in_force.w
            arrays = {
                **observation.arrays,
                "wheel": np.array([v, v], dtype=np.float32),
                "gyro": np.array([w], dtype=np.float32),
            }
            return self.beyond(index, replace(observation, arrays=arrays))

        sensors.change = moving
        changes.begin(GOAL)
        result = pilot.drive(
            sensors,
            bridge,
            GOAL,
            [self.ticks.append, changes.tick, self._give_the_shadow_time],
            changes.reason_to_stop,
        )
        changes.ended(result, str(result.outcome))
        changes.rest()
        return result

    def _give_the_shadow_time(self, tick: Tick) -> None:
        """The clock of this robot is faster than that of the shadow's process."""
        if self.waits_for_shadow and tick.index < 12:
            time.sleep(0.02)

    def drive_until(self, pilot: Pilot, changes: ModelChanges, said: str) -> None:
        give_up = time.monotonic() + SHADOW_WAIT_S
        while not any(said in line for line in self.said):
            assert time.monotonic() < give_up, self.said
            self.drive(pilot, changes)

    def state(self) -> tuple[State, str]:
        with Store(self.folders.store) as store:
            return store.attempt.state, store.active


@pytest.fixture
def rover(tmp_path: Path) -> Rover:
    return Rover(tmp_path)


def test_without_updates_it_drives_by_the_factorys_model(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        assert rover.drive(pilot, changes).outcome is Outcome.REACHED
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.said == []


def test_a_model_that_comes_plans_beside_the_old_one_then_drives_then_is_kept(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        rover.drive(pilot, changes)
        rover.stage(rover.new)
        rover.drive_until(pilot, changes, "plans beside the model that drives")
        assert pilot.model.manifest.version == "0.1.0"
        rover.drive_until(pilot, changes, "it drives from now on")
        assert pilot.model.manifest.version == "1.0.0"
        assert rover.state() == (State.TRIAL, FACTORY)
        rover.drive_until(pilot, changes, "has passed its trial")
        assert pilot.model.manifest.version == "1.0.0"
    assert rover.state() == (State.COMMITTED, "a")
    with rover.running() as (pilot, _):
        assert pilot.model.manifest.version == "1.0.0"


def test_the_model_never_changes_while_it_drives(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        rover.stage(rover.new)
        rover.drive_until(pilot, changes, "plans beside")
        seen = []
        at_tick = changes.tick
        changes.tick = lambda tick: (at_tick(tick), seen.append(pilot.model))[0]  # type: ignore[method-assign]
        rover.drive_until(pilot, changes, "it drives from now on")
        assert len({id(model) for model in seen}) == 1
        assert seen[0] is not pilot.model


def test_a_model_that_fails_as_a_shadow_never_drives(rover: Rover, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    nodes = [
        node("Neg", "brightness", "less"),
        node("Log", "less", "nan"),
        node("Reshape", "nan one", "next_memory"),
    ]
    write_blind(broken, observe=observe_graph_with_memory(*nodes))
    rover.stage(broken)
    with rover.running() as (pilot, changes):
        rover.drive_until(pilot, changes, "is given up")
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)
    assert "as a shadow" in rover.said[-1]


def test_another_model_that_is_back_in_the_slot_is_not_tried_under_the_name_of_the_new_one(
    rover: Rover, tmp_path: Path
) -> None:
    other = blind(tmp_path / "other", "0.9.0")
    rover.stage(rover.new)
    rover.folders.fill("a", contents_of(other))
    with rover.running() as (pilot, changes):
        rover.drive(pilot, changes)
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)
    assert any("holds model" in line for line in rover.said)


def test_another_model_that_is_back_in_the_slot_after_the_shadow_does_not_drive(
    rover: Rover, tmp_path: Path
) -> None:
    other = blind(tmp_path / "other", "0.9.0")
    with rover.running() as (pilot, changes):
        rover.stage(rover.new)
        rover.drive_until(pilot, changes, "plans beside the model that drives")
        rover.folders.fill("a", contents_of(other))
        rover.drive_until(pilot, changes, "is given up")
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)
    assert "holds model" in rover.said[-1]


def put_on_trial(rover: Rover, pilot: Pilot, changes: ModelChanges) -> None:
    rover.stage(rover.new)
    rover.drive_until(pilot, changes, "it drives from now on")
    rover.waits_for_shadow = False


def test_a_model_that_does_badly_is_stopped_and_the_old_one_drives_again(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
        near = {"range": np.full(8, 0.05, dtype=np.float32)}
        rover.beyond = lambda index, seen: (
            replace(seen, arrays={**seen.arrays, **near}) if index % 20 >= 10 else seen
        )
        result = rover.drive(pilot, changes)
        assert result.outcome is Outcome.FAULT
        assert result.message.startswith("the trial failed")
        assert rover.ticks[-1].applied.v == 0.0
        assert pilot.model.manifest.version == "0.1.0"
        rover.beyond = lambda index, seen: seen
        assert rover.drive(pilot, changes).outcome is Outcome.REACHED
    assert rover.state() == (State.ROLLED_BACK, FACTORY)


def test_a_trial_goes_on_with_the_next_process(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
        rover.drive(pilot, changes)
    with Store(rover.folders.store) as store:
        attempt = store.attempt
    assert (attempt.state, attempt.begun) == (State.TRIAL, False)
    with rover.running() as (pilot, changes):
        assert pilot.model.manifest.version == "1.0.0"
        rover.drive(pilot, changes)
    assert rover.state() == (State.COMMITTED, "a")


def test_a_trial_that_fails_in_the_next_process_finds_the_old_model(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
    with rover.running() as (pilot, changes):
        near = {"range": np.full(8, 0.05, dtype=np.float32)}
        rover.beyond = lambda index, seen: (
            replace(seen, arrays={**seen.arrays, **near}) if index % 20 >= 10 else seen
        )
        assert rover.drive(pilot, changes).message.startswith("the trial failed")
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)


def test_a_process_that_dies_in_a_trial_has_failed_it(rover: Rover) -> None:
    with pytest.raises(ZeroDivisionError), rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
        raise ZeroDivisionError
    with rover.running() as (pilot, _):
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)
    assert "a crash" in rover.said[-1]


def test_a_model_that_is_revoked_drives_no_further_than_to_its_goal(rover: Rover) -> None:
    rover.stage(rover.new)
    with Store(rover.folders.store) as store:
        store.begin_trial()
        store.commit()
    with rover.running() as (pilot, changes):
        assert pilot.model.manifest.version == "1.0.0"
        with Store(rover.folders.store) as store:
            store.revoke({installed(rover.new, 1).model}, "revoked by its publisher")
        rover.drive(pilot, changes)
        assert pilot.model.manifest.version == "0.1.0"
        assert "revoked by its publisher" in rover.said[-1]
        said = len(rover.said)
        rover.drive(pilot, changes)
        assert len(rover.said) == said


def test_a_model_that_is_revoked_in_its_trial_is_given_up(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
        with Store(rover.folders.store) as store:
            store.revoke({installed(rover.new, 1).model}, "revoked by its publisher")
        rover.drive(pilot, changes)
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)


def test_two_processes_cannot_drive_one_robot(rover: Rover) -> None:
    with rover.running(), pytest.raises(BadInput, match=TAKEN), rover.running():
        pass


def test_a_store_that_breaks_while_it_drives_stops_nothing(rover: Rover) -> None:
    with rover.running() as (pilot, changes):
        rover.stage(rover.new)
        rover.folders.store.write_bytes(b"rubbish" * 99)
        assert rover.drive(pilot, changes).outcome is Outcome.REACHED
        assert "damaged" in rover.said[-1]
        assert rover.drive(pilot, changes).outcome is Outcome.REACHED


def test_a_revoked_model_that_is_the_factorys_too_does_not_keep_new_ones_away(rover: Rover) -> None:
    rover.stage(rover.folders.factory)
    with Store(rover.folders.store) as store:
        store.begin_trial()
        store.commit()
        store.revoke({installed(rover.folders.factory, 1).model}, "revoked by its publisher")
    with rover.running() as (pilot, changes):
        rover.drive(pilot, changes)
        rover.stage(rover.new, 2)
        rover.drive_until(pilot, changes, "it drives from now on")
        assert pilot.model.manifest.version == "1.0.0"


def test_a_model_that_failed_is_not_tried_again_because_that_could_not_be_written(
    rover: Rover, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = Store.fail

    def once(self: Store, *arguments: object) -> None:
        monkeypatch.setattr(Store, "fail", fail)
        raise BadInput("database is locked")

    with rover.running() as (pilot, changes):
        put_on_trial(rover, pilot, changes)
        monkeypatch.setattr(Store, "fail", once)
        near = {"range": np.full(8, 0.05, dtype=np.float32)}
        rover.beyond = lambda index, seen: (
            replace(seen, arrays={**seen.arrays, **near}) if index % 20 >= 10 else seen
        )
        rover.drive(pilot, changes)
        assert pilot.model.manifest.version == "0.1.0"
        rover.beyond = lambda index, seen: seen
        for _ in range(4):
            rover.drive(pilot, changes)
        assert pilot.model.manifest.version == "0.1.0"
    assert rover.state() == (State.ROLLED_BACK, FACTORY)


def test_a_model_that_fails_in_its_rehearsal_gives_way_to_the_factorys(
    rover: Rover, monkeypatch: pytest.MonkeyPatch
) -> None:
    rover.stage(rover.new)
    with Store(rover.folders.store) as store:
        store.begin_trial()
        store.commit()
    rehearse = Pilot.rehearse

    def fails(self: Pilot) -> None:
        if self.model.manifest.version == "1.0.0":
            raise BadInput("the model fails before anything moves")
        rehearse(self)

    monkeypatch.setattr(Pilot, "rehearse", fails)
    with rover.running() as (pilot, _):
        assert pilot.model.manifest.version == "0.1.0"


def test_an_interrupt_while_a_model_is_loaded_is_no_crash(
    rover: Rover, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Pilot, bundle: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), rover.running() as (pilot, changes):
        rover.stage(rover.new)
        monkeypatch.setattr(Pilot, "prepare", interrupted)
        rover.drive_until(pilot, changes, "never said")
    with Store(rover.folders.store) as store:
        assert (store.attempt.state, store.attempt.begun) == (State.TRIAL, False)
        assert store.failure(installed(rover.new, 1).model) is None
