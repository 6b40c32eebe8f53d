"""Decisions of a channel: which model, for how many robots, and which no longer.

A release's ``sequence`` is the order of decisions, whatever the models' versions: robots never go back to an earlier
decision.  So

- another model than the newest release's is a new decision and gets the next number, also if it was there before;
- another fraction of the newest release is the same decision for more or fewer robots, and keeps its number;
- a revocation decides anew for everybody: the releases that remain get new numbers in the same order, so that robots
  leave the revoked model for one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edge_wm.errors import BadInput
from edge_wm.update.release import Channel, Release

KEPT = 8
"""Releases that a channel keeps for robots that are pinned to one, besides those that some robot should run."""
MAX_RELEASES = 64


def released(channel: Channel, release: Release, kept: int = KEPT) -> Channel:
    """The channel after the decision for a model.

    Args:
        channel: before.
        release: the model and its fraction; ``sequence`` does not matter.
        kept: releases to keep.

    Raises:
        BadInput: the model was revoked.
    """
    if release.model in channel.revoked:
        raise BadInput(
            f"channel {channel.channel}: {title(release)} was revoked: publish it as another version"
        )
    replace = msgspec.structs.replace
    older, sequence = channel.releases, channel.sequence + 1
    if is_newest(channel, release.model):
        older, sequence = channel.releases[1:], channel.releases[0].sequence
    releases = (replace(release, sequence=sequence), *older)
    return replace(channel, sequence=max(sequence, channel.sequence), releases=_kept(releases, kept))


def is_newest(channel: Channel, model: str) -> bool:
    """Whether this model is what the channel decided last."""
    return bool(channel.releases) and channel.releases[0].model == model


def revoked(channel: Channel, model: str) -> Channel:
    """The channel after the revocation of a model, which it need not have."""
    replace = msgspec.structs.replace
    rest = [release for release in channel.releases if release.model != model]
    gone = [release.sequence for release in channel.releases if release.model == model]
    sequence = channel.sequence
    if any(release.sequence < max(gone, default=0) for release in rest):
        sequence += len(rest)
        rest = [replace(release, sequence=sequence - at) for at, release in enumerate(rest)]
    known = channel.revoked if model in channel.revoked else (*channel.revoked, model)
    return replace(channel, sequence=sequence, releases=tuple(rest), revoked=known)


def find_models(channels: Mapping[str, Channel], model_or_version: str) -> dict[str, Release]:
    """Released models of this version, or with a hash that begins like this, by hash; each in its newest release."""
    found: dict[str, Release] = {}
    for channel in channels.values():
        for release in reversed(channel.releases):
            if model_or_version == release.version or (
                len(model_or_version) >= 8 and release.model.startswith(model_or_version)
            ):
                found[release.model] = release
    return found


def find_model(channels: Mapping[str, Channel], model_or_version: str) -> Release:
    """The one released model of this version or hash.  Raises BadInput if there is none, or several."""
    found = find_models(channels, model_or_version)
    where = f"channel{'' if len(channels) == 1 else 's'} {', '.join(channels)}"
    if not found:
        raise BadInput(f"{model_or_version}: no model of {where} has this version, or a hash that begins so")
    if len(found) > 1:
        raise BadInput(
            f"{model_or_version}: several models of {where}: {', '.join(map(title, found.values()))}"
        )
    return next(iter(found.values()))


def title(release: Release) -> str:
    """A model as people are told it."""
    return f"{release.name} {release.version} ({release.model[:12]})"


def needed(releases: Sequence[Release]) -> int:
    """How many of the newest releases some robot should run: none below one that is for all."""
    for number, release in enumerate(releases, start=1):
        if release.fraction >= 1.0:
            return number
    return len(releases)


def _kept(releases: Sequence[Release], kept: int) -> tuple[Release, ...]:
    return tuple(releases[: min(MAX_RELEASES, max(kept, needed(releases)))])
