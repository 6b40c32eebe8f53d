"""What whoever stole some of the keys can do, and what not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Signed, Targets

from edge_wm.errors import BadInput
from edge_wm.update.release import channel_target
from tests.attacks.attack import Attack
from tests.attacks.forger import ROOT, SNAPSHOT, TIMESTAMP, Forger, own_keys
from tests.attacks.specification import endless, seen
from tests.attacks.world import DAY_S, KIND, NEW, OTHER_KIND, World, make_bundle

ONLINE_KEYS = "timestamp and snapshot keys"

UNSIGNED = "not signed by whom this robot trusts"


def evil(world: World) -> Forger:
    """A mirror with a release of the attacker's, which the kind's role and all above it must vouch for yet."""
    forger = world.forger()
    mallory = own_keys()
    forger.release(KIND, make_bundle(world.folder / "evil", "9.0.0"), signers=mallory)
    return forger


def _timestamp(world: World) -> None:
    """A timestamp for a snapshot of the attacker's own."""
    forger = evil(world)
    forger.change(SNAPSHOT, signers=own_keys())
    forger.lead()


def _snapshot(world: World) -> None:
    """A snapshot for a kind's role of the attacker's own; the timestamp cannot lead to it."""
    evil(world)  # signs both; the timestamp is put back
    shutil.copy(world.repository / "metadata" / "timestamp.json", world.mirror / "metadata")
    newest = Forger(world.mirror, world.folder).path(SNAPSHOT)
    shutil.copy(newest, world.mirror / "metadata" / "3.snapshot.json")


def _kind_alone(world: World) -> None:
    """A release signed by the kind's key; snapshot and timestamp are the publisher's."""
    forger = world.forger()
    forger.release(KIND, make_bundle(world.folder / "evil", "9.0.0"))
    for name in ("timestamp.json", "3.snapshot.json"):
        shutil.copy(world.repository / "metadata" / name, world.mirror / "metadata")
    forger.path(KIND).rename(forger.path(KIND, 3))


def _targets(world: World) -> None:
    """The kind is delegated to a key of the attacker's; snapshot and timestamp are the publisher's."""
    forger = evil(world)
    _delegate_to_himself(forger)
    for name in ("timestamp.json", "4.snapshot.json"):
        shutil.copy(world.repository / "metadata" / name, world.mirror / "metadata")
    forger.path("targets").rename(forger.path("targets", 2))


def _targets_signed_anew(world: World) -> None:
    world.keeper.refresh("targets")


def _delegate_to_himself(forger: Forger) -> None:
    mallory = own_keys()

    def edit(signed: Signed) -> None:
        assert isinstance(signed, Targets) and signed.delegations and signed.delegations.roles
        for keyid in list(signed.delegations.roles[KIND].keyids):
            signed.revoke_key(keyid, KIND)
        signed.add_key(mallory[0].public_key, KIND)

    forger.change("targets", edit)
    forger.change(KIND, signers=mallory)
    forger.follow("targets", KIND)


def _online(world: World) -> None:
    """Everything that the online keys can sign, for a release of the attacker's."""
    evil(world)


def _online_old_kind(world: World) -> None:
    """A newer snapshot says that the kind's role is the old one again."""
    forger = world.forger()

    def edit(signed: Signed) -> None:
        signed.meta[f"{KIND}.json"] = MetaFile(2)  # type: ignore[attr-defined]

    forger.change(SNAPSHOT, edit)
    forger.lead()


def _online_old_kind_after_loss(world: World) -> None:
    lose_metadata(world)
    _online_old_kind(world)


def _online_without_kind(world: World) -> None:
    """A newer snapshot no longer lists the kind's role."""
    forger = world.forger()
    forger.change(SNAPSHOT, lambda signed: signed.meta.pop(f"{KIND}.json"))  # type: ignore[attr-defined]
    forger.lead()


