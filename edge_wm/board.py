"""The board file: what a computer is recognised by, how it runs a model, what is on it, what goes wrong with it.

One TOML file each in `boards/`; a new board is one file and no code.  Nothing in a board file was measured: what was is
in `boards/profiles/`.  `docs/boards/` has a page for each, and `boards/board.schema.json` describes the format for
editors; both are made from these structs and the files by `python -m docs.boards`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from edge_wm.engines.execution import Execution
from edge_wm.errors import BadInput
from edge_wm.paths import shipped
from edge_wm.toml_file import checked, read_table

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f]+\Z")]
DeviceId = Annotated[str, Meta(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}\Z")]
Source = Annotated[str, Meta(pattern=r"^(/[^\x00-\x1f]*|[a-z][^\x00-\x1f/]*)\Z")]
Url = Annotated[str, Meta(pattern=r"^https://\S+\Z")]
Pin = Annotated[int, Meta(ge=1, le=40)]
Core = Annotated[int, Meta(ge=0, le=255)]
Megabytes = Annotated[int, Meta(ge=1, le=1_000_000)]


class Recognised(Struct, frozen=True, forbid_unknown_fields=True):
    """By what a machine is told to be this board.  Every fact that is given must hold.

    Attributes:
        architecture: of the Python that runs.
        compatible: strings of the device tree, from ``/proc/device-tree/compatible``; one of them must be there.
        cpu: implementer and part of a core, from ``/proc/cpuinfo``: "0x41/0xd0b" is an Arm Cortex-A76.
        features: of every core, as ``/proc/cpuinfo`` names them; all must be there. "asimddp" is the dot product.
        pci: vendor and device of a PCI device; one of them must be there.
        usb: vendor and product of a USB device; one of them must be there.
    """

    architecture: Literal["aarch64", "x86_64"]
    compatible: tuple[Line, ...] = ()
    cpu: Annotated[str, Meta(pattern=r"^0x[0-9a-f]{2}/0x[0-9a-f]{3}\Z")] | None = None
    features: tuple[Name, ...] = ()
    pci: tuple[DeviceId, ...] = ()
    usb: tuple[DeviceId, ...] = ()


class Cores(Struct, frozen=True, forbid_unknown_fields=True):
    """The CPU's cores.

    Attributes:
        count: of all cores.
        control: numbers of those for the control loop, which every power mode of the board leaves on; none: the kernel
            decides.

    Raises:
        ValueError: a number that no core has.
    """

    count: Annotated[int, Meta(ge=1, le=256)]
    control: tuple[Core, ...] = ()

    def __post_init__(self) -> None:
        if beyond := [core for core in self.control if core >= self.count]:
            raise ValueError(f"control: there is no core {beyond[0]}, they are 0 to {self.count - 1}")


class CameraPath(Struct, frozen=True, forbid_unknown_fields=True):
    """How frames of a camera come into the computer.

    Attributes:
        path: the library or interface.
        source: with "v4l2" the device, with "gstreamer" the beginning of the pipeline.
        note: what must be known, one line.

    Raises:
        ValueError: a path that needs a source and has none.
    """

    path: Literal["picamera2", "v4l2", "gstreamer", "sim"]
    source: Line | None = None
    note: Line | None = None

    def __post_init__(self) -> None:
        if (self.source is not None) != (self.path in ("v4l2", "gstreamer")):
            needed = "needs" if self.source is None else "has no"
            raise ValueError(f"path {self.path!r} {needed} source")


class I2cBus(Struct, frozen=True, forbid_unknown_fields=True):
    """One I2C bus on the 40-pin header.

    Attributes:
        device: its file.
        sda: pin of the header.
        scl: pin of the header.
    """

    device: Line
    sda: Pin
    scl: Pin


class SerialPort(Struct, frozen=True, forbid_unknown_fields=True):
    """One serial port.

    Attributes:
        device: its file.
        tx: pin of the header on which the board sends; none for USB.
        rx: pin of the header on which it receives; none for USB.
        config_txt: of a Raspberry Pi: the line of ``config.txt`` that switches it on.
    """

    device: Line
    tx: Pin | None = None
    rx: Pin | None = None
    config_txt: Line | None = None


class Buses(Struct, frozen=True, forbid_unknown_fields=True):
    """What chips and microcontrollers are connected to.  Pins are numbers of the 40-pin header.

    Attributes:
        i2c: buses on the header.
        serial: serial ports.
        gpio_chip: file of the chip that has the header's GPIO.
        enable: what has to be switched on first, one line.
    """

    i2c: tuple[I2cBus, ...] = ()
    serial: tuple[SerialPort, ...] = ()
    gpio_chip: Line | None = None
    enable: Line | None = None


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the board says how it is.

    A source is the path of a file, with ``*`` where it varies, or a command that prints it.

    Attributes:
        thermal_zones: ``type`` of the zones below ``/sys/class/thermal``; the first that is there is the CPU's.
        throttles_at_c: degrees Celsius at which clocks are lowered.
        throttled: source: whether it is throttled, or has been.
        throttled_gives: what that source says, one line.
        governor: source: the governor of the CPU's clock.
        clock: source: the CPU's clock, kHz.
        power: sources that the electrical power is read from.
        power_gives: what those sources say, one line.
    """

    thermal_zones: tuple[Line, ...] = ()
    throttles_at_c: Annotated[float, Meta(ge=40.0, le=125.0)] | None = None
    throttled: Source | None = None
    throttled_gives: Line | None = None
    governor: Source | None = "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
    clock: Source | None = "/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq"
    power: tuple[Source, ...] = ()
    power_gives: Line | None = None


