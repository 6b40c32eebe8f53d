"""A server below HTTP: what one can do with handshakes, with heads of answers, and with connections that are kept open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

DRIP_S = 0.02


class RawServer:
    """Listens on a loopback port from ``with`` on, and hands every connection to ``answer`` in a thread of its own.

    Attributes:
        connections: how many there were.
        ended: is set when the server ends; an answer that waits waits for that.
    """

    def __init__(self, answer: Callable[[RawServer, socket.socket], None]) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connections = 0
        self.ended = threading.Event()

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line:
            self._answer(self, line)

    def drip(self, line: socket.socket, pieces: Iterable[bytes]) -> None:
        """Send so little at a time until the client or the server is gone."""
        for piece in pieces:
            line.sendall(piece)
            if self.ended.wait(DRIP_S):
                return


def request(line: socket.socket) -> bytes:
    """The head of the next request; nothing if the client is gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = line.recv(4096)
        if not received:
            return b""
        head += received
    return head
