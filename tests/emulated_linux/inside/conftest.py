"""The I2C buses of the emulated machine, for tests of drivers.  The file's name says where: nothing else has them.

=========  ==========================  ===============================================================================================
fixture    in the kernel               what is on it
=========  ==========================  ===============================================================================================
``bus``    ``i2c-stub``                256 bytes of memory at each address of ``STUB_CHIPS``, zero to begin with; nothing at others
``plug``   ``hid-cp2112``              what the test puts there: Python objects that answer each transfer (``tests/emulated_linux/cp2112.py``)
=========  ==========================  ===============================================================================================

The adapter of ``plug`` also has faults of the bus and GPIO pins.  ``bus_number`` gives the number of these and of two more: ``PARPORT``, whose
clock is held low, and ``I801``, a PC's own SMBus controller with EEPROMs at 0x50 to 0x57.  QEMU's controller stays busy after a block of bytes
that was not acknowledged: write single bytes there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.i2c import MOST_BYTES, I2cBus, LinuxBus
from tests.emulated_linux.cp2112 import Cp2112

STUB, I801, PARPORT = "SMBus stub driver", "SMBus I801 adapter", "Parallel port adapter"
"""How the names of the buses begin."""
STUB_CHIPS = (0x29, 0x30, 0x31, 0x40, 0x41, 0x50, 0x60, 0x68, 0x69, 0x70)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "EDGE_WM_EMULATED_LINUX" not in os.environ:
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.skip(reason="runs in the emulated machine: make emulated-linux"))


def bus_number(name: str) -> int:
    """The N of ``/dev/i2c-N``."""
    for bus in Path("/sys/bus/i2c/devices").glob("i2c-*"):
        if (bus / "name").read_text().startswith(name):
            return int(bus.name.removeprefix("i2c-"))
    raise AssertionError(f"this kernel has no {name}")


@pytest.fixture
def bus() -> Iterator[LinuxBus]:
    bus = LinuxBus(bus_number(STUB))
    for address in STUB_CHIPS:
        for register in range(0, 256, MOST_BYTES):
            bus.write(address, register, bytes(MOST_BYTES))
    yield bus
    bus.close()


@pytest.fixture
def plug() -> Iterator[Callable[[I2cBus], tuple[Cp2112, LinuxBus]]]:
    """Makes a bus of chips: the adapter, and ``/dev/i2c-N`` with them on it."""
    plugged: list[tuple[Cp2112, LinuxBus]] = []

    def plug(chips: I2cBus) -> tuple[Cp2112, LinuxBus]:
        adapter = Cp2112(chips)
        plugged.append((adapter, LinuxBus(adapter.number)))
        return plugged[-1]

    yield plug
    for adapter, bus in plugged:
        bus.close()
        adapter.close()
