"""The program for the RP2040: what the boot ROM expects of it, and the firmware in a simulated processor (rp2040js).

Nothing here has run on a real one.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.simulator.avr_bench import BROWN_OUT, EXTERNAL, FIRMWARE, POWER_ON
from firmware_bridge.simulator.faults import FAULTS, MS, Computer, drill
from firmware_bridge.simulator.rp2040_bench import Rp2040Bench
from firmware_bridge.wire import (
    PROTOCOL,
    Counters,
    Disarm,
    Drive,
    Poll,
    ReadCounters,
    Reset,
    Result,
    State,
)
from firmware_bridge.wire import Fault as Latched

TICK_MS = 5
DEADMAN_MS = 200
FLASH, FLASH_BYTES = 0x1000_0000, 2 << 20
RAM, RAM_BYTES = 0x2000_0000, 264 << 10
LIBRARY = FIRMWARE.parents[1] / "build" / "firmware" / "node_modules" / "rp2040js"
OF_THE_PORT = (
    "computer killed",
    "cable pulled",
    "garbage on the line",
    "brown-out reset",
    "firmware hangs",
    "button",
)
"""The faults that the port has a part in; all of them are done to the core in the ATmega328P."""
MOTOR_PINS = set(range(6, 13))
STANDBY, LEFT_FORWARD, LEFT_BACKWARD, RIGHT_FORWARD, RIGHT_BACKWARD = 12, 8, 9, 10, 11


# --- the program, which needs its compiler only ------------------------------------------------------------------------


def made(output: Path, *arguments: str, firmware: Path = FIRMWARE) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "-C", str(firmware), f"OUT={output}", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no compiler for ARM: run  sudo apt install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    output = tmp_path_factory.mktemp("rp2040")
    done = made(output, f"{output}/rp2040.uf2")
    assert done.returncode == 0, done.stderr
    (output / "said").write_text(done.stdout)
    return output


@pytest.fixture(scope="module")
def symbols(folder: Path) -> dict[str, int]:
    command = ["arm-none-eabi-nm", folder / "rp2040.elf"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(at, 16) for at, _, name in (line.split() for line in said.splitlines())}


def mirrored(number: int, bits: int) -> int:
    return int(f"{number:0{bits}b}"[::-1], 2)


def test_the_boot_rom_accepts_the_second_stage_of_the_boot_loader(folder: Path) -> None:
    """Datasheet 2.8.1.3.1: the CRC-32 of zlib, but for the order of the bits and the last inversion."""
    program = (folder / "rp2040.bin").read_bytes()
    reflected = zlib.crc32(bytes(mirrored(byte, 8) for byte in program[:252])) ^ 0xFFFF_FFFF
    assert int.from_bytes(program[252:256], "little") == mirrored(reflected, 32)
    assert any(program[:252])


def test_a_boot_loader_with_a_wrong_checksum_is_not_packed(folder: Path, tmp_path: Path) -> None:
    program = bytearray((folder / "rp2040.bin").read_bytes())
    program[40] ^= 1
    (tmp_path / "spoiled.bin").write_bytes(program)
    script = FIRMWARE / "ports" / "rp2040" / "uf2.py"
    command = [sys.executable, script, tmp_path / "spoiled.bin", tmp_path / "spoiled.uf2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: .*spoiled.bin: the checksum .*: make it 0x[0-9A-F]{8} in start.S\n", done.stderr
    )
    assert not (tmp_path / "spoiled.uf2").exists()


def test_each_vector_leads_to_code_in_the_flash(folder: Path, symbols: dict[str, int]) -> None:
    program = (folder / "rp2040.bin").read_bytes()
    stack, start, *handlers = struct.unpack_from("<48I", program, 256)[: 16 + 26]
    assert symbols["vectors"] == FLASH + 256
    assert stack == RAM + RAM_BYTES
    assert start == symbols["start"] | 1
    expected = [symbols["on_fault"] | 1] * 40
    expected[14 + 13] = symbols["on_pin_edge"] | 1
    expected[14 + 20] = symbols["on_received"] | 1
    assert handlers == expected


def test_the_program_is_in_the_flash_and_its_variables_in_ram(folder: Path, symbols: dict[str, int]) -> None:
    program = (folder / "rp2040.bin").read_bytes()
    assert FLASH < symbols["main"] < FLASH + len(program) < FLASH + FLASH_BYTES / 2
    assert symbols["data_start"] == RAM
    assert RAM <= symbols["controller"] < symbols["bss_end"] < RAM + RAM_BYTES / 2


def test_the_uf2_file_puts_each_byte_of_the_program_in_its_place(folder: Path) -> None:
    program = (folder / "rp2040.bin").read_bytes()
    file = (folder / "rp2040.uf2").read_bytes()
    blocks = [struct.unpack("<8I476sI", file[at : at + 512]) for at in range(0, len(file), 512)]
    for number, (first, second, flags, address, size, which, count, family, payload, last) in enumerate(
        blocks
    ):
        assert (first, second, last) == (0x0A324655, 0x9E5D5157, 0x0AB16F30)
        assert (flags, family) == (0x2000, 0xE48BFF56)
        assert (which, count, size) == (number, len(blocks), 256)
        assert address == FLASH + 256 * number
        assert payload[:256] == program[256 * number : 256 * (number + 1)].ljust(256, b"\0")
    assert 0 <= 256 * len(blocks) - len(program) < 256


def test_flash_ram_and_stack_are_printed(folder: Path) -> None:
    said = (folder / "said").read_text()
    assert re.search(r"FLASH: +\d+ B +2 MB", said)
    assert re.search(r"RAM: +\d+ B +264 KB", said)
    [stack] = re.findall(r"Stack: +(\d+) bytes at most", said)
    assert 100 < int(stack) < 4096


def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    done = made(tmp_path, "ARM_CC=not-there-gcc", f"{tmp_path}/rp2040.uf2")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert said == [
        "error: no compiler for ARM: run  sudo apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    ]


# --- the firmware, in a simulated processor ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library() -> Path:
    pinned = re.search(r"^RP2040JS := (.+)$", (FIRMWARE / "Makefile").read_text(), re.M)
    assert pinned
    package = LIBRARY / "package.json"
    version = json.loads(package.read_text())["version"] if package.exists() else None
    if shutil.which("node") is None or version != pinned[1]:
        pytest.skip(
            "no simulated RP2040: install Node.js and run  make -C firmware_bridge/firmware rp2040-bench"
        )
    return LIBRARY


@pytest.fixture
def bench(folder: Path, library: Path) -> Iterator[Rp2040Bench]:
    bench = Rp2040Bench(folder / "rp2040.uf2", library)
    yield bench
    complaints = bench.complaints()
    bench.close()
    assert complaints == []


@pytest.fixture
def computer(bench: Rp2040Bench) -> Computer:
    return Computer(bench, random.Random(7))


@pytest.fixture
def mistaken(folder: Path, library: Path, tmp_path: Path) -> Iterator[Callable[[str, str], Rp2040Bench]]:
    """The firmware with a mistake: the text of its main.c that is replaced, and by what."""
    benches = []

    def build(right: str, wrong: str) -> Rp2040Bench:
        firmware = tmp_path / "firmware"
        shutil.copytree(FIRMWARE, firmware)
        main = firmware / "ports" / "rp2040" / "main.c"
        source = main.read_text()
        assert source.count(right) == 1
        main.write_text(source.replace(right, wrong))
        done = made(tmp_path / "out", f"{tmp_path}/out/rp2040.uf2", "STRICT=-std=c11", firmware=firmware)
        assert done.returncode == 0, done.stderr
        benches.append(Rp2040Bench(tmp_path / "out" / "rp2040.uf2", library))
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()


def test_it_is_the_firmware_that_the_other_ports_run_too(computer: Computer) -> None:
    computer.bench.run(50 * MS)
    identity = computer.greet()
    assert (identity.protocol, identity.port, identity.reset) == (PROTOCOL, 2, Reset.POWER_ON)
    assert (identity.deadman_ms, identity.tick_ms) == (DEADMAN_MS, TICK_MS)
    assert computer.bench.baud() == pytest.approx(115_200, rel=0.005)


def test_a_register_that_is_still_in_reset_would_be_noticed(
    mistaken: Callable[[str, str], Rp2040Bench],
) -> None:
    """The negative control of what the fixture asserts after each test."""
    bench = mistaken("RESETS_TIMER | RESETS_UART0;", "RESETS_TIMER;")
    bench.run(20 * MS)
    assert any("is in reset" in complaint for complaint in bench.complaints())


def test_no_motor_pin_is_high_from_the_reset_until_it_is_armed(bench: Rp2040Bench) -> None:
    for _ in range(200):
        bench.run(100)
        assert not MOTOR_PINS & set(bench.high_pins())
    computer = Computer(bench, random.Random(1))
    computer.start()
    computer.drive_for(0.3, Drive(150, 0))
    assert {STANDBY, LEFT_FORWARD, RIGHT_FORWARD} <= set(bench.high_pins())
    computer.drive_for(0.7, Drive(-150, 0))
    assert {STANDBY, LEFT_BACKWARD, RIGHT_BACKWARD} <= set(bench.high_pins())
    computer.order(Disarm())
    bench.run(MS)
    assert bench.state().power == (0, 0)
    assert not {STANDBY, LEFT_FORWARD, LEFT_BACKWARD, RIGHT_FORWARD, RIGHT_BACKWARD} & set(bench.high_pins())


def test_its_wheels_reach_their_speeds(computer: Computer) -> None:
    v, w = 200, -1500
    computer.start()
    before = computer.drive_for(0.3, Drive(0, 0))
    status = computer.drive_for(1.0, Drive(v, w))
    left, right = computer.bench.state().speed_mmps
    assert left == pytest.approx(v - w * 0.075, abs=12)
    assert right == pytest.approx(v + w * 0.075, abs=12)
    assert (status.left_counts - before.left_counts) * left > 0
    assert (status.right_counts - before.right_counts) * right > 0
    assert status.battery_mv == pytest.approx(7400, abs=40)


@pytest.mark.parametrize("fault", OF_THE_PORT)
def test_whatever_happens_the_motors_are_off_in_time(bench: Rp2040Bench, fault: str) -> None:
    found = drill(bench, fault, random.Random(fault))
    assert not found.again
    assert found.neutral_us is not None
    assert found.neutral_us <= (DEADMAN_MS + TICK_MS) * MS


def test_a_computer_that_goes_on_is_no_fault(bench: Rp2040Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the drill."""
    monkeypatch.setitem(FAULTS, "none", lambda computer: computer.command(Drive(120, 0)))
    assert drill(bench, "none", random.Random(3)).neutral_us is None


