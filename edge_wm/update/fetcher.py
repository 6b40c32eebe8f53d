"""Fetches files of a repository from a web server or a stick, and lets no server hold it up.

``tuf`` asks for metadata through it, ``download.py`` for files.  Whatever a server says is believed by nobody: it can only
fail to serve, and shall not be able to do so slowly.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import urllib3
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient.fetcher import FetcherInterface

from edge_wm import __version__
from edge_wm.network_error import cause, said
from edge_wm.update.deadline import Deadline, connections, pools_that_end, proxy_for
from edge_wm.update.folder_file import open_folder_file, read_chunks

CHUNK_BYTES = 64 << 10
MAX_METADATA_BYTES = 5_000_000
"""The most that ``tuf`` takes by itself.  A thief of the online keys may sign a length that no memory has."""
MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
SCHEMES = ("http", "https", "file")
CLOSED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
"""Errors of a connection that its server has closed."""

HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"edge-wm/{__version__}"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take.

    Attributes:
        connect_s: to be connected.
        gap_s: longest silence; the head of an answer may not take longer either.
        total_s: for all that is fetched together, see ``RobotFetcher.begin``.
        min_bytes_per_s: averaged over ``window_s``; less is somebody who holds an update back.
        window_s: seconds.
    """

    connect_s: float = 15.0
    gap_s: float = 30.0
    total_s: float = 3600.0
    min_bytes_per_s: float = 1000.0
    window_s: float = 30.0


@dataclass(frozen=True)
class Answer:
    """A file that is being served.

    Attributes:
        start: where in the file the chunks begin.
        chunks: its bytes; raises DownloadError.
    """

    start: int
    chunks: Iterator[bytes]


