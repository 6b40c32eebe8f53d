"""One command at work on a repository: read it, change a draft, publish the draft.

Publishing has an order.  What robots fetch is written first, then what is signed, ``timestamp.json`` after all that it
leads to, and new roots last.  A reader at any moment sees the repository before or the repository after; whatever stops
the command, the next one goes on from ``pending/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from edge_wm.durable import replace_file
from edge_wm.errors import BadInput
from edge_wm.publish.check import check_as_robots
from edge_wm.publish.draft import Draft, KeyMissing, lack, require_key
from edge_wm.publish.folders import (
    Folders,
    Settings,
    read_seen,
    read_settings,
    write_seen,
    write_settings,
)
from edge_wm.publish.keys import Keyring, NewKey, Passphrase
from edge_wm.publish.pending import drop_pending, file_name, read_pending, ready, save_pending
from edge_wm.publish.published import (
    ROOT,
    SNAPSHOT,
    TIMESTAMP,
    AnyMetadata,
    Published,
    kinds_of,
    read_published,
)
from edge_wm.publish.targets import missing_files
from edge_wm.update.locks import held

_FOR_OTHERS = "signed, and waits for the others"
BUSY = "another edge-wm update is at work on this repository: let it end"


@dataclass(frozen=True)
class Access:
    """How to get at a repository.

    Attributes:
        folders: of it.
        key_folders: where key files are looked for besides its private folder.
        passphrase: asks for the secret of this name.
        now: the time that expiry is counted from.
    """

    folders: Folders
    key_folders: Sequence[Path]
    passphrase: Passphrase
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def keyring(self, settings: Settings) -> Keyring:
        """The keys that are at hand."""
        return Keyring(settings.keys, (self.folders.private, *self.key_folders), self.passphrase)


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        published: new versions that readers see, by role.
        waiting: one line for each role that must be signed: its metadata waits in ``pending/``, or has expired.
    """

    published: Mapping[str, int]
    waiting: Sequence[str]


