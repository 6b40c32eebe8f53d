"""Images are read however they are packed, and what is cut, damaged or another one is refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from edge_wm.errors import BadInput
from edge_wm.flash.image import CHUNK, check_sha256, opened

CONTENT = hashlib.shake_256(b"content").digest(1000) * 5000


def _zip(content: bytes, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "read me")
        archive.writestr("sd-blob.img", content)


PACKED: dict[str, Callable[[bytes, Path], object]] = {
    "raw": lambda content, file: file.write_bytes(content),
    "xz": lambda content, file: file.write_bytes(lzma.compress(content)),
    "xz of two streams": lambda content, file: file.write_bytes(
        lzma.compress(content[:1000]) + lzma.compress(content[1000:])
    ),
    "gzip": lambda content, file: file.write_bytes(gzip.compress(content)),
    "zstd": lambda content, file: file.write_bytes(zstandard.compress(content)),
    "zstd of two frames": lambda content, file: file.write_bytes(
        zstandard.compress(content[:1000]) + zstandard.compress(content[1000:])
    ),
    "zip": _zip,
}


@pytest.mark.parametrize("how", PACKED)
def test_an_image_is_read_whatever_it_is_packed_by_and_whatever_its_name(how: str, tmp_path: Path) -> None:
    file = tmp_path / "image"
    PACKED[how](CONTENT, file)

    with opened(file) as stream:
        chunks = list(stream.chunks())

    assert b"".join(chunks) == CONTENT
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
    assert stream.size in ((len(CONTENT),) if how in ("raw", "zip") else (None,))


@pytest.mark.parametrize("how", ["xz", "gzip", "zip"])
def test_a_download_that_was_cut_is_refused(how: str, tmp_path: Path) -> None:
    file = tmp_path / "image"
    PACKED[how](CONTENT, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    with pytest.raises(BadInput, match=r"download it again|cannot be unpacked"), opened(file) as stream:
        list(stream.chunks())


@pytest.mark.parametrize("how", ["xz", "gzip", "zstd", "zip"])
def test_a_packed_image_that_is_damaged_in_the_middle_is_refused_or_gives_other_bytes(
    how: str, tmp_path: Path
) -> None:
    """zstd's checksum is optional: there it is the SHA-256 that finds it."""
    file = tmp_path / "image"
    PACKED[how](CONTENT, file)
    packed = bytearray(file.read_bytes())
    packed[len(packed) // 2] ^= 0x10
    file.write_bytes(packed)

    try:
        with opened(file) as stream:
            read = b"".join(stream.chunks())
    except BadInput as refused:
        assert "download it again" in str(refused)
    else:
        assert how == "zstd" and read != CONTENT


def test_a_qcow2_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    file = tmp_path / "debian.qcow2"
    file.write_bytes(b"QFI\xfb" + bytes(100))

    with pytest.raises(BadInput, match="qemu-img convert -O raw"), opened(file):
        pass


def test_a_zip_with_two_images_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.img", "a")
        archive.writestr("b.img", "b")

    with pytest.raises(BadInput, match=r"holds 2 files that end in \.img"), opened(file):
        pass


def test_an_image_is_compared_with_the_checksum_beside_it(tmp_path: Path) -> None:
    file, beside = tmp_path / "image.img.xz", tmp_path / "image.img.xz.sha256"
    file.write_bytes(b"an image")
    assert not check_sha256(file, None)

    beside.write_text(f"{hashlib.sha256(b'an image').hexdigest()}  image.img.xz\n")
    assert check_sha256(file, None)
    assert check_sha256(file, hashlib.sha256(b"an image").hexdigest().upper())

    file.write_bytes(b"an imagE")
    with pytest.raises(BadInput, match=r"its SHA-256 is not that of .*image\.img\.xz\.sha256"):
        check_sha256(file, None)
    with pytest.raises(BadInput, match="its SHA-256 is not that of --sha256"):
        check_sha256(file, "0" * 64)
    beside.write_text("<html>not found</html>")
    with pytest.raises(BadInput, match="is no SHA-256"):
        check_sha256(file, None)
