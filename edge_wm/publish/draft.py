"""New metadata in memory, signed by the keys that are at hand, on top of what is published."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.repository import Repository

from edge_wm.errors import BadInput
from edge_wm.publish.folders import Settings
from edge_wm.publish.keys import FILE, Keyring
from edge_wm.publish.published import (
    ONLINE,
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
    AnyMetadata,
    Published,
    delegator_of,
)

HASH = ["sha256"]


class KeyMissing(BadInput):
    """None of the keys of a role is here."""


class Draft(Repository):
    """What a command changes: python-tuf's ``edit`` and ``do_snapshot`` work on it, and nothing is written.

    A role that has been edited has one new version, however often it was.

    Attributes:
        base: the metadata that is published.
        new: the metadata that is not.
    """

    def __init__(
        self,
        published: Published,
        keyring: Keyring,
        settings: Settings,
        now: datetime,
        *,
        patient: bool = False,
    ) -> None:
        self.base: Mapping[str, AnyMetadata] = published.roles
        self.new: dict[str, AnyMetadata] = {}
        self._patient = patient
        self._keyring, self._settings, self._now = keyring, settings, now

    @property
    def roles(self) -> dict[str, AnyMetadata]:
        """The repository as it would be."""
        return {**self.base, **self.new}

    def open(self, role: str) -> AnyMetadata:
        """A copy of the role's newest metadata; empty metadata if it has none."""
        newest = self.roles.get(role)
        if newest is not None:
            return copy.deepcopy(newest)
        if role == ROOT:
            return Metadata(Root(consistent_snapshot=True))
        if role == SNAPSHOT:
            return Metadata(Snapshot(meta={}))
        if role == TIMESTAMP:
            return Metadata(Timestamp(snapshot_meta=self.snapshot_info))
        return Metadata(Targets())

    def close(self, role: str, md: AnyMetadata) -> None:
        """Keep the role's new metadata, with its version, its expiry and all signatures that can be made here.

        Raises:
            KeyMissing: no key of the role is here.
            BadInput: a key is here and cannot be used.
        """
        md.signed.version = self.base[role].signed.version + 1 if role in self.base else 1
        expires = self._now + timedelta(days=self._settings.days(role))
        md.signed.expires = expires.replace(microsecond=0)
        md.signatures.clear()
        roles = {**self.roles, role: md}  # root says itself who signs it
        made = sign(role, md, (self.base, roles), self._keyring)
        if not made and (role in ONLINE or not self._patient):
            raise KeyMissing(_absent(role, keys_of(role, (self.base, roles)), self._keyring))
        self.new[role] = md

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        """What the snapshot says of targets and robot kinds."""
        published = self.base[SNAPSHOT].signed.meta if SNAPSHOT in self.base else {}
        changed = {
            f"{role}.json": _described(metadata)
            for role, metadata in self.new.items()
            if role not in (ROOT, *ONLINE)
        }
        return {**published, **changed}

    @property
    def snapshot_info(self) -> MetaFile:
        """What the timestamp says of the snapshot."""
        if SNAPSHOT in self.new:
            return _described(self.new[SNAPSHOT])
        described: MetaFile = self.base[TIMESTAMP].signed.snapshot_meta
        return described


def _described(metadata: AnyMetadata) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), HASH)


def keys_of(role: str, states: tuple[Mapping[str, AnyMetadata], ...]) -> dict[str, Key]:
    """All keys that sign for ``role`` in any of these states of the repository.

    While keys change these are the old and the new ones: what both have signed is valid for a reader who knows the new
    root already, and for one who does not.
    """
    keys: dict[str, Key] = {}
    for roles in states:
        delegator = delegator_of(role, roles)
        if delegator is not None:
            keys |= {keyid: delegator.get_key(keyid) for keyid in delegator.get_delegated_role(role).keyids}
    return keys


def sign(
    role: str, metadata: AnyMetadata, states: tuple[Mapping[str, AnyMetadata], ...], keyring: Keyring
) -> int:
    """Add every signature that can be made here; returns how many were.

    Raises:
        BadInput: a key is here and cannot be used.
    """
    made = 0
    for keyid, key in keys_of(role, states).items():
        signer = keyring.signer(key)
        if signer is None or keyid in metadata.signatures:
            continue
        try:
            signature = metadata.sign(signer, append=True)
            key.verify_signature(signature, metadata.signed_bytes)
        except UnsignedMetadataError as error:
            keyring.cannot_sign(key, error.__cause__ or error)
            continue
        except UnverifiedSignatureError:
            del metadata.signatures[keyid]
            keyring.cannot_sign(key, ValueError("what it signs does not fit this key"))
            continue
        made += 1
    return made


def require_key(role: str, roles: Mapping[str, AnyMetadata], keyring: Keyring) -> None:
    """Raise KeyMissing if no key of ``role`` is here; it says which there are and where they were looked for."""
    keys = keys_of(role, (roles,))
    if not any(keyring.signer(key) is not None for key in keys.values()):
        raise KeyMissing(_absent(role, keys, keyring))


def _absent(role: str, keys: Mapping[str, Key], keyring: Keyring) -> str:
    absent = ", ".join(keyring.absence(key) for key in keys.values())
    is_file = any(keyring.uris.get(keyid, FILE).partition(":")[0] == FILE for keyid in keys)
    return f"{role}: none of its keys is here: {absent}{': name a folder with --key-dir' if is_file else ''}"


def require_signed(draft: Draft, role: str, keyring: Keyring) -> None:
    """Raise KeyMissing if none of the published keys has signed it anew: a token shows only then that it is not here."""
    keys = keys_of(role, (draft.base,))
    if not keys.keys() & draft.new[role].signatures.keys():
        raise KeyMissing(_absent(role, keys, keyring))


@dataclass(frozen=True)
class Lack:
    """What metadata has too few of: ``signatures`` more, by any of ``keys``."""

    signatures: int
    keys: Mapping[str, Key]


def lack(role: str, base: Mapping[str, AnyMetadata], roles: Mapping[str, AnyMetadata]) -> Lack | None:
    """The signatures that the metadata of ``role`` in ``roles`` still needs on top of ``base``; None if it has enough.

    New root metadata is signed as the root before it asks, and as it asks itself.
    """
    metadata, delegator = roles[role], delegator_of(role, roles)
    if delegator is None:
        return Lack(1, {})  # a robot kind whose delegation is not there yet
    signed = (metadata.signed_bytes, metadata.signatures)
    results = [delegator.get_verification_result(role, *signed)]
    if role == ROOT and ROOT in base and base[ROOT] is not metadata:
        results.append(base[ROOT].signed.get_verification_result(role, *signed))
    missing = max(result.missing for result in results)
    unsigned = {keyid: key for result in results if not result for keyid, key in result.unsigned.items()}
    return Lack(missing, unsigned) if missing else None
