"""Building the firmware for a robot, and putting it on its microcontroller, by the programs that everybody uses for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from firmware_bridge.bridge import BridgeError

SOURCES = Path(__file__).parent / "firmware"
AVR_BAUDS = (115_200, 57_600)
"""Of Optiboot, and of the boot loader of old Nanos."""
ATTEMPTS = 2
"""Of avrdude, 5 s each, to be heard by the boot loader."""
FLASHED_IN_S = 60.0
PICO_VOLUME = "INFO_UF2.TXT"
"""A Pico whose BOOTSEL button was held shows a drive with this file."""


class Processor(NamedTuple):
    """How its firmware is made.

    Attributes:
        file: of the firmware, what ``make`` calls it.
        compiler: is needed.
        packages: of Debian, that bring the compiler.
    """

    file: str
    compiler: str
    packages: str


PROCESSORS = {
    "atmega328p": Processor("atmega328p.hex", "avr-gcc", "gcc-avr avr-libc"),
    "rp2040": Processor("rp2040.uf2", "arm-none-eabi-gcc", "gcc-arm-none-eabi"),
}


def build(processor: str, robot_c: str, folder: Path) -> Path:
    """Compile the firmware for a robot.

    Args:
        processor: one of ``PROCESSORS``.
        robot_c: of :func:`firmware_bridge.robot_source.robot_source`.
        folder: for everything that is made.

    Returns:
        The file to flash.

    Raises:
        BridgeError: a program is missing, or the compiler refuses.
    """
    made = PROCESSORS[processor]
    for program, packages in (("make", "make"), (made.compiler, made.packages)):
        _need(program, packages)
    folder.mkdir(parents=True, exist_ok=True)
    robot = folder / "robot.c"
    robot.write_text(robot_c, encoding="utf-8")
    target = folder / made.file
    command: list[str | Path] = [
        "make",
        "-s",
        "-C",
        SOURCES,
        f"OUT={folder.resolve()}",
        f"ROBOT={robot.resolve()}",
        target.resolve(),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise BridgeError(f"the firmware does not compile: {_last_line(done.stdout)}")
    return target


def flash(processor: str, file: Path, device: str | None) -> str:
    """Put a firmware on a microcontroller.

    Args:
        processor: one of ``PROCESSORS``.
        file: as :func:`build` made it.
        device: serial port; an RP2040 needs none.

    Returns:
        How it was done, in words.

    Raises:
        BridgeError: a program is missing, or the board cannot be reached.
    """
    if processor == "rp2040":
        return _flash_rp2040(file)
    if device is None:
        raise BridgeError("no port to flash through: name it with --device")
    return _flash_avr(file, device)


def _flash_avr(file: Path, device: str) -> str:
    _need("avrdude", "avrdude")
    if not Path(device).exists():
        raise BridgeError(f"{device}: no such port: is the board plugged in?")
    said = ""
    for baud in AVR_BAUDS:
        # -D: the boot loader erases what it writes.  It is what the Arduino IDE does.
        options = [
            "-p",
            "m328p",
            "-c",
            "arduino",
            "-x",
            f"attempts={ATTEMPTS}",
            "-P",
            device,
            "-b",
            str(baud),
            "-D",
        ]
        command = ["avrdude", *options, "-U", f"flash:w:{file}:i"]
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=FLASHED_IN_S,
            )
        except subprocess.TimeoutExpired:
            said = f"it had not ended after {FLASHED_IN_S:.0f} s"
            continue
        if done.returncode == 0:
            return f"avrdude wrote and read back {file.name} at {baud} baud"
        said = _complaint(done.stdout)
    raise BridgeError(
        f"{device}: avrdude did not reach the boot loader at {' or '.join(map(str, AVR_BAUDS))} baud: {said}"
    )


def _flash_rp2040(file: Path) -> str:
    said = ""
    if shutil.which("picotool") is not None:
        done = subprocess.run(
            ["picotool", "load", "-v", "-x", "-f", file],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return f"picotool wrote and verified {file.name}"
        said = f" (picotool: {_last_line(done.stdout)})"
    volumes = pico_volumes(Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    if len(volumes) != 1:
        found = "no Pico" if not volumes else f"{len(volumes)} Picos"
        raise BridgeError(
            f"{found} in boot mode: hold its BOOTSEL button while you plug it in, and mount its drive{said}"
        )
    target = volumes[0] / file.name
    with target.open("wb") as out:
        out.write(file.read_bytes())
        out.flush()
        os.fsync(out.fileno())
    return f"{file.name} was copied to {volumes[0]}"


def pico_volumes(mounts: Iterable[str]) -> list[Path]:
    r"""Where drives of Picos in boot mode are mounted.

    Args:
        mounts: lines of ``/proc/mounts``, in which a space is ``\040``.
    """
    drives = [line.split(" ")[1] for line in mounts if line.split(" ")[2:3] == ["vfat"]]
    folders = [drive.replace("\\040", " ") for drive in drives]
    return [Path(folder) for folder in folders if os.path.isfile(os.path.join(folder, PICO_VOLUME))]  # noqa: PTH113, PTH118 one that may not be entered is none


def _need(program: str, packages: str) -> None:
    if shutil.which(program) is None:
        raise BridgeError(f"no {program}: run  sudo apt install {packages}")


def _complaint(said: str) -> str:
    """The last line in which avrdude says what is wrong."""
    lines = [
        line.strip()
        for line in said.splitlines()
        if "not in sync" in line or "can't" in line or "unable" in line
    ]
    return lines[-1] if lines else _last_line(said)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[-1] if lines else "it said nothing")
