"""Connections end in time whatever comes over them, are kept where that is safe, and go through the proxy that was named."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, SlowRetrievalError

from edge_wm.update.deadline import Deadline
from edge_wm.update.fetcher import Limits, RobotFetcher
from tests.attacks.hostile_server import HostileServer, Request
from tests.fleet.certificates import Authority
from tests.update.raw_server import RawServer, request

LIMITS = Limits(connect_s=0.3, gap_s=0.3, total_s=0.8, min_bytes_per_s=1000.0, window_s=0.4)
AT_MOST_S = 3.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def secured(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    """Speaks TLS; its authority is one that the robot's system believes."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file").write_bytes(b"content")
    with HostileServer(lambda: tmp_path / "served", authority.certificate("server")) as running:
        yield running


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_MOST_S


def fetch(url: str, fetcher: RobotFetcher | None = None) -> bytes:
    return (fetcher or RobotFetcher(LIMITS)).download_bytes(url, 1 << 30)


# --- time ------------------------------------------------------------------------------------------------------------


def test_each_read_has_the_time_that_is_left() -> None:
    now = 100.0
    deadline = Deadline(lambda: now)
    deadline.at, deadline.gap_s = 110.0, 4.0
    assert deadline.wait_s() == 4.0
    now = 107.0
    assert deadline.wait_s() == 3.0
    assert not deadline.passed
    now = 110.0
    assert deadline.passed
    with pytest.raises(TimeoutError):
        deadline.wait_s()


def test_a_handshake_that_is_dripped_ends() -> None:
    def drip_a_record(server: RawServer, line: socket.socket) -> None:
        server.drip(
            line, itertools.chain([b"\x16", b"\x03", b"\x03", b"\x3f", b"\xff"], itertools.repeat(b"\0"))
        )

    with RawServer(drip_a_record) as server, soon(), pytest.raises(SlowRetrievalError, match="no answer"):
        fetch(f"https://127.0.0.1:{server.port}/file")


def test_a_secured_body_that_is_dripped_ends(secured: HostileServer) -> None:
    def drip(request: Request) -> None:
        request.head(200, Content_Length=10_000_000)
        request.drip(itertools.repeat(b"x"))

    secured.on("file", drip)
    with soon(), pytest.raises(SlowRetrievalError, match="bytes/s"):
        fetch(f"{secured.url}/file")


def test_a_secured_head_that_is_dripped_ends(secured: HostileServer) -> None:
    secured.on("file", lambda request: request.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
    with soon(), pytest.raises(SlowRetrievalError, match="no answer"):
        fetch(f"{secured.url}/file")


def test_a_server_that_always_asks_to_go_on_is_left() -> None:
    def go_on(server: RawServer, line: socket.socket) -> None:
        server.drip(line, itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))

    with RawServer(go_on) as server, soon(), pytest.raises(SlowRetrievalError):
        fetch(f"http://127.0.0.1:{server.port}/file")


def test_a_name_with_many_dead_addresses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for line in waiting:
            line.setblocking(False)
            line.connect_ex(full.getsockname())
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: [address] * 50)
        with soon(), pytest.raises(SlowRetrievalError, match="no answer"):
            fetch("http://many.example/file")
        for line in waiting:
            line.close()


def test_the_next_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda server, line: line.sendall(OK) if request(line) else None) as server:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (9, server.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **more: addresses)
        assert fetch("http://two.example/file") == b"content"


# --- what is said ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\ncontent",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\ncontent",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\ncontent",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7, 8\r\n\r\ncontent",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\ncontent",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 7\r\n\r\ncontent",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-7/8\r\nContent-Length: 7\r\n\r\ncontent",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http:///x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: GZip\r\nContent-Length: 7\r\n\r\ncontent",
    ],
)
def test_an_answer_that_is_none_is_a_download_error_in_one_line(answer: bytes) -> None:
    def say(server: RawServer, line: socket.socket) -> None:
        if request(line):
            line.sendall(answer)

    with RawServer(say) as server, soon(), pytest.raises(DownloadError) as error:
        fetch(f"http://127.0.0.1:{server.port}/file")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["http:///file", "http://[::1/file", "http://a b/file", "https://x:99999/file"]
)
def test_an_address_that_is_none_is_a_download_error(url: str) -> None:
    with pytest.raises(DownloadError):
        fetch(url)


