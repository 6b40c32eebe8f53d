"""A link to a broker that stands still once, in the middle of what the broker says."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress

TICK_S = 0.05


class SlowLink:
    """Forwards one connection; after ``after_bytes`` from the broker it stands still for ``pause_s``.  A context manager."""

    def __init__(self, broker_port: int, after_bytes: int, pause_s: float) -> None:
        self._broker_port, self._after_bytes, self._pause_s = broker_port, after_bytes, pause_s
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> SlowLink:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(("127.0.0.1", self._broker_port)) as broker:
            up = threading.Thread(target=self._forward, args=(client, broker, None), daemon=True)
            up.start()
            self._forward(broker, client, self._after_bytes)
            self._ended.set()
            up.join()

    def _forward(self, source: socket.socket, to: socket.socket, pause_after: int | None) -> None:
        with suppress(OSError):
            while not self._ended.is_set():
                if not select.select([source], [], [], TICK_S)[0]:
                    continue
                data = source.recv(4096)
                if not data:
                    return
                to.sendall(data)
                if pause_after is not None and (pause_after := pause_after - len(data)) <= 0:
                    self._ended.wait(self._pause_s)
                    pause_after = None