@pytest.mark.parametrize(
    ("fault", "right", "wrong"),
    [
        ("firmware hangs", "    start_watchdog();\n", ""),
        ("button", "(get(SIO_GPIO_IN) & BIT(BUTTON)) != 0U", "false"),
        ("computer killed", "&inputs);\n            set_motors();\n", "&inputs);\n"),
    ],
)
def test_a_port_without_the_check_drives_on(
    mistaken: Callable[[str, str], Rp2040Bench], fault: str, right: str, wrong: str
) -> None:
    """The negative control of what the port does about it."""
    bench = mistaken(right, wrong)
    assert drill(bench, fault, random.Random(fault)).neutral_us is None


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda bench: bench.wheel(False, encoder=0), Latched.STALLED),
        (lambda bench: bench.wheel(True, encoder=-1), Latched.RUNAWAY),
    ],
)
def test_a_wheel_that_does_not_do_as_it_should_stops_the_robot(
    computer: Computer, spoil: Callable[[Rp2040Bench], None], fault: Latched
) -> None:
    computer.start()
    computer.drive_for(0.6, Drive(0, 0))
    spoil(computer.bench)
    status = computer.drive_for(1.2, Drive(300, 0))
    assert (status.state, status.faults, status.result) == (State.FAULT, fault, Result.FAULT_LATCHED)
    assert computer.bench.state().power == (0, 0)


