"""Which board a machine is taken for, from what real ones say of themselves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edge_wm.board import board_files, load_board
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from edge_wm.recognise import matching_facts, read_machine, recognise

ELF = {"aarch64": (2, 0xB7), "arm": (1, 0x28), "x86_64": (2, 0x3E), "x86": (1, 0x03), "riscv64": (2, 0xF3)}
"""Class and machine in the ELF header of a program."""

A53 = "fp asimd evtstrm crc32 cpuid"
A57 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Recorded:
    """What is in `/proc` and `/sys` of one machine, as far as it matters."""

    part: str = ""
    features: str = ""
    compatible: tuple[str, ...] = ()
    model: str = ""
    cores: int = 4
    program: str = "aarch64"
    pci: tuple[str, ...] = ()
    usb: tuple[str, ...] = ()

    def tree(self, root: Path) -> Path:
        """Write it below ``root``."""
        write(root / "proc/cpuinfo", self.cpuinfo())
        if self.compatible:
            write(root / "proc/device-tree/compatible", "".join(f"{name}\0" for name in self.compatible))
            write(root / "proc/device-tree/model", f"{self.model}\0")
        for bus, files, devices in (
            ("pci", ("vendor", "device"), [tuple(f"0x{half}" for half in i.split(":")) for i in self.pci]),
            ("usb", ("idVendor", "idProduct"), [tuple(i.split(":")) for i in self.usb]),
        ):
            for number, ids in enumerate(devices):
                for name, half in zip(files, ids, strict=True):
                    write(root / f"sys/bus/{bus}/devices/{number}" / name, half + "\n")
        write(root / "sys/bus/usb/devices/usb1-0:1.0/bInterfaceClass", "09\n")  # an interface has no ids
        bits, machine = ELF[self.program]
        header = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(11) + machine.to_bytes(2, "little")
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/exe").write_bytes(header + bytes(44))
        return root

    def cpuinfo(self) -> str:
        if self.program in ("x86_64", "x86"):
            return "".join(
                f"processor\t: {core}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: {self.features}\n\n"
                for core in range(self.cores)
            )
        cores = "".join(
            f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {self.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: {self.part}\nCPU revision\t: 1\n\n"
            for core in range(self.cores)
        )
        return cores + (f"Revision\t: d04170\nModel\t\t: {self.model}\n" if self.model else "")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


# /proc/cpuinfo: https://github.com/fastfetch-cli/fastfetch/issues/1529; device trees of Pis: github.com/raspberrypi/linux
PI4 = Recorded("0xd08", A53, ("raspberrypi,4-model-b", "brcm,bcm2711"), "Raspberry Pi 4 Model B Rev 1.5")
# https://github.com/raspberrypi/bookworm-feedback/issues/129; PCI: the bridge and RP1 of a Pi 5
PI5 = Recorded(
    "0xd0b",
    A76,
    ("raspberrypi,5-model-b", "brcm,bcm2712"),
    "Raspberry Pi 5 Model B Rev 1.0",
    pci=("14e4:2712", "1de4:0001"),
)
# the same processor in a Pi 3: https://github.com/hrw/arm-socs-table/issues/6
ZERO_2W = Recorded(
    "0xd03", A53, ("raspberrypi,model-zero-2-w", "brcm,bcm2837"), "Raspberry Pi Zero 2 W Rev 1.0"
)
# Features: https://github.com/KavrakiLab/vamp/issues/20; device tree of JetPack 6: OE4T's wiki on device trees
ORIN_NANO = Recorded(
    "0xd42",
    A76 + " uscat ilrcpc flagm paca pacg",
    ("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    cores=6,
)
# https://github.com/hrw/arm-socs-table/issues/91; device tree of JetPack 4: https://pastebin.com/YJkTe3nF
NANO = Recorded("0xd07", A57, ("nvidia,jetson-nano", "nvidia,tegra210"), "NVIDIA Jetson Nano Developer Kit")
# https://github.com/hrw/arm-socs-table/issues/18; linux: arch/arm64/boot/dts/rockchip/rk3588-rock-5b.dts
ROCK_5B = Recorded("0xd05", A76, ("radxa,rock-5b", "rockchip,rk3588"), "Radxa ROCK 5B", cores=8)
# the development machine of this project, a virtual one
PC = Recorded(features="fpu sse sse2 ssse3 fma avx avx2 avx512f avx512_vnni", cores=2, program="x86_64")

MACHINES = {
    "rpi4": PI4,
    "rpi5": PI5,
    "rpi-zero-2w": ZERO_2W,
    "rpi5-hailo": replace(PI5, pci=(*PI5.pci, "1e60:2864")),
    "rpi-coral": replace(PI4, usb=("1d6b:0003", "1a6e:089a")),
    "jetson-orin-nano": ORIN_NANO,
    "jetson-nano": NANO,
    "generic-aarch64": ROCK_5B,
    "generic-x86-64": PC,
}


def test_every_board_that_can_be_recognised_has_a_recorded_machine() -> None:
    asking = {name for name, file in board_files().items() if load_board(file).recognised is not None}
    assert asking == set(MACHINES)
    assert set(board_files()) - asking == {"sim"}


@pytest.mark.parametrize("name", MACHINES)
def test_a_recorded_machine_is_its_own_board(tmp_path: Path, name: str) -> None:
    found = recognise(MACHINES[name].tree(tmp_path))
    assert found.board.name == name
    assert found.file == board_files()[name]


@pytest.mark.parametrize("name", MACHINES)
def test_without_its_own_file_a_machine_is_a_more_general_board_or_none(tmp_path: Path, name: str) -> None:
    """The control: it is this file that makes the difference, and none of the other machines' files fits better."""
    next_best = {
        "rpi5-hailo": "rpi5",
        "rpi-coral": "rpi4",
        "generic-aarch64": None,
        "generic-x86-64": None,
    }.get(name, "generic-aarch64")
    boards = tmp_path / "boards"
    shutil.copytree(shipped("boards"), boards, ignore=shutil.ignore_patterns(f"{name}.toml"))
    root = MACHINES[name].tree(tmp_path / "root")
    if next_best is None:
        with pytest.raises(BadInput, match="no board file is for"):
            recognise(root, boards)
    else:
        assert recognise(root, boards).board.name == next_best


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (replace(PI4, usb=("18d1:9302",)), "rpi-coral"),  # its firmware is loaded
        (replace(PI5, usb=("1a6e:089a",)), "rpi-coral"),
        (replace(PI5, pci=("1e60:2864",), usb=("1a6e:089a",)), "rpi5-hailo"),  # it asks for more
        (replace(ZERO_2W, usb=("1a6e:089a",)), "rpi-zero-2w"),
        (replace(PI4, pci=("1e60:2864",)), "rpi4"),
        (replace(PI5, pci=(), usb=("1e60:2864",)), "rpi5"),  # the same number on another bus is another thing
        (replace(NANO, compatible=("nvidia,p3450-0000", "nvidia,tegra210")), "jetson-nano"),  # mainline Linux
        (replace(NANO, compatible=("nvidia,p2371-2180", "nvidia,tegra210")), "generic-aarch64"),  # TX1
        (
            replace(ORIN_NANO, compatible=("nvidia,p3768-0000+p3767-0003", "nvidia,tegra234")),
            "jetson-orin-nano",
        ),
        (
            replace(ORIN_NANO, compatible=("nvidia,p3768-0000+p3767-0000", "nvidia,tegra234")),
            "generic-aarch64",
        ),
        (replace(PI5, compatible=("raspberrypi,500", "brcm,bcm2712")), "generic-aarch64"),
        (replace(PI4, compatible=("raspberrypi,3-model-b", "brcm,bcm2837")), "generic-aarch64"),
        (replace(PI5, compatible=()), "generic-aarch64"),  # a container hides the device tree
        (replace(PI5, features=A53), "generic-aarch64"),  # no dot product: not the processor that was meant
        (replace(PI5, part="0xd08"), "generic-aarch64"),
        (replace(PC, program="aarch64"), "generic-aarch64"),  # emulated: /proc/cpuinfo is the host's
        (replace(PC, usb=("1a6e:089a",), pci=("1e60:2864",)), "generic-x86-64"),
    ],
)
def test_what_is_like_a_board_and_is_not_is_not_taken_for_it(
    tmp_path: Path, machine: Recorded, name: str
) -> None:
    assert recognise(machine.tree(tmp_path)).board.name == name


