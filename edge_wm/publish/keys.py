"""Keys of a publisher: made, named by URI, and found again when something is to be signed.

A URI is securesystemslib's: ``file2:`` a PEM file, ``hsm:`` a YubiKey or other PKCS#11 token, ``awskms:``, ``gcpkms:``,
``azurekms:``, ``hv:`` (Vault) …  ``file2:`` and ``hsm:`` are tested here; the others need what their signer in
securesystemslib needs.  Not every key must be at hand: offline keys come on a stick (``--key-dir``) or sign on another machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import (
    SIGNER_FOR_URI_SCHEME,
    CryptoSigner,
    HSMSigner,
    Key,
    Signer,
    SSlibKey,
)

from edge_wm.durable import sync_folder
from edge_wm.errors import BadInput, MissingExtra, one_line

logging.getLogger("securesystemslib").setLevel(logging.CRITICAL)  # it prints what it also raises

FILE = "file2"
TOKEN = "hsm"
WRONG_PIN = ("PinIncorrect", "PinInvalid", "PinLenRange")
"""What python-pkcs11, which need not be installed, raises when a token has counted a wrong try."""
SHOWN = 12
"""Characters of a key id that people are shown."""

Passphrase = Callable[[str], str]
"""Asks for the secret of this name: ``passphrase of FILE`` or ``PIN of URI``."""


@dataclass(frozen=True)
class NewKey:
    """A key that is to sign for a role: its public half, and where the private half is."""

    public: Key
    uri: str


class Keyring:
    """The private keys that are at hand.

    Args:
        uris: by key id.
        folders: where key files are looked for that are named without a folder.
        passphrase: asked for encrypted key files, and for the PINs of tokens.
    """

    def __init__(self, uris: Mapping[str, str], folders: Sequence[Path], passphrase: Passphrase) -> None:
        self.uris = dict(uris)
        self._folders, self._passphrase = folders, passphrase
        self._found: dict[str, Signer | str] = {}

    def signer(self, key: Key) -> Signer | None:
        """What signs with this key, if it can when it is asked to; None if it is not here, then :meth:`absence` says why.

        Raises:
            BadInput: it is here and cannot be used: a wrong passphrase, another key, no key at all.
        """
        if key.keyid not in self._found:
            self._found[key.keyid] = self._look(key)
        found = self._found[key.keyid]
        return None if isinstance(found, str) else found

    def cannot_sign(self, key: Key, why: BaseException) -> None:
        """Remember that a key is not here after all: that of a token or a service is asked for when it is to sign.

        Raises:
            BadInput: the PIN is wrong.  Another key of the token would spend the next of the few tries that it gives.
        """
        uri = self.uris[key.keyid]
        if type(why).__name__ in WRONG_PIN:
            raise BadInput(f"{uri}: the token refuses this PIN, and counts: a few wrong ones lock it")
        self._found[key.keyid] = f"{uri}: {_said(why)}"

    def absence(self, key: Key) -> str:
        """Which key is missing and where it was looked for, as part of a line."""
        found = self._found.get(key.keyid)
        if not isinstance(found, str):
            here = self.is_here(key)
            found = str(self._look(key)) if here is False else "here, and has not signed"
            found = f"{self.uris[key.keyid]}: has not signed" if here is None else found
        return f"key {key.keyid[:SHOWN]} ({found})"

    def is_here(self, key: Key) -> bool | None:
        """Whether the private half is at hand, without asking for a passphrase; None of a token or a service that may be."""
        uri = self.uris.get(key.keyid, "")
        if uri.partition(":")[0] == FILE:
            return find_file(uri, self._folders) is not None
        return False if self.signer(key) is None else None

    def _look(self, key: Key) -> Signer | str:
        uri = self.uris.get(key.keyid)
        if uri is None:
            return "repository.toml has no URI for it"
        if uri.partition(":")[0] != FILE:
            try:
                return Signer.from_priv_key_uri(uri, key, lambda _: self._passphrase(f"PIN of {uri}"))
            except Exception as error:  # every library behind every signer has its own
                return _why_not(uri, error)
        path = find_file(uri, self._folders)
        if path is None:
            name = Path(uri.partition(":")[2])
            looked = name.parent if name.is_absolute() else ", ".join(map(str, self._folders))
            return f"no {name.name} in {looked}"
        private = _read_private(path, self._passphrase)
        try:
            if not isinstance(key, SSlibKey):
                raise ValueError("a key of this kind is in no file")
            return CryptoSigner(private, key)
        except Exception as error:
            raise BadInput(f"{path}: not the key {key.keyid[:SHOWN]}: {one_line(str(error))}") from None


def find_file(uri: str, folders: Sequence[Path]) -> Path | None:
    """The file of a ``file2:`` URI; None if it is nowhere."""
    name = uri.partition(":")[2]
    return next((path for folder in folders if (path := folder / name).is_file()), None)


def make_key(role: str, folder: Path, passphrase: str | None = None) -> NewKey:
    """Make an Ed25519 key and write its private half to ``folder``, for its owner's eyes only.

    Args:
        role: what it is for; part of the file's name.
        folder: where to.
        passphrase: encrypts the file; None leaves it as it is.
    """
    signer = CryptoSigner.generate_ed25519()
    pem = signer.private_bytes
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase.encode())
        pem = load_pem_private_key(pem, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    name = f"{role}-{signer.public_key.keyid[:SHOWN]}.pem"
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    return NewKey(signer.public_key, f"{FILE}:{name}")


def existing_key(text: str, folders: Sequence[Path], passphrase: Passphrase) -> NewKey:
    """A key that is there already, from ``URI`` or ``URI,PUBLIC.pem``.

    The public half is needed for key services, and for a token or a file that only another keeper has; without it the
    token or the private file is read.

    Raises:
        BadInput: an unknown scheme, or no key where one should be.
    """
    uri, _, public = text.partition(",")
    scheme = uri.partition(":")[0]
    if scheme not in SIGNER_FOR_URI_SCHEME or uri == scheme:
        raise BadInput(
            f"{uri}: not the URI of a key: it begins with one of {', '.join(sorted(SIGNER_FOR_URI_SCHEME))}"
        )
    if public:
        try:
            return NewKey(SSlibKey.from_crypto(load_pem_public_key(Path(public).read_bytes())), uri)
        except OSError as error:
            raise BadInput(f"{public}: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadInput(f"{public}: not a public key in PEM form: {one_line(str(error))}") from None
    if scheme == TOKEN:
        return _of_token(uri, passphrase)
    if scheme != FILE:
        raise BadInput(f"{uri}: say what its public half is: {uri},PUBLIC.pem")
    path = find_file(uri, folders)
    if path is None:
        raise BadInput(f"{uri}: no such file in {', '.join(map(str, folders))}")
    try:
        return NewKey(SSlibKey.from_crypto(_read_private(path, passphrase).public_key()), uri)
    except ValueError as error:
        raise BadInput(f"{path}: {one_line(str(error))}") from None


def _of_token(uri: str, passphrase: Passphrase) -> NewKey:
    """A key of a token that is plugged in.  Raises BadInput."""
    parts = urlsplit(uri)
    label = dict(parse_qsl(parts.query)).get("label")
    import_key: Any = HSMSigner.import_  # its arguments differ between the versions of securesystemslib
    try:
        named, public = import_key(int(parts.path or 2), label, lambda _: passphrase(f"PIN of {uri}"))
    except BadInput:
        raise
    except Exception as error:  # of python-pkcs11, and of the library of the token
        why = _why_not(uri, error)
        raise BadInput(f"{why}: mend that, or say what its public half is: {uri},PUBLIC.pem") from None
    return NewKey(public, named)


def _why_not(uri: str, error: BaseException) -> str:
    """Why a key that is no file cannot be used, as part of a line."""
    if isinstance(error, UnsupportedLibraryError) and uri.startswith(f"{TOKEN}:"):
        error = MissingExtra("python-pkcs11", TOKEN)
    return f"{uri}: {_said(error)}"


def _said(error: BaseException) -> str:
    """What an error says; its name if that is nothing, as of most of python-pkcs11's."""
    return one_line(str(error)) or type(error).__name__


def _read_private(path: Path, passphrase: Passphrase) -> Any:
    """The private key in a PEM file, of one of the many types that cryptography has.  Raises BadInput."""
    try:
        pem = path.read_bytes()
        try:
            return load_pem_private_key(pem, None)
        except TypeError:  # says cryptography for one that is encrypted
            return load_pem_private_key(pem, passphrase(f"passphrase of {path}").encode())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path}: cannot be read as a key: {one_line(str(error))}") from None
