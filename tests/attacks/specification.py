"""The attacks that the specification of The Update Framework lists, but for stolen keys (``stolen_keys.py``)."""

from __future__ import annotations

import shutil

from tests.attacks.attack import Attack, nothing
from tests.attacks.forger import SNAPSHOT, TIMESTAMP, own_keys
from tests.attacks.hostile_server import Request
from tests.attacks.world import CHANNEL, DAY_S, KIND, NEW, World, make_bundle
from tests.publish.repositories import Keeper

MIRROR, NETWORK = "the mirror", "the network"


def the_plain_file(world: World) -> str:
    """Part of the path of the largest file of 2.0.0: it travels as it is."""
    files = (world.repository / "targets" / KIND).iterdir()
    old = {path.name for path in (world.fleet.old / "targets" / KIND).iterdir()}
    return max((path for path in files if path.name not in old), key=lambda path: path.stat().st_size).name


# --- arbitrary software ----------------------------------------------------------------------------------------------


def _other_bytes(world: World) -> None:
    file = world.own_mirror() / "targets" / KIND / the_plain_file(world)
    file.write_bytes(bytes(file.stat().st_size))


def _own_repository(world: World) -> None:
    forged = world.folder / "forged"
    keeper = Keeper(forged)
    keeper.init(KIND)
    keeper.publish(make_bundle(world.folder / "evil", "9.0.0"), CHANNEL)
    for _ in range(5):
        keeper.refresh()  # its versions are higher
    world.mirror = forged


def _own_signatures(world: World) -> None:
    forger = world.forger()
    mallory = own_keys()
    forger.release(KIND, make_bundle(world.folder / "evil", "9.0.0"), signers=mallory)
    forger.change(SNAPSHOT, signers=mallory)
    forger.lead(mallory)


def _own_kind_signature(world: World) -> None:
    forger = world.forger()
    mallory = own_keys()
    forger.add_targets(KIND, {f"{KIND}/stable.json": b"{}"}, mallory)
    metadata = forger.path(KIND)
    older = forger.path(KIND, 3)
    older.write_bytes(metadata.read_bytes())
    metadata.unlink()


# --- rollback, freeze, fast-forward ----------------------------------------------------------------------------------


def seen(world: World) -> None:
    """The robot has seen the newest metadata, and fetched nothing."""
    world.look()


def _old_repository(world: World) -> None:
    world.own_mirror(world.fleet.old)


def _old_timestamp(world: World) -> None:
    shutil.copy(world.fleet.old / "metadata" / "timestamp.json", world.own_mirror() / "metadata")


def _old_kind_under_new_name(world: World) -> None:
    metadata = world.own_mirror() / "metadata"
    shutil.copy(metadata / f"2.{KIND}.json", metadata / f"3.{KIND}.json")


def _old_snapshot_under_new_name(world: World) -> None:
    metadata = world.own_mirror() / "metadata"
    shutil.copy(metadata / "2.snapshot.json", metadata / "3.snapshot.json")


def _frozen(world: World) -> None:
    world.own_mirror(world.fleet.old)
    world.now += 8 * DAY_S


def later(world: World) -> None:
    """Eight days later the publisher has signed anew."""
    world.now += 8 * DAY_S
    world.keeper.refresh()


def _frozen_after_more(world: World) -> None:
    world.own_mirror(world.fleet.new)


def _fast_forward(role: str):  # type: ignore[no-untyped-def]
    def setting(world: World) -> None:
        """Highest versions, signed by the stolen key; then the publisher replaces it."""
        forger = world.forger()
        if role == TIMESTAMP:
            forger.change(TIMESTAMP, version=2**31)
        else:
            forger.change(role, version=2**31)
            forger.follow(*([] if role == SNAPSHOT else [role]))
        world.look()
        world.mirror = world.repository
        if role == KIND:
            world.keeper.rotate("snapshot")  # which has vouched for the version of the kind
        world.keeper.rotate(role)
        if role == SNAPSHOT:
            world.keeper.rotate(TIMESTAMP)  # which has vouched for the version of the snapshot
        if role == KIND:
            world.keeper.rotate(TIMESTAMP)

    return setting


