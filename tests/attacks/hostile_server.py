"""A web server that shows a folder, and does to some of its files what a hostile one would."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Deed = Callable[["Request"], None]
"""Answers a request, or does something else."""

DRIP_S = 0.05


class Request(BaseHTTPRequestHandler):
    """One request; the deeds of attacks write to ``wfile`` themselves.

    Attributes:
        first: where the asked range begins.
        ended: is set when the server ends; a deed that waits waits for that.
    """

    server: _Http
    first: int

    @property
    def ended(self) -> threading.Event:
        return self.server.ended

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        asked = self.headers.get("Range", "")
        self.first = int(asked[6:-1]) if asked.startswith("bytes=") and asked.endswith("-") else 0
        self.close_connection = True
        with suppress(OSError):
            deed = next((deed for end, deed in self.server.deeds if end in path), honest)
            deed(self)

    def content(self) -> bytes | None:
        """Of the file that is asked for; None if there is none."""
        file = self.server.root() / unquote(urlsplit(self.path).path).lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def head(self, status: int, **headers: object) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def answer(self, content: bytes, status: int = 200, **headers: object) -> None:
        """A whole answer."""
        self.head(status, Content_Length=len(content), **headers)
        self.wfile.write(content)

    def drip(self, content: bytes | Iterator[bytes], size: int = 1) -> None:
        """Write so few bytes at a time until the client or the server is gone."""
        pieces = (
            (content[at : at + size] for at in range(0, len(content), size))
            if isinstance(content, bytes)
            else content
        )
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            if self.ended.wait(DRIP_S):
                return

    def log_message(self, *words: object) -> None:
        pass


def honest(request: Request) -> None:
    """The file, or the rest of it that is asked for."""
    content = request.content()
    if content is None:
        request.answer(b"not found", 404)
    elif request.first:
        said = f"bytes {request.first}-{len(content) - 1}/{len(content)}"
        request.answer(content[request.first :], 206, Content_Range=said)
    else:
        request.answer(content)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    root: Callable[[], Path]

    def __init__(self, root: Callable[[], Path]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.root = root
        self.asked: list[str] = []
        self.deeds: list[tuple[str, Deed]] = []
        self.ended = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news."""


class HostileServer:
    """Listens on a loopback port from ``with`` on.

    Args:
        root: the folder that is shown now.
        certificate: certificate and key: then it speaks TLS.
    """

    def __init__(self, root: Callable[[], Path], certificate: tuple[Path, Path] | None = None) -> None:
        self._http = _Http(root)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.port = self._http.server_address[1]
        self.url = f"{scheme}://localhost:{self.port}"

    @property
    def asked(self) -> list[str]:
        """The paths of all requests."""
        return self._http.asked

    def on(self, part: str, deed: Deed) -> None:
        """Do this to files whose path has ``part`` in it."""
        self._http.deeds.append((part, deed))

    def __enter__(self) -> HostileServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.ended.set()
        self._http.shutdown()
        self._http.server_close()
