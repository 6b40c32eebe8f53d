"""Which of the board files describes this machine.

A board file says in `[recognised]` what must hold.  Of those whose facts all hold, the one that asks for most wins: a
device on a bus before a name in the device tree, that before a processor, that before its features; a generic board
asks for nothing but the architecture, and comes last.  A board without `[recognised]` is only ever named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_wm.board import Board, Recognised, load_board
from edge_wm.errors import BadInput, one_line
from edge_wm.paths import shipped

_ELF_MACHINES = {0x03: "x86", 0x28: "Arm", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "RISC-V"}
"""``e_machine`` of an ELF header, from ``elf.h``."""


class Machine(NamedTuple):
    """What a computer says of itself.

    Attributes:
        architecture: of the running Python, as in a board file.
        model: its name in the device tree, or empty.
        compatible: strings of the device tree.
        cpus: implementer and part of its cores, as in a board file.
        features: that every core has.
        pci: vendor and device of each PCI device.
        usb: vendor and product of each USB device.
    """

    architecture: str
    model: str
    compatible: tuple[str, ...]
    cpus: frozenset[str]
    features: frozenset[str]
    pci: frozenset[str]
    usb: frozenset[str]


class Recognition(NamedTuple):
    """The board, its file, and why it is this one, for people."""

    board: Board
    file: Path
    why: str


def recognise(root: Path = Path("/"), boards: Path | None = None) -> Recognition:
    """The board that this machine is.

    Args:
        root: of the file system with `/proc` and `/sys`.
        boards: folder of the board files; None: the shipped ones.

    Raises:
        BadInput: a 32-bit system, an architecture without a board file, two boards of which neither is closer, or a
            malformed board file.
    """
    machine = read_machine(root)
    folder = boards or shipped("boards")
    closest: list[tuple[tuple[int, ...], Recognition]] = []
    for file in sorted(folder.glob("*.toml")):
        board = load_board(file)
        if board.recognised is None or (facts := matching_facts(board.recognised, machine)) is None:
            continue
        found = (_asks_for(board.recognised), Recognition(board, file, ", ".join(facts)))
        if not closest or found[0] > closest[0][0]:
            closest = [found]
        elif found[0] == closest[0][0]:
            closest.append(found)
    if not closest:
        raise BadInput(
            f"{folder}: no board file is for {machine.model or 'this machine'} ({machine.architecture}): "
            "write one, as docs/boards/README.md says"
        )
    if len(closest) > 1:
        names = " and ".join(str(found.file) for _, found in closest)
        raise BadInput(
            f"{names}: both describe this machine: give one a fact in [recognised] that the other lacks"
        )
    return closest[0][1]


def read_machine(root: Path = Path("/")) -> Machine:
    """Read what the machine whose file system is at ``root`` says of itself.

    Raises:
        BadInput: its Python is no 64-bit program, or it cannot be told.
    """
    tree = root / "proc/device-tree"
    model = one_line(_text(tree / "model").replace("\0", ""))
    cores = list(_cores(_text(root / "proc/cpuinfo")))
    features = [frozenset((core.get("Features") or core.get("flags") or "").split()) for core in cores]
    cpus = {(core.get("CPU implementer"), core.get("CPU part")) for core in cores}
    return Machine(
        architecture=_architecture(root / "proc/self/exe", model),
        model=model,
        compatible=tuple(filter(None, _text(tree / "compatible").split("\0"))),
        cpus=frozenset(f"{implementer}/{part}" for implementer, part in cpus if implementer and part),
        features=frozenset.intersection(*features) if features else frozenset(),
        pci=frozenset(_device_ids(root / "sys/bus/pci/devices", "vendor", "device")),
        usb=frozenset(_device_ids(root / "sys/bus/usb/devices", "idVendor", "idProduct")),
    )


def matching_facts(wanted: Recognised, machine: Machine) -> list[str] | None:
    """The facts by which ``machine`` is what is ``wanted``, for people; None if one does not hold."""
    if wanted.architecture != machine.architecture:
        return None
    facts: list[str] = [wanted.architecture]
    if wanted.compatible:
        if not (named := [name for name in machine.compatible if name in wanted.compatible]):
            return None
        facts.append(f"device tree {named[0]}")
    if wanted.cpu is not None:
        if wanted.cpu not in machine.cpus:
            return None
        facts.append(f"CPU {wanted.cpu}")
    if not machine.features.issuperset(wanted.features):
        return None
    facts += wanted.features
    if wanted.pci or wanted.usb:
        there = [f"PCI {device}" for device in wanted.pci if device in machine.pci]
        there += [f"USB {device}" for device in wanted.usb if device in machine.usb]
        if not there:
            return None
        facts.append(there[0])
    return facts


def _asks_for(wanted: Recognised) -> tuple[int, ...]:
    """How much a board asks for, the kind of fact that decides most first."""
    return (
        int(bool(wanted.pci or wanted.usb)),
        int(bool(wanted.compatible)),
        int(wanted.cpu is not None),
        len(wanted.features),
    )


def _architecture(program: Path, model: str) -> str:
    """Architecture of a program by its ELF header: a 64-bit kernel also runs a 32-bit system, and `uname` then misleads."""
    try:
        with program.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise BadInput(f"{program}: cannot read the program that runs: {error.strerror}") from error
    if len(header) < 20 or header[:4] != b"\x7fELF":
        raise BadInput(f"{program}: not a Linux program: edge-wm recognises boards on Linux only")
    bits = {1: 32, 2: 64}.get(header[4], 0)
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    machine = _ELF_MACHINES.get(number, f"ELF machine {number}")
    if bits != 64:
        raise BadInput(
            f"{model or 'this machine'}: the system is {bits}-bit ({machine}) and a 64-bit one is needed: "
            "on a Raspberry Pi install the 64-bit Raspberry Pi OS"
        )
    return machine


def _cores(cpuinfo: str) -> Iterator[dict[str, str]]:
    """Yield what `/proc/cpuinfo` says of each core."""
    for block in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        core = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in core:
            yield core


def _device_ids(devices: Path, vendor: str, product: str) -> Iterator[str]:
    """Yield "vendor:product" of the devices of a bus in sysfs."""
    for device in sorted(devices.glob("*")):
        ids = [_text(device / name).strip().removeprefix("0x") for name in (vendor, product)]
        if all(ids):
            yield ":".join(ids)


def _text(file: Path) -> str:
    """Content of a file of `/proc` or `/sys`; empty if the machine has no such thing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
