"""MAVLink frames over a serial line, UDP or TCP.

``pymavlink`` makes and reads the frames; its own connections are not used, since they answer whoever spoke last, print, and switch the
protocol of the whole process by an environment variable.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol, cast

from firmware_bridge.bridge import BridgeError
from firmware_bridge.link import Line, open_line

COMPONENT = 191
"""MAV_COMP_ID_ONBOARD_COMPUTER, what we are."""
CONNECT_S = 2.0
"""To a TCP port."""
STUCK_S = 0.1
"""A frame of 280 bytes takes 25 ms at 115200 baud.  What waits for longer has a length that noise invented, and would swallow what follows."""
MOST_READS = 1000
"""In one go, so that a flood cannot hold up a control loop."""


class Port(Protocol):
    """Bytes to and from the other end.  Nothing here waits but ``wait``; all of it but ``close`` raises OSError."""

    whole: bool
    """Whether what is read begins with a frame, as a datagram does."""

    def read(self) -> bytes:
        """What has come; empty if nothing has."""

    def answer_here(self) -> None:
        """Send to where the last bytes came from."""

    def write(self, data: bytes) -> int | None:
        """Send a frame."""

    def wait(self, seconds: float) -> None:
        """Until something comes, or so long."""

    def close(self) -> None:
        """Give the port back.  Never raises."""


class MavlinkLink:
    """Sends and receives messages.

    Args:
        device: what to call the port in messages.
        port: open.
        system: MAVLink id we send as.
        clock: seconds, monotonic.

    Attributes:
        device: as above.
        heard: bytes received.
    """

    def __init__(self, device: str, port: Port, system: int, clock: Callable[[], float]) -> None:
        self.heard = 0
        self.device, self._port, self._clock = device, port, clock
        self._parser = self._new_parser()
        self._sender = dialect().MAVLink(port, srcSystem=system, srcComponent=COMPONENT)
        self._read_at = 0.0

    def receive(self) -> Iterator[Any]:
        """Every message that has come and whose checksum is right; does not wait.

        Raises:
            BridgeError: the link is gone.
        """
        for _ in range(MOST_READS):
            try:
                data = self._port.read()
            except OSError as error:
                raise self._gone(error) from error
            if not data:
                return
            now = self._clock()
            if self._parser.buf_len() and (self._port.whole or now - self._read_at > STUCK_S):
                self._parser = self._new_parser()
            self._read_at = now
            self.heard += len(data)
            for message in self._parser.parse_buffer(data) or ():
                if message.get_srcSystem():  # 0: what is no message, or one that we do not know
                    yield message

    def answer_here(self) -> None:
        """Send to where the last message came from."""
        self._port.answer_here()

    def send(self, message: Any) -> None:
        """Send a message.  Raises BridgeError if the link is gone."""
        try:
            self._sender.send(message)
        except OSError as error:
            raise self._gone(error) from error

    def wait(self, seconds: float) -> None:
        """Until something comes, or so long.  Raises BridgeError if the link is gone."""
        try:
            self._port.wait(seconds)
        except (OSError, ValueError) as error:  # ValueError: select's, of a port that was closed meanwhile
            raise self._gone(error) from error

    def close(self) -> None:
        """Give the port back.  Never raises."""
        self._port.close()

    def _gone(self, error: OSError | ValueError) -> BridgeError:
        return BridgeError(f"{self.device}: the link is gone: {getattr(error, 'strerror', None) or error}")

    @staticmethod
    def _new_parser() -> Any:
        parser = dialect().MAVLink(None)
        parser.robust_parsing = True  # noise is no error
        return parser


class SerialPort:
    """A tty.

    Args:
        line: open.
    """

    whole = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def read(self) -> bytes:
        """See :class:`Port`."""
        try:
            waiting = self._line.in_waiting
            return self._line.read(waiting) if waiting else b""
        except TypeError as error:  # pyserial's, of a port that a signal handler closed meanwhile
            raise OSError("it was closed") from error

    def answer_here(self) -> None:
        """There is one other end."""

    def write(self, data: bytes) -> int | None:
        """See :class:`Port`."""
        return self._line.write(data)

    def wait(self, seconds: float) -> None:
        """See :class:`Port`."""
        select.select([cast(Any, self._line)], [], [], seconds)  # every tty that pyserial opens has a fileno

    def close(self) -> None:
        """See :class:`Port`."""
        with suppress(OSError):
            self._line.close()


class UdpPort:
    """Datagrams.

    Args:
        address: to listen at, or to speak to.
        listening: which of the two.

    Raises:
        OSError: the address is taken, or is none of this machine's.
    """

    whole = True

    def __init__(self, address: tuple[str, int], *, listening: bool) -> None:
        address = (socket.gethostbyname(address[0]), address[1])
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._only = self._to = None if listening else address
        self._from: tuple[str, int] | None = None
        if listening:
            try:
                self._socket.bind(address)
            except OSError:
                self._socket.close()
                raise

    def read(self) -> bytes:
        """See :class:`Port`."""
        for _ in range(MOST_READS):
            try:
                data, self._from = self._socket.recvfrom(65535)
            except BlockingIOError:
                break
            if data and self._only in (None, self._from):
                return data
        return b""

    def answer_here(self) -> None:
        """See :class:`Port`."""
        self._to = self._from

    def write(self, data: bytes) -> int | None:
        """See :class:`Port`; nothing is sent while nobody was heard."""
        return self._socket.sendto(data, self._to) if self._to else None

    def wait(self, seconds: float) -> None:
        """See :class:`Port`."""
        select.select([self._socket], [], [], seconds)

    def close(self) -> None:
        """See :class:`Port`."""
        self._socket.close()


class TcpPort:
    """A connection that we open.

    Args:
        address: to connect to.

    Raises:
        OSError: nobody listens there.
    """

    whole = False

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, CONNECT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def read(self) -> bytes:
        """See :class:`Port`."""
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError("the other end closed it")
        return data

    def answer_here(self) -> None:
        """There is one other end."""

    def write(self, data: bytes) -> int | None:
        """See :class:`Port`; a buffer that is full is an error: what waits in it for long must not be driven."""
        self._socket.sendall(data)
        return len(data)

    def wait(self, seconds: float) -> None:
        """See :class:`Port`."""
        select.select([self._socket], [], [], seconds)

    def close(self) -> None:
        """See :class:`Port`."""
        self._socket.close()


def open_port(device: str, baud: int) -> Port:
    """Open what an address names.

    Args:
        device: a tty, ``udpin:HOST:PORT`` to listen, ``udpout:HOST:PORT`` to speak first, or ``tcp:HOST:PORT``.
        baud: of a tty.

    Raises:
        BridgeError: one line that says why not, and what to do.
    """
    scheme, _, rest = device.partition(":")
    if "/" in scheme or not rest:
        return SerialPort(open_line(device, baud))
    host, _, port = rest.rpartition(":")
    if scheme not in ("udpin", "udpout", "tcp") or not host or not port.isdecimal() or int(port) > 65535:
        raise BridgeError(
            f"{device}: not an address: write /dev/ttyACM0, udpin:HOST:PORT, udpout:HOST:PORT or tcp:HOST:PORT"
        )
    try:
        if scheme == "tcp":
            return TcpPort((host, int(port)))
        return UdpPort((host, int(port)), listening=scheme == "udpin")
    except OSError as error:
        raise BridgeError(f"{device}: cannot be opened: {error.strerror or error}") from error


def dialect() -> Any:
    """The messages.  Raises BridgeError if pymavlink is missing, or told to believe damaged frames."""
    try:
        from pymavlink.dialects.v20 import common
    except ImportError:
        raise BridgeError("no MAVLink without pymavlink: run  pip install 'edge-wm[mavlink]'") from None
    if common.MAVLINK_IGNORE_CRC:
        raise BridgeError(
            "pymavlink would believe damaged frames: unset MAVLINK_IGNORE_CRC in the environment"
        )
    return common
