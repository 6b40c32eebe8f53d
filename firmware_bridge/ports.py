"""Serial ports that a microcontroller may be on."""

from __future__ import annotations

from typing import NamedTuple

from firmware_bridge.bridge import BridgeError

KNOWN = {
    0x2341: "Arduino",
    0x2A03: "Arduino",
    0x1A86: "CH340, as on many copies of the Nano",
    0x0403: "FTDI",
    0x10C4: "CP210x",
    0x2E8A: "Raspberry Pi Pico",
}
"""What the vendor number of a USB port stands for."""


class UsbPort(NamedTuple):
    """A serial port on USB.

    Attributes:
        device: its path.
        what: it is, in words.
    """

    device: str
    what: str


def usb_ports() -> list[UsbPort]:
    """All there are, by path.  Raises BridgeError if pyserial is missing."""
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        raise BridgeError("no serial ports without pyserial: run  pip install 'edge-wm[serial]'") from None
    return sorted(
        UsbPort(port.device, KNOWN.get(port.vid, port.description)) for port in comports() if port.vid
    )


def only_port() -> str:
    """The one that there is.  Raises BridgeError if there is none, or if somebody has to choose."""
    ports = usb_ports()
    if not ports:
        raise BridgeError("no USB serial port: is the board plugged in, and with a cable that carries data?")
    if len(ports) > 1:
        raise BridgeError(
            f"several USB serial ports: name one with --device: {', '.join(port.device for port in ports)}"
        )
    return ports[0].device
