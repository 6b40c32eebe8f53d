"""Brings one file to the disk, on from where it was cut off, and believes it only by its hash."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge_wm.errors import BadInput, one_line
from edge_wm.update.fetcher import RobotFetcher

MAX_CUTS = 8
"""So often a connection may break in a download before it is given up until the next one."""


def download(
    fetcher: RobotFetcher,
    url: str,
    part: Path,
    *,
    size: int,
    sha256: str,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Make ``part`` the file at ``url``.

    What is there already is not fetched again.  If the whole then has the wrong hash, such as because a server changed the
    file or a power cut damaged what was there, it is fetched once more from the beginning.  Nothing is synced: a part is
    worth nothing until its hash is right.

    Args:
        fetcher: asks the server.
        url: where.
        part: the file on this disk.
        size: bytes that it must have; no more are ever written.
        sha256: that it must have.
        progress: is told the bytes that are here.

    Raises:
        BadInput: it cannot be fetched, is not that file, or cannot be written; what is here stays, unless it is wrong.
    """
    began_with = part.stat().st_size if part.exists() else 0
    for again in (False, True):
        _complete(fetcher, url, part, size, progress or (lambda here: None))
        if _sha256(part) == sha256:
            return
        part.unlink()
        if not began_with or again:
            break
    raise BadInput(f"{url}: is not the file that was signed (its SHA-256 differs): the robot keeps its model")


def _complete(
    fetcher: RobotFetcher, url: str, part: Path, size: int, progress: Callable[[int], None]
) -> None:
    for cut in range(MAX_CUTS + 1):
        here = part.stat().st_size if part.exists() else 0
        if here > size:
            part.unlink()
            here = 0
        if here == size:
            part.touch()
            progress(here)
            return
        try:
            _receive(fetcher, url, part, here, size, progress)
        except SlowRetrievalError as error:
            raise BadInput(f"{one_line(str(error))}: somebody holds it up; try again later") from None
        except DownloadHTTPError as error:
            raise BadInput(
                f"{one_line(str(error))}: is the address right, and all of the repository there?"
            ) from None
        except DownloadError as error:
            if cut == MAX_CUTS or (part.stat().st_size if part.exists() else 0) == here:
                raise BadInput(f"{one_line(str(error))}: is there a network? What is here is kept") from None
        except OSError as error:
            raise BadInput(f"{part}: {_said(error)}") from None


def _receive(
    fetcher: RobotFetcher, url: str, part: Path, here: int, size: int, progress: Callable[[int], None]
) -> None:
    with fetcher.open(url, here) as answer, part.open("r+b" if part.exists() else "wb") as file:
        file.seek(answer.start)
        file.truncate()
        here = answer.start
        for chunk in answer.chunks:
            if here + len(chunk) > size:
                raise BadInput(f"{url}: is larger than the {size} bytes that were signed")
            file.write(chunk)
            here += len(chunk)
            progress(here)
    if here < size:
        raise DownloadError(f"{url}: ended after {here} of {size} bytes")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _said(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: make room"
    if error.errno == errno.EROFS:
        return "the disk cannot be written: is it failing?"
    return error.strerror or os.strerror(error.errno or 0)
