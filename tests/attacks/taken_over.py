"""In the place of the proof's inside: the engine has been taken over, and does what the model's card says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.update.misbehaving import DEEDS


def card(deed: str, *arguments: object) -> bytes:
    """A model's card that makes it do so."""
    return json.dumps([deed, *arguments]).encode()


def main(request: bytes) -> bytes:
    """Called in the sandbox with the proof's request."""
    bundle = Path(json.loads(request)["bundle"])
    deed, *arguments = json.loads((bundle / "MODEL_CARD.md").read_bytes())
    return json.dumps(DEEDS[deed](*arguments)).encode()