def test_a_name_that_nobody_knows_is_a_download_error() -> None:
    with pytest.raises(DownloadError, match=r"http://nobody\.invalid/file: cannot be reached"):
        fetch("http://nobody.invalid/file")


def test_odd_headers_are_no_reason_to_say_anything(caplog: pytest.LogCaptureFixture) -> None:
    odd = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nno header at all\r\n : \r\n\r\ncontent"
    with RawServer(lambda server, line: line.sendall(odd) if request(line) else None) as server:
        assert b"content" in fetch(f"http://127.0.0.1:{server.port}/file")
    assert caplog.records == []


def test_a_chunked_body_comes_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncon\r\n4;x=y\r\ntent\r\n0\r\n\r\n"
    with RawServer(lambda server, line: line.sendall(chunked) if request(line) else None) as server:
        assert fetch(f"http://127.0.0.1:{server.port}/file") == b"content"


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_server_with_a_certificate_that_is_believed_is_fetched_from(secured: HostileServer) -> None:
    fetcher = RobotFetcher(LIMITS)
    assert fetch(f"{secured.url}/file", fetcher) == b"content"
    assert fetch(f"{secured.url}/file", fetcher) == b"content"


def test_a_certificate_that_nobody_believes_is_named(
    secured: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path, "another").ca))
    with pytest.raises(DownloadError, match="its certificate is not believed"):
        fetch(f"{secured.url}/file")


def test_the_certificate_of_another_host_is_named(secured: HostileServer, authority: Authority) -> None:
    with (
        HostileServer(lambda: Path("/"), authority.certificate("elsewhere", ("elsewhere.example",))) as other,
        pytest.raises(DownloadError, match=r"its certificate is not believed.*localhost"),
    ):
        fetch(f"{other.url}/file")


def test_nobody_is_sent_from_https_to_http(secured: HostileServer) -> None:
    secured.on("file", lambda request: request.answer(b"", 301, Location="http://localhost/file"))
    with pytest.raises(DownloadError, match="sends us from https to http"):
        fetch(f"{secured.url}/file")


def test_one_may_be_sent_from_http_to_https(secured: HostileServer, tmp_path: Path) -> None:
    with HostileServer(lambda: tmp_path / "served") as plain:
        plain.on("file", lambda request: request.answer(b"", 301, Location=f"{secured.url}/file"))
        assert fetch(f"{plain.url}/file") == b"content"


# --- connections that are kept ---------------------------------------------------------------------------------------


def test_a_connection_is_used_again() -> None:
    def serve(server: RawServer, line: socket.socket) -> None:
        while request(line):
            line.sendall(OK)

    with RawServer(serve) as server:
        fetcher = RobotFetcher(LIMITS)
        for _ in range(5):
            assert fetch(f"http://127.0.0.1:{server.port}/file", fetcher) == b"content"
        assert server.connections == 1


def test_one_that_the_server_has_closed_is_made_anew() -> None:
    """It closes at the very moment of the next request, so that the client cannot know."""

    def serve(server: RawServer, line: socket.socket) -> None:
        request(line)
        line.sendall(OK)
        request(line)

    with RawServer(serve) as server:
        fetcher = RobotFetcher(LIMITS)
        for _ in range(3):
            assert fetch(f"http://127.0.0.1:{server.port}/file", fetcher) == b"content"
        assert server.connections == 3


def test_a_connection_with_more_in_it_than_was_taken_is_closed_at_once() -> None:
    heard: list[bytes] = []

    def serve(server: RawServer, line: socket.socket) -> None:
        if request(line):
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100)
            heard.append(line.recv(1))
            server.ended.set()

    with RawServer(serve) as server:
        fetcher = RobotFetcher(LIMITS)
        with pytest.raises(DownloadLengthMismatchError, match="larger than 50 bytes") as error:
            fetcher.download_bytes(f"http://127.0.0.1:{server.port}/file", 50)
        assert server.ended.wait(AT_MOST_S)
        assert heard == [b""]
    assert error.value is not None  # it is still here, and with it the frames of the fetch


