"""From a robot file to a firmware that answers: the real compiler, avrdude, and the real boot loader in the simulated processor."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_wm import cli
from edge_wm.paths import shipped
from edge_wm.robot import chassis_of, load_robot
from firmware_bridge.bridge import BridgeError
from firmware_bridge.flash import PROCESSORS, build, flash, pico_volumes
from firmware_bridge.serial_bridge import SerialBridge
from firmware_bridge.simulator.avr_bench import EXTERNAL
from firmware_bridge.simulator.avr_pty import AvrOnPty

OPTIBOOT = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders/optiboot")
"""Its source.  Debian's own hex file is no use: by today's compiler it is 20 bytes longer than the 512 that it is placed in."""
BOOT_LOADER_AT, BOOT_LOADER_SIZE = 0x7C00, 1024
avr = pytest.mark.skipif(
    shutil.which("avr-gcc") is None, reason="no avr-gcc: run  sudo apt install gcc-avr avr-libc"
)


def intel_hex(file: Path) -> dict[int, int]:
    """Byte at each address."""
    found = {}
    for line in file.read_text().split():
        record = bytes.fromhex(line[1:])
        if record[3] == 0:
            at = int.from_bytes(record[1:3], "big")
            found.update({at + i: byte for i, byte in enumerate(record[4:-1])})
    return found


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    """Of a robot with a microcontroller, and another track than the one that the repository's firmware is built for."""
    text = shipped("boards", "robots", "sim-avr.toml").read_text()
    text = re.sub(r'kind = "simavr"\nfolder = .*', 'kind = "serial"', text)
    text = text.replace("track_m = 0.15 ", "track_m = 0.162 ")
    file = tmp_path / "robot.toml"
    file.write_text(text)
    return file


def boot_loader(folder: Path) -> bytes:
    """Optiboot, compiled."""
    program, text = folder / "optiboot.elf", folder / "optiboot.hex"
    target = ["-mmcu=atmega328p", "-DF_CPU=16000000L", "-DBAUD_RATE=115200", "-DLED_START_FLASHES=3"]
    place = [
        "-nostartfiles",
        "-nostdlib",
        f"-Wl,--section-start=.text={BOOT_LOADER_AT:#x}",
        "-Wl,--section-start=.version=0x7ffe",
    ]
    source = [f"-I{OPTIBOOT}", OPTIBOOT / "optiboot.c"]
    subprocess.run(
        ["avr-gcc", "-w", "-Os", "-fno-split-wide-types", "-mrelax", *target, *place, *source, "-o", program],
        check=True,
    )
    subprocess.run(["avr-objcopy", "-j", ".text", "-O", "ihex", program, text], check=True)
    code = intel_hex(text)
    return bytes(code.get(BOOT_LOADER_AT + i, 0xFF) for i in range(BOOT_LOADER_SIZE))


class NewArduino:
    """As it is sold: nothing in it but Optiboot.  It runs on a thread of its own, at the pace of the clock on the wall."""

    def __init__(self, folder: Path, code: bytes) -> None:
        self.board = AvrOnPty(folder)
        self.board.bench.boot_loader(code, BOOT_LOADER_AT)
        self._mine = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._closing.is_set():
            self.board.wait()
            with self._mine:
                self.board.step()

    def reset(self) -> None:
        """What opening its port does to an Arduino.  A terminal has no DTR.  It has power from then on."""
        with self._mine:
            self.board.bench.reset(EXTERNAL)
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self.board.close()


@pytest.fixture
def arduino(folder: Path, tmp_path: Path) -> Iterator[NewArduino]:
    if shutil.which("avrdude") is None or not OPTIBOOT.is_dir():
        pytest.skip("no boot loader to flash through: run  sudo apt install avrdude arduino-core-avr")
    found = NewArduino(folder, boot_loader(tmp_path))
    yield found
    found.close()


