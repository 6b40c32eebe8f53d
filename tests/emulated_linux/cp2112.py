"""A USB-to-I2C adapter whose chips are Python objects, and whose driver is the kernel's own.

The adapter is a Silicon Labs CP2112 (its reports are in AN495, "CP2112 Interface Specification").  It is plugged in through ``/dev/uhid``, so
the kernel's ``hid-cp2112`` drives it and makes a ``/dev/i2c-N`` and a ``/dev/gpiochipN`` of it.  Each transfer reaches the chips
while its caller waits: a chip can do things of its own, other than one of ``i2c-stub``, which is memory.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from contextlib import nullcontext, suppress
from itertools import count
from pathlib import Path

from firmware_bridge.i2c import I2cBus, I2cError

# include/uapi/linux/uhid.h: the type of an event, and what follows it
DESTROY, STOP, OUTPUT = 1, 3, 6
GET_REPORT, GET_REPORT_REPLY, CREATE, INPUT, SET_REPORT, SET_REPORT_REPLY = 9, 10, 11, 12, 13, 14
EVENT_BYTES = 4380
USB, VENDOR, PRODUCT = 3, 0x10C4, 0xEA90
# Two input reports: 0x13 of 63 bytes and 0x16 of 6.
DESCRIPTOR = bytes.fromhex("0600ff 0901 a101 8513 0901 1500 26ff00 7508 953f 8102 8516 0901 9506 8102 c0")

# AN495, chapters 4 and 5: numbers of the reports
PINS, PINS_READ, PINS_SET, VERSION, SETTINGS, LOCK = 0x02, 0x03, 0x04, 0x05, 0x06, 0x20
READ, WRITE_READ, SEND_READ, READ_RESPONSE, WRITE, ASK_STATUS, STATUS = (
    0x10,
    0x11,
    0x12,
    0x13,
    0x14,
    0x15,
    0x16,
)
IDLE, BUSY, COMPLETE, ERROR = 0, 1, 2, 3
NACK, INCOMPLETE, SUCCESS = 0, 3, 5
# What the adapter can say of a transfer in place of the truth, and what its driver makes of that.
STUCK = (BUSY, 0)
"""ETIMEDOUT, at once."""
HELD = (BUSY, 1)
"""ETIMEDOUT, after ten answers that take ``HELD_S`` each."""
HELD_S = 0.03
LOST = (IDLE, 0)
"""EAGAIN, as other adapters' drivers after they lost arbitration."""
BROKEN = (ERROR, INCOMPLETE)
"""EIO"""

_serial = count(1)


class Cp2112:
    """An adapter that is plugged in.

    Args:
        chips: take the transfers; when they raise I2cError, nothing acknowledges.

    Attributes:
        number: of the bus that the kernel made of it.
        pins: levels of its GPIO pins, pin 0 in the lowest bit.
        fault: ``STUCK``, ``HELD``, ``LOST`` or ``BROKEN``: no transfer gets to the chips.
        transfers: how many were asked for.
    """

    def __init__(self, chips: I2cBus) -> None:
        self.chips = chips
        self.pins = 0xFF
        self.fault: tuple[int, int] | None = None
        self.transfers = 0
        self._unplugged = False
        self._status, self._data = (COMPLETE, SUCCESS), b""
        self._features = {
            PINS: bytes(4),
            VERSION: bytes((12, 3)),
            SETTINGS: bytes(13),
            LOCK: bytes((0xFF,)),
        }
        self._uhid = os.open("/dev/uhid", os.O_RDWR)
        name, serial = b"CP2112", f"cp2112-{next(_serial)}"
        where = (len(DESCRIPTOR), USB, VENDOR, PRODUCT, 0, 0, DESCRIPTOR)
        self._tell(CREATE, "128s64s64sHHIIII4096s", name, b"", serial.encode(), *where)
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        self.number = _bus_of(serial)

    def close(self) -> None:
        """Unplug it.  Whoever has the bus open must close it first: the kernel waits for that."""
        self._unplugged = True
        self._tell(DESTROY, "")
        self._thread.join()
        os.close(self._uhid)

    def _tell(self, event: int, form: str, *values: object) -> None:
        os.write(self._uhid, struct.pack(f"<I{form}", event, *values))

    def _answer(self) -> None:
        """What the adapter's own processor does."""
        while True:
            event = os.read(self._uhid, EVENT_BYTES)
            (kind,) = struct.unpack_from("<I", event)
            if kind == STOP:
                return
            if kind == GET_REPORT:
                asked, number = struct.unpack_from("<IB", event, 4)
                report = bytes((number,)) + self._feature(number)
                self._tell(GET_REPORT_REPLY, "IHH4096s", asked, 0, len(report), report)
            elif kind == SET_REPORT:
                asked, number, _, size = struct.unpack_from("<IBBH", event, 4)
                self._set_feature(number, event[13 : 12 + size])
                self._tell(SET_REPORT_REPLY, "IH", asked, 0)
            elif kind == OUTPUT:
                (size,) = struct.unpack_from("<H", event, 4 + 4096)
                answer = self._output(event[4 : 4 + size])
                with suppress(OSError) if self._unplugged else nullcontext():
                    if answer:
                        self._tell(INPUT, "H4096s", len(answer), answer)

    def _feature(self, number: int) -> bytes:
        return bytes((self.pins,)) if number == PINS_READ else self._features[number]

    def _set_feature(self, number: int, data: bytes) -> None:
        if number == PINS_SET:
            levels, mask = data
            self.pins = self.pins & ~mask | levels & mask
        else:
            self._features[number] = data

    def _output(self, report: bytes) -> bytes:
        number = report[0]
        if number in (READ, WRITE_READ, WRITE):
            self.transfers += 1
            self._data, self._status = b"", self.fault or (ERROR, NACK)
            with suppress(I2cError):
                if self.fault is None:
                    self._data = self._transfer(report)
                    self._status = (COMPLETE, SUCCESS)
        elif number == ASK_STATUS:
            if self._status == HELD:
                time.sleep(HELD_S)
            return struct.pack(">BBBHH", STATUS, *self._status, 0, len(self._data))
        elif number == SEND_READ:
            return struct.pack("<BBB61s", READ_RESPONSE, COMPLETE, len(self._data), self._data)
        return b""

    def _transfer(self, report: bytes) -> bytes:
        """Let the chips have one; what they answered."""
        address = report[1] >> 1
        if report[0] == WRITE_READ:
            return self.chips.read(address, report[5], int.from_bytes(report[2:4], "big"))
        if report[0] == READ:
            raise I2cError("no chip here sends without a register")
        data = report[3 : 3 + report[2]]
        if len(data) == 1:
            self.chips.send(address, data[0])
        else:
            self.chips.write(address, data[0], data[1:])
        return b""


def _bus_of(serial: str, seconds: float = 10.0) -> int:
    """The number that the kernel gave to an adapter's bus, as soon as it has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for device in Path("/sys/bus/hid/devices").iterdir():
            if f"HID_UNIQ={serial}\n" in (device / "uevent").read_text():
                for bus in device.glob("i2c-*/i2c-dev/i2c-*"):
                    if (Path("/dev") / bus.name).exists():
                        return int(bus.name.removeprefix("i2c-"))
        time.sleep(0.005)
    raise AssertionError("the kernel made no bus of the CP2112")