class RobotFetcher(FetcherInterface):
    """Fetches over http, https and from a folder, one file at a time.

    Proxies are those of the environment (``https_proxy``, ``no_proxy`` …).

    Args:
        limits: how long a server may take.
        clock: monotonic seconds.

    Attributes:
        received: bytes of all bodies so far.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self.received = 0
        self._clock = clock
        self._deadline = Deadline(clock)
        self._classes, self._tls = pools_that_end(self._deadline)
        self._pools: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self.begin()

    def begin(self) -> None:
        """All that is asked for from now on, however many files, must be here within ``total_s``."""
        self._until = self._clock() + self.limits.total_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The bytes of a whole file, for whoever asks through ``tuf``'s interface."""
        with self.open(url) as answer:
            yield from answer.chunks

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Asked by ``tuf`` for metadata: a whole file, in memory, as the disk may be full.

        Raises:
            DownloadLengthMismatchError: it has more than ``max_length`` bytes.
            DownloadError: see ``open``.
        """
        max_length = min(max_length, MAX_METADATA_BYTES)
        content = bytearray()
        with self.open(url) as answer:
            for chunk in answer.chunks:
                content += chunk
                if len(content) > max_length:
                    raise DownloadLengthMismatchError(f"{url}: is larger than {max_length} bytes")
        return bytes(content)

    @contextmanager
    def open(self, url: str, start: int = 0) -> Iterator[Answer]:
        """Ask for a file.

        Args:
            url: http, https or file.
            start: the first byte that is wanted; the server may give the whole file nevertheless.

        Raises:
            DownloadHTTPError: the server has no such file.
            DownloadError: it cannot be reached, takes too long, or says what it should not.
        """
        scheme = url.partition(":")[0].lower()
        if scheme not in SCHEMES:
            raise DownloadError(f"{url}: is none of {', '.join(SCHEMES)}")
        if scheme == "file":
            with open_folder_file(url) as file:
                file.seek(start)
                yield Answer(start, self._paced(url, read_chunks(file, CHUNK_BYTES)))
            return
        response = self._ask(url, start)
        try:
            yield Answer(_start(response, url, start), self._paced(url, self._body(response, url)))
        finally:
            response.close()  # a connection with an unread body is not used again

    def _paced(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, as long as they come fast enough.  What the disk takes to write them is not the server's fault."""
        limits = self.limits
        waited, in_window = 0.0, 0
        while True:
            self._deadline.at, self._deadline.gap_s = self._until, limits.gap_s
            asked = self._clock()
            chunk = next(chunks, b"")
            now = self._clock()
            if now >= self._until:
                raise SlowRetrievalError(f"{url}: took longer than {limits.total_s:g} s")
            if not chunk:
                return
            self.received += len(chunk)
            waited, in_window = waited + now - asked, in_window + len(chunk)
            if waited >= limits.window_s:
                rate = in_window / waited
                if rate < limits.min_bytes_per_s:
                    raise SlowRetrievalError(
                        f"{url}: comes at {rate:.0f} bytes/s, and {limits.min_bytes_per_s:g} are the least"
                    )
                waited, in_window = 0.0, 0
            yield chunk

    # --- a web server ------------------------------------------------------------------------------------------------

    def _ask(self, url: str, start: int) -> urllib3.BaseHTTPResponse:
        """The head of the answer, behind redirects."""
        headers = {**HEADERS, "Range": f"bytes={start}-"} if start else HEADERS
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._head(at, headers)
            if response.status not in REDIRECTS:
                break
            response.close()
            at = _redirected(at, response.headers.get("Location", ""))
        else:
            raise DownloadError(f"{url}: sends us on more than {MAX_REDIRECTS} times")
        if response.status not in (200, 206):
            response.close()
            raise DownloadHTTPError(f"{at}: status {response.status}", response.status)
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            response.close()
            raise DownloadError(f"{at}: comes encoded, and nobody asked for that")
        return response

    def _head(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """What one server answers.  A connection that it closed since it was last used is made anew."""
        limits = self.limits
        self._deadline.at = min(self._until, self._clock() + limits.connect_s + limits.gap_s)
        self._deadline.gap_s, self._deadline.connect_s = limits.gap_s, limits.connect_s
        for second in (False, True):
            try:
                return self._pool(url).request(
                    "GET",
                    url,
                    headers=headers,
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(connect=limits.connect_s, read=limits.gap_s),
                )
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if self._deadline.passed or _is_timeout(error):
                    raise SlowRetrievalError(f"{url}: no answer in time") from None
                if second or not isinstance(cause(error), CLOSED):
                    raise DownloadError(f"{url}: cannot be reached: {said(error)}") from None
        raise AssertionError("unreachable")

    def _body(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        try:
            while chunk := response.read1(CHUNK_BYTES):  # read() would wait for all of a chunk
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._deadline.passed:
                raise SlowRetrievalError(f"{url}: took longer than {self.limits.total_s:g} s") from None
            if _is_timeout(error):
                raise SlowRetrievalError(f"{url}: nothing came for {self.limits.gap_s:g} s") from None
            raise DownloadError(f"{url}: broke off: {said(error)}") from None

    def _pool(self, url: str) -> urllib3.PoolManager:
        """What makes connections, through the proxy of the environment if there is one for this server."""
        scheme, proxy = urlsplit(url).scheme, proxy_for(url)
        key = scheme, proxy
        if key not in self._pools:
            secured = scheme == "https" or (proxy or "").startswith("https:")
            self._pools[key] = connections(proxy, self._classes, self._tls() if secured else None)
        return self._pools[key]


def what_to_do(error: DownloadError) -> str:
    """What a person can do about an error of the fetcher's; more may follow on the same line."""
    if isinstance(error, SlowRetrievalError):
        return "the network is too slow, or somebody holds the update up: try again later;"
    if isinstance(error, DownloadHTTPError):
        if error.status_code >= 500 or error.status_code == 429:
            return "the server has a fault or is busy: try again later;"
        return "is the address right, and all of the repository there?"
    if isinstance(error, DownloadLengthMismatchError):
        return "that is not what was signed;"
    return "is there a network, and is the address right?"


def _redirected(at: str, location: str) -> str:
    """Where a server sends us.  Raises DownloadError if that is no web server, or one that is no longer secured."""
    try:
        following = urljoin(at, location)
        schemes = urlsplit(at).scheme, urlsplit(following).scheme
    except ValueError:
        raise DownloadError(f"{at}: sends us to {location[:80]!r}, which is no address") from None
    if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
        raise DownloadError(f"{at}: sends us from {schemes[0]} to {schemes[1]}, and is not followed")
    return following


def _start(response: urllib3.BaseHTTPResponse, url: str, asked: int) -> int:
    """Where the body begins.  Raises DownloadError if the server does not say so, or says something else."""
    if response.status == 200:
        return 0
    range_given = response.headers.get("Content-Range", "")
    if re.fullmatch(rf"bytes {asked}-\d+/(\d+|\*)", range_given.strip()) is None:
        raise DownloadError(f"{url}: asked from byte {asked} on, it answers {range_given[:40]!r}")
    return asked


def _is_timeout(error: Exception) -> bool:
    found = cause(error)
    return isinstance(found, (TimeoutError, urllib3.exceptions.TimeoutError))
