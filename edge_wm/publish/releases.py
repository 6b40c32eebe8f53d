"""Put a bundle on a channel, give a model to more robots or to another channel, and take one back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.errors import BadInput
from edge_wm.publish.channels import find_model, find_models, released, revoked
from edge_wm.publish.folders import Folders
from edge_wm.publish.packing import MAX_DELTAS, deltas, whole_form
from edge_wm.publish.publisher import Outcome, Publisher
from edge_wm.publish.targets import TargetFolder, old_channels
from edge_wm.update.release import Channel, Form, FormKind, Release, ReleasedFile, form_target

DELTA_MODELS = 3
"""Of each channel, so many of the newest models can be updated from by deltas."""

Told = Callable[[str], None]
"""Is told what is being worked on."""


@dataclass(frozen=True)
class Decided:
    """What a command decided.

    Attributes:
        kind: of robots.
        channel: after it.
        before: the channel as it was.
        outcome: whether readers see it.
    """

    kind: str
    channel: Channel
    before: Channel
    outcome: Outcome

    @property
    def release(self) -> Release:
        """The newest release, which is what was decided."""
        return self.channel.releases[0]

    @property
    def previous(self) -> Release | None:
        """What the channel's robots had before: its newest release of another model."""
        others = (release for release in self.channel.releases if release.model != self.release.model)
        return next(others, None)


