"""The fuzz campaign (``make fuzz``) finds nothing in its short form, and finds every mistake that is made for it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.fuzz import CONTROLS, control_is_found
from benchmarks.fuzz_codec import codec_us, compare, shim_built
from firmware_bridge import framing
from firmware_bridge.simulator.avr_bench import FIRMWARE

BYTES = 50_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: run  sudo apt install gcc libc6-dev")
    return shim_built(tmp_path_factory.mktemp("fuzz"))


def findings(counts: Counter[str]) -> tuple[int, int, int]:
    return counts["accepted_bad"], counts["failed"], counts["crashes"]


def test_both_ends_take_what_was_sent_and_nothing_else(built: Path) -> None:
    counts = compare(built, BYTES, seed=7)
    assert findings(counts) == (0, 0, 0)
    assert counts["bytes"] >= BYTES
    assert min(counts["taken"], counts["dropped"]) > 200


class AnyChecksum(int):
    """One that agrees with every other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def test_a_codec_that_does_not_compare_checksums_is_found(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = framing.zlib.crc32
    monkeypatch.setattr(framing, "zlib", SimpleNamespace(crc32=lambda covered: AnyChecksum(real(covered))))
    assert compare(built, BYTES, seed=7)["accepted_bad"] > 10


def test_a_codec_that_trips_over_bad_bytes_is_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = framing.decode
    monkeypatch.setattr(
        framing, "decode", lambda line: real(line) if line[0] <= len(line) else line[len(line)]
    )
    assert compare(built, BYTES, seed=7)["crashes"] > 10


def test_a_reader_that_joins_what_a_zero_parts_is_found(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(reader: framing.FrameReader, received: bytes) -> object:
        return real(reader, received.replace(b"\0\0", b"\1\0"))

    real = framing.FrameReader.feed
    monkeypatch.setattr(framing.FrameReader, "feed", feed)
    assert compare(built, BYTES, seed=7)["failed"] > 10


def test_a_firmware_that_does_not_compare_checksums_is_found(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: run  sudo apt install gcc libc6-dev")
    core = shutil.copytree(FIRMWARE / "core", tmp_path / "core")
    control = CONTROLS["the checksum is not compared"]
    source = (core / control.file).read_text()
    assert control.was in source
    (core / control.file).write_text(source.replace(control.was, control.now))
    assert compare(shim_built(tmp_path, core), BYTES, seed=7)["accepted_bad"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("what", CONTROLS)
def test_libfuzzer_finds_what_is_wrong_with_the_firmware(what: str) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang: run  sudo apt install clang libclang-rt-dev")
    assert control_is_found(CONTROLS[what], seed=1)


def test_a_command_and_its_status_are_coded_in_less_than_100_us() -> None:
    assert codec_us() < 100.0
