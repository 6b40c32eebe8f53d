"""Brings one file to the disk, on from where it was cut off, and believes it only by its hash."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)

from edge_wm.errors import BadInput, one_line
from edge_wm.update.fetcher import RobotFetcher, what_to_do

MAX_CUTS = 8
"""So often a connection may break in a download before it is given up until the next one."""

FINAL = (DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError)
"""Errors after which it is not asked again at once."""

DISK_ERRORS = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the disk is full: make room",
    errno.EROFS: "the disk cannot be written: is it failing?",
    errno.EIO: "the disk cannot be read or written: is it failing?",
}


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

    What is there already is not fetched again.  If a file that was put together from pieces then has the wrong hash, such as
    because a server changed it or a power cut damaged what was there, it is fetched once more from the beginning.  Nothing
    is synced: a part is worth nothing until its hash is right.

    Args:
        fetcher: asks the server; it has begun, see there.
        url: where.
        part: the file on this disk.
        size: bytes that it must have; no more are ever written.
        sha256: that it must have.
        progress: is told the bytes that are here.

    Raises:
        BadInput: it cannot be fetched, is not that file, or cannot be written; what is here stays, unless it is wrong.
    """
    try:
        for again in (False, True):
            pieced = _complete(fetcher, url, part, size, progress or (lambda here: None))
            if _sha256(part) == sha256:
                return
            part.unlink()
            if again or not pieced:
                break
    except OSError as error:
        said = DISK_ERRORS.get(error.errno or 0) or error.strerror or str(error)
        raise BadInput(f"{part}: {said}; the robot keeps its model") from None
    raise BadInput(
        f"{url}: is not the file that was signed, its SHA-256 differs: publish it again; the robot keeps its model"
    )


def _complete(
    fetcher: RobotFetcher, url: str, part: Path, size: int, progress: Callable[[int], None]
) -> bool:
    """Fetch what is missing.  Returns whether the file is of several pieces, what was here before being one."""
    pieced, cuts = True, 0
    if _size(part) > size:
        part.unlink()
    while (here := _size(part)) < size or not part.exists():
        try:
            pieced = _receive(fetcher, url, part, here, size, progress) > 0
        except DownloadError as error:
            cuts += 1
            if here and _is_another_file(error):
                part.unlink()
                continue
            final = isinstance(error, FINAL) or cuts > MAX_CUTS
            if final or _size(part) <= here:
                raise BadInput(
                    f"{one_line(str(error))}: {what_to_do(error)} what is here stays, and the robot keeps its model"
                ) from None
    progress(here)
    return pieced


def _receive(
    fetcher: RobotFetcher,
    url: str,
    part: Path,
    here: int,
    size: int,
    progress: Callable[[int], None],
) -> int:
    """Append what one answer brings.  Returns where in the file it began."""
    with fetcher.open(url, here) as answer, part.open("r+b" if part.exists() else "wb") as file:
        file.seek(answer.start)
        file.truncate()
        here = answer.start
        for chunk in answer.chunks:
            if here + len(chunk) > size:
                raise DownloadLengthMismatchError(f"{url}: is larger than the {size} bytes that were signed")
            file.write(chunk)
            here += len(chunk)
            progress(here)
    if here < size:
        raise DownloadError(f"{url}: ended after {here} of {size} bytes")
    return answer.start


def _is_another_file(error: DownloadError) -> bool:
    """Whether what the server has cannot be the rest of what is here: it ends before, or goes on for too long."""
    if isinstance(error, DownloadHTTPError):
        return error.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return isinstance(error, DownloadLengthMismatchError)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
