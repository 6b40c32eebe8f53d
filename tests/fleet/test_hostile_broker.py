"""Brokers that answer with anything: a robot's updates go on, and a fleet keeper gets one line."""

from __future__ import annotations

import socket
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.fleet import broker as broker_module
from edge_wm.fleet.collector import gather
from edge_wm.fleet.config import BrokerConfig, address_of, refuse_in_the_clear, secret_in
from edge_wm.fleet.publisher import StatusPublisher
from tests.fleet.robots import KIND, passed

SOON_S = 20.0
WELCOME = bytes((0x20, 3, 0, 0, 0))  # CONNACK: success, no properties
TOO_LONG = 128 << 20


def packet(kind: int, rest: bytes) -> bytes:
    assert len(rest) < 128
    return bytes((kind, len(rest))) + rest


def length(number: int) -> bytes:
    """As MQTT writes it: seven bits at a time, the lowest first."""
    digits = []
    while True:
        number, digit = number >> 7, number & 0x7F
        digits.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(digits)


def send_much(connection: socket.socket) -> None:
    connection.sendall(WELCOME + b"\x30" + length(TOO_LONG))
    piece = bytes(1 << 20)
    for _ in range(TOO_LONG // len(piece)):
        connection.sendall(piece)


ANSWERS: dict[str, Callable[[socket.socket], object]] = {
    "nothing": lambda connection: None,
    "noise": lambda connection: connection.sendall(bytes(range(256)) * 8),
    "HTTP": lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "a length without end": lambda connection: connection.sendall(b"\x30" + b"\xff" * 64),
    "a refusal": lambda connection: connection.sendall(bytes((0x20, 3, 0, 0x88, 0))),
    "an unknown reason": lambda connection: connection.sendall(bytes((0x20, 3, 0, 0x7B, 0))),
    "a welcome of an old protocol": lambda connection: connection.sendall(bytes((0x20, 2, 0, 0))),
    "a welcome with broken properties": lambda connection: connection.sendall(
        bytes((0x20, 6, 0, 0, 9, 0x21, 0xFF, 0xFF))
    ),
    "a welcome, and noise": lambda connection: connection.sendall(WELCOME + bytes(range(255, 0, -1))),
    "a welcome, and an answer to nothing": lambda connection: connection.sendall(
        WELCOME + packet(0x40, b"\x12\x34\x10\x00") + packet(0x90, b"\x00\x01\x00\x87")
    ),
    "a welcome, and a topic that is no text": lambda connection: connection.sendall(
        WELCOME + packet(0x30, b"\x00\x02\xff\xfe\x00payload")
    ),
    "a welcome, and more than a board can hold": send_much,
}


class Broker:
    """Answers each connection as it is told, and ends it."""

    def __init__(self, answer: Callable[[socket.socket], object]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._again = threading.Semaphore(0)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.connections += 1
                self._again.release()
                try:
                    connection.recv(4096)
                    self._answer(connection)
                    connection.settimeout(1.0)
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass

    def wait_for(self, connections: int) -> None:
        for _ in range(connections):
            assert self._again.acquire(timeout=SOON_S), "nobody connects any more"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(params=ANSWERS)
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    monkeypatch.setattr(broker_module, "CONNECT_S", 0.5)
    broker = Broker(ANSWERS[request.param])
    yield broker
    broker.close()


def test_a_keeper_gets_one_line_and_no_memory_is_taken(hostile: Broker, tmp_path: Path) -> None:
    tracemalloc.start()
    with pytest.raises(BadInput) as refused:
        gather(BrokerConfig(f"mqtt://127.0.0.1:{hostile.port}"), tmp_path, quiet_s=0.1, total_s=2.0)
    assert str(refused.value).startswith(f"mqtt://127.0.0.1:{hostile.port}: ")
    assert str(refused.value).isprintable()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < TOO_LONG // 4


def test_a_robot_goes_on_and_tries_again(hostile: Broker, tmp_path: Path) -> None:
    config = BrokerConfig(f"mqtt://127.0.0.1:{hostile.port}")
    publisher = StatusPublisher(config, tmp_path, KIND, "r1", first_retry_s=0.01)
    publisher.start()
    publisher.publish(passed("r1"))
    hostile.wait_for(2)
    assert publisher.problem is not None and publisher.problem.isprintable()
    assert publisher.problem.startswith(config.url)
    assert not publisher.wait_delivered(0.0)
    publisher.close(SOON_S)
    assert not publisher._thread.is_alive()


def test_a_robot_without_paho_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edge_wm.fleet.broker")
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    publisher = StatusPublisher(BrokerConfig("mqtt://127.0.0.1:1"), tmp_path, KIND, "r1", first_retry_s=60.0)
    publisher._session_or_problem()
    assert publisher.problem == "paho-mqtt is not installed: run  pip install 'edge-wm[fleet]'"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "http://host",
        "mqtts://",
        "mqtts://u:p@host",
        "mqtts://host/path",
        "mqtts://host:x",
        "mqtts://host:99999",
        "mqtts://[::1",
    ],
)
def test_what_is_no_address_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        address_of(url, broker_module.SCHEMES)


def test_the_usual_ports_need_not_be_written() -> None:
    found = [address_of(url, broker_module.SCHEMES) for url in ("mqtts://a", "mqtt://[::1]", "mqtts://a:1")]
    assert [(address.host, address.port, address.tls) for address in found] == [
        ("a", 8883, True),
        ("::1", 1883, False),
        ("a", 1, True),
    ]


def test_a_password_travels_in_the_clear_on_this_machine_only() -> None:
    refuse_in_the_clear(address_of("mqtts://far", broker_module.SCHEMES), "mqtts://far")
    refuse_in_the_clear(address_of("mqtt://127.0.0.1", broker_module.SCHEMES), "mqtt://127.0.0.1")
    with pytest.raises(BadInput, match="in the clear: use mqtts://"):
        refuse_in_the_clear(address_of("mqtt://far", broker_module.SCHEMES), "mqtt://far")


@pytest.mark.parametrize("content", [b"", b"\n", b"  \nx", b"\xff", b"a\x00b"])
def test_a_file_without_a_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(BadInput, match="secret: "):
        secret_in(tmp_path / "secret")
    with pytest.raises(BadInput, match="No such file"):
        secret_in(tmp_path / "missing")
