"""What a robot loses of what it has seen, and what it is then shown."""

from __future__ import annotations

import time

from tests.attacks.attack import Attack
from tests.attacks.forger import TIMESTAMP, Forger
from tests.attacks.stolen_keys import UNSIGNED, lose_metadata, rotated_three_times
from tests.attacks.world import DAY_S, FACTORY, NEW, OLD, World


def lose_floors(world: World) -> None:
    """The rows of the store with the lowest versions are gone."""
    with world.updater() as updater, updater.store.transaction() as db:
        db.execute("DELETE FROM floor")


def _seen_and_lost(world: World) -> None:
    world.look()
    lose_metadata(world)


def _revoked_and_lost(world: World) -> None:
    """2.0.0 was revoked before the robot fetched it; the robot knew that."""
    world.revoke(NEW)
    world.look()
    lose_metadata(world)


def _before_the_revocation(world: World) -> None:
    world.own_mirror(world.fleet.new)


def _seen_and_lost_floors(world: World) -> None:
    world.look()
    lose_floors(world)


def _seen_and_damaged(world: World) -> None:
    world.look()
    with world.updater() as updater, updater.store.transaction() as db:
        db.execute("UPDATE metadata SET content = x'00ff7b' WHERE role != 'root'")


def lose_all(world: World) -> None:
    """The whole store is gone, and with it what the slots hold."""
    world.folders.store.unlink()


def replay(world: World) -> None:
    """The old repository."""
    world.own_mirror(world.fleet.old)


def _replay_later(world: World) -> None:
    """The old repository, when its timestamp has expired."""
    world.own_mirror(world.fleet.old)


def _lost_later(world: World) -> None:
    world.now += 8 * DAY_S
    world.keeper.refresh()
    lose_all(world)


def _replay_and_set_back(world: World) -> None:
    """The old repository, when its timestamp has expired, and a clock that was set back to when it was valid."""
    world.own_mirror(world.fleet.old)
    world.now = time.time()


def _replay_and_stood_still(world: World) -> None:
    """The old repository, when its timestamp has expired, and a clock that goes on from when the power went off."""
    _replay_and_set_back(world)
    world.time_source = None


def _seen_later(world: World) -> None:
    world.now += 8 * DAY_S
    world.keeper.refresh()
    world.look()


def _old_keys_after_rotation(world: World) -> None:
    """The replaced timestamp key signs the old repository; the robot has seen the new root."""
    world.look()
    forger = Forger(world.own_mirror(world.fleet.new), world.fleet.new.with_name("new.keys"))
    forger.change(TIMESTAMP, version=50)


ATTACKS = (
    Attack(
        "lost metadata, old repository replayed",
        "the mirror; the robot lost its metadata",
        "floors hold: refused",
        replay,
        "this robot has seen",
        setting=_seen_and_lost,
    ),
    Attack(
        "lost metadata, a revoked model replayed",
        "the mirror; the robot lost its metadata",
        "floors hold: refused",
        _before_the_revocation,
        "this robot has seen",
        setting=_revoked_and_lost,
        control=OLD,
    ),
    Attack(
        "lost floors, old repository replayed",
        "the mirror; the robot lost its floors",
        "the trusted metadata holds: refused",
        replay,
        "old repository",
        setting=_seen_and_lost_floors,
    ),
    Attack(
        "damaged metadata, old repository replayed",
        "the mirror; the robot's metadata is garbage",
        "floors hold: refused",
        replay,
        "this robot has seen",
        setting=_seen_and_damaged,
    ),
    Attack(
        "lost store, expired repository replayed",
        "the mirror; the robot lost everything",
        "expiry holds: refused, the factory's model drives",
        _replay_later,
        "holds the news back",
        setting=_lost_later,
        drives=FACTORY,
    ),
    Attack(
        "expired repository replayed, clock set back",
        "the mirror; NTP",
        "the time that was certain holds: refused",
        _replay_and_set_back,
        "updates wait until the clock is set",
        setting=_seen_later,
    ),
    Attack(
        "lost store, expired repository replayed, clock stood still",
        "the mirror, a jammed time server; no clock without power",
        "updates wait until somebody has set the clock: refused",
        _replay_and_stood_still,
        "updates wait until the clock is set",
        setting=_lost_later,
        drives=FACTORY,
    ),
    Attack(
        "a replaced timestamp key signs on",
        "the replaced key",
        "refused",
        _old_keys_after_rotation,
        UNSIGNED,
        setting=rotated_three_times,
    ),
)