def test_a_firmware_that_hangs_is_reset_and_says_so(computer: Computer) -> None:
    computer.start()
    computer.bench.hang()
    computer.bench.run(100 * MS)
    assert computer.bench.state().power == (0, 0)
    assert not computer.bench.state().enabled
    assert computer.greet().reset == Reset.WATCHDOG
    assert computer.order(Poll()).state == State.DISARMED


def test_a_fault_of_the_processor_is_a_reset_at_once(computer: Computer) -> None:
    computer.start()
    computer.drive_for(0.3, Drive(150, 0))
    assert computer.bench.state().power[0] > 0
    assert computer.bench.fault(us=40)
    assert computer.bench.state().power == (0, 0)
    computer.bench.run(20 * MS)
    assert computer.greet().reset == Reset.WATCHDOG


def test_a_crystal_that_stops_stops_the_motors(computer: Computer) -> None:
    """As long as the PLL turns the processor without it."""
    computer.start()
    computer.drive_for(0.3, Drive(150, 0))
    computer.bench.stop_crystal()
    computer.bench.run(10 * MS)
    assert computer.bench.state().power == (0, 0)
    assert not computer.bench.state().enabled


def test_a_port_without_that_check_drives_on_without_its_crystal(
    mistaken: Callable[[str, str], Rp2040Bench],
) -> None:
    """Its negative control: nothing else notices, the watchdog has the same clock."""
    computer = Computer(mistaken("        check_that_time_passes();\n", ""), random.Random(7))
    computer.start()
    computer.drive_for(0.3, Drive(150, 0))
    computer.bench.stop_crystal()
    computer.bench.run(400 * MS)
    assert computer.bench.state().power[0] > 0


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (POWER_ON, Reset.POWER_ON),
        (BROWN_OUT, Reset.POWER_ON),
        (EXTERNAL, Reset.EXTERNAL),
        (0, Reset.UNKNOWN),
    ],
)
def test_it_says_why_it_started(computer: Computer, flags: int, why: Reset) -> None:
    """The RP2040 has one flag for power that came and power that fell too low."""
    computer.bench.run(20 * MS)
    computer.bench.reset(flags)
    computer.bench.run(20 * MS)
    assert computer.greet().reset == why


