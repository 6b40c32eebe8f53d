"""What is in a release or a channel that the right keys have signed: somebody stole the kind's key and the online keys.

He can publish models: what is left then are the checks of what is signed, and the proof (``hostile_models.py``).
"""

from __future__ import annotations

import bz2
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import zstandard

from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.update.release import Channel, Form, Release, ReleasedFile, encode_channel
from tests.attacks.attack import Attack, Deed
from tests.attacks.hostile_server import Request
from tests.attacks.specification import seen
from tests.attacks.world import KIND, NEW, OLD, OTHER_CHANNEL, OTHER_KIND, World, make_bundle
from tests.tiny_model import read_manifest, write_manifest

KIND_KEYS = "the kind's key and the online keys"
EVIL = "9.0.0"

ReleaseEdit = Callable[[Release], Release]
ChannelEdit = Callable[[Channel], Channel]


def released(
    edit: ReleaseEdit = lambda release: release,
    edit_channel: ChannelEdit = lambda channel: channel,
    files: tuple[tuple[str, bytes], ...] = (),
    version: str = EVIL,
    kind: str = KIND,
    packed: Callable[[str, bytes], tuple[Form, bytes] | None] = lambda path, content: None,
    spoil: Callable[[Path], object] = lambda bundle: None,
) -> Deed:
    """A release of the attacker's, signed."""

    def deed(world: World) -> None:
        bundle = make_bundle(world.folder / "evil", version, kind)
        spoil(bundle)
        world.forger().release(KIND, bundle, edit=edit, edit_channel=edit_channel, files=files, packed=packed)

    return deed


def put(content: Callable[[World, Channel], bytes]) -> Deed:
    """Any bytes in the place of the channel, signed."""

    def deed(world: World) -> None:
        forger = world.forger()
        forger.put(KIND, content(world, forger.channel(KIND)))

    return deed


def replace(**fields: object) -> ReleaseEdit:
    return lambda release: msgspec.structs.replace(release, **fields)


def renamed(path: str) -> ReleaseEdit:
    """One file of the release lies elsewhere."""

    def edit(release: Release) -> Release:
        files = [
            msgspec.structs.replace(file, path=path) if file.path == "MODEL_CARD.md" else file
            for file in release.files
        ]
        return msgspec.structs.replace(release, files=tuple(files))

    return edit


def without(path: str) -> ReleaseEdit:
    def edit(release: Release) -> Release:
        return msgspec.structs.replace(
            release, files=tuple(file for file in release.files if file.path != path)
        )

    return edit


def _card(form: Form) -> Callable[[str, bytes], tuple[Form, bytes] | None]:
    return lambda path, content: (form, content) if path == "MODEL_CARD.md" else None


# --- bombs -----------------------------------------------------------------------------------------------------------


def _zstd_bomb(path: str, content: bytes) -> tuple[Form, bytes] | None:
    """A gigabyte of nothing."""
    if path != "MODEL_CARD.md":
        return None
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    return Form("zstd", len(packed)), packed


def _zstd_window(path: str, content: bytes) -> tuple[Form, bytes] | None:
    """A frame that asks for a window of 2 GiB."""
    if path != "MODEL_CARD.md":
        return None
    packed = b"\x28\xb5\x2f\xfd" + bytes([0x00, (21 << 3)]) + b"\x01\x00\x00"
    return Form("zstd", len(packed)), packed


def _bsdiff(control: bytes, difference: bytes, extra: bytes, size: int) -> bytes:
    blocks = [bz2.compress(block) for block in (control, difference, extra)]
    return struct.pack("<8sqqq", b"BSDIFF40", len(blocks[0]), len(blocks[1]), size) + b"".join(blocks)


def delta(make: Callable[[int], bytes], base: Callable[[World], bytes]) -> Deed:
    """The model's card as a delta to a file."""

    def deed(world: World) -> None:
        content = base(world)
        digest = hashlib.sha256(content).hexdigest()

        def packed(path: str, wanted: bytes) -> tuple[Form, bytes] | None:
            if path != "MODEL_CARD.md":
                return None
            patch = make(len(wanted))
            return Form("bsdiff", len(patch), digest), patch

        released(packed=packed)(world)

    return deed


def the_robots_card(world: World) -> bytes:
    return (world.folders.slot("a") / "MODEL_CARD.md").read_bytes()


def _delta_bomb(size: int) -> bytes:
    """Blocks of half a gigabyte of nothing."""
    return _bsdiff(struct.pack("<qqq", size, 0, 0), bytes(1 << 29), b"", size)


