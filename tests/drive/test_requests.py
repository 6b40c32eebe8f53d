"""Clients of the driving service that do not behave."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.drive.requests import (
    MAX_CLIENTS,
    MAX_LINE_BYTES,
    Accepted,
    Client,
    Connection,
    Request,
    RequestSocket,
    Status,
    Stop,
)
from edge_wm.errors import BadInput

BIG = Accepted("x" * 60_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RequestSocket]:
    taken: list[Request] = []

    def take(request: Request, client: Client) -> None:
        taken.append(request)
        client.answer(BIG if isinstance(request, Status) else Accepted("yes"))

    server = RequestSocket(tmp_path / "run" / "drive.sock", take)
    server.taken = taken  # type: ignore[attr-defined]
    yield server
    server.close()


def client_of(server: RequestSocket) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(1.0)
    client.connect(str(server.path))
    server.poll()
    return client


def test_only_owner_and_group_may_ask(server: RequestSocket) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o660


def test_requests_may_come_in_pieces_and_several_at_once(server: RequestSocket) -> None:
    client = client_of(server)
    for piece in (b'{"do":', b'"stop"}\n{"do":"stop"}\n{"do"'):
        client.sendall(piece)
        server.poll()
    assert server.taken == [Stop(), Stop()]
    assert client.recv(4096) == b'{"answer":"accepted","what":"yes"}\n' * 2


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"",
        b"\xff\xfe",
        b"[" * 1000,
        b'{"do":"fly"}',
        b'{"do":"go","goal":[1]}',
        b'{"do":"go","goal":[1e999,0]}',
        b'{"do":"go","goal":[2000,0]}',
        b'{"do":"go","to":[1,0]}',
    ],
)
def test_what_is_no_request_is_refused_in_one_line_and_the_next_one_is_heard(
    server: RequestSocket, line: bytes
) -> None:
    client = client_of(server)
    client.sendall(line + b"\n")
    server.poll()
    answer = client.recv(4096)
    assert answer.startswith(b'{"answer":"refused","why":"not a request: ') and answer.count(b"\n") == 1
    assert server.taken == []
    client.sendall(b'{"do":"stop"}\n')
    server.poll()
    assert server.taken == [Stop()]


def test_a_line_without_end_ends_the_connection(server: RequestSocket) -> None:
    client = client_of(server)
    client.sendall(b"x" * (MAX_LINE_BYTES + 1))
    server.poll()
    server.poll()
    assert b"at most 1024 bytes" in client.recv(4096)
    assert client.recv(4096) == b""


def test_silent_clients_make_room_for_somebody_who_wants_to_stop_the_robot(server: RequestSocket) -> None:
    silent = [client_of(server) for _ in range(MAX_CLIENTS)]
    somebody = client_of(server)
    somebody.sendall(b'{"do":"stop"}\n')
    server.poll()
    assert server.taken == [Stop()]
    assert silent[0].recv(1) == b""  # the oldest one went


def test_a_client_that_does_not_read_is_not_waited_for(server: RequestSocket) -> None:
    client = client_of(server)
    began = time.monotonic()
    for _ in range(100):
        client.sendall(b'{"do":"status"}\n')
        server.poll()
    assert len(server.taken) == 100
    assert time.monotonic() - began < 5.0


def test_a_client_that_is_gone_is_forgotten(server: RequestSocket) -> None:
    for _ in range(3 * MAX_CLIENTS):
        client = client_of(server)
        client.sendall(b'{"do":"stop"}\n')
        client.close()
        server.poll()
        server.poll()
    assert len(server.taken) == 3 * MAX_CLIENTS
    assert server._clients == []


def test_an_abandoned_socket_is_taken_over_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "drive.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    server = RequestSocket(path, lambda request, client: None)
    with pytest.raises(BadInput, match="another edge-wm serve"):
        RequestSocket(path, lambda request, client: None)
    server.close()
    path.write_text("somebody's")
    with pytest.raises(BadInput, match="something else"):
        RequestSocket(path, lambda request, client: None)
    assert path.read_text() == "somebody's"


def test_a_path_that_no_socket_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no requests can come in"):
        RequestSocket(tmp_path / ("x" * 120), lambda request, client: None)
    with pytest.raises(BadInput, match="systemctl status"):
        Connection(tmp_path / "nobody")
