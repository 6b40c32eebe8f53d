"""A new repository, and more robot kinds and channels for one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from tuf.api.metadata import DelegatedRole, Delegations, Targets

from edge_wm.bundle.manifest import ModelName
from edge_wm.errors import BadInput
from edge_wm.publish.draft import Draft
from edge_wm.publish.folders import DEFAULT_EXPIRES_DAYS, Folders, Settings, write_settings
from edge_wm.publish.keys import NewKey
from edge_wm.publish.published import TARGETS, TIMESTAMP, TOP_LEVEL
from edge_wm.publish.publisher import Outcome, Publisher, open_publisher
from edge_wm.publish.signers import KeySource
from edge_wm.publish.targets import TargetFolder
from edge_wm.update.release import Channel, ChannelName

DEFAULT_CHANNELS = ("stable", "beta")


def init_repository(
    source: KeySource,
    kinds: Sequence[str],
    channels: Sequence[str] = DEFAULT_CHANNELS,
    expires_days: Mapping[str, float] = DEFAULT_EXPIRES_DAYS,
) -> Outcome:
    """Make a repository with its keys and empty channels, or add what one that is there does not have.

    It can be run again, and must be after it was interrupted.

    Args:
        source: of keys.
        kinds: of robots.
        channels: for each of them.
        expires_days: by role, for a new repository.

    Raises:
        BadInput: a name will not do, a key is missing, or the repository belongs to somebody else.
    """
    folders = source.access.folders
    for kind in kinds:
        _check_kind(kind)
    for channel in channels:
        _check(channel, ChannelName, "a channel")
    unknown = sorted({*source.signers, *source.existing} - {*TOP_LEVEL, *kinds})
    if unknown:
        raise BadInput(f"{unknown[0]}: no role: there are {', '.join((*TOP_LEVEL, *kinds))}")
    for role in (*TOP_LEVEL, *kinds):
        source.signers_of(role)
    is_new = not folders.settings.is_file()
    if is_new:
        _refuse_foreign(folders)
        folders.make()
        write_settings(folders, Settings(expires_days={**DEFAULT_EXPIRES_DAYS, **expires_days}, keys={}))
    folders.make()
    with open_publisher(source.access) as publisher:
        draft = publisher.draft(patient=True)
        try:
            with publisher.undone_if_refused():
                if publisher.published.roles:
                    _extend(publisher, draft, source, kinds, channels)
                elif not publisher.waiting:
                    _begin(publisher, draft, source, kinds, channels)
        except (BadInput, KeyboardInterrupt):
            if is_new:
                folders.settings.unlink()
            raise
        return publisher.finish(draft)


def _begin(
    publisher: Publisher, draft: Draft, source: KeySource, kinds: Sequence[str], channels: Sequence[str]
) -> None:
    if not kinds:
        raise BadInput(
            f"{publisher.folders.public}: name a kind of robots: --robot-kind, as in the bundles' manifests"
        )
    keys = {role: source.keys_for(role, source.signers_of(role).keys) for role in (*TOP_LEVEL, *kinds)}
    publisher.add_keys([key for of_role in keys.values() for key in of_role])
    with draft.edit_root() as root:
        for role in TOP_LEVEL:
            for key in keys[role]:
                root.add_key(key.public, role)
            root.roles[role].threshold = source.signers_of(role).threshold
    with draft.edit_targets() as targets:
        for kind in kinds:
            _delegate(targets, kind, keys[kind], source.signers_of(kind).threshold)
    for kind in kinds:
        _add_channels(publisher.folders, draft, kind, channels)


def _extend(
    publisher: Publisher, draft: Draft, source: KeySource, kinds: Sequence[str], channels: Sequence[str]
) -> None:
    new = [kind for kind in kinds if kind not in publisher.published.kinds]
    if new:
        publisher.refuse_waiting(TARGETS)
        publisher.require_key(TARGETS)
        keys = {kind: source.keys_for(kind, source.signers_of(kind).keys) for kind in new}
        publisher.add_keys([key for of_kind in keys.values() for key in of_kind])
        with draft.edit_targets() as targets:
            for kind in new:
                _delegate(targets, kind, keys[kind], source.signers_of(kind).threshold)
    for kind in (*publisher.published.kinds, *new):
        _add_channels(publisher.folders, draft, kind, channels, publisher)


def _delegate(targets: Targets, kind: str, keys: Sequence[NewKey], threshold: int) -> None:
    """Whoever holds the keys of a kind decides for robots of that kind, and for no other."""
    if targets.delegations is None:
        targets.delegations = Delegations(keys={}, roles={})
    roles = targets.delegations.roles
    assert roles is not None
    roles[kind] = DelegatedRole(kind, [], threshold, terminating=True, paths=[f"{kind}/*"])
    for key in keys:
        targets.add_key(key.public, kind)


def _add_channels(
    folders: Folders,
    draft: Draft,
    kind: str,
    channels: Sequence[str],
    publisher: Publisher | None = None,
) -> None:
    """Empty channels, so that a robot is told that there is nothing for it."""
    folder = TargetFolder(folders, kind, draft.open(kind))
    there = folder.channels()
    new = [name for name in channels if name not in there]
    if not new and kind in draft.base:
        return
    if publisher is not None and kind in draft.base:
        publisher.refuse_waiting(kind)
        publisher.require_key(kind)
    for name in new:
        there[name] = Channel(1, kind, name, 0)
        folder.put_channel(there[name])
    with draft.edit_targets(kind) as targets:
        targets.targets = folder.keep_only(there)


def _refuse_foreign(folders: Folders) -> None:
    if (folders.metadata / f"{TIMESTAMP}.json").exists():
        raise BadInput(
            f"{folders.public}: a repository already, and its private folder is not {folders.private}:"
            " name it with --private"
        )
    if folders.public.is_dir() and any(
        path.name not in ("metadata", "targets", folders.lock.name) for path in folders.public.iterdir()
    ):
        raise BadInput(f"{folders.public}: holds other things: name a new folder")


def _check_kind(kind: str) -> None:
    _check(kind, ModelName, "a kind of robots")
    if kind in TOP_LEVEL:
        raise BadInput(f"{kind}: the name of a role of TUF: a kind of robots needs another")


def _check(name: str, pattern: object, what: str) -> None:
    try:
        msgspec.convert(name, pattern)
    except msgspec.ValidationError:
        raise BadInput(f"{name!r}: not a name for {what}: lower-case letters, digits and - only") from None
