"""Repositories for tests: a publisher who can do anything, also what no publisher should.

``edge_wm/publish`` makes repositories as they should be.  Here every version, key and date can be chosen, and what is signed
need not be right:

    repository = TufRepository(folder, ("rover",))
    repository.add("rover", "stable.json", channel)
    repository.publish("rover")              # signs the next rover, snapshot and timestamp
    repository.rotate("timestamp")           # new keys, told by the next root
    repository.signers["rover"] = [new_key()]  # from now on signed by a key that nobody trusts
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
TOP_LEVEL = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
NOW = datetime(2027, 3, 1, 12, tzinfo=timezone.utc)
VALID = timedelta(days=30)


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


class TufRepository:
    """One repository in one folder, version 1 of everything published.

    Args:
        folder: where ``metadata`` and ``targets`` are made.
        kinds: of robots; each is a delegated role with the paths ``KIND/*``.
        now: everything is valid for 30 days from here.
        keys: how many keys a role has, if not one.
        thresholds: how many of them must sign, if not one.

    Attributes:
        roles: the newest metadata of each role, as it will be signed next; may be changed.
        signers: who signs a role; may be changed, which does not tell the robots that they are to be trusted.
        expires: when what is signed next expires, by role; may be changed.
    """

    def __init__(
        self,
        folder: Path,
        kinds: Iterable[str] = ("rover",),
        *,
        now: datetime = NOW,
        keys: Mapping[str, int] | None = None,
        thresholds: Mapping[str, int] | None = None,
    ) -> None:
        self.folder, self.kinds = folder, tuple(kinds)
        self._thresholds = dict(thresholds or {})
        for part in ("metadata", "targets"):
            (folder / part).mkdir(parents=True)
        everyone = (*TOP_LEVEL, *self.kinds)
        self.signers = {role: [new_key() for _ in range((keys or {}).get(role, 1))] for role in everyone}
        self.expires = dict.fromkeys(everyone, now + VALID)
        self.roles: dict[str, Metadata] = {
            ROOT: _unpublished(Root(consistent_snapshot=True)),
            TARGETS: _unpublished(Targets(delegations=Delegations({}, {}))),
            SNAPSHOT: _unpublished(Snapshot()),
            TIMESTAMP: _unpublished(Timestamp()),
        }
        for kind in self.kinds:
            self._delegate(kind)
        for role in everyone:
            self.tell_keys(role)
        self.publish(ROOT, TARGETS, *self.kinds)

    # --- what is there -----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def path(self, role: str, version: int | None = None) -> Path:
        """The file of a role's metadata: the newest, or of one version."""
        if role == TIMESTAMP:
            return self.folder / "metadata" / f"{TIMESTAMP}.json"
        return self.folder / "metadata" / f"{version or self.version(role)}.{role}.json"

    def version(self, role: str) -> int:
        return int(self.roles[role].signed.version)

    def root(self, version: int = 1) -> bytes:
        """A version of the root metadata, such as the one that robots are shipped with."""
        return self.path(ROOT, version).read_bytes()

    def target_path(self, kind: str, name: str) -> Path:
        """Where the newest content of a target lies."""
        target = self.roles[kind].signed.targets[f"{kind}/{name}"]
        return self.folder / "targets" / target.get_prefixed_paths()[0]

    def copied(self, to: Path) -> Path:
        """The folder as it is now, such as for an attacker to show later."""
        return Path(shutil.copytree(self.folder, to))

    # --- what a publisher does ---------------------------------------------------------------------------------------

    def add(self, kind: str, name: str, content: bytes) -> Path:
        """Write the target ``KIND/NAME``, to be signed by ``publish(KIND)``.  Returns its file."""
        path = f"{kind}/{name}"
        target = TargetFile.from_data(path, content, ["sha256"])
        self.roles[kind].signed.targets[path] = target
        file = self.folder / "targets" / target.get_prefixed_paths()[0]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return file

    def publish(self, *roles: str) -> None:
        """Sign and write the next version of these roles, then of snapshot and timestamp, which lead to them."""
        for role in roles:
            self.write(role)
        if roles != (ROOT,) or self.version(SNAPSHOT) == 0:
            self.roles[SNAPSHOT].signed.meta = {
                f"{role}.json": MetaFile(self.version(role)) for role in (TARGETS, *self.kinds)
            }
            self.write(SNAPSHOT)
            self.roles[TIMESTAMP].signed.snapshot_meta = MetaFile(self.version(SNAPSHOT))
            self.write(TIMESTAMP)

    def write(self, role: str, version: int | None = None, also: Iterable[CryptoSigner] = ()) -> None:
        """Sign and write one role alone; nothing leads to it by that.

        Args:
            role: which.
            version: its number, if not the next.
            also: keys that sign besides the role's own.
        """
        metadata = self.roles[role]
        metadata.signed.version = version or metadata.signed.version + 1
        metadata.signed.expires = self.expires[role]
        metadata.signatures.clear()
        for signer in (*self.signers[role], *also):
            metadata.sign(signer, append=True)
        metadata.to_file(str(self.path(role)))

    def rotate(
        self, role: str, keys: int = 1, *, keep: int = 0, signed_by: Iterable[CryptoSigner] = ()
    ) -> None:
        """Give a role new keys, and let whoever delegates to it say so.

        Args:
            role: which; the metadata of snapshot, timestamp and a kind is signed again, with the new keys.
            keys: how many new ones.
            keep: how many of the old ones stay.
            signed_by: who signs the new root, if not its old and its new keys.
        """
        old = self.signers[role]
        self.signers[role] = [*old[:keep], *(new_key() for _ in range(keys))]
        self.tell_keys(role)
        if role in self.kinds:
            self.publish(TARGETS, role)
            return
        signers, self.signers[ROOT] = self.signers[ROOT], list(signed_by) or self.signers[ROOT]
        self.write(ROOT, also=old if role == ROOT and not signed_by else ())
        self.signers[ROOT] = signers
        if role != ROOT:
            self.publish(*((TARGETS,) if role == TARGETS else ()))

    def remove_kind(self, kind: str) -> None:
        """Delegate nothing to this kind any longer, to be signed by ``publish("targets")``; snapshots list it for ever."""
        del self.roles[TARGETS].signed.delegations.roles[kind]

    # --- keys --------------------------------------------------------------------------------------------------------

    def _delegate(self, kind: str) -> None:
        role = DelegatedRole(kind, [], 1, terminating=True, paths=[f"{kind}/*"])
        self.roles[TARGETS].signed.delegations.roles[kind] = role
        self.roles[kind] = _unpublished(Targets())

    def tell_keys(self, role: str) -> None:
        """Let the keys of ``signers`` be a role's only ones, in the metadata that delegates to it and is not signed yet."""
        delegator = self.roles[ROOT if role in TOP_LEVEL else TARGETS].signed
        delegated = delegator.get_delegated_role(role)
        for keyid in list(delegated.keyids):
            delegator.revoke_key(keyid, role)
        for signer in self.signers[role]:
            delegator.add_key(signer.public_key, role)
        delegated.threshold = self._thresholds.get(role, 1)


def _unpublished(signed: Signed) -> Metadata:
    """What has version 1 when it is first written."""
    signed.version = 0
    return Metadata(signed)
