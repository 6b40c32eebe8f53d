"""How many keys sign for a role, and where new ones come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_wm.errors import BadInput
from edge_wm.publish.keys import NewKey, existing_key, make_key
from edge_wm.publish.published import ROOT
from edge_wm.publish.publisher import Access


@dataclass(frozen=True)
class Signers:
    """How many keys a role has, and how many of them must sign."""

    threshold: int
    keys: int


ONE = Signers(1, 1)
DEFAULT_SIGNERS: Mapping[str, Signers] = {ROOT: Signers(2, 3)}
"""One root key can be lost, and one can be stolen.  Every other role has one key, which root or targets replace."""


@dataclass(frozen=True)
class KeySource:
    """Where the keys of a role come from.

    Attributes:
        access: how to get at the repository.
        signers: by role; ``DEFAULT_SIGNERS`` and then ``ONE`` for the rest.
        existing: by role, keys that are there already, ``URI`` or ``URI,PUBLIC.pem``; the others are made.
        encrypt_with: encrypts key files that are made; None leaves them as they are.
    """

    access: Access
    signers: Mapping[str, Signers]
    existing: Mapping[str, Sequence[str]]
    encrypt_with: str | None = None

    def signers_of(self, role: str) -> Signers:
        """How many keys the role gets, and how many must sign.  Raises BadInput if those cannot."""
        signers = self.signers.get(role, DEFAULT_SIGNERS.get(role, ONE))
        keys = max(signers.keys, len(self.existing.get(role, ())))
        check_threshold(role, signers.threshold, keys)
        return Signers(signers.threshold, keys)

    def keys_for(self, role: str, count: int) -> list[NewKey]:
        """As many new keys for a role; those that are not there already are made.

        Raises:
            BadInput: one that should be there is not, or is named twice.
        """
        folder = self.access.folders.private
        looked = (folder, *self.access.key_folders)
        keys = [existing_key(text, looked, self.access.passphrase) for text in self.existing.get(role, ())]
        if len({key.public.keyid for key in keys}) < len(keys):
            raise BadInput(f"{role}: one key twice counts once: name different ones")
        return keys + [make_key(role, folder, self.encrypt_with) for _ in range(count - len(keys))]


def check_threshold(role: str, threshold: int, keys: int) -> None:
    """Raise BadInput if so many keys cannot reach the threshold."""
    if not 1 <= threshold <= keys:
        raise BadInput(f"{role}: {threshold} of {keys} keys cannot sign: choose from 1 to {keys}")
