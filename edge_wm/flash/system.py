"""Which system an image holds, and whether a board can boot it: told by its partitions and by the files it boots from.

What each is recognised by is in docs/flash.md.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from edge_wm.board import Board
from edge_wm.errors import BadInput
from edge_wm.flash.fat import Fat, fat_label
from edge_wm.flash.partitions import Partition, PartitionTable

SystemName = Literal["Raspberry Pi OS", "Ubuntu for Raspberry Pi", "generic UEFI", "JetPack"]

FAT_TYPES = ("01", "04", "06", "0b", "0c", "0e", "ef")
EFI_TYPE = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
DATA_TYPE = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
CLOUD_INIT_FILES = {"user-data", "meta-data"}
KERNELS_64 = {"kernel8.img", "kernel8_16.img", "kernel_2712.img"}
KERNELS_32 = {"kernel.img", "kernel7.img", "kernel7l.img"}
ARM64_MAGIC = (0x38, b"ARM\x64")
"""Where and what: linux, Documentation/arch/arm64/booting.rst."""

EFI_PROGRAMS = {"aarch64": "BOOTAA64.EFI", "x86_64": "BOOTX64.EFI"}
MOST_BOOT_BYTES = 4 << 30


class System(NamedTuple):
    """A system that is known.

    Attributes:
        name: for people.
        label: of the file system that cloud-init and the first boot look for; "" without cloud-init.
        wifi: whether it can be told a Wi-Fi network.
    """

    name: SystemName
    label: str
    wifi: bool

    @property
    def boots_pi_firmware(self) -> bool:
        """Whether it has a Raspberry Pi's cmdline.txt and config.txt."""
        return self.name in ("Raspberry Pi OS", "Ubuntu for Raspberry Pi")


RASPBERRY_PI_OS = System("Raspberry Pi OS", "bootfs", wifi=True)
UBUNTU_PI = System("Ubuntu for Raspberry Pi", "system-boot", wifi=True)
GENERIC_UEFI = System("generic UEFI", "CIDATA", wifi=False)
JETPACK = System("JetPack", "", wifi=False)


def boot_partition(table: PartitionTable) -> Partition | None:
    """The partition that a board's firmware reads, and cloud-init too; None if there is none."""
    types = FAT_TYPES if table.scheme == "MBR" else (EFI_TYPE, DATA_TYPE)
    boot = next((partition for partition in table.partitions if partition.type in types), None)
    return boot if boot is not None and boot.end <= MOST_BOOT_BYTES else None


def boot_folder(names: Collection[str]) -> str:
    """Where a Raspberry Pi's kernel lies, by the names at the top: Ubuntu has two sets of files since 25.10, one on trial."""
    return "current/" if "current" in names else ""


def is_jetpack(table: PartitionTable) -> bool:
    """An SD card image of JetPack: its names are from Jetson Linux' partition layouts, and do not tell 5 from 6."""
    return {"APP", "A_kernel", "esp"} <= {partition.name for partition in table.partitions}


def recognise(head: Path, table: PartitionTable, board: Board, image: Path) -> System:
    """Tell the system of an image, and that ``board`` can boot it.

    Args:
        head: a file with the image's beginning, up to the end of its boot partition.
        table: of the image.
        board: that is to boot it.
        image: whose name errors give.

    Raises:
        BadInput: it is not known, has no cloud-init, is 32-bit, or is for another board; one line.
    """
    if board.recognised is None:
        raise BadInput(f"--board: {board.name} is no computer that a card can be written for")
    families = {word.partition(",")[0] for word in board.recognised.compatible}
    if is_jetpack(table):
        if "nvidia" not in families:
            raise BadInput(f"{image}: is an image for a Jetson, and {board.name} is none")
        return JETPACK
    if "nvidia" in families:
        raise BadInput(f"{image}: is no SD card image of JetPack: {board.name} boots nothing else")
    boot = boot_partition(table)
    label = None
    if boot is not None:
        with head.open("rb") as file:
            file.seek(boot.start)
            label = fat_label(file.read(512))
    if boot is None or label is None:
        raise BadInput(f"{image}: has no boot partition that is known: docs/flash.md lists the images")
    fat = Fat(head, boot.start)
    names = set(fat.names())
    if "config.txt" in names:
        if board.recognised.architecture != "aarch64":
            raise BadInput(f"{image}: is for another processor than that of {board.name}")
        system = _pi_system(names, label, fat, image)
        _check_device_tree(fat, names, board, image)
        return system
    return _uefi(fat, label, board, families, image)


def _pi_system(names: set[str], label: str, fat: Fat, image: Path) -> System:
    if label == UBUNTU_PI.label:
        system = UBUNTU_PI
        is_64_bit = _is_arm64_kernel(fat.read(f"{boot_folder(names)}vmlinuz"))
    elif label in (RASPBERRY_PI_OS.label, "boot"):  # "boot": before Bookworm
        system = RASPBERRY_PI_OS
        # A 32-bit system has the 64-bit kernel beside its own since 2023, so that alone says nothing.
        is_64_bit = bool(names & KERNELS_64) and not names & KERNELS_32
    else:
        raise BadInput(
            f"{image}: has the label {label!r}: neither Raspberry Pi OS nor Ubuntu for Raspberry Pi"
        )
    if not is_64_bit:
        raise BadInput(f"{image}: is 32-bit: take the 64-bit image (arm64)")
    if not names >= CLOUD_INIT_FILES:
        raise BadInput(
            f"{image}: has no cloud-init, as Raspberry Pi OS before October 2025: take a newer one, or boot it"
            " and run boards/install/install.sh there"
        )
    return system


def _is_arm64_kernel(kernel: bytes) -> bool:
    if kernel.startswith(b"\x1f\x8b"):
        try:
            kernel = gzip.GzipFile(fileobj=io.BytesIO(kernel)).read(64)
        except (OSError, EOFError, zlib.error):
            return False
    place, magic = ARM64_MAGIC
    return kernel[place : place + len(magic)] == magic


def _check_device_tree(fat: Fat, names: set[str], board: Board, image: Path) -> None:
    """The firmware loads the tree of its own board from there: none, and it does not boot."""
    assert board.recognised is not None
    wanted = [word.encode() + b"\0" for word in board.recognised.compatible]
    if not wanted:  # any board with such a firmware
        return
    if not any(word.startswith(b"raspberrypi,") for word in wanted):
        raise BadInput(f"{image}: is an image for a Raspberry Pi, and {board.name} is none")
    folder = boot_folder(names)
    trees = [f"{folder}{name}" for name in fat.names(folder) if name.endswith(".dtb")]
    if not any(word in tree for tree in map(fat.read, trees) for word in wanted):
        raise BadInput(f"{image}: does not know the board {board.name}: take a newer image")


def _uefi(fat: Fat, label: str, board: Board, families: set[str], image: Path) -> System:
    assert board.recognised is not None
    programs = {name.upper() for name in fat.names("EFI/BOOT")}
    if not programs & set(EFI_PROGRAMS.values()):
        raise BadInput(f"{image}: has no boot partition that is known: docs/flash.md lists the images")
    if families:
        raise BadInput(f"{image}: is for computers with UEFI, and {board.name} boots images of its own")
    if EFI_PROGRAMS[board.recognised.architecture] not in programs:
        raise BadInput(f"{image}: is for another processor than that of {board.name}")
    if label == "UEFI":
        # Ubuntu's cloud images mount it by this label, and do not boot if it is gone.
        raise BadInput(f"{image}: is an image of Ubuntu for clouds: take Debian's genericcloud or generic")
    return GENERIC_UEFI