class Publisher:
    """A repository that this process alone works on.  See ``open_publisher``.

    Attributes:
        access: how to get at it.
        settings: ``repository.toml``.
        keyring: keys at hand.
        published: what readers see.
        waiting: what does not have enough signatures, by role.
    """

    def __init__(self, access: Access) -> None:
        self.access, self.folders = access, access.folders
        self.settings = read_settings(access.folders)
        self.keyring = access.keyring(self.settings)
        self.published = read_published(access.folders)
        self.waiting = read_pending(access.folders, self.published.roles, tidy=True)

    def draft(self, *, patient: bool = False) -> Draft:
        """Nothing changed yet.  A patient one lets roles wait that no key here can sign at all."""
        return Draft(self.published, self.keyring, self.settings, self.access.now, patient=patient)

    def require_key(self, role: str) -> None:
        """Raise KeyMissing now if nothing here can sign for ``role``, and not after the work."""
        require_key(role, self.published.roles, self.keyring)

    def add_keys(self, keys: Sequence[NewKey]) -> None:
        """Remember where these are, before anything says that they sign."""
        added = {key.public.keyid: key.uri for key in keys}
        self.settings = Settings(
            expires_days=self.settings.expires_days, keys={**self.settings.keys, **added}
        )
        write_settings(self.folders, self.settings)
        self.keyring.uris.update(added)

    @contextmanager
    def undone_if_refused(self) -> Iterator[None]:
        """Take away the key files that were made, and forget all new keys, if that is refused: nothing refers to them yet."""
        settings, there = self.settings, set(self.folders.private.glob("*.pem"))
        try:
            yield
        except (BadInput, KeyboardInterrupt):
            self.settings = settings
            write_settings(self.folders, settings)
            for path in set(self.folders.private.glob("*.pem")) - there:
                path.unlink()
            raise

    def require_published(self) -> None:
        """Raise BadInput if readers see nothing yet."""
        if not self.published.roles:
            waits = "; ".join(self._waiting_lines()[:1]) or "run edge-wm update init-repo again"
            raise BadInput(f"{self.folders.public}: not complete yet: {waits}")

    def kind(self, asked: str | None) -> str:
        """The robot kind that was asked for, or the only one there is.

        Raises:
            BadInput: nothing is published yet, there is no such kind, or there are several and none was asked for.
        """
        self.require_published()
        kinds = self.published.kinds
        if asked is None and len(kinds) > 1:
            raise BadInput(f"{self.folders.public}: say which with --robot-kind: {', '.join(kinds)}")
        if asked is not None and asked not in kinds:
            raise BadInput(
                f"{self.folders.public}: has no models for {asked}, only for {', '.join(kinds)}:"
                f" edge-wm update init-repo {self.folders.public} --robot-kind {asked}"
            )
        return asked or kinds[0]

    def refuse_waiting(self, *roles: str) -> None:
        """Raise BadInput if a change to one of these roles waits already: the next would have to start from it."""
        for role in roles:
            if role in self.waiting:
                raise BadInput(
                    f"{self.folders.pending / file_name(role, self.waiting[role])}: a change waits already:"
                    f" edge-wm update sign {self.folders.public} --role {role}, or the same with --drop"
                )

    def finish(self, draft: Draft, *, renew: Sequence[str] = ()) -> Outcome:
        """Publish what has all its signatures, and let the rest wait for more.

        Args:
            draft: what changes.
            renew: of the snapshot and the timestamp those that get a new version though nothing else changes.

        Raises:
            BadInput: a robot would refuse it; nothing is published and nothing new waits.
        """
        signed = {**self.waiting, **draft.new}
        taken = ready(self.published.roles, signed)
        draft.new = dict(taken)
        lines: list[str] = []
        try:
            if taken or renew:
                draft.do_snapshot(force=SNAPSHOT in renew)
                draft.do_timestamp(force=TIMESTAMP in renew)
            self._publish(draft, signed)
        except KeyMissing as missing:
            if not taken:
                raise
            save_pending(self.folders, signed)
            names = ", ".join(taken)
            lines = [
                f"{names}: signed, and waits for edge-wm update refresh where the online keys are: {missing}"
            ]
            draft.new, taken = {}, {}
        self.waiting = {role: metadata for role, metadata in signed.items() if role not in taken}
        lines = lines or self._waiting_lines()
        lines += [self._expired_line(kind) for kind in self._expired_kinds(draft)]
        return Outcome({role: metadata.signed.version for role, metadata in draft.new.items()}, lines)

    def _expired_kinds(self, draft: Draft) -> list[str]:
        """Robot kinds that this command does not sign anew though they have expired: the others must not suffer."""
        return [
            kind
            for kind in kinds_of(draft.roles)
            if kind not in draft.new and draft.roles[kind].signed.is_expired(self.access.now)
        ]

    def _expired_line(self, kind: str) -> str:
        return (
            f"{kind}: expired: edge-wm update refresh {self.folders.public} --role {kind}, where its keys are"
        )

    def _waiting_lines(self) -> list[str]:
        """What waits: first what lacks signatures, then what waits for that."""
        return sorted(map(self._waits_for, self.waiting), key=lambda line: _FOR_OTHERS in line)

    def _waits_for(self, role: str) -> str:
        metadata = self.waiting[role]
        where = self.folders.pending / file_name(role, metadata)
        roles = {**self.published.roles, **self.waiting}
        missing = lack(role, self.published.roles, roles)
        if missing is None or not missing.keys:
            return f"{role} {metadata.signed.version}: {_FOR_OTHERS}: {where}"
        keys = ", ".join(self.keyring.absence(key) for key in missing.keys.values())
        plural = "" if missing.signatures == 1 else "s"
        return f"{role} {metadata.signed.version}: waits for {missing.signatures} more signature{plural}, of {keys}: {where}"

    def _publish(self, draft: Draft, signed: Mapping[str, AnyMetadata]) -> None:
        """Write everything in an order in which every moment is a whole repository."""
        if draft.new:
            kinds = kinds_of(draft.roles)
            files = {
                _public_name(role, metadata): metadata.to_bytes() for role, metadata in draft.new.items()
            }
            self._refuse_missing(draft, kinds)
            expired = self._expired_kinds(draft)
            alive = [kind for kind in kinds if kind not in expired]
            check_as_robots(self.folders, files, alive, self.access.now)
        save_pending(self.folders, signed)
        if not draft.new:
            return
        first = not self.published.roles
        last = (TIMESTAMP,) if first else (TIMESTAMP, ROOT)
        for role in sorted(draft.new, key=lambda role: last.index(role) if role in last else -1):
            if first and role == TIMESTAMP:  # from now on it is a repository
                replace_file(self.folders.trusted_root, draft.new[ROOT].to_bytes())
            path = self.folders.metadata / _public_name(role, draft.new[role])
            replace_file(path, files[path.name])
        if ROOT in draft.new:
            replace_file(self.folders.trusted_root, draft.new[ROOT].to_bytes())
        versions = {role: metadata.signed.version for role, metadata in draft.new.items()}
        write_seen(self.folders, {**read_seen(self.folders), **versions})
        drop_pending(self.folders, set(draft.new))
        self.published = Published(draft.roles)

    def _refuse_missing(self, draft: Draft, kinds: Sequence[str]) -> None:
        for kind in kinds:
            if kind in draft.new:
                missing = missing_files(self.folders, draft.new[kind].signed.targets)
                if missing:
                    raise BadInput(
                        f"{missing[0]}: missing or cut off: restore it from a backup; nothing is published"
                    )


def _public_name(role: str, metadata: AnyMetadata) -> str:
    """The timestamp is what readers ask for without knowing a version."""
    return f"{TIMESTAMP}.json" if role == TIMESTAMP else file_name(role, metadata)


@contextmanager
def open_publisher(access: Access, *, resume: bool = True) -> Iterator[Publisher]:
    """Work on a repository.

    Args:
        access: how to get at it.
        resume: first publish what a command that was interrupted had made ready.

    Raises:
        BadInput: there is none, it has been tampered with, or another process works on it.
    """
    read_settings(access.folders)
    if not access.folders.metadata.is_dir():
        raise BadInput(f"{access.folders.metadata}: no such folder: restore it from a backup")
    with held(access.folders.lock, BUSY):
        publisher = Publisher(access)
        if resume and ready(publisher.published.roles, publisher.waiting):
            try:
                publisher.finish(publisher.draft())
            except BadInput as error:
                raise BadInput(
                    f"{error} (it waits in {access.folders.pending}; --drop of edge-wm update sign gives it up)"
                ) from None
        yield publisher
