"""Fetches files of a repository from a web server or a stick, and lets no server hold it up.

``tuf`` asks for metadata through it, ``download.py`` for files.  Whatever a server says is believed by nobody: it can only
fail to serve, and shall not be able to do so slowly.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from edge_wm import __version__

CHUNK_BYTES = 64 << 10
MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
SCHEMES = ("http", "https", "file")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take.

    Attributes:
        connect_s: to be connected.
        gap_s: longest silence; the head of an answer may not take longer either.
        total_s: for one file.
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
        self._sockets: list[socket.socket] = []
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Asked by ``tuf``: the bytes of a whole file."""
        with self.open(url) as answer:
            yield from answer.chunks

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
        scheme = urlsplit(url).scheme
        if scheme not in SCHEMES:
            raise DownloadError(f"{url}: is none of {', '.join(SCHEMES)}")
        opened = self._open_file(url, start) if scheme == "file" else self._open_http(url, start)
        with opened as answer:
            yield Answer(answer.start, self._paced(url, answer.chunks))

    def _paced(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, as long as they come fast enough."""
        limits = self.limits
        began = window_began = self._clock()
        in_window = 0
        for chunk in chunks:
            self.received += len(chunk)
            in_window += len(chunk)
            now = self._clock()
            if now - began > limits.total_s:
                raise SlowRetrievalError(f"{url}: took longer than {limits.total_s:g} s")
            if now - window_began >= limits.window_s:
                rate = in_window / (now - window_began)
                if rate < limits.min_bytes_per_s:
                    raise SlowRetrievalError(
                        f"{url}: came at {rate:.0f} bytes/s, {limits.min_bytes_per_s:g} are the least"
                    )
                window_began, in_window = now, 0
            yield chunk

    # --- a folder ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _open_file(self, url: str, start: int) -> Iterator[Answer]:
        path = unquote(urlsplit(url).path)
        try:
            with open(path, "rb", opener=_open_no_link) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise DownloadError(f"{path}: not a regular file")
                file.seek(start)
                yield Answer(start, iter(lambda: file.read(CHUNK_BYTES), b""))
        except FileNotFoundError:
            raise DownloadHTTPError(f"{path}: is not there", 404) from None
        except OSError as error:
            raise DownloadError(f"{path}: {error.strerror}") from None

    # --- a web server ------------------------------------------------------------------------------------------------

    @contextmanager
    def _open_http(self, url: str, start: int) -> Iterator[Answer]:
        with self._no_longer_than(self.limits.connect_s + self.limits.total_s, url):
            response = self._ask(url, start)
            try:
                yield Answer(_start(response, url, start), self._body(response, url))
            finally:
                response.close()

    def _ask(self, url: str, start: int) -> urllib3.BaseHTTPResponse:
        """The head of the answer, behind redirects."""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"edge-wm/{__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
        at = url
        for _ in range(MAX_REDIRECTS + 1):
            with self._no_longer_than(self.limits.connect_s + self.limits.gap_s, url):
                try:
                    response = self._pool(at).request(
                        "GET",
                        at,
                        headers=headers,
                        preload_content=False,
                        decode_content=False,
                        redirect=False,
                        retries=False,
                        timeout=urllib3.Timeout(connect=self.limits.connect_s, read=self.limits.gap_s),
                    )
                except urllib3.exceptions.TimeoutError as error:
                    raise SlowRetrievalError(f"{at}: no answer in time: {error}") from None
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    raise DownloadError(f"{at}: cannot be reached: {error}") from None
            if response.status not in REDIRECTS:
                break
            response.close()
            following = urljoin(at, response.headers.get("Location", ""))
            schemes = urlsplit(at).scheme, urlsplit(following).scheme
            if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
                raise DownloadError(f"{at}: sends us from {schemes[0]} to {schemes[1]}")
            at = following
        else:
            raise DownloadError(f"{url}: sends us on more than {MAX_REDIRECTS} times")
        if response.status not in (200, 206):
            response.close()
            raise DownloadHTTPError(f"{at}: status {response.status}", response.status)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise DownloadError(f"{at}: comes encoded, and nobody asked for that")
        return response

    def _body(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        try:
            while chunk := response.read1(CHUNK_BYTES):  # read() would wait for all of a chunk
                yield chunk
        except urllib3.exceptions.TimeoutError:
            raise SlowRetrievalError(f"{url}: nothing came for {self.limits.gap_s:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise DownloadError(f"{url}: broke off: {error}") from None

    @contextmanager
    def _no_longer_than(self, seconds: float, url: str) -> Iterator[None]:
        """Cut the connections of the block after so long: a byte now and then keeps every time-out of a socket from ending."""
        cut = threading.Event()

        def end() -> None:
            cut.set()
            for line in self._sockets:
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except DownloadError:
            if cut.is_set():
                raise SlowRetrievalError(f"{url}: took longer than {seconds:g} s") from None
            raise
        finally:
            timer.cancel()

    def _pool(self, url: str) -> urllib3.PoolManager:
        """What makes connections, through the proxy of the environment if there is one for this server."""
        parts = urlsplit(url)
        proxies = getproxies()
        proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy is not None and proxy_bypass(parts.hostname or ""):
            proxy = None
        if proxy not in self._pools:
            pool = urllib3.ProxyManager(proxy) if proxy is not None else urllib3.PoolManager()
            pool.pool_classes_by_scheme = _watched_pools(self._sockets)
            self._pools[proxy] = pool
        return self._pools[proxy]


def _watched_pools(sockets: list[socket.socket]) -> dict[str, type[HTTPConnectionPool]]:
    """Connections that leave their sockets where a timer finds them."""

    class Http(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sockets[:] = [super()._new_conn()]
            return sockets[0]

    class Https(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            sockets[:] = [super()._new_conn()]
            return sockets[0]

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    return {"http": HttpPool, "https": HttpsPool}


def _start(response: urllib3.BaseHTTPResponse, url: str, asked: int) -> int:
    """Where the body begins.  Raises DownloadError if the server does not say so, or says something else."""
    if response.status == 200:
        return 0
    said = response.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {asked}-"):
        raise DownloadError(f"{url}: asked from byte {asked} on, it answers {said[:40]!r}")
    return asked


def _open_no_link(path: str, flags: int) -> int:
    """Follow no link out of the stick, and do not wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
