"""What the doctor finds of a computer's software: the good machine is well, and each fault is found and has a remedy."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge_wm.doctor.finding import Finding, Level
from edge_wm.doctor.system import clock, disk, disk_errors, memory, python, service, system, watchdog
from edge_wm.update.time_trust import time_source
from tests.doctor.machines import WATCHDOG, good_machine, having, lacking, program_in

NOW = time.time()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return good_machine(tmp_path / "root")


def clock_of(root: Path, wall: float = NOW, follows: bool = False) -> Finding:
    source = partial(time_source, follows=lambda: follows, machine="aarch64")
    return clock(root, wall=lambda: wall, source=source)


CHECKS: dict[str, Callable[[Path], Finding]] = {
    "system": system,
    "memory": lambda root: memory(300, root),
    "disk errors": disk_errors,
    "clock": clock_of,
    "watchdog": watchdog,
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_machine_is_well(check: str, root: Path) -> None:
    finding = CHECKS[check](root)
    assert (finding.check, finding.level, finding.remedy) == (check, Level.OK, "")


@pytest.mark.parametrize(
    ("check", "fault", "level", "said", "remedy"),
    [
        ("system", having("lib/ld-musl-aarch64.so.1", ""), Level.ERROR, "musl", "Raspberry Pi OS"),
        (
            "memory",
            having("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 102400 kB\n"),
            Level.ERROR,
            "100 of 976 MiB available, 300 are needed",
            "ps ",
        ),
        (
            "disk errors",
            having("sys/fs/ext4/mmcblk0p2/errors_count", "3\n"),
            Level.ERROR,
            "mmcblk0p2: 3 errors",
            "new card",
        ),
        ("clock", lacking("sys/class/rtc"), Level.WARNING, "no real-time clock", "set-ntp true"),
        (
            "clock",
            having("sys/class/rtc/rtc0/since_epoch", "86\n"),
            Level.WARNING,
            "no real-time clock has the time",
            "set-ntp true",
        ),
        ("watchdog", lacking(WATCHDOG), Level.WARNING, "no hardware watchdog", "softdog"),
        (
            "watchdog",
            having(f"{WATCHDOG}/state", "inactive\n"),
            Level.WARNING,
            "nobody feeds it",
            "RuntimeWatchdogSec",
        ),
    ],
)
def test_a_fault_is_found_and_has_a_remedy(
    check: str, fault: Callable[[Path], None], level: Level, said: str, remedy: str, root: Path
) -> None:
    fault(root)
    finding = CHECKS[check](root)
    assert (finding.check, finding.level) == (check, level)
    assert said in finding.said
    assert remedy in finding.remedy


def test_a_clock_of_1970_is_found_also_with_a_clock_chip(root: Path) -> None:
    finding = clock_of(root, wall=0.0)
    assert finding.level is Level.ERROR
    assert "1970" in finding.said


def test_a_board_without_a_clock_chip_that_follows_a_time_server_is_well(root: Path) -> None:
    lacking("sys/class/rtc")(root)
    assert clock_of(root, follows=True).level is Level.OK


def test_a_python_that_was_never_tried_is_named() -> None:
    assert python((3, 99, 0)).level is Level.WARNING
    assert python().level is Level.OK


def test_room_on_the_disk_is_measured_where_the_records_go(tmp_path: Path) -> None:
    finding = disk(tmp_path / "not" / "there" / "yet")
    assert str(tmp_path) in finding.said
    free = os.statvfs(tmp_path)
    if free.f_bavail * free.f_frsize > 1 << 30:
        assert finding.level is Level.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    ("options", "level", "said", "remedy"),
    [
        ("size=20m", Level.ERROR, "19 MiB free", "du "),
        ("size=200m", Level.WARNING, "199 MiB free", "du "),
        ("size=2g,nr_inodes=200", Level.WARNING, "files left", "du "),
        ("size=2g,ro", Level.ERROR, "cannot be written", "remount,rw"),
        ("size=2g", Level.OK, "MiB free", ""),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_found(
    options: str, level: Level, said: str, remedy: str, tmp_path: Path
) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        if "nr_inodes" in options:
            for number in range(197):
                (tmp_path / f"{number}").touch()
        elif "ro" not in options:
            (tmp_path / "record").write_bytes(bytes(1 << 20))
        finding = disk(tmp_path)
        for file in tmp_path.iterdir() if "ro" not in options else ():
            file.unlink()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert finding.level is level
    assert said in finding.said
    assert remedy in finding.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_read_only_disk_can_be_written_after_the_remedy(tmp_path: Path) -> None:
    """Also where the folder is not the one that it is mounted on."""
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        runs = tmp_path / "edge-wm" / "runs"
        runs.mkdir(parents=True)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        finding = disk(runs)
        assert "cannot be written" in finding.said
        mend = finding.remedy.partition(";")[0].removeprefix("sudo ")
        subprocess.run(["sh", "-c", mend], check=True)
        assert "cannot be written" not in disk(runs).said
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


GOOD_SERVICE = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "Result": "success",
    "NRestarts": "0",
    "WatchdogUSec": "5s",
    "UnitFileState": "enabled",
}


@pytest.mark.parametrize(
    ("changes", "level", "said", "remedy"),
    [
        ({}, Level.OK, "is active", ""),
        ({"LoadState": "not-found"}, Level.OK, "not installed", ""),
        ({"ActiveState": "failed", "Result": "watchdog"}, Level.ERROR, "failed: watchdog", "journalctl"),
        ({"ActiveState": "inactive"}, Level.NOTE, "is stopped", "systemctl start"),
        ({"ActiveState": "activating"}, Level.WARNING, "is activating", "journalctl"),
        ({"UnitFileState": "disabled"}, Level.NOTE, "does not start at boot", "enable --now"),
        (
            {"UnitFileState": "disabled", "ActiveState": "inactive"},
            Level.NOTE,
            "is inactive and does not start at boot",
            "enable --now",
        ),
        (
            {"UnitFileState": "disabled", "ActiveState": "activating", "NRestarts": "40"},
            Level.WARNING,
            "is activating",
            "journalctl",
        ),
        (
            {"UnitFileState": "disabled", "NRestarts": "40"},
            Level.WARNING,
            "restarted 40 times",
            "journalctl",
        ),
        ({"NRestarts": "4"}, Level.WARNING, "restarted 4 times", "journalctl"),
        ({"WatchdogUSec": "0"}, Level.WARNING, "nobody notices if it hangs", "WatchdogSec"),
    ],
)
def test_how_the_service_is(
    changes: dict[str, str],
    level: Level,
    said: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in {**GOOD_SERVICE, **changes}.items())
    (tmp_path / "said").write_text(lines)
    program_in(tmp_path, "systemctl", f"/bin/cat {tmp_path}/said")
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = service()
    assert finding.level is level
    assert said in finding.said
    assert remedy in finding.remedy


def test_without_systemd_there_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert service().level is Level.OK
