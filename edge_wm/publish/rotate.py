"""Other keys for a role, and new signatures on what expires or waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tuf.api.metadata import Root, Targets

from edge_wm.errors import BadInput
from edge_wm.publish.draft import require_signed, sign
from edge_wm.publish.keys import SHOWN
from edge_wm.publish.pending import drop_pending, file_name
from edge_wm.publish.published import (
    ONLINE,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TOP_LEVEL,
    AnyMetadata,
    delegator_of,
    parse,
)
from edge_wm.publish.publisher import BUSY, Access, Outcome, Publisher
from edge_wm.publish.signers import KeySource, check_threshold
from edge_wm.update.locks import held


@dataclass(frozen=True)
class Rotated:
    """What came of a rotation.

    Attributes:
        outcome: whether readers see it.
        gone: ids of the keys that no longer sign for the role.
    """

    outcome: Outcome
    gone: Sequence[str]


def rotate_keys(
    publisher: Publisher,
    role: str,
    source: KeySource,
    *,
    replace: Sequence[str] = (),
    threshold: int | None = None,
) -> Rotated:
    """Give a role other keys.

    What the role signed is signed anew, by the old keys too where they are here: then no reader is refused while the
    change is written.

    Args:
        publisher: of the repository.
        role: whose keys.
        source: of the new keys: as many as are replaced, or as many as it names.
        replace: beginnings of the ids of those to replace; none for all.
        threshold: how many must sign from now on; None for as many as before.

    Raises:
        BadInput: no such role or key, too few keys for the threshold, or a key that must sign is missing.
    """
    publisher.require_published()
    by = ROOT if role in TOP_LEVEL else TARGETS
    delegator = delegator_of(role, publisher.published.roles)
    if delegator is None:
        roles = ", ".join((*TOP_LEVEL, *publisher.published.kinds))
        raise BadInput(f"{role}: no role: there are {roles}")
    publisher.refuse_waiting(*{by, role} - set(ONLINE))
    publisher.require_key(by)
    delegated = delegator.get_delegated_role(role)
    old = _chosen(role, delegated.keyids, replace)
    count = len(source.existing.get(role, ())) or len(old)
    kept = [keyid for keyid in delegated.keyids if keyid not in old]
    needed = threshold if threshold is not None else delegated.threshold
    check_threshold(role, needed, len(kept) + count)
    draft = publisher.draft(patient=True)
    with publisher.undone_if_refused():
        new = source.keys_for(role, count)
        if {key.public.keyid for key in new} & set(delegated.keyids):
            raise BadInput(f"{role}: one of the new keys signs for it already")
        publisher.add_keys(new)
        with draft.edit(by) as signed:
            assert isinstance(signed, (Root, Targets))
            for keyid in old:
                signed.revoke_key(keyid, role)
            for key in new:
                signed.add_key(key.public, role)
            signed.get_delegated_role(role).threshold = needed
        require_signed(draft, by, publisher.keyring)
        if role not in (by, *ONLINE):  # those that are online are signed anew with every change of root
            with draft.edit(role):
                pass
    return Rotated(publisher.finish(draft), old)


def _chosen(role: str, keyids: Sequence[str], replace: Sequence[str]) -> list[str]:
    """The key ids that begin with one of ``replace``."""
    chosen = [keyid for keyid in keyids if not replace or any(keyid.startswith(begin) for begin in replace)]
    for begin in replace:
        if not begin or not any(keyid.startswith(begin) for keyid in keyids):
            have = ", ".join(keyid[:SHOWN] for keyid in keyids)
            raise BadInput(f"{begin!r}: {role} has no such key, it has {have}")
    return chosen


def refresh(publisher: Publisher, roles: Sequence[str] = ()) -> Outcome:
    """A new timestamp, a new snapshot once half of its days are over, and new versions of ``roles``.

    Raises:
        BadInput: there is no such role, or a key is missing.
    """
    publisher.require_published()
    base, settings = publisher.published.roles, publisher.settings
    draft = publisher.draft()
    for role in dict.fromkeys(roles):
        if role not in base:
            raise BadInput(f"{role}: no role: there are {', '.join(base)}")
        if role not in ONLINE:
            publisher.refuse_waiting(role)
            with draft.edit(role):
                pass
    rest = base[SNAPSHOT].signed.expires - publisher.access.now
    half_over = rest < timedelta(days=settings.days(SNAPSHOT)) / 2
    renew = (SNAPSHOT, TIMESTAMP) if half_over or SNAPSHOT in roles else (TIMESTAMP,)
    return publisher.finish(draft, renew=renew)


def sign_waiting(publisher: Publisher, role: str, copy: Path | None = None) -> tuple[int, Outcome]:
    """Add signatures to metadata that waits: those of the keys here, and those on somebody else's copy of it.

    Args:
        publisher: of the repository.
        role: whose metadata waits.
        copy: the same file, signed elsewhere; it need not wait here yet.

    Returns:
        How many signatures were added, and what came of it.

    Raises:
        BadInput: nothing waits, the copy is of something else, or a key cannot be used.
    """
    base = publisher.published.roles
    added = 0
    if copy is not None:
        added = _take_in(publisher, role, copy)
    metadata = publisher.waiting.get(role)
    if metadata is None:
        waits = ", ".join(publisher.waiting) or "nothing"
        raise BadInput(f"{role}: no metadata of it waits for signatures; what waits: {waits}")
    added += sign(role, metadata, (base, {**base, **publisher.waiting}), publisher.keyring)
    return added, publisher.finish(publisher.draft())


def _take_in(publisher: Publisher, role: str, copy: Path) -> int:
    """Take over the valid signatures of a copy; returns how many were new."""
    try:
        theirs = parse(copy.read_bytes(), role, copy)
    except OSError as error:
        raise BadInput(f"{copy}: {error.strerror}") from None
    base = publisher.published.roles
    follows = base[role].signed.version + 1 if role in base else 1
    ours = publisher.waiting.setdefault(role, _unsigned(theirs))
    if ours.signed != theirs.signed or theirs.signed.version != follows:
        raise BadInput(
            f"{copy}: not a copy of what waits: {publisher.folders.pending / file_name(role, ours)}"
        )
    before = len(ours.signatures)
    for roles in (base, {**base, **publisher.waiting}):
        delegator = delegator_of(role, roles)
        if delegator is not None:
            signed = delegator.get_verification_result(role, theirs.signed_bytes, theirs.signatures).signed
            ours.signatures.update({keyid: theirs.signatures[keyid] for keyid in signed})
    return len(ours.signatures) - before


def _unsigned(metadata: AnyMetadata) -> AnyMetadata:
    return type(metadata)(metadata.signed)


def drop_waiting(access: Access, role: str) -> list[Path]:
    """Give up metadata that waits; returns the files that were taken away.

    Raises:
        BadInput: nothing of this role waits.
    """
    with held(access.folders.lock, BUSY):
        dropped = drop_pending(access.folders, {role})
    if not dropped:
        raise BadInput(f"{role}: no metadata of it waits in {access.folders.pending}")
    return dropped
