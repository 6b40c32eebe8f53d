"""Images with the layout and the files of official ones, small: made by sfdisk, mkfs.vfat, mkfs.ext4 and mtools.

What each holds is from RPi-Distro/pi-gen, Ubuntu's and Debian's image builders, and Jetson Linux' partition layouts.  Programs
and kernels are not in them: nothing here is booted.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edge_wm.board import Board, board_files, load_board

MB = 1 << 20
SIZE, BOOT_START, BOOT_SIZE = 64 * MB, 4 * MB, 40 * MB
ROOT_SIZE = 16 * MB
NEEDED = {
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "fsck.vfat": "dosfstools",
    "mkfs.ext4": "e2fsprogs",
    "mcopy": "mtools",
}
"""Programs, and the Debian packages that have them."""

ARM64_KERNEL = bytes(0x38) + b"ARM\x64" + bytes(4096)
ARM_KERNEL = bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(4096)
STOCK_USER_DATA = b"#cloud-config\n\n# This is the user-data configuration file for cloud-init.\n"
STOCK_META_DATA = b"dsmode: local\ninstance_id: rpios-image\n"
CMDLINE = (
    b"console=serial0,115200 console=tty1 root=PARTUUID=61e511e6-02 rootfstype=ext4 fsck.repair=yes rootwait"
    b" quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
)


def why_not() -> str | None:
    """What is missing to make images, and what installs it; None if nothing."""
    packages = {package for program, package in NEEDED.items() if _program(program) is None}
    return f"needs  apt install {' '.join(sorted(packages))}" if packages else None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def run(program: str, *words: str, content: str | bytes = "") -> str:
    """What a program says, which must succeed."""
    sent = content.encode() if isinstance(content, str) else content
    found = _program(program)
    assert found is not None, program
    done = subprocess.run([found, *words], input=sent, capture_output=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, (program, words, done.stderr)
    return done.stdout.decode(errors="replace")


ENVIRONMENT = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull}


def device_tree(*compatible: str) -> bytes:
    """As far as it is looked at: a device tree with this root node's ``compatible``."""
    return b"\xd0\x0d\xfe\xed" + bytes(60) + b"".join(word.encode() + b"\0" for word in compatible)


PI_OS_TRIXIE: Mapping[str, bytes] = {
    "config.txt": b"# For more options and information see\n[all]\narm_64bit=1\n\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n",
    "cmdline.txt": CMDLINE,
    "issue.txt": b"Raspberry Pi reference 2025-12-04\nGenerated using pi-gen, stage2\n",
    "kernel8.img": gzip.compress(ARM64_KERNEL),
    "kernel_2712.img": gzip.compress(ARM64_KERNEL),
    "bcm2711-rpi-4-b.dtb": device_tree("raspberrypi,4-model-b", "brcm,bcm2711"),
    "bcm2712-rpi-5-b.dtb": device_tree("raspberrypi,5-model-b", "brcm,bcm2712"),
    "user-data": STOCK_USER_DATA,
    "meta-data": STOCK_META_DATA,
    "network-config": b"# a template, all of it comments\n",
}
PI_OS_BOOKWORM = {
    name: content
    for name, content in PI_OS_TRIXIE.items()
    if name not in ("user-data", "meta-data", "network-config")
}
PI_OS_ARMHF = {
    **{name: content for name, content in PI_OS_TRIXIE.items() if name != "kernel_2712.img"},
    "kernel.img": ARM_KERNEL,
    "kernel7.img": ARM_KERNEL,
}
UBUNTU_PI = {
    "config.txt": b"[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\narm_64bit=1\n",
    "cmdline.txt": b"console=serial0,115200 root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n",
    "vmlinuz": gzip.compress(ARM64_KERNEL),
    "bcm2712-rpi-5-b.dtb": device_tree("raspberrypi,5-model-b", "brcm,bcm2712"),
    "user-data": b"#cloud-config\nchpasswd: {expire: true}\n",
    "meta-data": b"dsmode: local\ninstance-id: cloud-image\n",
    "network-config": b"network: {version: 2}\n",
}
UBUNTU_PI_2510 = {
    name if name in ("config.txt", "user-data", "meta-data", "network-config") else f"current/{name}": content
    for name, content in UBUNTU_PI.items()
}
DEBIAN_CLOUD = {
    "EFI/BOOT/BOOTAA64.EFI": b"MZ arm64",
    "EFI/debian/grub.cfg": b"configfile /boot/grub/grub.cfg\n",
}
DEBIAN_CLOUD_X86 = {"EFI/BOOT/BOOTX64.EFI": b"MZ x86-64"}


def boot_file_system(file: Path, label: str, files: Mapping[str, bytes]) -> None:
    """A FAT32 of ``BOOT_SIZE``."""
    with file.open("wb") as empty:
        empty.truncate(BOOT_SIZE)
    run("mkfs.vfat", "-F", "32", "-n", label, str(file))
    made: set[str] = set()
    for name, content in files.items():
        for depth in range(1, len(name.split("/"))):
            folder = "/".join(name.split("/")[:depth])
            if folder not in made:
                run("mmd", "-i", str(file), f"::{folder}")
                made.add(folder)
        run("mcopy", "-i", str(file), "-", f"::{name}", content=content)


def mbr_image(file: Path, label: str, files: Mapping[str, bytes]) -> Path:
    """MBR, a FAT32 boot partition, and an ext4 root: Raspberry Pi OS and Ubuntu for Raspberry Pi."""
    parts = f"start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=c\nstart={(BOOT_START + BOOT_SIZE) // 512}, type=83\n"
    return _image(file, f"label: dos\nlabel-id: 0x61e511e6\n{parts}", label, files)


def gpt_image(file: Path, label: str, files: Mapping[str, bytes]) -> Path:
    """GPT, an EFI system partition that comes first, and a root: Debian's cloud images for arm64."""
    root = f"start={(BOOT_START + BOOT_SIZE) // 512}, type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
    efi = f"15 : start={BOOT_START // 512}, size={BOOT_SIZE // 512}, type=U"
    return _image(file, f"label: gpt\n1 : {root}\n{efi}\n", label, files)


def jetpack_image(file: Path) -> Path:
    """GPT with the names of JetPack 6's SD card."""
    with file.open("wb") as empty:
        empty.truncate(SIZE)
    parts = [("APP", 16384), ("A_kernel", 2048), ("B_kernel", 2048), ("esp", 2048)]
    lines = [f'size={size}, name="{name}"' for name, size in parts]
    run("sfdisk", "-q", str(file), content="label: gpt\n" + "\n".join(lines) + "\n")
    return file


def _image(file: Path, table: str, label: str, files: Mapping[str, bytes]) -> Path:
    boot, root = file.with_suffix(".boot"), file.with_suffix(".root")
    with file.open("wb") as empty:
        empty.truncate(SIZE)
    run("sfdisk", "-q", str(file), content=table)
    boot_file_system(boot, label, files)
    with root.open("wb") as empty:
        empty.truncate(ROOT_SIZE)
    run("mkfs.ext4", "-q", "-L", "rootfs", str(root))
    with file.open("r+b") as whole:
        for place, part in ((BOOT_START, boot), (BOOT_START + BOOT_SIZE, root)):
            whole.seek(place)
            whole.write(part.read_bytes())
            part.unlink()
        # Something in the root that no file system knows of, so that every byte of it counts.
        whole.seek(BOOT_START + BOOT_SIZE + ROOT_SIZE // 2)
        whole.write(hashlib.shake_256(b"root").digest(3 * MB))
    return file


def board(name: str) -> Board:
    return load_board(board_files()[name])
