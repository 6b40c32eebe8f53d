"""One HTTP server, of which only bounded answers are taken: so many bytes, in so much time, and from nowhere else."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from edge_wm.errors import BadInput, one_line
from edge_wm.fleet.config import Address

CONNECT_S = 15.0
TOTAL_S = 60.0
MAX_BYTES = 1 << 20

logging.getLogger("urllib3.connection").setLevel(logging.ERROR)  # it warns of odd headers, with a traceback


class BoundedHttp:
    """Speaks with one server; a redirect to another, or to itself, is an error.

    Args:
        address: of the server.
        headers: sent with each request.
        ca: certificates that are believed; None for the system's.
        total_s: for one request, from the connection to the last byte.
        max_bytes: of an answer.

    Raises:
        BadInput: the certificates cannot be read.
    """

    def __init__(
        self,
        address: Address,
        headers: dict[str, str],
        ca: Path | None = None,
        *,
        total_s: float = TOTAL_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._address = address
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._total_s, self._max_bytes = total_s, max_bytes
        self._context = _context(ca) if address.tls else None

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request and its answer: the status code and the content.

        Raises:
            BadInput: there is no answer, or it is a redirect, too long or too slow.
        """
        where = f"{self._address.host}:{self._address.port}"
        connection = self._connection()
        deadline = _Deadline(connection, self._total_s)
        try:
            deadline.connect()
            connection.request(method, path, body=body, headers=self._headers, preload_content=False)
            answer = connection.getresponse()
            content = answer.read(self._max_bytes + 1, decode_content=False)
            deadline.refuse()  # an answer that ends with its connection seems whole
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            why = f"no whole answer within {self._total_s:g} s" if deadline.passed else _reason(error)
            raise BadInput(f"{where}: {why}") from None
        finally:
            deadline.cancel()
            connection.close()
        if 300 <= answer.status < 400:
            raise BadInput(f"{where}: redirects {path}, and is not followed")
        if len(content) > self._max_bytes:
            raise BadInput(f"{where}: answers with more than {self._max_bytes} bytes")
        if answer.length_remaining:
            raise BadInput(f"{where}: ends its answer {answer.length_remaining} bytes early")
        return answer.status, content

    def _connection(self) -> HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._context is None:
            return HTTPConnection(host, port, timeout=CONNECT_S)
        proxy = None if proxy_bypass(host) else getproxies().get("https")
        if not proxy:
            return HTTPSConnection(host, port, timeout=CONNECT_S, ssl_context=self._context)
        try:
            parts = urlsplit(proxy)
            connection = HTTPSConnection(
                str(parts.hostname), parts.port or 8080, timeout=CONNECT_S, ssl_context=self._context
            )
        except ValueError:
            raise BadInput(f"https_proxy: {proxy}: is no URL") from None
        login = f"{parts.username}:{parts.password or ''}" if parts.username else None
        connection.set_tunnel(
            host, port, urllib3.make_headers(proxy_basic_auth=login) if login else None, scheme="http"
        )
        return connection


class _Deadline:
    """Ends a connection that another thread waits on.

    Timeouts of a socket are for one read each: a server that sends a byte at a time never meets them.
    """

    def __init__(self, connection: HTTPConnection, total_s: float) -> None:
        self.passed = False
        self._connection, self._total_s = connection, total_s
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(total_s, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def connect(self) -> None:
        """Connect, and hold on to the socket: the connection lets go of it as soon as it knows that an answer is its last."""
        self._connection.connect()
        self._socket = self._connection.sock
        self.refuse()

    def refuse(self) -> None:
        """Raise OSError if the time is over."""
        if self.passed:
            raise TimeoutError(f"not within {self._total_s:g} s")

    def cancel(self) -> None:
        """All is well."""
        self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        of = self._socket or self._connection.sock
        if of is not None:
            with suppress(OSError):
                # Not the method of an SSL socket, which would take its state from under the thread that reads.
                socket.socket.shutdown(of, socket.SHUT_RDWR)


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{ca}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(str(error)) or type(error).__name__