def test_it_says_why(tmp_path: Path) -> None:
    found = recognise(MACHINES["rpi5-hailo"].tree(tmp_path))
    assert found.why == "aarch64, device tree raspberrypi,5-model-b, CPU 0x41/0xd0b, asimddp, PCI 1e60:2864"


@pytest.mark.parametrize(("program", "called"), [("arm", "Arm"), ("x86", "x86")])
def test_a_32_bit_system_under_a_64_bit_kernel_is_refused_in_one_line(
    tmp_path: Path, program: str, called: str
) -> None:
    root = replace(PI4, program=program).tree(tmp_path)
    with pytest.raises(BadInput) as refusal:
        recognise(root)
    assert str(refusal.value) == (
        f"Raspberry Pi 4 Model B Rev 1.5: the system is 32-bit ({called}) and a 64-bit one is needed: "
        "on a Raspberry Pi install the 64-bit Raspberry Pi OS"
    )


def test_a_machine_without_any_board_file_is_one_line(tmp_path: Path) -> None:
    root = replace(ROCK_5B, program="riscv64", model="VisionFive 2\n").tree(tmp_path)
    with pytest.raises(BadInput) as refusal:
        recognise(root)
    line = str(refusal.value)
    assert "no board file is for VisionFive 2 (RISC-V)" in line
    assert "docs/boards/README.md" in line
    assert "\n" not in line


