"""A static web server on this machine that the emulated board can reach."""

from __future__ import annotations

import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from tests.emulated_board.machine import HOST


class _Handler(SimpleHTTPRequestHandler):
    """Serves files, unless it is out of order; prints nothing."""

    def do_GET(self) -> None:
        """Answer a request."""
        assert isinstance(self.server, WebServer)
        if self.server.out_of_order:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            super().do_GET()

    def log_message(self, format: str, *words: object) -> None:
        """Nobody reads it."""


class WebServer(ThreadingHTTPServer):
    """Serves a folder as long as it is entered as a context manager."""

    out_of_order = False
    """Set it, and it answers 503."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))

    def __enter__(self) -> WebServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """Its folder, for the board; ends with a slash."""
        return f"http://{HOST}:{self.server_port}/"
