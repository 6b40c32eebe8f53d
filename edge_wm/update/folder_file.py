"""Files of a repository that lies in a folder, such as on a stick that somebody plugged in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError

NOT_A_FILE = "is a link, a folder or a device, and no file of a repository"


@contextmanager
def open_folder_file(url: str) -> Iterator[BinaryIO]:
    """Open a regular file, never one behind a link: a stick shall not make the robot read what is not on it.

    Args:
        url: ``file:///…``.

    Raises:
        DownloadHTTPError: there is none, status 404.
        DownloadError: it is something else, or cannot be read.
    """
    host, slash, path = url.partition("://")[2].partition("/")
    path = unquote(slash + path)
    if host not in ("", "localhost"):
        raise DownloadError(f"{url}: names another host: begin it with file:///")
    try:
        # Looked at before it is opened: to open a device can be to set it off.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise DownloadError(f"{path}: {NOT_A_FILE}")
        file = open(path, "rb", opener=_open_no_link)  # noqa: SIM115 - closed below
    except (FileNotFoundError, NotADirectoryError):
        raise DownloadHTTPError(f"{path}: is not there", 404) from None
    except (OSError, ValueError) as error:
        raise DownloadError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DownloadError(f"{path}: {NOT_A_FILE}")
        yield file


def read_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The rest of a file, so many bytes at a time.  Raises DownloadError."""
    try:
        while chunk := file.read(size):
            yield chunk
    except OSError as error:
        raise DownloadError(f"{file.name}: {error.strerror}: is the stick still there?") from None


def _open_no_link(path: str, flags: int) -> int:
    """Neither follow a link nor wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
