"""Whether robots will accept what is about to be published: python-tuf's client looks at it first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

from edge_wm.errors import BadInput, one_line
from edge_wm.publish.folders import Folders
from edge_wm.publish.published import TIMESTAMP

_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Overlay(FetcherInterface):
    """The files of ``metadata/`` as they are, but for those that are new."""

    def __init__(self, folder: Path, new: Mapping[str, bytes]) -> None:
        self._folder, self._new = folder, new

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name in self._new:
            return iter((self._new[name],))
        try:
            return iter(((self._folder / name).read_bytes(),))
        except FileNotFoundError:
            raise DownloadHTTPError(f"{name} is missing", 404) from None


def check_as_robots(folders: Folders, new: Mapping[str, bytes], kinds: Sequence[str], now: datetime) -> None:
    """Follow the repository as it would be: as a robot that knows only the first root, and as one that knows today's.

    Args:
        folders: of the repository.
        new: file names and contents that are to be written to ``metadata/``.
        kinds: of robots, all of them.
        now: the time that expiry is judged by.

    Raises:
        BadInput: a robot would refuse it.
    """
    first = new.get("1.root.json") or (folders.metadata / "1.root.json").read_bytes()
    for knows_today in (False, True):
        if knows_today and not (folders.metadata / f"{TIMESTAMP}.json").is_file():
            continue
        with tempfile.TemporaryDirectory(prefix="robot") as folder:
            try:
                if knows_today:  # which may have expired: that is why it is signed anew
                    _follow(folder, _Overlay(folders.metadata, {}), first, kinds, _LONG_AGO)
                _follow(folder, _Overlay(folders.metadata, new), first, kinds, now)
            except (RepositoryError, DownloadError) as error:
                raise BadInput(
                    f"{folders.public}: nothing is published: robots would refuse it: {one_line(str(error))}"
                ) from None


def _follow(folder: str, fetcher: _Overlay, first: bytes, kinds: Sequence[str], now: datetime) -> None:
    updater = Updater(folder, "repository:/", fetcher=fetcher, bootstrap=first)
    # The client has no other way to be told the time.
    updater._trusted_set.reference_time = now
    updater.refresh()
    for kind in kinds:
        updater.get_targetinfo(f"{kind}/any")
