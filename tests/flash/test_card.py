"""A card is written whole and read back, or it is not one that boots: pulled, full, lying and interrupted cards."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_wm.errors import BadInput
from edge_wm.flash.card import is_unfinished, write_card
from edge_wm.flash.image import CHUNK

REPOSITORY = Path(__file__).resolve().parents[2]
MB = 1 << 20
CONTENT = hashlib.shake_256(b"what a card is to hold").digest(9 * MB + 512)


def chunks(content: bytes = CONTENT) -> Iterator[bytes]:
    for place in range(0, len(content), CHUNK):
        yield content[place : place + CHUNK]


def write(device: Path, content: bytes = CONTENT, written: Callable[[int], None] = lambda count: None) -> str:
    return write_card(device, chunks(content), len(content), written, lambda count: None)


def _disk(folder: Path, size: int = 12 * MB) -> Path:
    file = folder / "disk"
    with file.open("wb") as empty:
        empty.truncate(size)
    return file


def test_a_file_becomes_what_a_card_would_hold_without_root(tmp_path: Path) -> None:
    file, done = tmp_path / "card.img", []
    file.write_bytes(b"older and longer" * MB)

    digest = write_card(file, chunks(), len(CONTENT), done.append, done.append)

    assert file.read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert sum(done) == 2 * len(CONTENT)
    assert not is_unfinished(file)


def test_a_new_file_is_for_nobody_else(tmp_path: Path) -> None:
    """There are keys and hashes of passwords in it."""
    write(tmp_path / "card.img")

    assert (tmp_path / "card.img").stat().st_mode & 0o777 == 0o600


def test_nothing_takes_no_room_in_a_file(tmp_path: Path) -> None:
    file, content = tmp_path / "card.img", b"\x55" * MB + bytes(64 * MB)

    write(file, content)

    assert file.read_bytes() == content
    assert file.stat().st_blocks * 512 <= CHUNK


def test_a_disk_holds_the_content_and_nothing_of_an_earlier_partition_table(
    tmp_path: Path, loop: Callable[[Path], Path]
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"\xaa" * 16 * MB)

    write(loop(file))

    assert file.read_bytes()[: len(CONTENT)] == CONTENT
    assert file.read_bytes()[-MB:] == bytes(MB)
    assert not is_unfinished(file)


def test_a_disk_that_is_too_small_is_not_touched(tmp_path: Path, loop: Callable[[Path], Path]) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"\xaa" * 8 * MB)

    with pytest.raises(BadInput, match=r"is too small: it has 0\.01 GB"):
        write(loop(file))

    assert file.read_bytes() == b"\xaa" * 8 * MB


def test_a_mounted_disk_is_refused_by_the_kernel(tmp_path: Path, loop: Callable[[Path], Path]) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    device = loop(_disk(tmp_path))
    subprocess.run(["mkfs.ext4", "-q", str(device)], check=True)
    subprocess.run(["mount", str(device), str(place)], check=True)
    try:
        (place / "photo").write_bytes(b"a photo")
        with pytest.raises(BadInput, match="is in use: unmount it first"):
            write(device)
        assert (place / "photo").read_bytes() == b"a photo"
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert b"a photo" in (tmp_path / "disk").read_bytes()


def test_a_locked_disk_is_refused(tmp_path: Path, loop: Callable[..., Path]) -> None:
    with pytest.raises(BadInput, match="is read-only: look at its lock"):
        write(loop(_disk(tmp_path), "--read-only"))


@pytest.mark.parametrize("place", [4096, 5 * MB, len(CONTENT) - 1])
def test_a_disk_that_gives_back_one_other_bit_is_found_out(
    place: int, tmp_path: Path, loop: Callable[[Path], Path]
) -> None:
    """The bit turns in the file behind the disk, where only one who does not ask memory sees it."""
    file = _disk(tmp_path)
    device = loop(file)

    def turn_bit() -> Iterator[bytes]:
        yield from chunks()
        with device.open("rb") as disk:  # all of it is remembered
            disk.read()
            os.fsync(disk.fileno())
        descriptor = os.open(file, os.O_RDWR)
        before = os.pread(descriptor, 1, place)
        os.pwrite(descriptor, bytes([before[0] ^ 4]), place)
        os.close(descriptor)
        with device.open("rb") as disk:
            assert disk.read()[place] == before[0], "memory would have shown it: this test proves nothing"

    where = f"at {place // CHUNK * CHUNK / 1e6:.0f} MB"
    with pytest.raises(BadInput, match=f"gives back something else than was written, {where}"):
        write_card(device, turn_bit(), len(CONTENT), lambda count: None, lambda count: None)

    assert is_unfinished(file)


@pytest.mark.parametrize("kill_at", [1, CHUNK, 2 * CHUNK, len(CONTENT)])
def test_a_card_whose_writer_was_killed_is_known_as_unfinished_and_can_be_written_again(
    kill_at: int, tmp_path: Path
) -> None:
    file, done = tmp_path / "card.img", 0
    file.write_bytes(CONTENT)  # an older card that boots

    def kill(count: int) -> None:
        nonlocal done
        done += count
        if done >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=write, args=(file, CONTENT, kill))
    process.start()
    process.join()

    assert process.exitcode == -signal.SIGKILL
    assert is_unfinished(file) and file.read_bytes()[510:512] != b"\x55\xaa"
    write(file)
    assert file.read_bytes() == CONTENT


def test_a_card_whose_image_ends_in_an_error_is_unfinished(tmp_path: Path) -> None:
    def damaged() -> Iterator[bytes]:
        yield CONTENT[:CHUNK]
        raise BadInput("image: damaged")

    with pytest.raises(BadInput, match="image: damaged"):
        write_card(tmp_path / "card", damaged(), len(CONTENT), lambda count: None, lambda count: None)

    assert is_unfinished(tmp_path / "card")


def test_ctrl_c_leaves_a_card_that_is_unfinished(tmp_path: Path) -> None:
    def interrupted(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "card", written=interrupted)

    assert is_unfinished(tmp_path / "card")


SERVER = """
import errno, os, stat, sys
import mfusepy
from tests.power_cuts import private