class Install(Struct, frozen=True, forbid_unknown_fields=True):
    """What an installation needs.

    Attributes:
        python: which Python the system has and whether it will do, one line.
        packages: of Debian.
        extras: of edge-wm, as in ``pip install 'edge-wm[i2c]'``.
        system_site_packages: whether the virtual environment must see the system's packages.
        groups: that the user must be in.
    """

    python: Line
    packages: tuple[Line, ...] = ()
    extras: tuple[Name, ...] = ()
    system_site_packages: bool = False
    groups: tuple[Name, ...] = ()


class Trap(Struct, frozen=True, forbid_unknown_fields=True):
    """Something known to go wrong.

    Attributes:
        symptom: what is seen, one line.
        cause: why, one line.
        fix: what to do, one line.
        source: where that is from.
    """

    symptom: Line
    cause: Line
    fix: Line
    source: Url


class Peak(Struct, frozen=True, forbid_unknown_fields=True):
    """What one core can do at most, and the memory of all cores, by their manuals: `export/cost.py` predicts with it.

    Attributes:
        of: whose it is, one line.
        hz: clock of the core.
        float_per_cycle: single-precision operations of a core in one cycle; a multiplication with addition is two.
        int8_per_cycle: operations on int8 of a core in one cycle.
        bytes_per_s: of the memory.
        sources: where the numbers are from, one line.
    """

    of: Line
    hz: Annotated[float, Meta(ge=1e8, le=1e10)]
    float_per_cycle: Annotated[int, Meta(ge=1, le=4096)]
    int8_per_cycle: Annotated[int, Meta(ge=1, le=4096)]
    bytes_per_s: Annotated[float, Meta(ge=1e8, le=1e13)]
    sources: Line


class Budgets(Struct, frozen=True, forbid_unknown_fields=True):
    """What edge-wm may use of the board: limits that were set, not measurements.

    Attributes:
        memory_mb: MB of RAM for the process that drives.
        disk_mb: MB that must be free for an installation; `install.sh` refuses fewer.
    """

    memory_mb: Megabytes
    disk_mb: Megabytes


class Board(Struct, frozen=True, forbid_unknown_fields=True):
    """A computer, and how it runs a model that was never profiled on it.

    Attributes:
        name: of the file, without ``.toml``.
        description: one line.
        engine: how a model is run.
        recognised: by what it is told; none: only ever named.
        cores: of the CPU.
        camera: how frames come in.
        buses: what chips are connected to.
        health: where it says how it is.
        install: what an installation needs.
        traps: what is known to go wrong.
        budgets: what edge-wm may use of it.
        peak: what it can do at most.
    """

    name: Name
    description: str
    engine: Execution = Execution()
    recognised: Recognised | None = None
    cores: Cores | None = None
    camera: CameraPath | None = None
    buses: Buses = Buses()
    health: Health = Health()
    install: Install | None = None
    traps: tuple[Trap, ...] = ()
    budgets: Budgets | None = None
    peak: Peak | None = None


def board_files() -> dict[str, Path]:
    """The shipped board files by name, in alphabetical order."""
    return {file.stem: file for file in sorted(shipped("boards").glob("*.toml"), key=lambda file: file.stem)}


def load_board(path: str | Path) -> Board:
    """Read a board file.

    Raises:
        BadInput: one line with the file and the key, if the file is missing, is not TOML, has a key too many, too few or
            out of range, or contradicts itself.
    """
    path = Path(path)
    return checked(read_table(path, "board file"), Board, path)


def board_file_of(robot_file: Path, board: object) -> Path:
    """File of the ``board`` of a robot file: a name in `boards/`, or a path ending in ``.toml`` relative to that file.

    Raises:
        BadInput: neither.
    """
    if isinstance(board, str) and board.endswith(".toml"):
        return robot_file.parent / board
    known = board_files()
    if not isinstance(board, str) or board not in known:
        given = "missing" if board is None else f"no board {board!r}"
        raise BadInput(
            f"{robot_file}: board: {given}; name one of {', '.join(known)}, or a file ending in .toml"
        )
    return known[board]