def _control_bomb(size: int) -> bytes:
    """Steps without an end, each of which does nothing."""
    return _bsdiff(bytes(24) * 10_000_000, b"", b"", size)


def _outside_base(size: int) -> bytes:
    """Reads far behind and before the base."""
    control = struct.pack("<qqqqqq", 10, 0, 1 << 40, size - 10, 0, 0)
    return _bsdiff(control, bytes(size), b"", size)


def _outside_base_negative(size: int) -> bytes:
    control = struct.pack("<qqqqqq", 10, 0, -(1 << 62), size - 10, 0, 0)
    return _bsdiff(control, bytes(size), b"", size)


def _negative_step(size: int) -> bytes:
    control = struct.pack("<qqqqqq", -5, size + 5, 0, 0, 0, 0)
    return _bsdiff(control, bytes(size), bytes(size), size)


def _huge_header(size: int) -> bytes:
    return struct.pack("<8sqqq", b"BSDIFF40", 1 << 62, 1 << 62, size)


def _right_size(size: int) -> bytes:
    """A fine delta, to another base than the robot's, so that another file comes out."""
    return _bsdiff(struct.pack("<qqq", size, 0, 0), bytes(size), b"", size)


# --- JSON ------------------------------------------------------------------------------------------------------------


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


def _many_releases(world: World, channel: Channel) -> bytes:
    release = json.loads(encode_channel(channel))["releases"][0]
    facts = {**json.loads(encode_channel(channel)), "releases": [release] * 100}
    return json.dumps(facts).encode()


def metadata_bytes(change: Callable[[bytes], bytes]) -> Deed:
    """Bytes of the timestamp as they are, but for this."""

    def answer(request: Request) -> None:
        request.answer(change(request.content() or b""))

    return lambda world: world.server.on("timestamp.json", answer)


# --- channels and sequences ------------------------------------------------------------------------------------------


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


# --- revoked ---------------------------------------------------------------------------------------------------------


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


# --- manifests -------------------------------------------------------------------------------------------------------


def _manifest(**facts: object) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        write_manifest(bundle, {**read_manifest(bundle), **facts})

    return spoil


