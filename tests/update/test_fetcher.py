"""No server holds a robot up, and none leads it where it should not go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge_wm.update.fetcher import Limits, RobotFetcher
from tests.attacks.hostile_server import Deed, HostileServer, Request

LIMITS = Limits(connect_s=1.0, gap_s=0.3, total_s=1.5, min_bytes_per_s=1000.0, window_s=0.4)
AT_MOST_S = 4.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HostileServer]:
    served = tmp_path / "served"
    served.mkdir()
    (served / "file").write_bytes(b"content")
    with HostileServer(lambda: served) as running:
        yield running


def fetched(server: HostileServer, fetcher: RobotFetcher | None = None) -> bytes:
    return b"".join((fetcher or RobotFetcher(LIMITS)).fetch(f"{server.url}/file"))


def body(pieces: Callable[[Request], Iterator[bytes]]) -> Deed:
    def deed(request: Request) -> None:
        request.head(200, Content_Length=10_000_000)
        request.drip(pieces(request))

    return deed


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def slow_head(request: Request) -> None:
    request.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000)


def slow_chunks(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    request.drip(b"5;" + b"x" * 60_000)


def silence(request: Request) -> None:
    request.head(200, Content_Length=10)
    request.ended.wait(AT_MOST_S)


SLOW: dict[str, Deed] = {
    "a byte now and then": body(lambda request: endless(b"x")),
    "a head byte by byte": slow_head,
    "a chunk's head byte by byte": slow_chunks,
    "silence": silence,
    "no end": body(lambda request: endless(b"x" * 5000)),
}


@pytest.mark.parametrize("how", SLOW)
def test_a_server_that_takes_its_time_is_left(server: HostileServer, how: str) -> None:
    server.on("file", SLOW[how])
    began = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        fetched(server)
    assert time.monotonic() - began < AT_MOST_S


def test_nothing_is_left_behind_by_a_server_that_takes_its_time(server: HostileServer) -> None:
    server.on("file", slow_head)
    with pytest.raises(SlowRetrievalError):
        fetched(server)
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in timers:
        timer.join(1.0)
    assert not any(timer.is_alive() for timer in timers)


def test_it_serves_again_after_a_slow_answer(server: HostileServer, tmp_path: Path) -> None:
    fetcher = RobotFetcher(LIMITS)
    (tmp_path / "served" / "good").write_bytes(b"good")
    server.on("file", SLOW["a byte now and then"])
    with pytest.raises(SlowRetrievalError):
        fetched(server, fetcher)
    assert b"".join(fetcher.fetch(f"{server.url}/good")) == b"good"


def sending_to(where: str) -> Deed:
    return lambda request: request.answer(b"", 302, Location=where)


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://localhost/x", "data:,x", "gopher://x/"])
def test_nobody_is_sent_away_from_the_web(server: HostileServer, where: str) -> None:
    server.on("file", sending_to(where))
    with pytest.raises(DownloadError, match="sends us from http to"):
        fetched(server)


def test_nobody_is_sent_round_in_circles(server: HostileServer) -> None:
    server.on("file", sending_to("/file"))
    with pytest.raises(DownloadError, match="more than 3 times"):
        fetched(server)


def test_a_redirect_to_another_place_is_followed(server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "served" / "moved").write_bytes(b"moved")
    server.on("file", sending_to("/moved"))
    assert fetched(server) == b"moved"


def test_a_body_that_comes_encoded_is_refused(server: HostileServer) -> None:
    server.on("file", lambda request: request.answer(b"\x1f\x8b" * 10, Content_Encoding="gzip"))
    with pytest.raises(DownloadError, match="comes encoded"):
        fetched(server)


def test_an_error_of_the_server_is_told_by_its_number(server: HostileServer) -> None:
    server.on("file", lambda request: request.answer(b"", 503))
    with pytest.raises(DownloadHTTPError) as error:
        fetched(server)
    assert error.value.status_code == 503


def test_a_proxy_of_the_environment_is_asked(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    asked: list[str] = []
    server.on(
        "repository.example", lambda request: (asked.append(request.path), request.answer(b"by proxy"))[0]
    )
    server._http.deeds.insert(
        0, ("", lambda request: (asked.append(request.path), request.answer(b"by proxy"))[0])
    )
    assert b"".join(RobotFetcher(LIMITS).fetch("http://repository.example/file")) == b"by proxy"
    assert asked == ["http://repository.example/file"]


def test_a_stick_gives_no_file_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    fetcher = RobotFetcher(LIMITS)
    assert b"".join(fetcher.fetch((tmp_path / "secret").as_uri())) == b"secret"
    for name, says in (("link", "is a link"), ("folder", "is a link, a folder")):
        with pytest.raises(DownloadError, match=says):
            b"".join(fetcher.fetch((tmp_path / name).as_uri()))
    with pytest.raises(DownloadHTTPError):
        b"".join(fetcher.fetch((tmp_path / "missing").as_uri()))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(DownloadError, match="is none of http, https, file"):
        b"".join(RobotFetcher(LIMITS).fetch("/etc/passwd"))
