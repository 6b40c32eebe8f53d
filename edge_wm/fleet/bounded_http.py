"""One HTTP server, of which only bounded answers are taken: so many bytes, in so much time, and from nowhere else."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import urllib3

from edge_wm.errors import BadInput, one_line
from edge_wm.fleet.config import Address
from edge_wm.network_error import said
from edge_wm.update.deadline import Deadline, connections, pools_that_end, proxy_for

CONNECT_S = 15.0
TOTAL_S = 60.0
MAX_BYTES = 1 << 20


class BoundedHttp:
    """Speaks with one server; a redirect to another, or to itself, is an error.

    Proxies are those of the environment.

    Args:
        url: of the server, without a path.
        address: what it says.
        headers: sent with each request.
        ca: certificates that are believed; None for the system's.
        total_s: for one request, from the connection to the last byte.
        max_bytes: of an answer.

    Raises:
        BadInput: the certificates or the proxy cannot be used.
    """

    def __init__(
        self,
        url: str,
        address: Address,
        headers: dict[str, str],
        ca: Path | None = None,
        *,
        total_s: float = TOTAL_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {**headers, "Accept-Encoding": "identity", "Connection": "close"}
        self._total_s, self._max_bytes = total_s, max_bytes
        self._deadline = Deadline()
        pools, tls = pools_that_end(self._deadline)
        context = _believing(ca, tls) if address.tls else None
        proxy = proxy_for(url)
        try:
            self._connections = connections(proxy, pools, context)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise BadInput(f"{proxy}: is no proxy: {one_line(str(error))}") from None

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request and its answer: the status code and the content.

        Raises:
            BadInput: there is no answer, or it is a redirect, too long or too slow.
        """
        self._deadline.at = self._deadline.clock() + self._total_s
        self._deadline.connect_s = CONNECT_S
        try:
            answer = self._connections.request(
                method,
                self._url + path,
                body=body,
                headers=self._headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=self._total_s),
            )
            try:
                content = answer.read(self._max_bytes + 1, decode_content=False)
                missing = answer.length_remaining
            finally:
                answer.close()
                # A server may close without having said so, and the next request would meet that half-way.
                self._connections.clear()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            late = self._deadline.passed
            why = f"no whole answer within {self._total_s:g} s" if late else said(error)
            raise BadInput(f"{self._url}: {why}") from None
        if 300 <= answer.status < 400:
            raise BadInput(f"{self._url}: redirects {path}, and is not followed")
        if len(content) > self._max_bytes:
            raise BadInput(f"{self._url}: answers with more than {self._max_bytes} bytes")
        if missing:
            raise BadInput(f"{self._url}: ends its answer {missing} bytes early")
        return answer.status, content


def _believing(ca: Path | None, tls: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """The TLS of ``pools_that_end``, with these certificates and no others."""
    if ca is None:
        return tls()
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise BadInput(f"{ca}: {said(error)}") from None
    context.sslsocket_class = tls().sslsocket_class
    return context
