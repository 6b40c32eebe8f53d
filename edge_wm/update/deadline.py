"""Connections that end at a deadline, whatever comes over them.

A time-out of a socket is for one read: whoever sends a byte now and then keeps each of them from passing, and with it the
head of an answer or the length of a chunk from ever being complete.  Here every read has the time that is left for the whole.
Only to find a server's address takes as long as the system's resolver allows (``/etc/resolv.conf``: by default 10 s a name server).
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of odd headers, with a traceback

Pools = dict[str, type[HTTPConnectionPool]]


class Deadline:
    """When what is under way must be over.

    Args:
        clock: monotonic seconds.

    Attributes:
        at: on that clock.
        gap_s: the longest that one read may wait.
        connect_s: the longest that one of a server's addresses may take to be connected.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.at = float("inf")
        self.gap_s = self.connect_s = float("inf")

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return self.clock() >= self.at

    def wait_s(self) -> float:
        """How long one read may wait.  Raises TimeoutError if it is too late."""
        left = self.at - self.clock()
        if left <= 0.0:
            raise TimeoutError("out of time")
        return min(left, self.gap_s)


def pools_that_end(deadline: Deadline) -> tuple[Pools, Callable[[], ssl.SSLContext]]:
    """Connections for a ``urllib3.PoolManager``, and what makes the TLS context that belongs to them.

    Args:
        deadline: may be changed between requests; connections that are kept open follow it.
    """

    class Plain(socket.socket):
        def recv_into(self, *arguments: Any, **options: Any) -> int:
            self.settimeout(deadline.wait_s())
            return super().recv_into(*arguments, **options)

    class Tls(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            self.settimeout(deadline.wait_s())  # of the whole handshake
            super().do_handshake(block)

        def recv_into(self, *arguments: Any, **options: Any) -> int:
            self.settimeout(deadline.wait_s())
            return super().recv_into(*arguments, **options)

        def recv(self, *arguments: Any) -> bytes:  # by TLS within TLS, to and through a proxy
            self.settimeout(deadline.wait_s())
            return super().recv(*arguments)

    def connect(host: str, port: int) -> socket.socket:
        """To the first of a server's addresses that answers; a name may have more of them than there is time."""
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            line = Plain(family, kind, protocol)
            try:
                line.settimeout(min(deadline.wait_s(), deadline.connect_s))
                line.connect(address)
            except OSError as error:
                line.close()
                failure = error
            else:
                return line
        raise failure or OSError(f"{host} has no address")

    class Http(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class Https(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port)

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https

    def tls() -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.sslsocket_class = Tls
        return context

    return {"http": HttpPool, "https": HttpsPool}, tls


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this server; None if it names none."""
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return None if proxy is None or proxy_bypass(parts.netloc.rpartition("@")[2]) else proxy


def connections(proxy: str | None, pools: Pools, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    """What makes and keeps connections.

    Args:
        proxy: as the environment names it: ``http://user:password@host:port``, or less of that; None for no proxy.
        pools: see ``pools_that_end``.
        context: for TLS.

    Raises:
        urllib3.exceptions.HTTPError, ValueError: that is no proxy.
    """
    if proxy is None:
        manager = urllib3.PoolManager(ssl_context=context)
    else:
        at = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        login = urllib3.make_headers(proxy_basic_auth=at.auth) if at.auth else None
        manager = urllib3.ProxyManager(
            at._replace(auth=None).url, proxy_headers=login, proxy_ssl_context=context, ssl_context=context
        )
    manager.pool_classes_by_scheme = pools
    return manager
