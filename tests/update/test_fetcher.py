"""No server holds a robot up, and none leads it where it should not go."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from edge_wm.update.fetcher import CHUNK_BYTES, Limits, RobotFetcher
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


def test_no_thread_of_the_robots_watches_the_time(server: HostileServer) -> None:
    before = set(threading.enumerate())
    with RobotFetcher(LIMITS).open(f"{server.url}/file") as answer:
        assert b"".join(answer.chunks) == b"content"
        names = {thread.name for thread in set(threading.enumerate()) - before}
    assert all("process_request" in name for name in names), names


class Clock:
    """Every chunk of a file takes ``chunk_s``, and its reader as long as it says."""

    def __init__(self, chunk_s: float) -> None:
        self.now, self.chunk_s = 0.0, chunk_s

    def __call__(self) -> float:
        self.now += self.chunk_s / 2  # it is asked twice for a chunk
        return self.now


def read_slowly(file: Path, clock: Clock, reader_s: float = 0.0) -> None:
    limits = Limits(total_s=100.0, min_bytes_per_s=CHUNK_BYTES / 2, window_s=8.0)
    with RobotFetcher(limits, clock).open(file.as_uri()) as answer:
        for _ in answer.chunks:
            clock.now += reader_s


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    file = tmp_path / "long"
    file.write_bytes(bytes(20 * CHUNK_BYTES))
    return file


def test_a_file_that_comes_at_the_least_rate_is_taken(long_file: Path) -> None:
    read_slowly(long_file, Clock(chunk_s=3.9))


def test_one_that_comes_slower_is_not(long_file: Path) -> None:
    with pytest.raises(SlowRetrievalError, match="bytes/s"):
        read_slowly(long_file, Clock(chunk_s=4.5))


def test_one_that_takes_too_long_in_all_is_not(long_file: Path) -> None:
    long_file.write_bytes(bytes(40 * CHUNK_BYTES))
    with pytest.raises(SlowRetrievalError, match="took longer than 100 s"):
        read_slowly(long_file, Clock(chunk_s=3.0))


def test_a_slow_disk_is_not_the_servers_fault(long_file: Path) -> None:
    read_slowly(long_file, Clock(chunk_s=0.1), reader_s=4.6)


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


def test_a_stick_gives_no_file_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    fetcher = RobotFetcher(LIMITS)
    assert b"".join(fetcher.fetch((tmp_path / "secret").as_uri())) == b"secret"
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "link", tmp_path / "folder", tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(DownloadError, match="is a link, a folder or a device"):
            b"".join(fetcher.fetch(path.as_uri()))


def test_a_link_that_is_put_there_in_the_last_moment_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(os, "lstat", os.stat)  # it looked when there was a file
    with pytest.raises(DownloadError, match="symbolic links"):
        b"".join(RobotFetcher(LIMITS).fetch((tmp_path / "link").as_uri()))


@pytest.mark.parametrize("path", ["missing", "missing/file", "file/file"])
def test_a_file_that_is_not_on_the_stick_is_missing(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadHTTPError, match="is not there") as error:
        b"".join(RobotFetcher(LIMITS).fetch((tmp_path / path).as_uri()))
    assert error.value.status_code == 404


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file://host/etc/hostname", "begin it with file:///"),
        ("file:///a%00b", "null"),
        ("file:///[", "is not there"),
    ],
)
def test_an_address_of_no_stick_is_refused(url: str, says: str) -> None:
    with pytest.raises(DownloadError, match=says):
        b"".join(RobotFetcher(LIMITS).fetch(url))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(DownloadError, match="is none of http, https, file"):
        b"".join(RobotFetcher(LIMITS).fetch("/etc/passwd"))
