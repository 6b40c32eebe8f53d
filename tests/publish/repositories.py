"""A repository with its keeper, bundles to publish, and a robot that is nothing but python-tuf's client."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from edge_wm.bundle.load import load_bundle
from edge_wm.publish.folders import Folders
from edge_wm.publish.publisher import Access, Outcome, open_publisher
from edge_wm.publish.releases import Decided, promote, publish, revoke
from edge_wm.publish.rotate import Rotated, refresh, rotate_keys
from edge_wm.publish.setup import init_repository
from edge_wm.publish.signers import KeySource, Signers
from edge_wm.update.assemble import Piece, contents, plan
from edge_wm.update.release import Channel, Release, channel_target, decode_channel, form_target
from tests.tiny_model import write_tiny

KIND = "differential-drive"
PASSPHRASE = "correct horse"


class Keeper:
    """Who publishes: every method is one command."""

    def __init__(self, folder: Path, private: Path | None = None, days: float = 0.0) -> None:
        self.folders = Folders.of(folder, private)
        self.key_folders: tuple[Path, ...] = ()
        self.passphrase = PASSPHRASE
        self.days = days

    @property
    def access(self) -> Access:
        now = datetime.now(timezone.utc) + timedelta(days=self.days)
        return Access(self.folders, self.key_folders, lambda name: self.passphrase, now)

    def source(
        self,
        existing: dict[str, list[str]] | None = None,
        encrypt_with: str | None = None,
        **signers: tuple[int, int],
    ) -> KeySource:
        counted = {role.replace("_", "-"): Signers(*numbers) for role, numbers in signers.items()}
        return KeySource(self.access, counted, existing or {}, encrypt_with)

    def init(self, *kinds: str, source: KeySource | None = None, **options: tuple[int, int]) -> Outcome:
        return init_repository(source or self.source(**options), kinds or (KIND,))

    def publish(self, bundle: Path, channel: str = "beta", fraction: float = 1.0) -> Decided:
        with open_publisher(self.access) as publisher:
            return publish(publisher, bundle, channel, fraction=fraction, requires="0.1.0")

    def promote(
        self, model: str, channel: str = "stable", fraction: float = 1.0, source: str | None = "beta"
    ) -> Decided:
        with open_publisher(self.access) as publisher:
            return promote(publisher, model, channel, fraction=fraction, source=source)

    def revoke(self, model: str, channel: str | None = None) -> Outcome:
        with open_publisher(self.access) as publisher:
            return revoke(publisher, model, channel)[1]

    def refresh(self, *roles: str) -> Outcome:
        with open_publisher(self.access) as publisher:
            return refresh(publisher, roles)

    def rotate(self, role: str, *replace: str, threshold: int | None = None, **source: object) -> Rotated:
        with open_publisher(self.access) as publisher:
            keys = self.source(**source)  # type: ignore[arg-type]
            return rotate_keys(publisher, role, keys, replace=replace, threshold=threshold)

    def take_away(self, pattern: str, to: Path) -> list[Path]:
        """Take key files offline; returns where they are now."""
        to.mkdir(exist_ok=True)
        moved = []
        for path in sorted(self.folders.private.glob(pattern)):
            moved.append(path.rename(to / path.name))
        assert moved
        return moved


class _Files(FetcherInterface):
    def __init__(self, public: Path) -> None:
        self._public = public

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._public / url.removeprefix("file:/")
        if not path.is_file():
            raise DownloadHTTPError(f"{path} is missing", 404)
        return iter((path.read_bytes(),))


class Robot:
    """Knows the first root, or that of the day it was made, and keeps what it has seen in its home."""

    def __init__(self, public: Path, home: Path, root: str = "1.root.json") -> None:
        self._public, self._home = public, home
        self._root = (public / "metadata" / root).read_bytes()
        (home / "targets").mkdir(parents=True)

    def look(self) -> Updater:
        """Refresh, and ask for every role.  Raises what python-tuf raises."""
        updater = Updater(
            str(self._home),
            "file:/metadata",
            str(self._home / "targets"),
            "file:/targets",
            _Files(self._public),
            bootstrap=self._root,
        )
        updater.refresh()
        updater.get_targetinfo(f"{KIND}/any")
        return updater

    def fetch(self, target: str, updater: Updater | None = None) -> bytes:
        updater = updater or self.look()
        found = updater.get_targetinfo(target)
        assert found is not None, target
        return Path(updater.download_target(found)).read_bytes()

    def channel(self, name: str = "beta", kind: str = KIND) -> Channel:
        return decode_channel(self.fetch(channel_target(kind, name)), name)

    def install(self, release: Release, has: dict[str, Path] | None = None) -> int:
        """Fetch a release and load it; returns the bytes that were fetched."""
        slot = self._home / release.model
        to_do, updater = plan(release, has or {}), self.look()

        def fetched(piece: Piece) -> bytes:
            assert piece.form is not None
            return self.fetch(form_target(KIND, piece.file, piece.form), updater)

        for path, content in contents(to_do, fetched):
            (slot / path).parent.mkdir(parents=True, exist_ok=True)
            (slot / path).write_bytes(content)
        assert load_bundle(slot).sha256 == release.model
        return to_do.bytes_to_fetch


def bundle(
    folder: Path, version: str = "0.1.0", card: str = "tiny", kind: str = KIND, name: str = "tiny"
) -> Path:
    """A tiny bundle; its model card is 20 kB when compressed, always the same but for ``card``."""
    noise = random.Random(1).randbytes(20_000).hex()
    text = {"MODEL_CARD.md": f"{noise} {card}".encode()}
    return write_tiny(folder, other_files=text, version=version, robot_kind=kind, name=name)
