"""Tiny models that differ: what updates carry in tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edge_wm.bundle.load import load_bundle
from edge_wm.bundle.manifest import MANIFEST_NAME
from edge_wm.update.release import Form, Release, ReleasedFile
from edge_wm.update.store import Installed
from tests.tiny_model import write_tiny

KIND = "differential-drive"


def noise(seed: str, size: int = 4096) -> bytes:
    """Bytes that no other seed has, and that do not compress."""
    return np.random.default_rng(list(seed.encode())).bytes(size)


def tiny_version(directory: Path, version: str, robot_kind: str = KIND) -> Path:
    """A bundle of this version.  Only its manifest, its model card and the golden vectors differ from another version's."""
    card = {"MODEL_CARD.md": noise(version)}
    return write_tiny(directory, other_files=card, version=version, robot_kind=robot_kind)


def release_of(bundle: Path, sequence: int = 1, fraction: float = 1.0) -> Release:
    """A release of a bundle in which every file is fetched as it is."""
    loaded = load_bundle(bundle)
    files = {entry.path: (bundle / entry.path).read_bytes() for entry in loaded.manifest.files}
    files[MANIFEST_NAME] = (bundle / MANIFEST_NAME).read_bytes()
    return Release(
        sequence=sequence,
        model=loaded.sha256,
        name=loaded.manifest.name,
        version=loaded.manifest.version,
        fraction=fraction,
        requires="0.1.0",
        files=tuple(
            ReleasedFile(path, len(data), hashlib.sha256(data).hexdigest(), (Form("plain", len(data)),))
            for path, data in files.items()
        ),
    )


def installed(bundle: Path, sequence: int = 1, channel: str = "stable") -> Installed:
    """What the store says of a slot that holds this bundle."""
    return Installed.of(release_of(bundle, sequence), channel)


def contents_of(bundle: Path) -> list[tuple[str, bytes]]:
    """Path and content of every file of a bundle."""
    return [
        (path.relative_to(bundle).as_posix(), path.read_bytes())
        for path in sorted(bundle.rglob("*"))
        if path.is_file()
    ]
