"""A file comes to the disk whole and right, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.update.download import MAX_CUTS, download
from edge_wm.update.fetcher import Limits, RobotFetcher
from tests.attacks.hostile_server import Deed, HostileServer, Request, honest

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


def test_what_is_here_is_no_more_than_what_such_a_server_sent_last(server: HostileServer, part: Path) -> None:
    server.on("file", saying(1000))
    part.write_bytes(bytes(200_000))
    with pytest.raises(BadInput, match="ended after 1000 of"):
        fetch(server, part)
    assert part.read_bytes() == CONTENT[:1000]


def cutting(after: int) -> Deed:
    def deed(request: Request) -> None:
        request.head(
            206 if request.first else 200,
            Content_Length=len(CONTENT) - request.first,
            Content_Range=f"bytes {request.first}-{len(CONTENT) - 1}/{len(CONTENT)}",
        )
        request.wfile.write(CONTENT[request.first : request.first + after])

    return deed


def test_a_connection_that_breaks_is_taken_up_again(server: HostileServer, part: Path) -> None:
    server.on("file", cutting(len(CONTENT) // MAX_CUTS))
    assert fetch(server, part).received == len(CONTENT)


def test_one_that_breaks_again_and_again_is_given_up_and_what_came_is_kept(
    server: HostileServer, part: Path
) -> None:
    server.on("file", cutting(1000))
    with pytest.raises(BadInput, match="is there a network"):
        fetch(server, part)
    assert part.read_bytes() == CONTENT[: 1000 * (MAX_CUTS + 1)]


def test_other_content_is_refused_and_not_kept(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(b"x" * len(CONTENT)))
    with pytest.raises(BadInput, match="is not the file that was signed"):
        fetch(server, part)
    assert not part.exists()
    assert len(server.asked) == 1


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


def from_byte(first: int, content: bytes) -> Deed:
    """What is asked for, as far as the head of the answer says."""

    def deed(request: Request) -> None:
        said = f"bytes {request.first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        if request.first:
            request.answer(content[first:], 206, Content_Range=said)
        else:
            request.answer(CONTENT)

    return deed


@pytest.mark.parametrize(
    ("first", "content"),
    [(2000, CONTENT), (0, CONTENT[1000:]), (1000, bytes(len(CONTENT)))],
    ids=["beginning elsewhere", "as it should be", "of other content"],
)
def test_a_range_of_other_bytes_is_found_by_the_hash_and_all_is_fetched_anew(
    server: HostileServer, part: Path, first: int, content: bytes
) -> None:
    part.write_bytes(CONTENT[:1000])
    server.on("file", from_byte(first, content))
    fetch(server, part)


def test_a_range_whose_total_lies_does_no_harm(server: HostileServer, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    server.on(
        "file",
        lambda request: request.answer(CONTENT[1000:], 206, Content_Range="bytes 1000-299999/999999999999"),
    )
    assert fetch(server, part).received == len(CONTENT) - 1000


def test_a_file_that_the_server_changed_between_two_pieces_is_fetched_anew(
    server: HostileServer, part: Path, tmp_path: Path
) -> None:
    part.write_bytes(os.urandom(200_000))  # of what was there yesterday
    assert fetch(server, part).received == 100_000 + len(CONTENT)


def test_one_that_always_changes_is_given_up(server: HostileServer, part: Path) -> None:
    def change(request: Request) -> None:
        content = os.urandom(len(CONTENT))
        said = f"bytes {request.first}-{len(CONTENT) - 1}/{len(CONTENT)}"
        request.answer(content[request.first :], 206 if request.first else 200, Content_Range=said)

    part.write_bytes(CONTENT[:200_000])
    server.on("file", change)
    with pytest.raises(BadInput, match="is not the file that was signed"):
        fetch(server, part)
    assert len(server.asked) == 2
    assert not part.exists()


def test_a_server_whose_file_is_shorter_than_what_is_here_is_asked_for_all(
    server: HostileServer, part: Path
) -> None:
    server.on("file", lambda request: request.answer(b"", 416) if request.first else request.answer(CONTENT))
    part.write_bytes(CONTENT[:200_000])
    fetch(server, part)


def test_a_server_that_never_has_the_range_is_told(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(b"", 416))
    part.write_bytes(CONTENT[:200_000])
    with pytest.raises(BadInput, match="status 416"):
        fetch(server, part)


def saying(length: int) -> Deed:
    def deed(request: Request) -> None:
        request.head(200, Content_Length=length)
        request.wfile.write(CONTENT)

    return deed


@pytest.mark.parametrize("length", [0, 10, len(CONTENT) - 1])
def test_a_length_that_is_too_small_cuts_the_file(server: HostileServer, part: Path, length: int) -> None:
    server.on("file", saying(length))
    with pytest.raises(BadInput, match=f"ended after {length} of {len(CONTENT)} bytes"):
        fetch(server, part)


@pytest.mark.parametrize("length", [len(CONTENT) + 1, 10**15])
def test_a_length_that_is_too_large_does_no_harm_if_the_content_is_right(
    server: HostileServer, part: Path, length: int
) -> None:
    server.on("file", saying(length))
    fetch(server, part)


def test_a_server_that_cuts_and_then_has_another_file_is_given_up(server: HostileServer, part: Path) -> None:
    server.on(
        "file",
        lambda request: request.answer(b"", 416) if request.first else request.answer(CONTENT[:1000]),
    )
    with pytest.raises(BadInput, match="ended after 1000 of"):
        fetch(server, part)
    assert MAX_CUTS < len(server.asked) <= MAX_CUTS + 1


def test_a_server_that_fails_for_a_while_is_asked_again_later(server: HostileServer, part: Path) -> None:
    failures = iter([500, 503, 429])
    part.write_bytes(CONTENT[:1000])

    def fail(request: Request) -> None:
        status = next(failures, None)
        honest(request) if status is None else request.answer(b"", status)

    server.on("file", fail)
    for status in (500, 503, 429):
        with pytest.raises(
            BadInput, match=f"status {status}: the server has a fault or is busy: try again later"
        ):
            fetch(server, part)
    assert fetch(server, part).received == len(CONTENT) - 1000


def test_a_server_that_drips_is_left_and_what_came_is_kept(server: HostileServer, part: Path) -> None:
    def drip(request: Request) -> None:
        request.head(200, Content_Length=len(CONTENT))
        request.drip(CONTENT)

    server.on("file", drip)
    with pytest.raises(
        BadInput, match="somebody holds the update up: try again later; what is here stays"
    ) as refusal:
        fetch(server, part)
    assert "\n" not in str(refusal.value)
    kept = part.read_bytes()
    assert kept and CONTENT.startswith(kept)


def test_all_pieces_of_a_file_have_the_time_of_one(server: HostileServer, part: Path) -> None:
    """A server that breaks off each time must not get the whole time again."""
    now = 0.0

    def cut_late(request: Request) -> None:
        nonlocal now
        now += 2.0
        cutting(50_000)(request)

    server.on("file", cut_late)
    with pytest.raises(BadInput, match=r"no answer in time|took longer than 3 s"):
        fetch(server, part, RobotFetcher(LIMITS, lambda: now))
    assert len(server.asked) == 2


def test_an_empty_file_is_a_file(server: HostileServer, part: Path) -> None:
    server.on("file", lambda request: request.answer(b""))
    fetcher = RobotFetcher(LIMITS)
    download(fetcher, f"{server.url}/file", part, size=0, sha256=hashlib.sha256(b"").hexdigest())
    assert part.read_bytes() == b""


def test_a_folder_in_the_place_of_the_file_is_told(server: HostileServer, part: Path) -> None:
    part.mkdir()
    with pytest.raises(BadInput, match=f"{part}: "):
        fetch(server, part)


def test_a_folder_that_is_gone_is_told(server: HostileServer, part: Path) -> None:
    with pytest.raises(BadInput, match="No such file or directory; the robot keeps its model"):
        fetch(server, part / "file")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True
    ).returncode:
        pytest.skip("only root can mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_is_told_and_what_came_is_kept(server: HostileServer, small_disk: Path) -> None:
    part = small_disk / "part"
    with pytest.raises(BadInput, match=f"{part}: the disk is full: make room; the robot keeps its model"):
        fetch(server, part)
    kept = part.read_bytes()
    assert kept and CONTENT.startswith(kept)


def test_a_disk_that_is_read_only_is_told(server: HostileServer, small_disk: Path) -> None:
    part = small_disk / "part"
    part.write_bytes(b"x" * 1000)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(BadInput, match=f"{part}: the disk cannot be written: is it failing"):
        fetch(server, part)
    assert part.read_bytes() == b"x" * 1000


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


@pytest.mark.parametrize("here", [CONTENT[:1000], CONTENT + b"more"])
def test_progress_is_told(server: HostileServer, part: Path, here: bytes) -> None:
    part.write_bytes(here)
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
