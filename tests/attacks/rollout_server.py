"""A rollout server that somebody took over: it may say when, and never what."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from edge_wm.fleet.config import RolloutConfig
from edge_wm.fleet.hawkbit import Hawkbit
from edge_wm.fleet.rollouts import Follower
from edge_wm.update.updater import Updater
from tests.attacks.attack import Attack, Deed
from tests.attacks.hostile_server import HostileServer, Request
from tests.attacks.specification import endless
from tests.attacks.world import NEW, OLD, World
from tests.fleet.ddi_server import TOKEN, DdiServer, chunk

HOLDER = "the rollout server"


def follow(world: World, url: str, total_s: float = 0.7) -> None:
    """The robot asks this server what is due."""
    (world.folder / "token").write_text(TOKEN)

    def choose(updater: Updater) -> Callable[..., Any]:
        server = Hawkbit(
            RolloutConfig(url, "token"), world.folder, "rover", {"robot_kind": "x"}, total_s=total_s
        )
        return Follower(server, updater.store, updater.folders, "rover").release

    world.choose = choose


def followed(world: World) -> None:
    """A rollout server that wants 2.0.0."""
    server = world.use(DdiServer("rover"))
    server.assign(chunk(NEW))
    follow(world, server.url)


def wants(version: str) -> Deed:
    """It wants another one."""

    def deed(world: World) -> None:
        server = world.use(DdiServer("rover"))
        server.assign(chunk(version))
        follow(world, server.url)

    return deed


def answers(answer: Callable[[Request], None]) -> Deed:
    """It answers so to everything."""

    def deed(world: World) -> None:
        server = world.use(HostileServer(lambda: world.folder))
        server.on("", answer)
        follow(world, server.url)

    return deed


def on_new(world: World) -> None:
    world.install()
    followed(world)


def _revoked(world: World) -> None:
    world.revoke(NEW)
    followed(world)


def _link(href: str) -> Callable[[Request], None]:
    content = json.dumps({"_links": {"deploymentBase": {"href": href}}}).encode()
    return lambda request: request.answer(content)


def _attack(name: str, must: str, deed: Deed, says: str, **rest: Any) -> Attack:
    return Attack(f"rollout server: {name}", HOLDER, must, deed, says, **{"setting": followed, **rest})


ATTACKS = (
    _attack(
        "wants an older model",
        "never back",
        wants(OLD),
        "older than what the robot has",
        setting=on_new,
        drives=NEW,
    ),
    _attack("wants a model that nobody released", "refused", wants("6.6.6"), "has no such release"),
    _attack("wants a model named as a path", "refused", wants("../../../evil"), "has no such release"),
    _attack(
        "wants a model named with control characters",
        "one line",
        wants("1.0\n\x1b[2J"),
        "has no such release",
    ),
    _attack("wants a revoked model", "refused", _revoked, "has no such release|revoked"),
    _attack("answers without an end", "cut off", answers(endless), "more than|no whole answer"),
    _attack(
        "is silent",
        "given up within its limits",
        answers(lambda request: request.ended.wait() and None),
        "no whole answer",
    ),
    _attack(
        "answers one byte at a time",
        "given up within its limits",
        answers(lambda request: (request.head(200), request.drip(b" " * 100_000))[1]),
        "no whole answer",
    ),
    _attack(
        "answers nested JSON", "refused", answers(lambda request: request.answer(b"[" * 60_000)), "DDI server"
    ),
    _attack(
        "sends the robot to another server",
        "not followed",
        answers(lambda request: request.answer(b"", 302, Location="http://localhost:1/")),
        "is not followed",
    ),
    _attack(
        "links to a file of the robot",
        "links are never followed",
        answers(_link("file:///etc/passwd")),
        "no number of an action",
    ),
    _attack(
        "wants nothing at all",
        "nothing is installed; the keeper sees it there",
        answers(_link("/deploymentBase/1")),
        "nothing for this robot|DDI server|calls itself",
    ),
)