def test_a_new_board_is_flashed_and_answers_as_the_robot_that_it_was_built_for(
    arduino: NewArduino,
    robot_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = arduino.board.device
    run = subprocess.run

    def run_and_reset(command: list[str], **options: Any) -> Any:
        if command[0] == "avrdude":
            arduino.reset()
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", run_and_reset)
    assert cli.run(["bridge", "flash", "--robot", str(robot_file), "--device", device]) == 0
    said = capsys.readouterr().out
    assert "avrdude wrote and read back atmega328p.hex at 115200 baud" in said
    assert "it answers, and was built for this robot" in said
    with pytest.raises(BridgeError, match=r"a track of 0\.162 m, the robot has 0\.15 m: reflash"):
        SerialBridge(device, chassis_of(load_robot())).connect()


@pytest.mark.skipif(shutil.which("avrdude") is None, reason="no avrdude: run  sudo apt install avrdude")
def test_a_board_that_is_no_arduino_is_one_line(tmp_path: Path, folder: Path) -> None:
    """The firmware runs, and no boot loader is there."""
    board = AvrOnPty(folder)
    hexfile = tmp_path / "atmega328p.hex"
    hexfile.write_text(":00000001FF\n")
    try:
        with pytest.raises(
            BridgeError, match="did not reach the boot loader at 115200 or 57600 baud"
        ) as refused:
            flash("atmega328p", hexfile, board.device)
    finally:
        board.close()
    assert "\n" not in str(refused.value)


def test_a_missing_port_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(BridgeError, match="no such port: is the board plugged in"):
        flash("atmega328p", tmp_path / "a.hex", "/dev/ttyNONE")
    with pytest.raises(BridgeError, match="no port to flash through"):
        flash("atmega328p", tmp_path / "a.hex", None)


@avr
def test_the_firmware_is_built_for_the_robot_file(robot_file: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert cli.run(["bridge", "flash", "--robot", str(robot_file), "--build-only", str(made)]) == 0
    assert ".track_um = 162000U" in (made / "robot.c").read_text()
    assert (162_000).to_bytes(4, "little") in bytes(intel_hex(made / "atmega328p.hex").values())


@avr
def test_what_does_not_compile_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"the firmware does not compile: .*error") as refused:
        build("atmega328p", "this is no C", tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_missing_compiler_is_one_line(
    processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = PROCESSORS[processor].compiler
    monkeypatch.setattr(
        "shutil.which", lambda program: None if program == compiler else f"/usr/bin/{program}"
    )
    with pytest.raises(BridgeError, match=f"no {compiler}: run  sudo apt install gcc-"):
        build(processor, "", tmp_path)


def test_a_robot_without_a_microcontroller_has_no_firmware(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bridge", "flash", "--device", "/dev/ttyNONE"]) == 2
    assert "bridge.kind must be 'serial'" in capsys.readouterr().err


# --- Pico ------------------------------------------------------------------------------------------------------------


def test_a_pico_in_boot_mode_is_found_by_what_its_drive_holds(tmp_path: Path) -> None:
    pico, stick = tmp_path / "RPI RP2", tmp_path / "stick"
    for folder in (pico, stick):
        folder.mkdir()
    (pico / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n")
    mounts = [
        f"/dev/sd{i} {str(folder).replace(' ', chr(92) + '040')} vfat rw 0 0"
        for i, folder in enumerate((pico, stick))
    ]
    assert pico_volumes(mounts) == [pico]


def test_the_firmware_of_a_pico_is_copied_to_its_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pico, file = tmp_path / "RPI-RP2", tmp_path / "rp2040.uf2"
    pico.mkdir()
    file.write_bytes(b"UF2\n" * 200)
    monkeypatch.setattr("shutil.which", lambda program: None)  # no picotool
    with pytest.raises(BridgeError, match="no Pico in boot mode: hold its BOOTSEL button"):
        flash("rp2040", file, None)
    monkeypatch.setattr("firmware_bridge.flash.pico_volumes", lambda mounts: [pico])
    assert flash("rp2040", file, None) == f"rp2040.uf2 was copied to {pico}"
    assert (pico / "rp2040.uf2").read_bytes() == file.read_bytes()


def test_two_picos_are_not_guessed_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.setattr("firmware_bridge.flash.pico_volumes", lambda mounts: [tmp_path, tmp_path])
    with pytest.raises(BridgeError, match="2 Picos in boot mode"):
        flash("rp2040", tmp_path / "a.uf2", None)


# --- the port --------------------------------------------------------------------------------------------------------


def plugged(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    ports = pytest.importorskip("serial.tools.list_ports")
    common = pytest.importorskip("serial.tools.list_ports_common")
    found = []
    for device in devices:
        port = common.ListPortInfo(device)
        port.vid = 0x2341
        found.append(port)
    monkeypatch.setattr(ports, "comports", lambda: found)


@avr
def test_the_only_board_that_is_plugged_in_is_flashed(
    robot_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugged(monkeypatch, "/dev/ttyNONE")
    assert cli.run(["bridge", "flash", "--robot", str(robot_file)]) == 2
    assert "/dev/ttyNONE: no such port" in capsys.readouterr().err  # it was found, and is gone


@avr
@pytest.mark.parametrize(
    ("devices", "why"),
    [
        ([], "no USB serial port: is the board plugged in"),
        (["/dev/ttyUSB1", "/dev/ttyUSB0"], "name one with --device: /dev/ttyUSB0, /dev/ttyUSB1"),
    ],
)
def test_no_board_and_several_boards_are_one_line(
    robot_file: Path,
    devices: list[str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plugged(monkeypatch, *devices)
    assert cli.run(["bridge", "flash", "--robot", str(robot_file)]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1
