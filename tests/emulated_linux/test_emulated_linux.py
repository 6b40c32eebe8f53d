"""The machine's own bookkeeping: what it must not take for a pass.  No emulator is needed."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

from tests.emulated_linux import __main__ as emulated_linux
from tests.emulated_linux import machine
from tests.emulated_linux.machine import Archive, in_order


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was fetched, in name."""
    monkeypatch.setattr(machine, "CACHE", tmp_path)
    (tmp_path / "modules").mkdir()
    (tmp_path / "busybox").write_bytes(b"busybox")
    return tmp_path


def machine_that(does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In QEMU's place a program of the shell; its ``$1`` is the file for the exit code."""

    def command(initrd: Path, exit_code: Path) -> list[str]:
        assert initrd.is_file()
        return ["sh", "-c", does, "machine", str(exit_code)]

    monkeypatch.setattr(emulated_linux, "qemu", command)


@pytest.mark.parametrize(("said", "code"), [(0, 0), (1, 1), (2, 1), (5, 1)])
def test_what_pytest_does_not_pass_is_a_failure(
    cache: Path, monkeypatch: pytest.MonkeyPatch, said: int, code: int
) -> None:
    """Its own 2, for a file that cannot be read, must not look as if this machine lacked something."""
    machine_that(f"echo {said} > $1", monkeypatch)
    assert emulated_linux.run_tests([]) == code


@pytest.mark.parametrize("does", ["exit 0", "exit 3", ": > $1", "kill -9 $$"])
def test_a_machine_that_stops_early_passes_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], does: str
) -> None:
    machine_that(does, monkeypatch)
    assert emulated_linux.run_tests([]) == 1
    assert "stopped before the tests had ended" in capsys.readouterr().err


def test_a_machine_that_never_ends_is_switched_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_that("exec sleep 60", monkeypatch)
    began = time.monotonic()
    assert emulated_linux.run_tests([], deadline_s=0.2) == 1
    assert time.monotonic() - began < 30.0


def test_what_its_console_says_is_passed_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine_that(r"printf 'collecting\rcollected 3\r\n. passed\r\n'; echo 0 > $1", monkeypatch)
    assert emulated_linux.run_tests([]) == 0
    assert capsys.readouterr().out == "collected 3\n. passed\n"


def test_modules_follow_what_they_need(tmp_path: Path) -> None:
    files = {}
    for name, needs in {
        "hid_cp2112": "hid",
        "uhid": "hid",
        "hid": "",
        "v9p": "netfs,core_in_kernel",
        "netfs": "",
    }.items():
        files[name] = tmp_path / f"{name}.ko"
        files[name].write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0intree=Y\0")
    assert in_order(["hid-cp2112", "uhid", "v9p"], files) == ["hid", "hid_cp2112", "uhid", "netfs", "v9p"]


def test_the_first_files_are_laid_out_as_the_kernel_wants_them() -> None:
    archive = Archive()
    archive.add("bin/odd", 0o100755, b"abc")
    head, name, data = archive.content[:110], archive.content[110:120], archive.content[120:]
    fields = [int(head[start : start + 8], 16) for start in range(6, 110, 8)]
    assert head[:6] == b"070701"
    assert (fields[1], fields[6], fields[11]) == (0o100755, 3, len("bin/odd") + 1)
    assert (name, data) == (b"bin/odd\0\0\0", b"abc\0")


def test_the_command_reaches_the_machine_as_it_was_given(cache: Path) -> None:
    odd = ["python", "-k", 'it\'s a "name" $HOME']
    init = machine.first_files(odd, keep=False).decode(errors="replace")
    line = next(line for line in init.splitlines() if " chroot " in line)
    assert shlex.split(shlex.split(line)[-1])[-5:-2] == odd