def test_two_boards_that_ask_for_as_much_are_an_error_and_not_a_guess(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    shutil.copytree(shipped("boards"), boards)
    twin = (boards / "rpi4.toml").read_text().replace('name = "rpi4"', 'name = "twin"')
    (boards / "twin.toml").write_text(twin)
    root = PI4.tree(tmp_path / "root")
    with pytest.raises(BadInput, match=r"rpi4\.toml and .*twin\.toml: both describe this machine"):
        recognise(root, boards)
    with_feature = twin.replace('cpu = "0x41/0xd08"', 'features = ["crc32"]\ncpu = "0x41/0xd08"')
    (boards / "twin.toml").write_text(with_feature)
    assert recognise(root, boards).board.name == "twin"  # the control


def test_a_new_board_is_one_file_and_no_code(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    shutil.copytree(shipped("boards"), boards)
    (boards / "rock-5b.toml").write_text(
        'name = "rock-5b"\ndescription = "Radxa ROCK 5B"\n'
        '[recognised]\narchitecture = "aarch64"\ncompatible = ["radxa,rock-5b"]\n'
    )
    assert recognise(ROCK_5B.tree(tmp_path / "root"), boards).board.name == "rock-5b"


def test_a_malformed_board_file_is_named(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    shutil.copytree(shipped("boards"), boards)
    (boards / "rpi4.toml").write_text('name = "rpi4"\n')
    with pytest.raises(BadInput, match=r"rpi4\.toml: .*description"):
        recognise(PC.tree(tmp_path / "root"), boards)


@pytest.mark.parametrize("content", [None, b"", b"#!/bin/sh\n" + bytes(60)])
def test_a_machine_that_does_not_say_what_runs_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    root = PC.tree(tmp_path)
    (root / "proc/self/exe").unlink()
    if content is not None:
        (root / "proc/self/exe").write_bytes(content)
    with pytest.raises(BadInput, match="proc/self/exe") as refusal:
        read_machine(root)
    assert "\n" not in str(refusal.value)


def test_this_machine_is_recognised() -> None:
    found = recognise()
    assert found.board.recognised is not None
    assert matching_facts(found.board.recognised, read_machine()) is not None
