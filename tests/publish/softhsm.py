"""PKCS#11 tokens in software, made as docs/updates.md says: SoftHSM 2, in a folder of the test's own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from securesystemslib.signer import HSMSigner

PIN = "123456"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PROGRAMS = ("softhsm2-util", "pkcs11-tool", "openssl")


def _missing() -> str | None:
    """Why there are no tokens here; None if there are."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent or not MODULE.exists():
        return f"no {absent[0] if absent else MODULE}: run  sudo apt install softhsm2 opensc openssl"
    if importlib.util.find_spec("pkcs11") is None or not hasattr(HSMSigner, "_find_token"):
        return "no python-pkcs11, or too old a securesystemslib: run  pip install 'edge-wm[hsm]'"
    return None


_WHY = _missing()
needs_softhsm = pytest.mark.skipif(_WHY is not None, reason=str(_WHY))


class Tokens:
    """A computer with a PKCS#11 module and the tokens that are plugged in."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._plugged, self._away = folder, folder / "plugged", folder / "away"
        for path in (self._plugged, self._away):
            path.mkdir(parents=True)
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {self._plugged}\nobjectstore.backend = file\n")
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(config), "PYKCS11LIB": str(MODULE)}
        self._of: dict[str, Path] = {}

    def plug_in_new(self, label: str, pin: str = PIN) -> None:
        """A token without a key."""
        before = set(self._plugged.iterdir())
        self._call(
            "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "87654321"
        )
        (self._of[label],) = set(self._plugged.iterdir()) - before

    def make_key(self, label: str, number: int = 2, curve: str = "prime256v1", pin: str = PIN) -> str:
        """A key pair that is made on the token and cannot leave it; returns its URI."""
        key = ["--token-label", label, "--id", f"{number:02x}"]
        made = ["--login", "--pin", pin, "--keypairgen", "--key-type", f"EC:{curve}"]
        self._call("pkcs11-tool", "--module", str(MODULE), *key, *made)
        return f"hsm:{number}?label={label}"

    def public_half(self, label: str) -> Path:
        """What another keeper needs of key 2, for ``URI,PUBLIC.pem``."""
        der, pem = (self._folder / f"{label}.{ending}" for ending in ("der", "pem"))
        read = ["--token-label", label, "--read-object", "--type", "pubkey", "--id", "02"]
        self._call("pkcs11-tool", "--module", str(MODULE), *read, "--output-file", str(der))
        self._call("openssl", "pkey", "-pubin", "-inform", "DER", "-in", str(der), "-out", str(pem))
        return pem

    def unplug(self, label: str) -> None:
        shutil.move(self._of[label], self._away)

    def plug_in(self, label: str) -> None:
        shutil.move(self._away / self._of[label].name, self._plugged)

    def tries_are_counted(self, label: str) -> bool:
        """Whether the token has counted a wrong PIN."""
        said = self._call("pkcs11-tool", "--module", str(MODULE), "--list-slots")
        of_token = said[said.index(f": {label}\n") :]
        return "user PIN count low" in of_token[: of_token.index("serial num")]

    def _call(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