def _manifest_text(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        file = bundle / MANIFEST_NAME
        file.write_bytes(change(file.read_bytes()))

    return spoil


def _manifest_lists_more(bundle: Path) -> None:
    facts = read_manifest(bundle)
    facts["files"].append({"path": "more.bin", "size": 1, "sha256": "0" * 64})
    write_manifest(bundle, facts)


def _manifest_reaches_out(bundle: Path) -> None:
    facts = read_manifest(bundle)
    hostname = Path("/etc/passwd").read_bytes()
    entry = {
        "path": "../../../../../../etc/passwd",
        "size": len(hostname),
        "sha256": hashlib.sha256(hostname).hexdigest(),
    }
    facts["files"].append(entry)
    write_manifest(bundle, facts)


def _signed(name: str, must: str, deed: Deed, says: str, **rest: object) -> Attack:
    return Attack(name, KIND_KEYS, must, deed, says, **rest)  # type: ignore[arg-type]


PATHS = ("../../../state.db", "/etc/passwd", "a/../../b", "..", "a//b", "a\\..\\b", ".", "a/./b", "a\0b", "")

ATTACKS = (
    *(
        _signed(f"a release with the path {path!r}", "refused", released(renamed(path)), "path|regex|length")
        for path in PATHS
    ),
    _signed("a release of a path that is long", "refused", released(renamed("a" * 5000)), "."),
    _signed("a release with a file twice", "refused", released(renamed("golden.npz")), "listed twice"),
    _signed(
        "a release with a file in the place of a folder",
        "refused",
        released(renamed("golden.npz/x")),
        "in the place of a folder",
    ),
    _signed(
        "a zstd bomb", "not unpacked beyond the signed size", released(packed=_zstd_bomb), "does not give"
    ),
    _signed(
        "a zstd window of 2 GiB", "refused", released(packed=_zstd_window), "cannot be unpacked|does not give"
    ),
    *(
        _signed(f"a delta {name}", must, delta(make, the_robots_card), says)
        for name, must, make, says in (
            ("bomb", "not unpacked beyond the file's size", _delta_bomb, "cut off, or larger"),
            ("whose steps have no end", "refused", _control_bomb, "cut off, or larger"),
            ("that reads behind its base", "refused", _outside_base, "does not give|cannot be unpacked"),
            (
                "that reads before its base",
                "refused",
                _outside_base_negative,
                "does not give|cannot be unpacked",
            ),
            ("with steps back", "refused", _negative_step, "does not give|cannot be unpacked"),
            ("with a lying header", "refused", _huge_header, "cannot be unpacked"),
            (
                "that gives another file",
                "the hash of the result differs: refused",
                _right_size,
                "does not give",
            ),
        )
    ),
    _signed(
        "only deltas to a file that the robot does not have",
        "refused",
        delta(_right_size, lambda world: b"somewhere else"),
        "only deltas to files that this robot does not have",
    ),
    _signed(
        "a release that lacks a file of its manifest",
        "the bundle does not load: refused",
        released(without("golden.npz")),
        "golden.npz",
    ),
    _signed(
        "a release with a file that its manifest does not list",
        "the bundle does not load: refused",
        released(files=(("evil.so", b"\x7fELF"),)),
        "evil.so",
    ),
    _signed("a manifest that lists more", "refused", released(spoil=_manifest_lists_more), "more.bin"),
    _signed("a manifest that reaches out", "refused", released(spoil=_manifest_reaches_out), "etc/passwd"),
    _signed("a release without a manifest", "refused", released(without(MANIFEST_NAME)), "manifest.json"),
    _signed(
        "a release of another model's hash", "refused", released(replace(model="0" * 64)), "its model is not"
    ),
    _signed(
        "a release larger than the disk",
        "refused before anything is fetched",
        released(
            lambda release: msgspec.structs.replace(
                release,
                files=tuple(
                    msgspec.structs.replace(f, size=1 << 40, forms=(Form("plain", 1 << 40),))
                    if f.path == "MODEL_CARD.md"
                    else f
                    for f in release.files
                ),
            )
        ),
        "make room",
    ),
    _signed(
        "a form of another size than is signed",
        "refused",
        released(
            lambda release: msgspec.structs.replace(
                release,
                files=tuple(
                    msgspec.structs.replace(f, forms=(Form("plain", 10),)) if f.path == "MODEL_CARD.md" else f
                    for f in release.files
                ),
            )
        ),
        "the channel says 10 bytes",
    ),
    _signed(
        "a file that nobody has signed",
        "refused",
        released(
            lambda release: msgspec.structs.replace(
                release,
                files=(
                    *release.files,
                    ReleasedFile("more.bin", 1, "1" * 64, (Form("plain", 1),)),
                ),
            )
        ),
        "nobody has signed it",
    ),
    _signed("a model for another kind of robots", "refused", released(kind=OTHER_KIND), "made for ackermann"),
    _signed(
        "a model that needs a newer edge-wm",
        "refused",
        released(replace(requires="99.0.0")),
        "install a newer",
    ),
    _signed(
        "a model that needs a version that is none", "refused", released(replace(requires="9" * 5000)), "."
    ),
    _signed("another channel under this one's name", "refused", _another_channel, "is channel beta"),
    _signed("another kind's channel under our name", "refused", _another_kinds_channel, "of ackermann"),
    _signed("keys twice in a channel", "the last one counts", put(_twice), "is to come", drives=NEW),
    _signed("a channel nested deeply", "refused", put(_nested), "."),
    _signed("a channel of a later format", "refused", put(_unknown), "may be too old"),
    _signed("a channel of 2 MiB", "refused", put(_too_large), "larger than 1 MiB"),
    _signed("a channel with too many releases", "refused", put(_many_releases), "."),
    _signed(
        "the sequence of a channel replayed",
        "never back to an earlier decision",
        _sequence_replay,
        "is newer than what the channel offers",
        setting=on_new,
        drives=NEW,
    ),
    _signed(
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
    _signed(
        "a model offered and revoked at once",
        "refused",
        put(_revoked_and_offered),
        "is revoked",
        setting=seen,
    ),
    _signed(
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
    _signed(
        "a manifest with keys twice",
        "refused, or the proof decides on what it reads",
        released(spoil=_manifest_text(lambda text: text.replace(b"{", b'{"name": "evil", ', 1))),
        ".",
    ),
    _signed(
        "a manifest nested deeply",
        "refused",
        released(
            spoil=_manifest_text(
                lambda text: text.rstrip()[:-1] + b', "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
            )
        ),
        "manifest.json",
    ),
    *(
        Attack(f"metadata {name}", "the mirror", "refused", metadata_bytes(change), "forged|is larger than|signed")
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
