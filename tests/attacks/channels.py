"""What is in a channel that the right keys have signed, or in metadata; models that were revoked."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edge_wm.update.release import Channel, encode_channel
from tests.attacks.attack import Attack, Deed
from tests.attacks.hostile_server import Request
from tests.attacks.releases import put, replace, signed_attack
from tests.attacks.specification import seen
from tests.attacks.world import KIND, NEW, OLD, OTHER_CHANNEL, OTHER_KIND, World


def _twice(world: World, channel: Channel) -> bytes:
    """Every key twice: first as it should be, then with the attacker's."""
    text = encode_channel(channel).decode()
    return text.replace('"robot_kind"', '"sequence": 0, "robot_kind"', 1).encode()


def _nested(world: World, channel: Channel) -> bytes:
    return b'{"format_version": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"


def _unknown(world: World, channel: Channel) -> bytes:
    return encode_channel(channel).replace(b'"format_version": 1', b'"format_version": 2')


def _too_large(world: World, channel: Channel) -> bytes:
    return encode_channel(channel) + b" " * (1 << 21)


def metadata_bytes(change: Callable[[bytes], bytes]) -> Deed:
    """Bytes of the timestamp as they are, but for this."""

    def answer(request: Request) -> None:
        request.answer(change(request.content() or b""))

    return lambda world: world.server.on("timestamp.json", answer)


def _another_channel(world: World) -> None:
    """A channel that is signed under the name of another."""
    forger = world.forger()
    forger.put(KIND, encode_channel(forger.channel(KIND, OTHER_CHANNEL)))


def _another_kinds_channel(world: World) -> None:
    forger = world.forger()
    forger.put(KIND, encode_channel(forger.channel(OTHER_KIND)))


def on_new(world: World) -> None:
    """The robot has 2.0.0 already, and will keep it."""
    world.install()


def _sequence_replay(world: World) -> None:
    """The channel as it was when 1.0.0 was its newest model, signed anew."""
    old = world.forger(world.fleet.old).channel(KIND)
    world.forger().put(KIND, encode_channel(old))


def _old_model_by_the_newest_number(world: World) -> None:
    """1.0.0 again, as if it was what 2.0.0 is."""
    world.forger().release(
        KIND,
        world.fleet.folder / OLD,
        edit=replace(sequence=2),
        edit_channel=lambda channel: msgspec.structs.replace(
            channel, releases=tuple(r for r in channel.releases if (r.version, r.sequence) == (OLD, 2))
        ),
    )


def revoked_after_new(world: World) -> None:
    """The robot drives by 2.0.0, which its publisher has then revoked."""
    world.install()
    world.revoke(NEW)


def revoked_before(world: World) -> None:
    """2.0.0 was revoked before the robot heard of it, and the robot knows that."""
    world.revoke(NEW)
    world.look()


def _before_the_revocation(world: World) -> None:
    world.own_mirror(world.fleet.new)


def _revoked_and_offered(world: World, channel: Channel) -> bytes:
    """Offered and revoked at once."""
    newest = channel.releases[0]
    return encode_channel(msgspec.structs.replace(channel, revoked=(newest.model,)))


def revoked_while_staged(world: World) -> None:
    """2.0.0 is staged when its publisher revokes it; the robot hears of it before it drives."""
    world.fetch()
    world.revoke(NEW)


def revoked_while_on_trial(world: World) -> None:
    """2.0.0 is on trial when its publisher revokes it, and the robot hears of it."""
    world.fetch()
    with world.updater() as updater:
        updater.apply()
        updater.store.shadow_passed()
    world.revoke(NEW)


def revoked_and_heard(world: World) -> None:
    revoked_after_new(world)
    world.look()


def _unrevoked(world: World) -> None:
    """Signed anew, without the revocation, under a higher number."""
    forger = world.forger()
    forger.release(
        KIND,
        world.fleet.folder / NEW,
        edit_channel=lambda channel: msgspec.structs.replace(channel, revoked=()),
    )


ATTACKS = (
    signed_attack("another channel under this one's name", "refused", _another_channel, "is channel beta"),
    signed_attack("another kind's channel under our name", "refused", _another_kinds_channel, "of ackermann"),
    signed_attack("keys twice in a channel", "the last one counts", put(_twice), "is to come", drives=NEW),
    signed_attack("a channel nested deeply", "refused", put(_nested), "."),
    signed_attack("a channel of a later format", "refused", put(_unknown), "may be too old"),
    signed_attack("a channel of 2 MiB", "refused", put(_too_large), "larger than 1 MiB"),
    signed_attack(
        "the sequence of a channel replayed",
        "never back to an earlier decision",
        _sequence_replay,
        "is newer than what the channel offers",
        setting=on_new,
        drives=NEW,
    ),
    signed_attack(
        "an old model by the newest number",
        "never back to an earlier decision",
        _old_model_by_the_newest_number,
        "is newer than what the channel offers",
        setting=on_new,
        drives=NEW,
    ),
    Attack(
        "a revoked model is served as before",
        "the mirror",
        "refused",
        _before_the_revocation,
        "old repository",
        setting=revoked_before,
        control=OLD,
    ),
    signed_attack(
        "a model offered and revoked at once",
        "refused",
        put(_revoked_and_offered),
        "is revoked",
        setting=seen,
    ),
    signed_attack(
        "a revoked model is offered again",
        "it stays in quarantine",
        _unrevoked,
        "in quarantine: revoked",
        setting=revoked_and_heard,
        drives=OLD,
        control=OLD,
    ),
    Attack(
        "a model is revoked while it drives",
        "a model that turned out bad",
        "the one before drives at the next start",
        lambda world: None,
        ".",
        setting=revoked_after_new,
        drives=OLD,
        control=None,
    ),
    Attack(
        "a model is revoked while it is staged",
        "a model that turned out bad",
        "it never drives",
        lambda world: None,
        ".",
        setting=revoked_while_staged,
        drives=OLD,
        control=None,
    ),
    Attack(
        "a model is revoked while it is on trial",
        "a model that turned out bad",
        "it drives no more",
        lambda world: None,
        ".",
        setting=revoked_while_on_trial,
        drives=OLD,
        control=None,
    ),
    *(
        Attack(
            f"metadata {name}",
            "the mirror",
            "refused",
            metadata_bytes(change),
            "forged|is larger than|signed",
        )
        for name, change in (
            ("nested deeply", lambda text: b"[" * 8000),
            (
                "with a number of 10000 digits",
                lambda text: text.replace(b'"version"', b'"a": ' + b"9" * 10_000 + b', "version"', 1),
            ),
            ("with infinity", lambda text: text.replace(b'"version"', b'"a": Infinity, "version"', 1)),
            ("that is no UTF-8", lambda text: text.replace(b'"version"', b'"\xff\xfe": 1, "version"', 1)),
            ("with a lone surrogate", lambda text: text.replace(b'"version"', b'"\\ud800": 1, "version"', 1)),
        )
    ),
    Attack(
        "metadata with keys twice",
        "the mirror",
        "the last one counts, and its signature",
        metadata_bytes(lambda text: text.replace(b'"signed"', b'"signed": {}, "signed"', 1)),
        "is to come",
        drives=NEW,
    ),
)