def test_bytes_that_the_uart_loses_are_counted(computer: Computer) -> None:
    computer.bench.run(20 * MS)
    for _ in range(3):
        computer.bench.overrun()
    computer.bench.run(MS)
    counters = computer.ask(ReadCounters())
    assert isinstance(counters, Counters)
    assert counters.lost_bytes == 3


def test_requests_without_a_pause_leave_the_control_tick_its_time(computer: Computer) -> None:
    computer.start()
    for _ in range(10):
        for _ in range(40):
            computer.send(Poll())
        computer.bench.run(40 * MS)
    computer.bench.say(b"\0")  # ends the request that is incomplete
    computer.bench.run(100 * MS)
    counters = computer.ask(ReadCounters())
    assert isinstance(counters, Counters)
    assert counters.frames > 200
    assert counters.lost_bytes == 0
    assert counters.worst_tick_us < 8 * MS


def test_its_stack_is_within_what_the_build_says(
    folder: Path, computer: Computer, symbols: dict[str, int]
) -> None:
    """The boot loader has used 256 bytes at its top before."""
    computer.start()
    computer.drive_for(1.0, Drive(300, 1000))
    computer.ask(ReadCounters())
    variables = symbols["bss_end"] - RAM
    used = RAM_BYTES - variables - computer.bench.state().unused_ram
    [stated] = re.findall(r"Stack: +(\d+) bytes", (folder / "said").read_text())
    assert 256 <= used < int(stated)
