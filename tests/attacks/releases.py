"""What is in a release that the right keys have signed: somebody stole the kind's key and the online keys.

He can publish models: what is left then are the checks of what is signed, and the proof (``hostile_models.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import zstandard

from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.update.release import Channel, Form, Release, ReleasedFile, encode_channel
from tests.attacks.attack import Attack, Deed
from tests.attacks.world import KIND, OTHER_KIND, World, make_bundle
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


def _many_releases(world: World, channel: Channel) -> bytes:
    release = json.loads(encode_channel(channel))["releases"][0]
    facts = {**json.loads(encode_channel(channel)), "releases": [release] * 100}
    return json.dumps(facts).encode()


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


def signed_attack(name: str, must: str, deed: Deed, says: str, **rest: object) -> Attack:
    return Attack(name, KIND_KEYS, must, deed, says, **rest)  # type: ignore[arg-type]


PATHS = ("../../../state.db", "/etc/passwd", "a/../../b", "..", "a//b", "a\\..\\b", ".", "a/./b", "a\0b", "")


ATTACKS = (
    *(
        signed_attack(
            f"a release with the path {path!r}",
            "refused",
            released(renamed(path)),
            "path|regex|length|place of a folder",
        )
        for path in PATHS
    ),
    signed_attack("a release of a path that is long", "refused", released(renamed("a" * 5000)), "."),
    signed_attack("a release with a file twice", "refused", released(renamed("golden.npz")), "listed twice"),
    signed_attack(
        "a release with a file in the place of a folder",
        "refused",
        released(renamed("golden.npz/x")),
        "in the place of a folder",
    ),
    signed_attack(
        "a zstd bomb", "not unpacked beyond the signed size", released(packed=_zstd_bomb), "does not give"
    ),
    signed_attack(
        "a zstd window of 2 GiB", "refused", released(packed=_zstd_window), "cannot be unpacked|does not give"
    ),
    signed_attack(
        "a release that lacks a file of its manifest",
        "the bundle does not load: refused",
        released(without("golden.npz")),
        "golden.npz",
    ),
    signed_attack(
        "a release with a file that its manifest does not list",
        "the bundle does not load: refused",
        released(files=(("evil.so", b"\x7fELF"),)),
        "evil.so",
    ),
    signed_attack("a manifest that lists more", "refused", released(spoil=_manifest_lists_more), "more.bin"),
    signed_attack(
        "a manifest that reaches out", "refused", released(spoil=_manifest_reaches_out), "etc/passwd"
    ),
    signed_attack(
        "a release without a manifest", "refused", released(without(MANIFEST_NAME)), "manifest.json"
    ),
    signed_attack(
        "a release of another model's hash", "refused", released(replace(model="0" * 64)), "its model is not"
    ),
    signed_attack(
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
    signed_attack(
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
    signed_attack(
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
    signed_attack(
        "a model for another kind of robots", "refused", released(kind=OTHER_KIND), "made for ackermann"
    ),
    signed_attack(
        "a model that needs a newer edge-wm",
        "refused",
        released(replace(requires="99.0.0")),
        "install a newer",
    ),
    signed_attack(
        "a model that needs a version that is none", "refused", released(replace(requires="9" * 5000)), "."
    ),
    signed_attack("a channel with too many releases", "refused", put(_many_releases), "."),
    signed_attack(
        "a manifest with keys twice",
        "refused, or the proof decides on what it reads",
        released(spoil=_manifest_text(lambda text: text.replace(b"{", b'{"name": "evil", ', 1))),
        ".",
    ),
    signed_attack(
        "a manifest nested deeply",
        "refused",
        released(
            spoil=_manifest_text(
                lambda text: text.rstrip()[:-1] + b', "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
            )
        ),
        "manifest.json",
    ),
)
