"""Defences taken out: then the attack that each is for must succeed, or the campaign shows nothing."""

from __future__ import annotations

import hashlib
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from edge_wm.update import boot, release, trust, updater
from edge_wm.update.fetcher import RobotFetcher
from edge_wm.update.sandbox import End, Ended
from edge_wm.update.store import Store
from edge_wm.update.updater import Updater
from tests.attacks import taken_over
from tests.attacks.attack import Attack, Result, attack
from tests.attacks.hostile_models import GOOD, KIND_KEYS, proven_for_real
from tests.attacks.hostile_models import taken_over as engine_taken_over
from tests.attacks.table import named
from tests.attacks.world import CHANNEL, KIND, NEW, OTHER_CHANNEL, Fleet, World, make_bundle
from tests.update.flows import Proven

SAYS_ANOTHER_THING = "it does not say"
"""To refuse for another reason is no success of an attack."""


@dataclass(frozen=True)
class Without:
    """A defence, what takes it out, and the attack that must then succeed."""

    defence: str
    out: Callable[[], AbstractContextManager[object]]
    attack: Attack


def _no_floors() -> AbstractContextManager[object]:
    whole = Store.trust
    return patch.object(Store, "trust", lambda self: replace(whole(self), floors={}))


def _no_expiry() -> AbstractContextManager[object]:
    return patch("tuf.api.metadata.Signed.is_expired", lambda self, reference_time=None: False)


def _no_time_source() -> AbstractContextManager[object]:
    believed = partial(updater.trusted_time, unset=True)
    return patch.object(updater, "trusted_time", lambda floor, wall, *, unset: believed(floor, wall))


def _no_signatures() -> AbstractContextManager[object]:
    stack = ExitStack()
    for owner in ("Root", "Targets"):
        stack.enter_context(
            patch(f"tuf.api.metadata.{owner}.verify_delegate", lambda self, role, payload, signatures: None)
        )
    return stack


ZEROS = bytes(24_000)
RIGHT_HASH = [""]
"""Of the model's file, once it is known."""


@contextmanager
def _collision() -> Iterator[None]:
    """Zeros have the hash of the file that should be there."""
    real = hashlib.sha256

    class Broken:
        def __init__(self, data: bytes = b"") -> None:
            self._data = bytearray(data)

        def update(self, data: bytes) -> None:
            self._data += data

        def hexdigest(self) -> str:
            return RIGHT_HASH[0] if self._data == ZEROS else real(self._data).hexdigest()

        def digest(self) -> bytes:
            return bytes.fromhex(self.hexdigest())

    with patch("hashlib.sha256", Broken):
        yield


def _other_bytes(world: World) -> None:
    """As the attack of that name, and the right hash is found out."""
    case = named("arbitrary software: other bytes")
    case.deed(world)
    card = world.fleet.folder / NEW / "MODEL_CARD.md"
    RIGHT_HASH[0] = hashlib.sha256(card.read_bytes()).hexdigest()


def _no_length() -> AbstractContextManager[object]:
    def download_bytes(self: RobotFetcher, url: str, max_length: int) -> bytes:
        with self.open(url) as answer:
            return b"".join(answer.chunks)

    return patch.object(RobotFetcher, "download_bytes", download_bytes)


def _no_revocation() -> AbstractContextManager[object]:
    return patch.object(Store, "revoke", lambda self, models, reason: None)


def _no_kind() -> AbstractContextManager[object]:
    return patch.object(Updater, "_misfit", lambda self, slot, release: None)


def _no_hash_at_start() -> AbstractContextManager[object]:
    return patch.object(boot, "refuse_another", lambda bundle, installed: None)


def _no_paths() -> AbstractContextManager[object]:
    return patch.object(release, "check_path", lambda path, where: None)


def _no_certificates() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # urllib3 warns of what is wanted here
    stack.enter_context(patch("ssl.create_default_context", ssl._create_unverified_context))
    return stack


def _no_channel_name() -> AbstractContextManager[object]:
    """The channel's own word on which channel it is does not count."""

    def decode(data: bytes, where: str) -> release.Channel:
        found = release.decode_channel(data, where)
        return msgspec.structs.replace(found, robot_kind=KIND, channel=CHANNEL)

    return patch.object(trust, "decode_channel", decode)


def _no_proof() -> AbstractContextManager[object]:
    return patch.object(World, "_prove", lambda self, bundle: Proven(None))


class _Free:
    """In the place of the sandbox: the same module, called as it is."""

    def __init__(self, module: str, request: bytes, limits: object = None, **rest: Any) -> None:
        self._request = request

    def __enter__(self) -> _Free:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def wait(self) -> Ended:
        return Ended(End.FINISHED, "", taken_over.main(self._request), 0.0, 0.0)


def _no_sandbox() -> AbstractContextManager[object]:
    return patch("edge_wm.update.proof.Sandboxed", _Free)


def _beta_under_stable(world: World) -> None:
    """A model is released on beta, and beta is signed under the name of stable."""
    forger = world.forger()
    bundle = make_bundle(world.folder / "evil", "9.0.0")
    for _ in range(3):  # its number is above that of stable
        forger.release(KIND, bundle, channel=OTHER_CHANNEL)
    forger.put(KIND, release.encode_channel(forger.channel(KIND, OTHER_CHANNEL)))


CHANGES_A_FILE = Attack(
    "the engine is taken over: it changes a file",
    KIND_KEYS,
    "refused",
    engine_taken_over("change", "@victim"),
    "forbids|permitted|failed|not implemented",
    setting=proven_for_real,
    control=GOOD,
)
BETA_NEWS = Attack(
    "a channel with a model under another's name",
    KIND_KEYS,
    "refused",
    _beta_under_stable,
    "is channel beta",
)


WITHOUT = (
    Without("floors of versions", _no_floors, named("lost metadata, a revoked model replayed")),
    Without("expiry", _no_expiry, named("lost store, expired repository replayed")),
    Without(
        "clocks that somebody has set",
        _no_time_source,
        named("lost store, expired repository replayed, clock stood still"),
    ),
    Without("signatures", _no_signatures, named("arbitrary software: signed by nobody known")),
    Without(
        "hashes of files (a collision)",
        _collision,
        replace(named("arbitrary software: other bytes"), deed=_other_bytes),
    ),
    Without("lengths of metadata", _no_length, named("endless data: timestamp")),
    Without("revocations", _no_revocation, named("a model is revoked while it is staged")),
    Without("the kind of the robot", _no_kind, named("a model for another kind of robots")),
    Without(
        "hashes at the start",
        _no_hash_at_start,
        named("between staging and start: another model, whole in itself"),
    ),
    Without("paths within a bundle", _no_paths, named("a release with the path '../../../state.db'")),
    Without("certificates of servers", _no_certificates, named("TLS: a certificate of nobody known")),
    Without("names of channels", _no_channel_name, BETA_NEWS),
    Without("the proof", _no_proof, named("a model that fails its golden vectors")),
    Without("the sandbox", _no_sandbox, CHANGES_A_FILE),
)


def succeeds(fleet: Fleet, without: Without, folder: Path | None = None) -> tuple[bool, Result]:
    """Whether the attack is refused with the defence, and succeeds without it."""
    refused = attack(fleet, without.attack, folder)
    with without.out():
        result = attack(fleet, without.attack, folder)
    accepted = result.accepted is not None and not result.accepted.startswith(SAYS_ANOTHER_THING)
    return accepted and refused.accepted is None, result
