"""Machines to examine: file systems with what a well-kept board says of itself, and one thing after the other wrong with it."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

AARCH64 = 0xB7
ARM = 0x28

CORE = """processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
POLICY = "sys/devices/system/cpu/cpufreq/policy0"
WATCHDOG = "sys/class/watchdog/watchdog0"

FILES: dict[str, str] = {
    "proc/cpuinfo": "".join(CORE.format(number=number) for number in range(4)),
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "proc/meminfo": "MemTotal:        8245760 kB\nMemFree:         6000000 kB\nMemAvailable:    7200000 kB\n",
    "proc/cmdline": "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait\n",
    "proc/loadavg": "0.10 0.05 0.01 1/200 1234\n",
    "proc/sys/kernel/osrelease": "6.12.47+rpt-rpi-2712\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n',
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "52100\n",
    f"{POLICY}/scaling_governor": "performance\n",
    f"{POLICY}/scaling_cur_freq": "2400000\n",
    f"{WATCHDOG}/identity": "Broadcom BCM2835 Watchdog timer\n",
    f"{WATCHDOG}/state": "active\n",
    f"{WATCHDOG}/timeout": "15\n",
    "sys/class/rtc/rtc0/name": "rpi-rtc\n",
    "sys/class/rtc/rtc0/since_epoch": f"{time.time():.0f}\n",
    "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
}


def good_machine(root: Path) -> Path:
    """A Raspberry Pi 5 that nothing is wrong with."""
    for name, content in FILES.items():
        write(root, name, content)
    program(root, AARCH64, bits=64)
    return root


def write(root: Path, name: str, content: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def program(root: Path, machine: int, bits: int) -> None:
    """The program that runs, as far as its ELF header."""
    header = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1, 1)) + bytes(9) + struct.pack("<HH", 2, machine)
    file = root / "proc/self/exe"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(header)


def program_in(folder: Path, name: str, script: str) -> None:
    """A program of this name that does this, in the words of ``sh``."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def having(name: str, content: str) -> Callable[[Path], None]:
    """A fault: this file says something else."""
    return lambda root: write(root, name, content)


def lacking(name: str) -> Callable[[Path], None]:
    """A fault: this file or folder is not there."""

    def fault(root: Path) -> None:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return fault
