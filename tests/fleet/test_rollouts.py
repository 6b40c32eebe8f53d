"""A robot that follows a rollout server: what it takes from it, what it tells it, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.errors import BadInput
from edge_wm.fleet.config import RolloutConfig
from edge_wm.fleet.hawkbit import Hawkbit
from edge_wm.fleet.rollouts import ORDER, Follower, released
from edge_wm.update.locks import DRIVING, held
from edge_wm.update.release import Channel, Form, Release, ReleasedFile
from edge_wm.update.slots import Folders
from edge_wm.update.store import Installed, State, Store
from tests.fleet.ddi_server import TOKEN, DdiServer, chunk
from tests.fleet.robots import KIND


def release(model: str, version: str, sequence: int, fraction: float = 1.0) -> Release:
    manifest = ReleasedFile(MANIFEST_NAME, 9, model, (Form("plain", 9),))
    return Release(sequence, model, "rooms", version, fraction, "0.1.0", (manifest,))


OLDER = release("0" * 63 + "a", "1.0.0", 1)
OLD = release("1" * 63 + "b", "1.1.0", 2)
NEW = release("2" * 63 + "c", "1.2.0", 3)
NEWER = release("3" * 63 + "d", "1.3.0", 4)
REVOKED = "f" * 64
CHANNEL = Channel(1, KIND, "stable", 5, (NEWER, NEW, OLD, OLDER), (REVOKED,))


class Robot:
    """A store, and a follower of the server."""

    def __init__(self, folder: Path, server: DdiServer) -> None:
        self.folders = Folders(folder / "root", folder / "factory")
        self.folders.make()
        self.store = Store(self.folders.store, wall=lambda: 1e9)
        (folder / "token").write_text(TOKEN)
        hawkbit = Hawkbit(RolloutConfig(server.url, "token"), folder, "r1", {"robot_kind": KIND})
        self.follower = Follower(hawkbit, self.store, self.folders, "r1")

    def stage(self, wanted: Release) -> None:
        new = Installed.of(wanted, "stable")
        self.store.begin_fetch(new)
        self.store.stage(new)

    def commit(self, wanted: Release) -> None:
        self.stage(wanted)
        self.store.begin_trial()
        self.store.commit("well")

    def fail(self, wanted: Release, times: int = 1, reason: str = "ticks were late") -> None:
        for _ in range(times):
            self.store.fail(Installed.of(wanted, "stable"), reason)


@pytest.fixture
def server() -> Iterator[DdiServer]:
    with DdiServer() as running:
        yield running


@pytest.fixture
def robot(tmp_path: Path, server: DdiServer) -> Iterator[Robot]:
    made = Robot(tmp_path, server)
    made.commit(OLD)
    yield made
    made.store.close()


# --- what it takes -----------------------------------------------------------------------------------------------------


def test_as_long_as_the_server_wants_nothing_nothing_is_fetched(robot: Robot) -> None:
    assert robot.follower.release(CHANNEL) is None


@pytest.mark.parametrize("named", [NEW.version, NEW.model, NEW.model[:12]])
def test_the_server_says_which_of_the_signed_releases_and_when(
    robot: Robot, server: DdiServer, named: str
) -> None:
    server.assign(chunk(named))
    assert robot.follower.release(CHANNEL) == NEW, "not the newest, but the one that is wanted"


@pytest.mark.parametrize(
    "not_yet", [{"update": "skip"}, {"download": "skip"}, {"maintenanceWindow": "unavailable"}]
)
def test_what_is_for_later_is_not_fetched_now(
    robot: Robot, server: DdiServer, not_yet: dict[str, str]
) -> None:
    server.assign(chunk(NEW.version))
    server.deployment.update(not_yet)
    assert robot.follower.release(CHANNEL) is None
    assert server.state == "open"


def test_of_several_software_modules_the_model_is_taken(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk("9.9.9", "os"), chunk(NEW.version, "model"))
    assert robot.follower.release(CHANNEL) == NEW


@pytest.mark.parametrize("parts", [("os", "bApp"), ("model", "model"), ()])
def test_a_deployment_without_one_model_is_refused(
    robot: Robot, server: DdiServer, parts: tuple[str, ...]
) -> None:
    server.assign(*(chunk(NEW.version, part) for part in parts))
    with pytest.raises(BadInput, match="must be one software module"):
        robot.follower.release(CHANNEL)
    assert server.state == "failure"


# --- what it refuses: the server has no say in what is authentic ----------------------------------------------------------

REFUSED = {
    "never released": ("7.7.7", "no such release"),
    "no hash of any": ("e" * 64, "no such release"),
    "too short for a hash": (NEW.model[:7], "no such release"),
    "revoked": (REVOKED, "revoked"),
    "revoked, by the beginning of its hash": (REVOKED[:8], "revoked"),
    "older than what drives": (OLDER.version, "older than what the robot has"),
    "older, by its hash": (OLDER.model, "older than what the robot has"),
    "a path": ("../../etc/passwd", "no such release"),
    "a URL": ("http://127.0.0.1:1/model", "no such release"),
    "text that moves a cursor": ("\x1b[2J\n1.2.0", "no such release"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_channel_does_not_give_is_refused_and_told(
    robot: Robot, server: DdiServer, case: str
) -> None:
    named, says = REFUSED[case]
    server.assign(chunk(named))
    with pytest.raises(BadInput, match=says) as refused:
        robot.follower.release(CHANNEL)
    assert str(refused.value).isprintable()
    assert server.state == "failure"
    assert says in server.details()[-1]
    assert robot.store.setting(ORDER) is None
    assert all("artifacts" not in path for path in server.asked)


def test_a_server_cannot_widen_a_stage() -> None:
    staged = release(NEW.model, NEW.version, 3, 0.3)
    channel = msgspec.structs.replace(CHANNEL, releases=(staged,))
    robots = [f"r{number}" for number in range(50)]
    inside = [robot for robot in robots if staged.is_for(robot)]
    assert 0 < len(inside) < len(robots)
    for robot in robots:
        if robot in inside:
            assert released(NEW.version, channel, robot, None) == staged
        else:
            with pytest.raises(BadInput, match="released for 30% of the robots, and not this one"):
                released(NEW.version, channel, robot, None)


def test_a_model_in_quarantine_is_refused_however_often_it_is_wanted(robot: Robot, server: DdiServer) -> None:
    robot.fail(NEW, 3)
    for _ in range(2):
        server.assign(chunk(NEW.version))
        with pytest.raises(BadInput, match="in quarantine on this robot: ticks were late"):
            robot.follower.release(CHANNEL)
        assert server.state == "failure"


def test_a_robot_on_the_factorys_model_takes_any_release(tmp_path: Path, server: DdiServer) -> None:
    robot = Robot(tmp_path, server)
    server.assign(chunk(OLDER.version))
    assert robot.follower.release(CHANNEL) == OLDER


# --- what it tells -------------------------------------------------------------------------------------------------------


def test_the_server_hears_of_each_step_once_and_of_the_end(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    assert robot.follower.release(CHANNEL) == NEW
    robot.follower.settle()
    robot.follower.settle("the repository does not answer")
    robot.follower.settle("the repository does not answer")
    robot.stage(NEW)
    robot.follower.settle()
    robot.store.begin_trial()
    robot.follower.settle()
    robot.follower.settle()
    assert server.state == "open"
    robot.store.commit("well")
    robot.follower.settle()
    robot.follower.settle()
    assert server.state == "success"
    assert server.details() == [
        "to be fetched",
        "the repository does not answer",
        "staged",
        "on trial",
        "rooms 1.2.0 (222222222222) drives",
    ]


def test_a_failed_trial_is_told_with_its_reason(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.stage(NEW)
    robot.store.begin_trial()
    robot.fail(NEW)
    robot.follower.settle()
    assert server.state == "failure"
    assert server.details()[-1] == "ticks were late"


def test_what_failed_before_the_server_wanted_it_is_no_failure_of_this_time(
    robot: Robot, server: DdiServer
) -> None:
    robot.fail(NEW, 2)
    server.assign(chunk(NEW.version))
    assert robot.follower.release(CHANNEL) == NEW
    robot.follower.settle()
    assert server.state == "open"
    robot.fail(NEW)
    robot.follower.settle()
    assert server.state == "failure"


def test_what_drives_already_is_a_success(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(OLD.version))
    assert robot.follower.release(CHANNEL) is None
    assert server.state == "success"


def test_a_robot_that_was_switched_off_tells_the_end_later(
    robot: Robot, server: DdiServer, tmp_path: Path
) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.commit(NEW)
    robot.store.close()
    Robot(tmp_path, server).follower.settle()
    assert server.state == "success"


def test_an_end_that_could_not_be_told_is_told_at_the_next_look(
    robot: Robot, server: DdiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.commit(NEW)
    with monkeypatch.context() as away:
        away.setattr("tests.fleet.ddi_server.TOKEN", "another")
        with pytest.raises(BadInput, match="does not accept this robot's token"):
            robot.follower.settle()
    assert server.state == "open"
    robot.follower.settle()
    assert server.state == "success"


def test_a_newer_wish_replaces_the_one_before(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    second = server.assign(chunk(NEWER.version))
    assert robot.follower.release(CHANNEL) == NEWER
    robot.commit(NEWER)
    robot.follower.settle()
    assert server.heard[-1][0] == f"/deploymentBase/{second}/feedback"
    assert server.state == "success"


def test_a_wish_that_is_refused_ends_the_one_before(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    server.assign(chunk("7.7.7"))
    with pytest.raises(BadInput):
        robot.follower.release(CHANNEL)
    assert robot.store.setting(ORDER) is None


def test_an_order_that_the_server_has_closed_is_forgotten(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    server.assign(chunk(NEWER.version))  # hawkBit answers 404 or 410 for the one before from now on
    robot.commit(NEW)
    robot.follower.settle()
    assert robot.store.setting(ORDER) is None


def test_a_remembered_order_that_is_damaged_is_none(robot: Robot, server: DdiServer) -> None:
    robot.store.set(ORDER, '{"action_id": 5')
    robot.follower.settle()
    assert [content for path, content in server.heard if "feedback" in path] == []


# --- cancel --------------------------------------------------------------------------------------------------------------


def test_an_order_is_canceled_before_it_is_fetched(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    server.cancel()
    assert robot.follower.release(CHANNEL) is None
    assert server.state == "canceled"
    robot.follower.settle()
    assert server.details() == ["ended before its trial"]


def test_an_order_is_canceled_while_it_is_staged_and_has_not_failed(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.stage(NEW)
    server.cancel()
    assert robot.follower.release(CHANNEL) is None
    assert server.state == "canceled"
    assert robot.store.attempt.state is State.IDLE
    assert robot.store.failure(NEW.model) is None


def test_a_cancel_does_not_forgive_what_failed(robot: Robot, server: DdiServer) -> None:
    robot.fail(NEW)
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.stage(NEW)
    server.cancel()
    robot.follower.release(CHANNEL)
    assert server.state == "canceled"
    failure = robot.store.failure(NEW.model)
    assert failure is not None
    assert failure.times == 1


def test_what_a_driving_robot_may_take_any_moment_is_canceled_later_or_never(
    robot: Robot, server: DdiServer
) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.stage(NEW)
    server.cancel()
    with held(robot.folders.driving_lock, DRIVING):
        assert robot.follower.release(CHANNEL) is None
        assert (server.state, robot.store.attempt.state) == ("canceling", State.STAGED)
        robot.store.begin_trial()
        assert robot.follower.release(CHANNEL) is None
    assert server.state == "open", "too late: it goes on"
    assert server.details()[-1] == "too late: on trial"
    robot.store.commit("well")
    robot.follower.settle()
    assert server.state == "success"


def test_a_cancel_of_what_the_robot_does_not_know_is_agreed_to(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    server.cancel()
    assert robot.follower.release(CHANNEL) is None
    assert server.state == "canceled"
    assert robot.store.attempt.state is State.COMMITTED


def test_a_cancel_of_another_action_ends_none_of_this_one(robot: Robot, server: DdiServer) -> None:
    server.assign(chunk(NEW.version))
    robot.follower.release(CHANNEL)
    robot.stage(NEW)
    server.assign(chunk(NEWER.version))  # which the robot never saw
    server.cancel()
    assert robot.follower.release(CHANNEL) is None
    assert (server.state, server.details()) == ("canceled", ["nothing of it is left on the robot"])
    assert robot.store.attempt.state is State.STAGED
    assert robot.store.setting(ORDER) is not None