# --- endless data, slow retrieval ------------------------------------------------------------------------------------


def endless(request: Request) -> None:
    """400 MB: enough to tell whether anybody takes them all."""
    request.head(200)
    for _ in range(400):
        if request.ended.is_set():
            return
        request.wfile.write(bytes(1 << 20))


def drip(request: Request) -> None:
    """The right bytes, one at a time."""
    request.head(200)
    request.drip(request.content() or b"{}")


def drip_head(request: Request) -> None:
    """A head whose lines never end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    request.drip(b"X-Header: " + b"a" * 10_000)


def silent(request: Request) -> None:
    """Nothing."""
    request.ended.wait()


def silent_in_the_middle(request: Request) -> None:
    """Half of it, and then nothing."""
    content = request.content() or b"{}"
    request.head(200, Content_Length=len(content))
    request.wfile.write(content[: len(content) // 2])
    request.ended.wait()


def on(part: str, deed):  # type: ignore[no-untyped-def]
    """Do this to files whose path has this part; ``MODEL`` is the file that every update fetches."""

    def deed_of(world: World) -> None:
        world.server.on(the_plain_file(world) if part == MODEL else part, deed)

    return deed_of


MODEL = "the model's file"

# --- the rest --------------------------------------------------------------------------------------------------------


def _dependencies(world: World) -> None:
    """The mirror lists files that nobody has signed, in folders and beside the signed ones."""
    mirror = world.own_mirror()
    for name in ("stable.json", "evil", "0" * 64, "post-install.sh"):
        (mirror / "targets" / KIND / name).write_bytes(b"evil")
    (mirror / "metadata" / "4.root.json").write_bytes(b"{}")


def _mixed(world: World) -> None:
    """The new decision with files of the old one under their names."""
    mirror = world.own_mirror()
    channels = sorted(
        (mirror / "targets" / KIND).glob(f"*.{CHANNEL}.json"), key=lambda path: path.stat().st_size
    )
    shutil.copy(channels[-2], channels[-1])


def _another_file(world: World) -> None:
    """A file of the same size that is signed as well, but is another one."""
    mirror = world.own_mirror()
    old = {path.name for path in (world.fleet.old / "targets" / KIND).iterdir()}
    files = [path for path in (mirror / "targets" / KIND).iterdir() if path.stat().st_size == 24_000]
    new = next(path for path in files if path.name not in old)
    other = next(path for path in files if path.name in old)
    shutil.copy(other, new)


def broken(status: int):  # type: ignore[no-untyped-def]
    """Every request gets this answer."""
    return lambda request: request.answer(b"no", status)


def reset(request: Request) -> None:
    """The connection ends without an answer."""


ATTACKS = (
    Attack(
        "arbitrary software: other bytes",
        MIRROR,
        "hash of the signed file differs: refused",
        _other_bytes,
        "is not the file that was signed",
    ),
    Attack(
        "arbitrary software: a repository of the attacker's own",
        MIRROR,
        "not signed by the trusted root's keys: refused",
        _own_repository,
        "not signed by whom this robot trusts",
    ),
    Attack(
        "arbitrary software: signed by nobody known",
        MIRROR,
        "refused",
        _own_signatures,
        "not signed by whom this robot trusts",
    ),
    Attack(
        "arbitrary software: only the kind's role forged",
        MIRROR,
        "refused",
        _own_kind_signature,
        "not signed by whom|broken or forged",
    ),
    Attack(
        "rollback: the whole old repository",
        MIRROR,
        "versions below those that were seen: refused",
        _old_repository,
        "old repository",
        setting=seen,
    ),
    Attack(
        "rollback: the timestamp alone", MIRROR, "refused", _old_timestamp, "old repository", setting=seen
    ),
    Attack(
        "rollback: an old kind role under the new name",
        MIRROR,
        "refused",
        _old_kind_under_new_name,
        "old repository|forged",
    ),
    Attack(
        "rollback: an old snapshot under the new name",
        MIRROR,
        "refused",
        _old_snapshot_under_new_name,
        "old repository|forged",
    ),
    Attack(
        "indefinite freeze: the old repository for ever",
        MIRROR,
        "refused once the timestamp has expired, and said so",
        _frozen,
        "holds the news back",
        control=NEW,
    ),
    Attack(
        "indefinite freeze: after the publisher signed anew",
        MIRROR,
        "refused once expired",
        _frozen_after_more,
        "holds the news back",
        setting=later,
    ),
    Attack(
        "fast-forward of the timestamp, then recovery",
        "the timestamp key, until it is replaced",
        "after the rotation the robot updates again",
        nothing,
        "is to come",
        setting=_fast_forward(TIMESTAMP),
        drives=NEW,
    ),
    Attack(
        "fast-forward of the snapshot, then recovery",
        "the online keys, until they are replaced",
        "after the rotation the robot updates again",
        nothing,
        "is to come",
        setting=_fast_forward(SNAPSHOT),
        drives=NEW,
    ),
    Attack(
        "fast-forward of the kind, then recovery",
        "the kind's and the online keys, until they are replaced",
        "after the rotation the robot updates again",
        nothing,
        "is to come",
        setting=_fast_forward(KIND),
        drives=NEW,
    ),
    *(
        Attack(
            f"endless data: {name}",
            MIRROR,
            "cut off at the signed or the largest length",
            on(part, endless),
            says,
        )
        for name, part, says in (
            ("root", "2.root.json", "is larger than 512000 bytes"),
            ("timestamp", "timestamp.json", "is larger than 16384 bytes"),
            ("snapshot", "snapshot.json", "is larger than 740 bytes"),
            ("kind's role", f"3.{KIND}.json", "is larger than [0-9]+ bytes"),
            ("channel", f"{CHANNEL}.json", "is larger than [0-9]+ bytes"),
            ("file", MODEL, "is larger than the 24000 bytes"),
        )
    ),
    *(
        Attack(f"slow retrieval: {how} of {name}", MIRROR, "given up within its limits", on(part, deed), says)
        for name, part in (("metadata", "timestamp.json"), ("a file", MODEL))
        for how, deed, says in (
            ("drip-feed", drip, "are the least|took longer"),
            ("a drip-fed head", drip_head, "took longer|no answer in time"),
            ("silence instead", silent, "no answer in time|took longer"),
            ("silence in the middle", silent_in_the_middle, "nothing came for|are the least"),
        )
    ),
    Attack(
        "extraneous dependencies: files that nobody signed",
        MIRROR,
        "they are never asked for",
        _dependencies,
        "is to come",
        drives=NEW,
    ),
    Attack(
        "mix-and-match: the old channel under the new one's name",
        MIRROR,
        "refused",
        _mixed,
        "is not the file that was signed",
    ),
    Attack(
        "wrong software: another signed file",
        MIRROR,
        "refused",
        _another_file,
        "is not the file that was signed",
    ),
    *(
        Attack(
            f"malicious mirror: {name}",
            MIRROR,
            "one line; the next look at an honest mirror succeeds",
            on("", deed),
            says,
        )
        for name, deed, says in (
            ("404", broken(404), "404"),
            ("503", broken(503), "503"),
            ("no answer", reset, "cannot be reached|Remote end closed"),
            ("an empty file for everything", lambda request: request.answer(b""), "broken or forged|forged"),
            ("web page for everything", lambda request: request.answer(b"<html>login</html>"), "forged"),
        )
    ),
)
