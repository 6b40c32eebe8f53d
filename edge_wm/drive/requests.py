"""What can be asked of a driving service: one request a line, and its answers, as JSON over a Unix socket.

    {"do": "go", "goal": [1.5, 0.0]}       -> {"answer": "accepted", …}, and {"answer": "ended", …} when the drive has ended
    {"do": "go"}                           -> the same, for the mission: it goes on, and there is no second answer
    {"do": "stop"}                         -> {"answer": "accepted", …}: the robot brakes; a mission waits for "go"
    {"do": "status"}                       -> {"answer": "status", …}

Whatever cannot be done is ``{"answer": "refused", "why": …}``, one line.  Who may open the socket may drive the robot.

A service that loads a model hears nobody for longer than a client waits.  Nobody expects the robot to move any more when it reads
the line of a client that has given up: its ``go`` is not obeyed, its ``stop`` is.
"""

from __future__ import annotations

import selectors
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from edge_wm.drive.service_file import Point
from edge_wm.errors import BadInput, one_line

MAX_LINE_BYTES = 1024
MAX_CLIENTS = 8
"""A newcomer beyond these takes the place of the one that has been silent for longest."""
CONNECT_S = 5.0
MODE = 0o660
TAKEN = "another edge-wm serve answers there"


class Go(Struct, tag="go", tag_field="do", frozen=True, forbid_unknown_fields=True):
    """Drive.

    Attributes:
        goal: x, y in metres; None for the mission, which goes on where it was.
        frame: "start": of where the robot stood when the service was started first; "here": of where it stands now.
    """

    goal: Point | None = None
    frame: Literal["start", "here"] = "start"


class Stop(Struct, tag="stop", tag_field="do", frozen=True, forbid_unknown_fields=True):
    """Brake, and end the drive; the mission waits."""


class Status(Struct, tag="status", tag_field="do", frozen=True, forbid_unknown_fields=True):
    """Say how it is."""


Request: TypeAlias = Go | Stop | Status


class Accepted(Struct, tag="accepted", tag_field="answer", frozen=True):
    """It will be done; ``what`` says what, one line."""

    what: str


class Refused(Struct, tag="refused", tag_field="answer", frozen=True):
    """It will not be done; ``why`` says why, one line."""

    why: str


class Ended(Struct, tag="ended", tag_field="answer", frozen=True):
    """How the drive ended that was asked for.

    Attributes:
        reached: the goal.
        outcome: one or two words.
        message: why, one line; empty if there is nothing more to say.
    """

    reached: bool
    outcome: str
    message: str


class Now(Struct, tag="status", tag_field="answer", frozen=True):
    """How the service is.

    Attributes:
        state: "resting": nobody wants anything; "driving"; "waiting": the mission has been stopped.
        model: that drives.
        goal: x, y of the drive, in the frame of its start; None at rest.
        pose: x, y, yaw where the robot believes it is, in the frame of where the service was started first; None for the
            simulated robot, which is in another world each time.
        goals, reached: drives that have ended since the service was started, and those of them that got there.
        ticks, missed: ticks since then, and those that ended after their deadline.
        realtime: what the kernel gives.
        problem: what does not go as it should, one line; empty if there is nothing.
    """

    state: Literal["resting", "driving", "waiting"]
    model: str
    goal: tuple[float, float] | None
    pose: tuple[float, float, float] | None
    goals: int
    reached: int
    ticks: int
    missed: int
    realtime: tuple[str, ...]
    problem: str


Answer: TypeAlias = Accepted | Refused | Ended | Now

