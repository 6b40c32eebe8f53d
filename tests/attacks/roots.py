"""Roots that too few have signed, that were missed, or that are shown again."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from securesystemslib.signer import Signature
from tuf.api.metadata import Root

from tests.attacks.attack import Attack
from tests.attacks.forger import ROOT, SNAPSHOT, TIMESTAMP, give_role, own_keys, replace_keys
from tests.attacks.stolen_keys import UNSIGNED, rotated_three_times
from tests.attacks.world import World


def _root_of(count: int) -> Callable[[World], None]:
    def deed(world: World) -> None:
        """A root that gives every role to the attacker, signed by so many of the root's keys."""
        forger = world.forger()
        mallory = own_keys()

        def edit(root: Root) -> None:
            for role in (TIMESTAMP, SNAPSHOT, "targets"):
                give_role(root, role, mallory[0])

        forger.next_root(edit, forger.keys(ROOT)[:count])

    return deed


def _root_signed_twice(world: World) -> None:
    """One stolen root key signs twice, the second time under the id of another key."""
    forger = world.forger()
    thief, other = forger.keys(ROOT)[:2]
    mallory = own_keys()
    metadata = forger.read(ROOT)
    assert isinstance(metadata.signed, Root)
    metadata.signed.version += 1
    give_role(metadata.signed, TIMESTAMP, mallory[0])
    forger.sign(metadata, [thief])
    signature = next(iter(metadata.signatures.values()))
    metadata.signatures[other.public_key.keyid] = Signature(other.public_key.keyid, signature.signature)
    forger.write(ROOT, metadata)


def _root_lists_its_signature_twice(world: World) -> None:
    """The same signature of one stolen root key, twice in the file."""
    _root_of(1)(world)
    file = world.mirror / "metadata" / "2.root.json"
    text = file.read_text()
    begin, end = text.index("[", text.index('"signatures"')) + 1, text.index("]", text.index('"signatures"'))
    file.write_text(text[:end].rstrip() + "," + text[begin:end] + text[end:])


def _root_by_old_keys_only(world: World) -> None:
    """A root with new root keys that does not have the signatures of those: nobody could follow it."""
    forger = world.forger()
    old, new = forger.keys(ROOT), own_keys(2)

    forger.next_root(lambda root: replace_keys(root, ROOT, new), old)


def _root_by_new_keys_only(world: World) -> None:
    forger = world.forger()
    mallory = own_keys(2)

    forger.next_root(lambda root: replace_keys(root, ROOT, mallory), mallory)


def _root_skips(world: World) -> None:
    """Version 3 of the root where version 2 should be."""
    forger = world.forger()
    forger.next_root(lambda root: None, forger.keys(ROOT), version=3)
    forger.path(ROOT, 3).rename(forger.path(ROOT, 2))


def _roots_withheld(world: World) -> None:
    """The newest two roots are not there."""
    mirror = world.own_mirror()
    for version in (4, 5):
        (mirror / "metadata" / f"{version}.root.json").unlink()


def _roots_replayed(world: World) -> None:
    """Every newer root is the first one."""
    metadata = world.own_mirror() / "metadata"
    for version in (2, 3, 4, 5):
        shutil.copy(metadata / "1.root.json", metadata / f"{version}.root.json")


def _roots_out_of_order(world: World) -> None:
    metadata = world.own_mirror() / "metadata"
    shutil.copy(metadata / "4.root.json", metadata / "2.root.json")


ATTACKS = (
    Attack("one of three root keys, two must sign", "one root key", "refused", _root_of(1), UNSIGNED),
    Attack("one root key signs under two names", "one root key", "refused", _root_signed_twice, UNSIGNED),
    Attack(
        "one root key's signature twice",
        "one root key",
        "refused",
        _root_lists_its_signature_twice,
        f"{UNSIGNED}|forged",
    ),
    Attack(
        "a root signed by the old keys only",
        "the root keys",
        "refused: nobody could follow it",
        _root_by_old_keys_only,
        UNSIGNED,
    ),
    Attack("a root signed by the new keys only", "the mirror", "refused", _root_by_new_keys_only, UNSIGNED),
    Attack("a root that skips a version", "the root keys", "refused", _root_skips, "old repository|forged"),
    Attack(
        "newer roots withheld",
        "the mirror",
        "the newer timestamp is not believed: refused",
        _roots_withheld,
        UNSIGNED,
        setting=rotated_three_times,
    ),
    Attack(
        "the first root in the place of newer ones",
        "the mirror",
        "refused",
        _roots_replayed,
        "old repository|forged",
        setting=rotated_three_times,
    ),
    Attack(
        "roots out of order",
        "the mirror",
        "refused",
        _roots_out_of_order,
        "old repository|forged|signed by",
        setting=rotated_three_times,
    ),
)