def _online_freeze(world: World) -> None:
    """The old decision for ever, with new timestamps: until what the offline keys signed has expired."""
    forger = world.forger(world.fleet.old)
    world.now += 200 * DAY_S
    forger.days = 230.0
    forger.change(SNAPSHOT)
    forger.lead()


def _renewed_after_200_days(world: World) -> None:
    world.now += 200 * DAY_S
    world.keeper.refresh("targets", KIND, OTHER_KIND, SNAPSHOT)


def _online_freeze_after_renewal(world: World) -> None:
    forger = world.forger(world.fleet.old)
    forger.days = 230.0
    forger.change(SNAPSHOT)
    forger.lead()


def _online_ahead_of_time(world: World) -> None:
    """Timestamps for ten years, and a clock ten years ahead: does the robot believe no right clock any more?"""
    forger = world.forger()
    forger.days = 4000.0
    forger.change(SNAPSHOT)
    forger.lead()
    right, world.now = world.now, world.now + 3650 * DAY_S
    with suppress(BadInput):  # as it should be
        world.look()
    world.now = right


def _endless_length(role: str) -> Callable[[World], None]:
    def deed(world: World) -> None:
        """Signed to be as large as the attacker likes, and served without an end."""
        forger = world.forger()
        if role == SNAPSHOT:
            version = forger.change(SNAPSHOT).signed.version

            def edit(signed: Signed) -> None:
                signed.snapshot_meta = MetaFile(version, length=1 << 50)  # type: ignore[attr-defined]

            forger.change(TIMESTAMP, edit)
            world.server.on(f"{version}.snapshot.json", endless)
        else:

            def edit_snapshot(signed: Signed) -> None:
                signed.meta[f"{role}.json"] = MetaFile(4, length=1 << 50)  # type: ignore[attr-defined]

            forger.change(SNAPSHOT, edit_snapshot)
            forger.lead()
            world.server.on(f"4.{role}.json", endless)

    return deed


def _other_kind(world: World) -> None:
    """The role of another kind of robots signs targets of ours, as a channel and as a delegation."""
    forger = world.forger()
    bundle = make_bundle(world.folder / "evil", "9.0.0")
    forger.release(OTHER_KIND, bundle)
    channel = (forger.channel(OTHER_KIND)).releases
    content = world.mirror / "targets" / OTHER_KIND
    stable = next(path for path in content.iterdir() if path.name.endswith(".stable.json"))
    assert channel
    forger.add_targets(
        OTHER_KIND,
        {channel_target(KIND, "stable"): stable.read_bytes().replace(OTHER_KIND.encode(), KIND.encode())},
    )
    forger.follow(OTHER_KIND)


def _other_kind_delegates(world: World) -> None:
    """The role of another kind delegates our paths to itself, in the name of our role."""
    forger = world.forger()

    def edit(signed: Signed) -> None:
        assert isinstance(signed, Targets)
        key = forger.keys(OTHER_KIND)[0].public_key
        role = DelegatedRole(KIND, [key.keyid], 1, terminating=True, paths=[f"{KIND}/*"])
        signed.delegations = Delegations({key.keyid: key}, {KIND: role})

    forger.change(OTHER_KIND, edit)
    forger.release(KIND, make_bundle(world.folder / "evil", "9.0.0"), signers=forger.keys(OTHER_KIND))
    forger.follow(OTHER_KIND, KIND)


def _role_named_as_a_path(world: World) -> None:
    """With the targets key too: our paths are delegated first to a role whose name leads out of its folder."""
    forger = world.forger()
    name = "../../../../state.db"

    def edit(signed: Signed) -> None:
        assert isinstance(signed, Targets) and signed.delegations and signed.delegations.roles is not None
        role = DelegatedRole(name, [], 1, terminating=False, paths=[f"{KIND}/*"])
        signed.delegations.roles = {name: role, **signed.delegations.roles}
        signed.add_key(forger.keys("targets")[0].public_key, name)

    forger.change("targets", edit)
    metadata = Metadata(Targets(version=1))
    metadata.signed.expires = forger.read("targets").signed.expires
    forger.sign(metadata, forger.keys("targets"))  # type: ignore[arg-type]
    (world.mirror / "metadata" / f"1.{quote(name, '')}.json").write_bytes(metadata.to_bytes())

    def list_it(signed: Signed) -> None:
        signed.meta[f"{name}.json"] = MetaFile(1)  # type: ignore[attr-defined]
        signed.meta["targets.json"] = MetaFile(2)  # type: ignore[attr-defined]

    forger.change(SNAPSHOT, list_it)
    forger.lead()
    world.server.on("state.db", lambda request: request.answer(metadata.to_bytes()))


