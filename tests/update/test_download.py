"""A file comes to the disk whole and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.update.download import MAX_CUTS, download
from edge_wm.update.fetcher import Limits, RobotFetcher
from tests.attacks.hostile_server import HostileServer, Request

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMITS = Limits(connect_s=2.0, gap_s=0.5, total_s=3.0, min_bytes_per_s=2000.0, window_s=0.3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HostileServer]:
    served = tmp_path / "served"
    served.mkdir()
    (served / "file").write_bytes(CONTENT)
    with HostileServer(lambda: served) as running:
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "part"


def fetch(server: HostileServer, part: Path, fetcher: RobotFetcher | None = None) -> RobotFetcher:
    fetcher = fetcher or RobotFetcher(LIMITS)
    download(fetcher, f"{server.url}/file", part, size=len(CONTENT), sha256=SHA256)
    assert part.read_bytes() == CONTENT
    return fetcher


def test_a_file_comes_whole(server: HostileServer, part: Path) -> None:
    assert fetch(server, part).received == len(CONTENT)


def test_only_what_is_missing_is_fetched(server: HostileServer, part: Path) -> None:
    part.write_bytes(CONTENT[:200_000])
    assert fetch(server, part).received == 100_000


def test_what_is_whole_is_not_fetched_again(server: HostileServer, part: Path) -> None:
    part.write_bytes(CONTENT)
    assert fetch(server, part).received == 0
    assert server.asked == []


@pytest.mark.parametrize("rubbish", [b"\0" * 200_000, b"\0" * len(CONTENT), CONTENT + b"more"])
def test_rubbish_that_a_power_cut_left_is_fetched_anew(
    server: HostileServer, part: Path, rubbish: bytes
) -> None:
    part.write_bytes(rubbish)
    fetch(server, part)


def test_a_server_without_ranges_sends_it_all(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(CONTENT))
    part.write_bytes(CONTENT[:200_000])
    assert fetch(server, part).received == len(CONTENT)


def cutting(after: int) -> object:
    def deed(request: Request) -> None:
        request.head(
            206 if request.first else 200,
            Content_Length=len(CONTENT) - request.first,
            Content_Range=f"bytes {request.first}-{len(CONTENT) - 1}/{len(CONTENT)}",
        )
        request.wfile.write(CONTENT[request.first : request.first + after])

    return deed


def test_a_connection_that_breaks_is_taken_up_again(server: HostileServer, part: Path) -> None:
    server.on("file", cutting(len(CONTENT) // MAX_CUTS))  # type: ignore[arg-type]
    assert fetch(server, part).received == len(CONTENT)


def test_one_that_breaks_again_and_again_is_given_up_and_what_came_is_kept(
    server: HostileServer, part: Path
) -> None:
    server.on("file", cutting(1000))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="is there a network"):
        fetch(server, part)
    assert part.read_bytes() == CONTENT[: 1000 * (MAX_CUTS + 1)]


def test_other_content_is_refused_and_not_kept(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(b"x" * len(CONTENT)))
    with pytest.raises(BadInput, match="is not the file that was signed"):
        fetch(server, part)
    assert not part.exists()


def test_more_than_was_signed_is_never_written(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(CONTENT + b"more"))
    with pytest.raises(BadInput, match="is larger than"):
        fetch(server, part)
    assert part.stat().st_size <= len(CONTENT)


def test_a_range_that_lies_is_refused(server: HostileServer, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    server.on(
        "file",
        lambda request: request.answer(CONTENT[5:], 206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/9"),
    )
    with pytest.raises(BadInput, match="asked from byte 1000 on"):
        fetch(server, part)


def test_a_file_that_is_not_there_is_told(server: HostileServer, part: Path) -> None:
    with pytest.raises(BadInput, match=r"status 404.*is the address right"):
        download(RobotFetcher(LIMITS), f"{server.url}/other", part, size=1, sha256=SHA256)


def test_no_network_is_told(part: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be reached.*is there a network"):
        download(RobotFetcher(LIMITS), "http://127.0.0.1:9/file", part, size=1, sha256=SHA256)


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "make room"), (errno.EROFS, "is it failing")])
def test_a_disk_that_takes_no_more_is_told(
    server: HostileServer, part: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    part.write_bytes(b"")
    real = Path.open

    class Full:
        def __init__(self, file) -> None:  # type: ignore[no-untyped-def]
            self.file = file

        def __enter__(self):  # type: ignore[no-untyped-def]
            return self

        def __exit__(self, *exception: object) -> None:
            self.file.close()

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *rest, **more: (
            Full(real(path, *rest, **more)) if path == part else real(path, *rest, **more)
        ),
    )
    with pytest.raises(BadInput, match=f"{part}: .*{says}"):
        fetch(server, part)


def test_a_stick_is_read_as_a_server_is(tmp_path: Path, part: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    part.write_bytes(CONTENT[:1000])
    fetcher = RobotFetcher(LIMITS)
    download(fetcher, (tmp_path / "file").as_uri(), part, size=len(CONTENT), sha256=SHA256)
    assert (part.read_bytes(), fetcher.received) == (CONTENT, len(CONTENT) - 1000)


def test_progress_is_told(server: HostileServer, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    told: list[int] = []
    download(
        RobotFetcher(LIMITS),
        f"{server.url}/file",
        part,
        size=len(CONTENT),
        sha256=SHA256,
        progress=told.append,
    )
    assert told[-1] == len(CONTENT)
    assert told == sorted(told)
