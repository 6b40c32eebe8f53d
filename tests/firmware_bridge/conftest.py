"""The firmware, compiled once: its core as a library, and all of it as a program."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge.simulator.avr_bench import FIRMWARE
from tests.firmware_bridge.core import SHIM, STRICT, Firmware, library, on_the_bench

CORE = sorted((FIRMWARE / "core").glob("*.c"))
TRAP = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


def compiled(output: Path, *arguments: str | Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: run  sudo apt install gcc libc6-dev")
    command = [
        compiler,
        "-O1",
        "-g",
        *STRICT,
        f"-I{FIRMWARE / 'core'}",
        *map(str, arguments),
        "-o",
        str(output),
    ]
    subprocess.run(command, check=True)
    return output


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The core as a library; undefined behaviour ends the process."""
    output = tmp_path_factory.mktemp("firmware") / "core.so"
    return library(compiled(output, "-shared", "-fPIC", *TRAP, *CORE, SHIM))


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware of the host port."""
    output = tmp_path_factory.mktemp("firmware") / "host"
    return compiled(output, *TRAP, *CORE, FIRMWARE / "ports" / "host" / "main.c")


@pytest.fixture
def firmware(shim: ctypes.CDLL) -> Iterator[Firmware]:
    with on_the_bench(shim) as found:
        yield found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("avr-gcc") is None or not Path("/usr/include/simavr").exists():
        pytest.skip(
            "no simulated AVR: run  sudo apt install gcc-avr avr-libc libsimavr-dev libelf-dev gcc libc6-dev"
        )
    output = tmp_path_factory.mktemp("avr")
    subprocess.run(["make", "-s", "-C", FIRMWARE, f"OUT={output}", "bench"], check=True)
    return output