def lose_metadata(world: World) -> None:
    """The rows of the store with the trusted metadata are gone."""
    with world.updater() as updater, updater.store.transaction() as db:
        db.execute("DELETE FROM metadata")


def rotated_three_times(world: World) -> None:
    """The robot was away while root and timestamp keys were replaced."""
    for _ in range(3):
        world.keeper.rotate(ROOT)
    world.keeper.rotate(TIMESTAMP)
    world.keeper.refresh()  # from now on without the old key


ATTACKS = (
    Attack("the timestamp key", "the timestamp key", "nothing can be installed", _timestamp, UNSIGNED),
    Attack("the snapshot key", "the snapshot key", "nothing can be installed", _snapshot, "broken or forged"),
    Attack(
        "the kind's key",
        "the kind's key",
        "nothing without the snapshot",
        _kind_alone,
        "is larger than|forged",
    ),
    Attack(
        "the targets key",
        "the targets key",
        "nothing without the snapshot",
        _targets,
        "is larger than|forged",
        setting=_targets_signed_anew,
    ),
    Attack("both online keys: a release", ONLINE_KEYS, "nothing can be installed", _online, UNSIGNED),
    Attack(
        "both online keys: the kind's old role",
        ONLINE_KEYS,
        "refused",
        _online_old_kind,
        "old repository",
        setting=seen,
    ),
    Attack(
        "both online keys and lost metadata: the kind's old role",
        f"{ONLINE_KEYS}; the robot lost its metadata",
        "floors hold: refused",
        _online_old_kind_after_loss,
        "old repository",
        setting=seen,
    ),
    Attack(
        "both online keys: no role of the kind",
        ONLINE_KEYS,
        "refused",
        _online_without_kind,
        "forged|nobody",
        setting=seen,
    ),
    Attack(
        "both online keys: freeze",
        ONLINE_KEYS,
        "holds until the kind's role expires (180 days), then it is said",
        _online_freeze,
        "holds the news back",
        control=NEW,
    ),
    Attack(
        "both online keys: freeze after the offline keys signed anew",
        ONLINE_KEYS,
        "the old kind's role has expired",
        _online_freeze_after_renewal,
        "holds the news back",
        setting=_renewed_after_200_days,
    ),
    Attack(
        "both online keys and the robot's clock: the far future",
        f"{ONLINE_KEYS}; NTP",
        "what the offline keys signed expires first: a right clock is believed afterwards",
        _online_ahead_of_time,
        "is to come",
        drives=NEW,
    ),
    *(
        Attack(
            f"an endless {role} of signed length",
            ONLINE_KEYS,
            "cut off at the largest length of metadata",
            _endless_length(role),
            "is larger than|forged",
        )
        for role in (SNAPSHOT, KIND)
    ),
    Attack(
        "another kind's role signs our targets",
        f"another kind's key; {ONLINE_KEYS}",
        "only our kind's role counts",
        _other_kind,
        "is to come",
        drives=NEW,
    ),
    Attack(
        "another kind's role delegates our paths",
        f"another kind's key; {ONLINE_KEYS}",
        "refused",
        _other_kind_delegates,
        UNSIGNED,
    ),
    Attack(
        "a role named as a path",
        f"the targets key; {ONLINE_KEYS}",
        "nothing is written elsewhere; the publisher's own role decides",
        _role_named_as_a_path,
        "is to come",
        drives=NEW,
    ),
)