def test_content_of_the_longest_length_that_is_allowed_is_taken() -> None:
    with RawServer(lambda server, line: line.sendall(OK) if request(line) else None) as server:
        url = f"http://127.0.0.1:{server.port}/file"
        assert RobotFetcher(LIMITS).download_bytes(url, 7) == b"content"
        with pytest.raises(DownloadLengthMismatchError):
            RobotFetcher(LIMITS).download_bytes(url, 6)


# --- proxies ---------------------------------------------------------------------------------------------------------


class Proxy(RawServer):
    """Answers plain requests itself, and leads TLS to a server."""

    def __init__(self, leads_to: int = 0) -> None:
        super().__init__(lambda server, line: self.serve(line))
        self.leads_to, self.heard = leads_to, b""

    def serve(self, line: socket.socket) -> None:
        self.heard = request(line)
        if not self.heard.startswith(b"CONNECT"):
            line.sendall(OK)
            return
        line.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.leads_to)) as server:
            other = {server: line, line: server}
            while True:
                for source in select.select([server, line], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    other[source].sendall(data)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}", "127.0.0.1:{}", "http://127.0.0.1:{}/"])
def test_the_proxy_of_the_environment_is_asked(
    monkeypatch: pytest.MonkeyPatch, no_proxies: None, form: str
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", form.format(proxy.port))
        assert fetch("http://repository.example/file") == b"content"
        assert proxy.heard.startswith(b"GET http://repository.example/file HTTP/1.1\r\n")


def test_a_proxy_with_a_password_gets_it_and_no_error_tells_it(
    monkeypatch: pytest.MonkeyPatch, no_proxies: None
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("all_proxy", f"http://robot:tell-nobody@127.0.0.1:{proxy.port}")
        assert fetch("http://repository.example/file") == b"content"
        assert b"proxy-authorization: basic cm9ib3q6dgvsbc1ub2jvzhk=\r\n" in proxy.heard.lower()
    with pytest.raises(DownloadError) as error:
        fetch("http://repository.example/file")
    assert "tell-nobody" not in str(error.value)


def test_a_host_of_no_proxy_is_asked_itself(monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> None:
    with RawServer(lambda server, line: line.sendall(OK) if request(line) else None) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with pytest.raises(DownloadError):
            fetch(f"http://127.0.0.1:{server.port}/file")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetch(f"http://127.0.0.1:{server.port}/file") == b"content"


def test_a_proxy_sees_nothing_of_a_secured_connection(
    secured: HostileServer, monkeypatch: pytest.MonkeyPatch, no_proxies: None
) -> None:
    with Proxy(secured.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        assert fetch(f"{secured.url}/file") == b"content"
        assert proxy.heard.startswith(f"CONNECT localhost:{secured.port} ".encode())


def test_a_secured_connection_through_a_proxy_ends_in_time(
    secured: HostileServer, monkeypatch: pytest.MonkeyPatch, no_proxies: None
) -> None:
    secured.on("file", lambda request: request.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
    with Proxy(secured.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with soon(), pytest.raises(SlowRetrievalError):
            fetch(f"{secured.url}/file")


def test_a_proxy_that_drips_its_answer_is_left(monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> None:
    def drip(server: RawServer, line: socket.socket) -> None:
        server.drip(line, (bytes([byte]) for byte in b"HTTP/1.1 200 Connected\r\n" + b"X: y\r\n" * 1000))

    with RawServer(drip) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with soon(), pytest.raises(SlowRetrievalError):
            fetch("https://repository.example/file")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "ftp://x", "http://[", "http://x:y:z"])
def test_a_proxy_that_is_none_is_a_download_error(
    monkeypatch: pytest.MonkeyPatch, no_proxies: None, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch("http://repository.example/file")