def publish(
    publisher: Publisher,
    directory: Path,
    channel: str,
    *,
    fraction: float,
    requires: str,
    delta_models: int = DELTA_MODELS,
    told: Told = lambda what: None,
) -> Decided:
    """Put a bundle on a channel.

    Args:
        publisher: of the repository.
        directory: the bundle.
        channel: its name.
        fraction: of the channel's robots.
        requires: the oldest edge-wm that can run it.
        delta_models: see ``DELTA_MODELS``.
        told: is told which file is being packed.

    Raises:
        BadInput: the bundle, the channel, its robot kind or its version will not do, or a key is missing.
    """
    bundle = load_bundle(directory, roles=(), golden=False)
    manifest = bundle.manifest
    kind = publisher.kind(manifest.robot_kind)
    publisher.refuse_waiting(kind)
    publisher.require_key(kind)
    folder = _folder(publisher, kind)
    channels = folder.channels()
    before = _channel(channels, channel, publisher.folders)
    _refuse_other_content(publisher.folders, kind, bundle.sha256, manifest.name, manifest.version)
    size = (directory / MANIFEST_NAME).stat().st_size
    bare = [ReleasedFile(entry.path, entry.size, entry.sha256, _NO_FORMS) for entry in manifest.files]
    bare.append(ReleasedFile(MANIFEST_NAME, size, bundle.sha256, _NO_FORMS))
    release = Release(1, bundle.sha256, manifest.name, manifest.version, fraction, requires, tuple(bare))
    released(before, release)  # refuses a revoked model before the work
    bases = _newest_models(channels.values(), bundle.sha256, delta_models)
    packing = _Packing(folder, bases, _known_forms(channels.values()), told)
    files = []
    for file in bare:
        content = (directory / file.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise BadInput(f"{directory / file.path}: it changed while it was published: start again")
        files.append(packing.packed(file, content))
    return _decide(publisher, folder, channels, before, msgspec.structs.replace(release, files=tuple(files)))


def promote(
    publisher: Publisher,
    model: str,
    channel: str,
    *,
    fraction: float,
    source: str | None = None,
    kind: str | None = None,
    delta_models: int = DELTA_MODELS,
    told: Told = lambda what: None,
) -> Decided:
    """Give a released model to a fraction of a channel's robots.

    Args:
        publisher: of the repository.
        model: its version, or its hash or the beginning of that.
        channel: whose robots.
        fraction: of them; more or fewer than before if it is what the channel decided last.
        source: the channel it was released on; None for the same.
        kind: of robots; None for the only one.
        delta_models: see ``DELTA_MODELS``.
        told: is told which file is being packed.

    Raises:
        BadInput: there is no such model, channel or robot kind, the model was revoked, or a key is missing.
    """
    kind = publisher.kind(kind)
    publisher.refuse_waiting(kind)
    publisher.require_key(kind)
    folder = _folder(publisher, kind)
    channels = folder.channels()
    before = _channel(channels, channel, publisher.folders)
    source = source if source is not None else channel
    found = find_model({source: _channel(channels, source, publisher.folders)}, model)
    bases = _newest_models([before], found.model, delta_models)
    packing = _Packing(folder, bases, _known_forms(channels.values()), told)
    files = tuple(packing.packed(file, None) for file in found.files)
    release = msgspec.structs.replace(found, fraction=fraction, files=files)
    return _decide(publisher, folder, channels, before, release)


def revoke(
    publisher: Publisher, model: str, channel: str | None = None, *, kind: str | None = None
) -> tuple[str, Outcome]:
    """Take a model back: no robot that hears of it runs it any longer.

    Args:
        publisher: of the repository.
        model: its version, or its hash or the beginning of that; the whole hash of one that no channel has any more.
        channel: of which; None for all.
        kind: of robots; None for the only one.

    Returns:
        The hash of the model, and whether readers see it.

    Raises:
        BadInput: there is no such model, channel or robot kind, or a key is missing.
    """
    kind = publisher.kind(kind)
    publisher.refuse_waiting(kind)
    publisher.require_key(kind)
    folder = _folder(publisher, kind)
    channels = folder.channels()
    chosen = channels if channel is None else {channel: _channel(channels, channel, publisher.folders)}
    if not find_models(chosen, model):
        gone = _revoked_already(publisher.folders, kind, chosen, model)
        if gone is not None:
            return gone, Outcome({}, [])
    if not find_models(chosen, model) and len(model) == 64 and set(model) <= set("0123456789abcdef"):
        sha256 = model
    else:
        sha256 = find_model(chosen, model).model
    after = {name: revoked(before, sha256) for name, before in chosen.items()}
    return sha256, _write(publisher, folder, channels, after)


def _revoked_already(folders: Folders, kind: str, channels: Mapping[str, Channel], model: str) -> str | None:
    """The hash of a model that all these channels have revoked; so a command that was interrupted can be run again."""
    everywhere = set.intersection(*[set(channel.revoked) for channel in channels.values()])
    named = {release.model for release in _once_released(folders, kind) if release.version == model}
    named |= {sha256 for sha256 in everywhere if len(model) >= 8 and sha256.startswith(model)}
    found = named & everywhere
    return found.pop() if len(found) == 1 else None


_NO_FORMS: tuple[Form, ...] = ()
_FormKey = tuple[FormKind, str | None]


@dataclass(frozen=True)
class _Packing:
    """Makes the forms of files that are not in the repository yet."""

    folder: TargetFolder
    bases: Sequence[Release]
    known: Mapping[str, tuple[Form, ...]]
    told: Told

    def packed(self, file: ReleasedFile, content: bytes | None) -> ReleasedFile:
        """The file with all its forms; its content is taken from the repository if it is None."""
        forms = {(form.kind, form.base): form for form in (*self.known.get(file.sha256, ()), *file.forms)}
        bases = list(self._bases(file, forms))
        whole = next((form for form in forms.values() if form.base is None), None)
        if whole is not None and not bases:
            return msgspec.structs.replace(file, forms=_ordered(forms.values()))
        self.told(file.path)
        if content is None:
            content = self.folder.content_of(msgspec.structs.replace(file, forms=tuple(forms.values())))
        made = []
        if whole is None:
            made.append(whole_form(file, content))
            whole = made[0][0]
        made += deltas(file, content, bases, whole.size)
        for form, packed in made:
            forms[form.kind, form.base] = form
            self.folder.add(form_target(self.folder.kind, file, form), packed)
        return msgspec.structs.replace(file, forms=_ordered(forms.values()))

    def _bases(self, file: ReleasedFile, forms: Mapping[_FormKey, Form]) -> Iterator[tuple[str, bytes]]:
        """What the models that robots may have hold in this file's place."""
        seen = {file.sha256, *(base for _, base in forms if base is not None)}
        for release in self.bases:
            for old in release.files:
                if old.path == file.path and old.sha256 not in seen:
                    seen.add(old.sha256)
                    yield old.sha256, self.folder.content_of(old)


def _ordered(forms: Iterable[Form]) -> tuple[Form, ...]:
    """The whole form, then the newest deltas."""
    whole = [form for form in forms if form.base is None]
    return (*whole, *[form for form in forms if form.base is not None][-MAX_DELTAS:])


def _newest_models(channels: Iterable[Channel], model: str, count: int) -> list[Release]:
    """What robots may have: the newest models of each channel but this one."""
    found: dict[str, Release] = {}
    for channel in channels:
        newest = {release.model: release for release in reversed(channel.releases) if release.model != model}
        found |= dict(list(newest.items())[-count:] if count else [])
    return list(found.values())


def _known_forms(channels: Iterable[Channel]) -> dict[str, tuple[Form, ...]]:
    """The forms that files have already, by the file's hash."""
    known: dict[str, dict[_FormKey, Form]] = {}
    for channel in channels:
        for release in channel.releases:
            for file in release.files:
                forms = known.setdefault(file.sha256, {})
                forms |= {(form.kind, form.base): form for form in file.forms}
    return {sha256: tuple(forms.values()) for sha256, forms in known.items()}


def _folder(publisher: Publisher, kind: str) -> TargetFolder:
    return TargetFolder(publisher.folders, kind, publisher.published.roles[kind])


def _channel(channels: Mapping[str, Channel], name: str, folders: Folders) -> Channel:
    if name not in channels:
        raise BadInput(
            f"{name}: no such channel, there is {', '.join(channels)}:"
            f" edge-wm update init-repo {folders.public} --channel {name} makes it"
        )
    return channels[name]


def _refuse_other_content(folders: Folders, kind: str, model: str, name: str, version: str) -> None:
    """Two models of one version could not be told apart."""
    for old in _once_released(folders, kind):
        if (old.name, old.version) == (name, version) and old.model != model:
            raise BadInput(
                f"{name} {version} was published with other content ({old.model[:12]}):"
                " give the bundle another version"
            )


def _once_released(folders: Folders, kind: str) -> Iterator[Release]:
    for _, channel in old_channels(folders, kind):
        yield from channel.releases


def _decide(
    publisher: Publisher,
    folder: TargetFolder,
    channels: Mapping[str, Channel],
    before: Channel,
    release: Release,
) -> Decided:
    after = released(before, release)
    if after == before:
        return Decided(folder.kind, after, before, Outcome({}, []))
    return Decided(folder.kind, after, before, _write(publisher, folder, channels, {before.channel: after}))


def _write(
    publisher: Publisher,
    folder: TargetFolder,
    channels: Mapping[str, Channel],
    changed: Mapping[str, Channel],
) -> Outcome:
    """Publish changed channels."""
    for channel in changed.values():
        folder.put_channel(channel)
    draft = publisher.draft()
    with draft.edit_targets(folder.kind) as targets:
        targets.targets = folder.keep_only({**channels, **changed})
    return publisher.finish(draft)
