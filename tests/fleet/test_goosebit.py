"""A real DDI server: a robot asks, gets its deployment, and tells how it went."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_wm.errors import BadInput
from edge_wm.fleet.config import RolloutConfig
from edge_wm.fleet.hawkbit import Hawkbit, attributes_of
from edge_wm.fleet.rollouts import Follower
from edge_wm.fleet.status import ReportedModel
from edge_wm.update.slots import Folders
from edge_wm.update.store import Installed, Store
from tests.fleet import robots
from tests.fleet.goosebit import CannotBeMade, Goosebit, make
from tests.fleet.robots import KIND
from tests.fleet.test_rollouts import CHANNEL, NEW, OLD

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def goosebit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Goosebit]:
    try:
        make()
    except CannotBeMade as why:
        pytest.skip(str(why))
    with Goosebit(tmp_path_factory.mktemp("goosebit")) as running:
        yield running


@pytest.fixture(scope="module")
def new(goosebit: Goosebit) -> int:
    """The release that a keeper has uploaded by its version."""
    return goosebit.upload(NEW.version, KIND)


class Robot:
    """It drives by the old model, and follows the server."""

    def __init__(self, folder: Path, goosebit: Goosebit, robot_id: str) -> None:
        goosebit.register(robot_id, TOKEN)
        self.folders = Folders(folder / "root", folder / "factory")
        self.folders.make()
        self.store = Store(self.folders.store)
        self.install(Installed.of(OLD, "stable"))
        (folder / "token").write_text(TOKEN)
        status = msgspec.structs.replace(
            robots.robot(robot_id), active=ReportedModel.of(Installed.of(OLD, "stable"))
        )
        self.hawkbit = Hawkbit(RolloutConfig(goosebit.url, "token"), folder, robot_id, attributes_of(status))
        self.follower = Follower(self.hawkbit, self.store, self.folders, robot_id)

    def stage(self, new: Installed) -> None:
        self.store.begin_fetch(new)
        self.store.stage(new)

    def install(self, new: Installed) -> None:
        self.stage(new)
        self.store.begin_trial()
        self.store.commit("well")


@pytest.fixture
def robot(goosebit: Goosebit, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Robot]:
    made = Robot(tmp_path, goosebit, robot_id_of(request.node.name))
    yield made
    made.store.close()


def robot_id_of(test: str) -> str:
    return test.replace("_", "-")[:60]


@pytest.fixture
def robot_id(request: pytest.FixtureRequest) -> str:
    return robot_id_of(request.node.name)


def test_from_the_first_poll_to_installed(goosebit: Goosebit, robot: Robot, robot_id: str, new: int) -> None:
    assert robot.follower.release(CHANNEL) is None
    registered = goosebit.device(robot_id)
    assert (registered["last_state"], registered["sw_version"]) == ("Registered", OLD.version)
    assert registered["hardware"]["model"] == KIND

    goosebit.assign(robot_id, new)
    assert robot.follower.release(CHANNEL) == NEW
    robot.follower.settle()
    assert goosebit.device(robot_id)["last_state"] == "Running"
    robot.stage(Installed.of(NEW, "stable"))
    robot.follower.settle()
    robot.store.begin_trial()
    robot.follower.settle()
    assert goosebit.device(robot_id)["last_state"] == "Running"
    robot.store.commit("well")
    robot.follower.settle()

    installed = goosebit.device(robot_id)
    assert (installed["last_state"], installed["sw_version"]) == ("Finished", NEW.version)
    told = ["to be fetched", "staged", "on trial", f"rooms {NEW.version} ({NEW.model[:12]}) drives"]
    assert goosebit.log(robot_id) == told
    assert robot.follower.release(CHANNEL) is None
    assert robot.hawkbit.poll_s == 60.0


def test_a_failed_trial_and_another_try(goosebit: Goosebit, robot: Robot, robot_id: str, new: int) -> None:
    robot.follower.release(CHANNEL)
    goosebit.assign(robot_id, new)
    assert robot.follower.release(CHANNEL) == NEW
    robot.stage(Installed.of(NEW, "stable"))
    robot.store.begin_trial()
    robot.store.fail(Installed.of(NEW, "stable"), "9 deadlines missed in 300 ticks")
    robot.follower.settle()
    assert goosebit.device(robot_id)["last_state"] == "Error"
    assert goosebit.log(robot_id)[-1] == "9 deadlines missed in 300 ticks"
    assert robot.follower.release(CHANNEL) is None, "the keeper decides whether it is tried again"

    goosebit.force(robot_id)
    assert robot.follower.release(CHANNEL) == NEW, "under the same number of the action"
    robot.follower.settle()
    robot.install(Installed.of(NEW, "stable"))
    robot.follower.settle()
    assert goosebit.device(robot_id)["last_state"] == "Finished"


def test_what_the_channel_has_not_released_is_refused_and_told(
    goosebit: Goosebit, robot: Robot, robot_id: str
) -> None:
    robot.follower.release(CHANNEL)
    goosebit.assign(robot_id, goosebit.upload("7.7.7", KIND))
    with pytest.raises(BadInput, match="channel stable has no such release"):
        robot.follower.release(CHANNEL)
    assert goosebit.device(robot_id)["last_state"] == "Error"
    assert (
        "7.7.7: the rollout server wants it, but channel stable has no such release"
        in goosebit.log(robot_id)[-1]
    )


def test_an_older_model_is_refused_and_told(goosebit: Goosebit, robot: Robot, robot_id: str) -> None:
    robot.follower.release(CHANNEL)
    goosebit.assign(robot_id, goosebit.upload("1.0.0", KIND))
    with pytest.raises(BadInput, match="older than what the robot has"):
        robot.follower.release(CHANNEL)
    assert goosebit.device(robot_id)["last_state"] == "Error"


def test_a_rollout_is_counted_and_can_be_held(
    goosebit: Goosebit, robot: Robot, robot_id: str, new: int
) -> None:
    robot.follower.release(CHANNEL)
    rollout = goosebit.roll_out(robot_id, new)
    goosebit.pause(rollout, True)
    assert robot.follower.release(CHANNEL) is None
    goosebit.pause(rollout, False)
    assert robot.follower.release(CHANNEL) == NEW
    robot.install(Installed.of(NEW, "stable"))
    robot.follower.settle()
    found = goosebit.rollout(rollout)
    assert (found["success_count"], found["failure_count"]) == (1, 0)


def test_goosebit_gives_no_robot_what_is_for_another_kind(
    goosebit: Goosebit, robot: Robot, robot_id: str
) -> None:
    robot.follower.release(CHANNEL)
    with pytest.raises(RuntimeError, match=r"HTTP [45]"):
        goosebit.assign(robot_id, goosebit.upload(NEW.version, "car"))


def test_a_robot_with_another_token_is_not_let_in(goosebit: Goosebit, robot: Robot, tmp_path: Path) -> None:
    assert robot.follower.release(CHANNEL) is None
    (tmp_path / "token").write_text("another")
    thief = Hawkbit(RolloutConfig(goosebit.url, "token"), tmp_path, "r1", {})
    with pytest.raises(BadInput, match="does not accept this robot's token"):
        thief.wanted()