class Card(mfusepy.Operations):
    use_ns = True

    def __init__(self, path, most, error):
        self.file, self.most, self.error, self.written = os.open(path, os.O_RDWR), most, error, 0

    def check(self, count=0):
        self.written += count
        if self.written > self.most:
            raise mfusepy.FuseOSError(self.error)

    def getattr(self, path, fh=None):
        size = os.fstat(self.file).st_size
        kind = stat.S_IFDIR | 0o755 if path == "/" else stat.S_IFREG | 0o644
        return {"st_mode": kind, "st_nlink": 1, "st_size": size}

    def readdir(self, path, fh): return [".", "..", "disk"]
    def open(self, path, flags): return 0
    def truncate(self, path, length, fh=None): return 0

    def read(self, path, size, offset, fh):
        self.check()
        return os.pread(self.file, size, offset)

    def write(self, path, data, offset, fh):
        self.check(len(data))
        return os.pwrite(self.file, data, offset)

    def fsync(self, path, datasync, fh):
        self.check()
        return 0

private.die_with_parent()
private.allocate_without_writeback()
mfusepy.FUSE(Card(sys.argv[1], int(sys.argv[3]), int(sys.argv[4])), sys.argv[2], foreground=True, nothreads=True)
"""


@contextmanager
def failing_disk(folder: Path, most: int, error: int) -> Iterator[Path]:
    """The file of a disk that takes so many bytes and then answers everything with an error, as one that was pulled out."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a file system of one's own is mounted by root")
    place = folder / "fuse"
    place.mkdir()
    command = [sys.executable, "-c", SERVER, str(_disk(folder)), str(place), str(most), str(error)]
    server = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        until = time.monotonic() + 20
        while not (place / "disk").exists():
            assert time.monotonic() < until and server.poll() is None, "no file system"
            time.sleep(0.02)
        yield place / "disk"
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)
        server.terminate()
        server.wait()


@pytest.mark.parametrize("most", [2 * MB + 100, 6 * MB, 11 * MB + 200_000])
def test_a_card_that_is_pulled_out_is_one_line_and_nothing_that_boots(
    most: int, tmp_path: Path, loop: Callable[[Path], Path]
) -> None:
    """While it is written, before and after the first chunk, and when only the first megabyte is left."""
    with failing_disk(tmp_path, most, errno.EIO) as file:
        device = loop(file)
        with pytest.raises(BadInput, match=r"was pulled out, or fails.*nothing boots from it"):
            write(device)
        subprocess.run(["losetup", "--detach", str(device)], check=False)

    there = (tmp_path / "disk").read_bytes()
    assert there[510:512] != CONTENT[510:512]


def test_a_disk_that_takes_everything_is_written_through_the_same_path(
    tmp_path: Path, loop: Callable[[Path], Path]
) -> None:
    """What the test before does with a disk that fails, with one that does not."""
    with failing_disk(tmp_path, 1 << 40, errno.EIO) as file:
        device = loop(file)
        write(device)
        subprocess.run(["losetup", "--detach", str(device)], check=False)

    assert (tmp_path / "disk").read_bytes()[: len(CONTENT)] == CONTENT


@pytest.mark.parametrize("error", [errno.ENODEV, errno.ENXIO, errno.EIO, errno.ENOSPC])
def test_whatever_a_dying_card_says_is_one_line(error: int, tmp_path: Path) -> None:
    with (
        failing_disk(tmp_path, 5 * MB, error) as file,
        pytest.raises(BadInput, match="nothing boots from it") as refused,
    ):
        write(file)
    assert "\n" not in str(refused.value)


def test_a_full_disk_is_one_line_and_the_file_on_it_is_unfinished(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "small", str(place)], check=True)
    try:
        with pytest.raises(BadInput, match="no room is left for it"):
            write(place / "card.img")
        assert is_unfinished(place / "card.img")
    finally:
        subprocess.run(["umount", str(place)], check=True)
