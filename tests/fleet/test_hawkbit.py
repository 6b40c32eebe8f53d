"""The DDI client: what it says, and that a hostile server gets nothing but a refusal."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_wm.errors import BadInput
from edge_wm.fleet.bounded_http import MAX_BYTES
from edge_wm.fleet.config import RolloutConfig
from edge_wm.fleet.hawkbit import LEAST_POLL_S, MAX_DETAIL, MOST_POLL_S, Hawkbit
from edge_wm.fleet.rollouts import Cancel, Wanted
from tests.fleet.certificates import Authority
from tests.fleet.ddi_server import TOKEN, DdiServer, chunk
from tests.update.raw_server import RawServer

TOTAL_S = 1.0


def client(url: str, folder: Path, **changes: str) -> Hawkbit:
    (folder / "token").write_text(f"{TOKEN}\n")
    config = RolloutConfig(url, "token", **changes)  # type: ignore[arg-type]
    return Hawkbit(config, folder, "r1", {"robot_kind": "differential-drive"}, total_s=TOTAL_S)


@pytest.fixture
def server() -> Iterator[DdiServer]:
    with DdiServer() as running:
        yield running


# --- an honest server ----------------------------------------------------------------------------------------------------


def test_a_robot_says_what_it_is_when_it_is_asked(server: DdiServer, tmp_path: Path) -> None:
    hawkbit = client(server.url, tmp_path)
    assert hawkbit.wanted() is None
    assert hawkbit.wanted() is None
    said = {"mode": "merge", "data": {"robot_kind": "differential-drive"}}
    assert server.heard == [("/configData", said)], "once"
    assert hawkbit.poll_s == 300.0


def test_a_deployment_is_an_action_and_a_version(server: DdiServer, tmp_path: Path) -> None:
    hawkbit = client(server.url, tmp_path)
    action = server.assign(chunk("1.2.0"))
    assert hawkbit.wanted() == Wanted(action, "1.2.0")


@pytest.mark.parametrize(
    ("state", "execution", "finished"),
    [
        ("proceeding", "proceeding", "none"),
        ("success", "closed", "success"),
        ("failure", "closed", "failure"),
    ],
)
def test_feedback_has_the_form_that_hawkbit_reads(
    server: DdiServer, tmp_path: Path, state: str, execution: str, finished: str
) -> None:
    action = server.assign(chunk("1.2.0"))
    client(server.url, tmp_path).report(action, state, "because\n" + "x" * 1000)  # type: ignore[arg-type]
    details = ["because " + "x" * (MAX_DETAIL - 8)]
    status = {"execution": execution, "result": {"finished": finished}, "details": details}
    assert server.heard == [(f"/deploymentBase/{action}/feedback", {"id": action, "status": status})]


@pytest.mark.parametrize(
    ("accepted", "execution", "then"), [(True, "closed", "canceled"), (False, "rejected", "open")]
)
def test_a_cancel_is_answered(
    server: DdiServer, tmp_path: Path, accepted: bool, execution: str, then: str
) -> None:
    hawkbit = client(server.url, tmp_path)
    action = server.assign(chunk("1.2.0"))
    server.cancel()
    cancel = hawkbit.wanted()
    assert cancel == Cancel(action, action)
    hawkbit.answer(cancel, accepted, "why")
    assert server.heard[-1][1]["status"]["execution"] == execution
    assert server.state == then


def test_feedback_on_what_the_server_has_closed_is_no_error(server: DdiServer, tmp_path: Path) -> None:
    hawkbit = client(server.url, tmp_path)
    action = server.assign(chunk("1.2.0"))
    hawkbit.report(action, "success", "")
    hawkbit.report(action, "success", "")  # 410
    hawkbit.report("999", "success", "")  # 404


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tenant": "OTHER"}, "knows no such robot"),
        ({"token": "gateway"}, "does not accept this robot's token"),
    ],
)
def test_a_wrong_setting_is_one_line(
    server: DdiServer, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        client(server.url, tmp_path, **changes).wanted()


@pytest.mark.parametrize(
    "url", ["http://far.example", "ftp://localhost", "https://u:p@localhost", "localhost:8080"]
)
def test_a_url_that_would_give_the_token_away_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"in the clear|write https|only scheme"):
        client(url, tmp_path)


def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^http://127.0.0.1:1: Connection refused$"):
        client("http://127.0.0.1:1", tmp_path).wanted()


# --- a hostile one -------------------------------------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[socket.socket, bytes], object]) -> Iterator[tuple[str, list[bytes]]]:
    """A server whose every answer to a request is that; with its URL and what it heard."""
    heard: list[bytes] = []

    def serve(_: RawServer, connection: socket.socket) -> None:
        request = connection.recv(65536)
        heard.append(request)
        answer(connection, request)

    with RawServer(serve) as server:
        yield f"http://127.0.0.1:{server.port}", heard


def http(content: bytes, code: int = 200, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {code} Some", f"Content-Length: {len(content)}", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content


def of(facts: object) -> Callable[[socket.socket, bytes], object]:
    return lambda connection, _: connection.sendall(http(json.dumps(facts).encode()))


def raw(data: bytes) -> Callable[[socket.socket, bytes], object]:
    return lambda connection, _: connection.sendall(data)


def drip(head: bytes, byte: bytes) -> Callable[[socket.socket, bytes], object]:
    """A byte at a time: no read ever times out."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        for _ in range(200):
            connection.sendall(byte)
            time.sleep(0.05)

    return answer


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket, bytes], object]:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        for _ in range((64 << 20) // len(piece)):
            connection.sendall(piece)

    return answer


def link(name: str, href: object) -> dict[str, object]:
    return {"_links": {name: {"href": href}}}


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = gzip.compress(bytes(64 << 20))

HOSTILE: dict[str, tuple[Callable[[socket.socket, bytes], object], str]] = {
    "nothing": (lambda connection, _: None, ""),
    "silence": (lambda connection, _: time.sleep(TOTAL_S * 3), "no whole answer within 1 s"),
    "noise": (raw(bytes(range(256)) * 9), ""),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), ""),
    "a head a byte at a time": (drip(HEAD, b"x"), "no whole answer within 1 s"),
    "a body a byte at a time": (
        drip(HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
        "no whole answer within 1 s",
    ),
    "a body without length a byte at a time": (drip(HEAD + b"\r\n{}", b" "), "no whole answer within 1 s"),
    "a body without end": (endless(HEAD + b"\r\n", bytes(1 << 20)), "more than"),
    "chunks without end": (endless(CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n"), "more than"),
    "headers without end": (endless(HEAD, b"X: " + b"y" * 1000 + b"\r\n"), ""),
    "informational answers without end": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), ""),
    "a length that lies": (raw(HEAD + b"Content-Length: 100\r\n\r\n{}"), ""),
    "a compressed bomb": (raw(http(GZIP, 200, "Content-Encoding: gzip")), "DDI server"),
    "a redirect to another host": (raw(http(b"", 302, "Location: http://127.0.0.1:1/")), "redirects"),
    "a redirect to a file": (raw(http(b"", 301, "Location: file:///etc/passwd")), "redirects"),
    "a redirect to itself": (raw(http(b"", 307, "Location: /DEFAULT/controller/v1/r1")), "redirects"),
    "a choice of many": (raw(http(b"{}", 300)), "redirects"),
    "an error": (raw(http(b"<html>", 500)), "HTTP 500"),
    "too many requests": (raw(http(b"", 429)), "too often"),
    "a page": (raw(http(b"<!doctype html><title>Login</title>")), "DDI server"),
    "half of its JSON": (raw(http(b'{"_links": {')), "DDI server"),
    "no text": (raw(http(b"\xff\xfe\x00")), "DDI server"),
    "deep JSON": (raw(http(b'{"_links":' * 100_000)), "DDI server"),
    "a list": (of([]), "DDI server"),
    "a link of another type": (of(link("deploymentBase", 5)), "DDI server"),
    "a link without a number": (of(link("deploymentBase", "http://x/deploymentBase/../../etc")), "no number"),
    "a link to something else": (
        of(link("deploymentBase", "http://127.0.0.1:1/cancelAction/1")),
        "no number",
    ),
    "a number of a thousand digits": (
        of(link("deploymentBase", "/deploymentBase/" + "9" * 1000)),
        "no number",
    ),
    "a long link": (of(link("deploymentBase", "x" * 3000)), "DDI server"),
    "a cursor in a link": (of(link("deploymentBase", "\x1b[2J\r\n")), "no number"),
    "the base again for a deployment": (of(link("deploymentBase", "/deploymentBase/1")), "DDI server"),
    "the base again for a cancel": (of(link("cancelAction", "/cancelAction/1")), "DDI server"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_gets_a_refusal(name: str, tmp_path: Path) -> None:
    answer, says = HOSTILE[name]
    with answering(answer) as (url, heard):
        hawkbit = client(url, tmp_path)
        begun = time.monotonic()
        tracemalloc.start()
        with pytest.raises(BadInput) as refused:
            hawkbit.wanted()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert says in str(refused.value)
        assert str(refused.value).isprintable() and len(str(refused.value)) < 400
        assert time.monotonic() - begun < 3 * TOTAL_S
        assert peak_bytes < 16 * MAX_BYTES
        assert all(request.split()[1].startswith(b"/DEFAULT/controller/v1/r1") for request in heard)


DEPLOYMENT = {"id": "7", "deployment": {"download": "forced", "update": "forced", "chunks": [chunk("1.2.0")]}}
HOSTILE_DEPLOYMENTS: dict[str, object] = {
    "another action": {**DEPLOYMENT, "id": "8"},
    "no id": {"deployment": DEPLOYMENT["deployment"]},
    "an id that is a path": {**DEPLOYMENT, "id": "../7"},
    "an unknown way": {"id": "7", "deployment": {"download": "now", "update": "forced", "chunks": []}},
    "very many chunks": {
        "id": "7",
        "deployment": {"download": "forced", "update": "forced", "chunks": [chunk("1.2.0")] * 65},
    },
    "a version that is no text": {
        "id": "7",
        "deployment": {"download": "forced", "update": "forced", "chunks": [{**chunk("1"), "version": 1}]},
    },
    "a version of a thousand letters": {
        "id": "7",
        "deployment": {"download": "forced", "update": "forced", "chunks": [chunk("1" * 1000)]},
    },
}


def deploying(facts: object) -> Callable[[socket.socket, bytes], object]:
    """A base whose link is to another server, and a deployment."""

    def answer(connection: socket.socket, request: bytes) -> None:
        path = request.split()[1]
        base = link("deploymentBase", "http://127.0.0.1:1/DEFAULT/controller/v1/r1/deploymentBase/7?c=1")
        connection.sendall(http(json.dumps(facts if b"deploymentBase" in path else base).encode()))

    return answer


@pytest.mark.parametrize("name", HOSTILE_DEPLOYMENTS)
def test_a_hostile_deployment_is_refused(name: str, tmp_path: Path) -> None:
    with answering(deploying(HOSTILE_DEPLOYMENTS[name])) as (url, _), pytest.raises(BadInput, match=url):
        client(url, tmp_path).wanted()


def test_of_a_link_only_the_number_is_taken_wherever_it_leads(tmp_path: Path) -> None:
    """So a server behind a proxy, which does not know its own name, works too."""
    with answering(deploying(DEPLOYMENT)) as (url, heard):
        assert client(url, tmp_path).wanted() == Wanted("7", "1.2.0")
    assert [request.split()[1] for request in heard] == [
        b"/DEFAULT/controller/v1/r1",
        b"/DEFAULT/controller/v1/r1/deploymentBase/7",
    ]


@pytest.mark.parametrize(
    ("sleep", "seconds"),
    [
        ("00:05:00", 300.0),
        ("00:00:00", LEAST_POLL_S),
        ("9999:59:59", MOST_POLL_S),
        ("-1:00:00", None),
        ("soon", None),
    ],
)
def test_a_server_cannot_keep_a_robot_from_asking_nor_have_it_ask_without_end(
    sleep: str, seconds: float | None, tmp_path: Path
) -> None:
    with answering(of({"config": {"polling": {"sleep": sleep}}})) as (url, _):
        hawkbit = client(url, tmp_path)
        assert hawkbit.wanted() is None
        assert hawkbit.poll_s == seconds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "_links",
                        "deploymentBase",
                        "cancelAction",
                        "configData",
                        "href",
                        "config",
                        "polling",
                        "id",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_does_more_than_be_refused(tmp_path: Path, facts: object) -> None:
    with answering(of(facts)) as (url, _), suppress(BadInput):
        assert client(url, tmp_path).wanted() is None


# --- TLS -----------------------------------------------------------------------------------------------------------------


@contextmanager
def over_tls(authority: Authority, hosts: tuple[str, ...]) -> Iterator[str]:
    """A server that wants nothing, with a certificate for ``hosts``."""
    certificate, key = authority.certificate("rollouts", hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(http(b"{}"))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                answer(secured, secured.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_is_believed_by_its_certificate_and_its_name(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "fleet"), Authority(tmp_path, "stranger")
    with over_tls(authority, ("localhost",)) as url:
        assert client(url, tmp_path, ca="fleet.pem").wanted() is None
        with pytest.raises(BadInput, match="certificate"):
            client(url, tmp_path, ca="stranger.pem").wanted()
        with pytest.raises(BadInput, match="certificate"):
            client(url, tmp_path).wanted()
    with over_tls(authority, ("elsewhere.example",)) as url, pytest.raises(BadInput, match="certificate"):
        client(url, tmp_path, ca="fleet.pem").wanted()
    assert stranger.ca.exists()
    with pytest.raises(BadInput, match=r"missing\.pem"):
        client("https://localhost", tmp_path, ca="missing.pem")


def test_a_server_that_never_ends_its_handshake_is_left(tmp_path: Path) -> None:
    with answering(lambda connection, _: time.sleep(TOTAL_S * 3)) as (url, _):
        begun = time.monotonic()
        with pytest.raises(BadInput, match="no whole answer within 1 s"):
            client(url.replace("http:", "https:"), tmp_path).wanted()
        assert time.monotonic() - begun < 2 * TOTAL_S


def test_a_proxy_carries_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path, "fleet")
    seen: list[bytes] = []

    def tunnel(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        port = int(request.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=copy, args=(onward, connection), daemon=True)
            back.start()
            copy(connection, onward)
            back.join()

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                seen.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    with over_tls(authority, ("localhost",)) as url, answering(tunnel) as (proxy, _):
        monkeypatch.setenv("https_proxy", proxy.replace("http://", "http://robot:secret@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert client(url, tmp_path, ca="fleet.pem").wanted() is None
    assert seen[0].startswith(b"CONNECT localhost:")
    assert b"Proxy-Authorization: Basic" in seen[0] or b"proxy-authorization: basic" in seen[0].lower()
    assert all(TOKEN.encode() not in data for data in seen)
