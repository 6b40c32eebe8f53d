"""Whoever stole keys: changes metadata of a mirror, and signs it with what he has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, TargetFile, Targets

from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.update.release import (
    Channel,
    Form,
    Release,
    ReleasedFile,
    channel_target,
    decode_channel,
    encode_channel,
    form_target,
)

TIMESTAMP, SNAPSHOT, ROOT = "timestamp", "snapshot", "root"
ONLINE = (SNAPSHOT, TIMESTAMP)


def own_keys(count: int = 1) -> list[Signer]:
    """Keys that nobody trusts."""
    return [CryptoSigner.generate_ed25519() for _ in range(count)]


class Forger:
    """Changes one mirror.

    Args:
        mirror: his own.
        keys: the publisher's folder of keys, all of them; which of them the thief has is for each attack to say.
    """

    def __init__(self, mirror: Path, keys: Path) -> None:
        self.mirror, self._keys = mirror, keys
        self.days = 30.0

    def keys(self, role: str) -> list[Signer]:
        """The stolen keys of a role."""
        files = sorted(self._keys.glob(f"{role}-*.pem"))
        assert files, role
        return [CryptoSigner(load_pem_private_key(file.read_bytes(), None)) for file in files]  # type: ignore[arg-type]

    # --- metadata ----------------------------------------------------------------------------------------------------

    def path(self, role: str, version: int | None = None) -> Path:
        """Of a role's newest metadata, or of one version."""
        folder = self.mirror / "metadata"
        if role == TIMESTAMP:
            return folder / f"{TIMESTAMP}.json"
        if version is None:
            version = max(int(path.name.partition(".")[0]) for path in folder.glob(f"*.{role}.json"))
        return folder / f"{version}.{role}.json"

    def read(self, role: str) -> Metadata[Signed]:
        """A role's newest metadata."""
        return Metadata.from_bytes(self.path(role).read_bytes())

    def change(
        self,
        role: str,
        edit: Callable[[Signed], object] = lambda signed: None,
        signers: Sequence[Signer] | None = None,
        version: int | None = None,
    ) -> Metadata[Signed]:
        """The next version of a role, signed by its stolen keys or by others."""
        metadata = self.read(role)
        metadata.signed.version = version or metadata.signed.version + 1
        metadata.signed.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(
            days=self.days
        )
        edit(metadata.signed)
        self.sign(metadata, self.keys(role) if signers is None else signers)
        self.write(role, metadata)
        return metadata

    def sign(self, metadata: Metadata[Signed], signers: Sequence[Signer]) -> None:
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)

    def write(self, role: str, metadata: Metadata[Signed]) -> None:
        self.path(role, metadata.signed.version).write_bytes(metadata.to_bytes())

    def follow(
        self, *roles: str, snapshot_by: Sequence[Signer] | None = None, by: Sequence[Signer] | None = None
    ) -> None:
        """Let snapshot and timestamp lead to the newest versions of these roles."""

        def list_them(signed: Signed) -> None:
            for role in roles:
                signed.meta[f"{role}.json"] = MetaFile(self.read(role).signed.version)  # type: ignore[attr-defined]

        self.change(SNAPSHOT, list_them, snapshot_by)
        self.lead(by)

    def lead(self, by: Sequence[Signer] | None = None) -> None:
        """Let the timestamp lead to the newest snapshot."""
        version = self.read(SNAPSHOT).signed.version

        def edit(signed: Signed) -> None:
            signed.snapshot_meta = MetaFile(version)  # type: ignore[attr-defined]

        self.change(TIMESTAMP, edit, by)

    # --- what a kind signs -------------------------------------------------------------------------------------------

    def channel(self, kind: str, name: str = "stable") -> Channel:
        """A channel as it is signed now."""
        path = channel_target(kind, name)
        signed = self.read(kind).signed
        assert isinstance(signed, Targets)
        return decode_channel(self.target_file(path, signed.targets[path]).read_bytes(), path)

    def target_file(self, path: str, target: TargetFile) -> Path:
        """Where the content of a target lies."""
        return self.mirror / "targets" / target.get_prefixed_paths()[0]

    def add_targets(
        self, kind: str, contents: dict[str, bytes], signers: Sequence[Signer] | None = None
    ) -> None:
        """The next version of a kind's role, with these targets besides the others."""
        entries = {}
        for path, content in contents.items():
            entry = TargetFile.from_data(path, content, ["sha256"])
            file = self.target_file(path, entry)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            entries[path] = entry

        def edit(signed: Signed) -> None:
            assert isinstance(signed, Targets)
            signed.targets.update(entries)

        self.change(kind, edit, signers)

    def release(
        self,
        kind: str,
        bundle: Path,
        *,
        channel: str = "stable",
        edit: Callable[[Release], Release] = lambda release: release,
        edit_channel: Callable[[Channel], Channel] = lambda channel: channel,
        packed: Callable[[str, bytes], tuple[Form, bytes] | None] = lambda path, content: None,
        signers: Sequence[Signer] | None = None,
        files: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """Release a bundle on a channel, and publish that with the keys of the kind and the online ones.

        Args:
            kind: whose keys sign.
            bundle: a folder; nothing of it is checked.
            channel: which.
            edit: changes the release before it is signed.
            edit_channel: changes the channel before it is signed.
            packed: how a file travels, if not as it is.
            signers: instead of the kind's keys.
            files: more of them, or others under the same path.
        """
        before = self.channel(kind, channel)
        content = {
            path.relative_to(bundle).as_posix(): path.read_bytes()
            for path in sorted(bundle.rglob("*"))
            if path.is_file()
        } | dict(files)
        manifest = content[MANIFEST_NAME]
        released, targets = [], {}
        for path, data in content.items():
            form, fetched = packed(path, data) or (Form("plain", len(data)), data)
            file = ReleasedFile(path, len(data), hashlib.sha256(data).hexdigest(), (form,))
            released.append(file)
            targets[form_target(kind, file, form)] = fetched
        release = edit(
            Release(
                before.sequence + 1,
                hashlib.sha256(manifest).hexdigest(),
                _named("name", manifest),
                _named("version", manifest),
                1.0,
                "0.1.0",
                tuple(released),
            )
        )
        after = msgspec.structs.replace(
            before,
            sequence=max(release.sequence, before.sequence),
            releases=tuple(
                sorted((release, *before.releases), key=lambda release: release.sequence, reverse=True)
            ),
        )
        self.put(kind, encode_channel(edit_channel(after)), channel, targets, signers)

    def put(
        self,
        kind: str,
        channel_json: bytes,
        channel: str = "stable",
        targets: dict[str, bytes] | None = None,
        signers: Sequence[Signer] | None = None,
    ) -> None:
        """Sign any bytes as a channel, and lead the robots to it."""
        self.add_targets(kind, {**(targets or {}), channel_target(kind, channel): channel_json}, signers)
        self.follow(kind)

    # --- root --------------------------------------------------------------------------------------------------------

    def next_root(
        self, edit: Callable[[Root], object], signers: Sequence[Signer], version: int | None = None
    ) -> None:
        """Another root."""
        self.change(ROOT, edit, signers, version)  # type: ignore[arg-type]


def replace_keys(root: Root, role: str, signers: Sequence[Signer]) -> None:
    """Make these the keys of a role; as many of them must sign as before."""
    for keyid in list(root.roles[role].keyids):
        root.revoke_key(keyid, role)
    for signer in signers:
        root.add_key(signer.public_key, role)


def give_role(root: Root, role: str, signer: Signer) -> None:
    """Make this the one key of a role."""
    replace_keys(root, role, [signer])
    root.roles[role].threshold = 1


def _named(key: str, manifest: bytes) -> str:
    """The first value of this key; the manifest may be no JSON at all."""
    found = re.search(rf'"{key}": ?"([^"]+)"'.encode(), manifest)
    assert found is not None
    return found[1].decode()