_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_REQUESTS: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class Client:
    """Somebody at the other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.waits = False
        """Whether it is owed an answer."""
        self.going = False
        """Its ``go`` was accepted last, and it may not have read that yet."""

    def answer(self, answer: Answer) -> bool:
        """Tell it, and return whether it can still read that; one that does not read is not waited for."""
        line = msgspec.json.encode(answer) + b"\n"
        try:
            return self.connection.send(line, socket.MSG_NOSIGNAL) == len(line)
        except OSError:
            return False

    def accept_go(self, what: str) -> bool:
        """Accept its ``go``, and return whether to obey it: not if it has given up."""
        self.going = self.answer(Accepted(what))
        return self.going


class RequestSocket:
    """Takes requests.  ``poll`` is called from the loop that drives, too: it never waits for a client and never raises.

    Args:
        path: where; a folder that is not there is made.
        take: called with each request; it answers.

    Raises:
        BadInput: somebody else answers there, or no socket can be made.
    """

    def __init__(self, path: Path, take: Callable[[Request, Client], object]) -> None:
        self.path, self._take = path, take
        self._clients: list[Client] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._listening.setblocking(False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            self._listening.bind(str(path))
            path.chmod(MODE)  # nobody can connect before the next line
            self._listening.listen(MAX_CLIENTS)
        except (OSError, ValueError) as error:  # ValueError: the path is too long
            self._listening.close()
            raise BadInput(f"{path}: no requests can come in: {_why(error)}") from error
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take what has come; wait so long for something to come."""
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
            elif key.data in self._clients:  # not if it made room for somebody just now
                self._read(key.data)

    def close(self) -> None:
        """Take no more.  Safe to call twice."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.close()
        self._listening.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:  # gone already, or no descriptors left
            return
        connection.setblocking(False)
        if len(self._clients) == MAX_CLIENTS:
            self._drop(next((client for client in self._clients if not client.waits), self._clients[0]))
        client = Client(connection)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(MAX_LINE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            # Linux: it closed, and something that it was told is unread.  It gave up just when it was accepted.
            if client.going and isinstance(error, ConnectionResetError):
                self._take(Stop(), client)
        if not data:
            self._drop(client)
            return
        self._clients.remove(client)
        self._clients.append(client)  # the silent ones are in front
        client.received += data
        *lines, rest = client.received.split(b"\n")
        client.received = rest
        for line in lines:
            self._understand(bytes(line), client)
        if len(rest) > MAX_LINE_BYTES:
            client.answer(Refused(f"a request has at most {MAX_LINE_BYTES} bytes, and a line end"))
            self._drop(client)

    def _understand(self, line: bytes, client: Client) -> None:
        try:
            request = _REQUESTS.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            client.answer(Refused(one_line(f"not a request: {error}")))
        else:
            client.going = False
            self._take(request, client)

    def _drop(self, client: Client) -> None:
        self._clients.remove(client)
        self._selector.unregister(client.connection)
        client.connection.close()


def _remove_abandoned(path: Path) -> None:
    """A service that was killed left its socket.  Raises OSError if somebody answers, or if it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(0, "there is something else")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise OSError(0, TAKEN)


class Connection:
    """The other end: asks a service.  A context manager.

    Args:
        path: of its socket.

    Raises:
        BadInput: nobody answers there, or this user may not ask.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_S)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            hint = "is edge-wm serve running?  systemctl status edge-wm"
            if isinstance(error, PermissionError):
                hint = "join the group that the socket belongs to, or ask as root"
            raise BadInput(f"{path}: {_why(error)}: {hint}") from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, request: Request) -> Answer:
        """Ask, and return the first answer.  Raises BadInput if the service goes away, or refuses."""
        self._socket.settimeout(CONNECT_S)
        try:
            self._socket.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise BadInput(f"{self._path}: {_why(error)}") from error
        answer = self._next()
        if isinstance(answer, Refused):
            raise BadInput(answer.why)
        return answer

    def wait(self) -> Answer:
        """The next answer, however long it takes.  Raises BadInput if the service goes away."""
        self._socket.settimeout(None)
        return self._next()

    def _next(self) -> Answer:
        try:
            line = self._lines.readline()
            if line:
                return _ANSWERS.decode(line)
        except (OSError, msgspec.DecodeError) as error:
            raise BadInput(f"{self._path}: {_why(error)}") from error
        raise BadInput(f"{self._path}: the service has ended: systemctl status edge-wm")


def _why(error: Exception) -> str:
    return one_line((isinstance(error, OSError) and error.strerror) or str(error))
