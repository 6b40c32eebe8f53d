"""What a server, a proxy, or whoever is in between does to a download; and what a stick does."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.attacks.attack import Attack, Deed
from tests.attacks.hostile_server import HostileServer, Request, honest
from tests.attacks.specification import MODEL, on, the_plain_file
from tests.attacks.world import KIND, NEW, OLD, World
from tests.fleet.certificates import Authority

NETWORK, MIRROR, STICK = "the network", "the mirror", "the stick"
SIGNED_BYTES = "is not the file that was signed"

# --- resumed downloads and ranges ------------------------------------------------------------------------------------


def half_is_here(world: World) -> None:
    """A download of the model's file was cut off in the middle."""
    name = the_plain_file(world)
    content = (world.repository / "targets" / KIND / name).read_bytes()
    (world.folders.incoming / name.partition(".")[2]).write_bytes(content[:12_000])


def _changed_behind(request: Request) -> None:
    """Whoever asks for the rest gets the rest of another file."""
    content = request.content() or b""
    if request.first:
        said = f"bytes {request.first}-{len(content) - 1}/{len(content)}"
        request.answer(bytes(len(content) - request.first), 206, Content_Range=said)
    else:
        request.answer(bytes(len(content)))


def _changed_behind_once(request: Request) -> None:
    """The rest is of another file; the whole is right."""
    _changed_behind(request) if request.first else honest(request)


def _other_range(request: Request) -> None:
    """The answer begins elsewhere than it was asked for."""
    content = request.content() or b""
    request.answer(content, 206, Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")


def _no_range(request: Request) -> None:
    """A part, of which nobody says which."""
    request.answer((request.content() or b"")[request.first :], 206)


def _lying_range(request: Request) -> None:
    """It says that it is what was asked for, and is the beginning again."""
    content = request.content() or b""
    request.answer(content, 206, Content_Range=f"bytes {request.first}-{len(content) - 1}/{len(content)}")


def _huge_range(request: Request) -> None:
    """A part that says that the file is endless, and is."""
    request.head(206, Content_Range=f"bytes {request.first}-{1 << 60}/{1 << 60}", Content_Length=1 << 60)
    while not request.ended.is_set():
        request.wfile.write(bytes(65536))


def _more_than_length(request: Request) -> None:
    """More than its Content-Length."""
    content = request.content() or b""
    request.head(200, Content_Length=len(content))
    request.wfile.write(content + bytes(1 << 20))


def _less_than_length(request: Request) -> None:
    """It breaks off, every time at the same byte."""
    content = request.content() or b""
    request.head(200, Content_Length=len(content))
    request.wfile.write(content[: len(content) // 2])


def _bad_length(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + (request.content() or b"")[:-1])


def _poisoned(world: World) -> None:
    """What lies in the folder of downloads has the right name and size."""
    name = the_plain_file(world).partition(".")[2]
    (world.folders.incoming / name).write_bytes(bytes(24_000))


# --- encodings and heads ---------------------------------------------------------------------------------------------


def _bomb(request: Request) -> None:
    """A hundred megabytes of nothing, compressed, that nobody asked for."""
    request.answer(gzip.compress(bytes(100 << 20), 1), Content_Encoding="gzip")


def _many_headers(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200_000 + b"\r\n")


def _long_header(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * (16 << 20) + b"\r\n\r\n")


def _no_http(request: Request) -> None:
    request.wfile.write(b"\x00\xff" * 1000)


def _bad_chunks(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nabc")


def _endless_chunk_head(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not request.ended.is_set():
        request.wfile.write(b"0" * 65536)


def _continue_for_ever(request: Request) -> None:
    while not request.ended.wait(0.001):
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


# --- redirects -------------------------------------------------------------------------------------------------------


def redirect(to: str) -> Callable[[Request], None]:
    """Sends every request there; ``{}`` is its path."""
    return lambda request: request.answer(b"", 302, Location=to.format(request.path))


def _to_file(world: World) -> None:
    """To the same repository in a folder of the robot."""
    world.server.on("", redirect(world.repository.as_uri() + "{}"))


def _to_etc(world: World) -> None:
    world.server.on(the_plain_file(world), redirect("file:///etc/passwd"))


def _loop(world: World) -> None:
    world.server.on("timestamp.json", redirect("{}"))


def _endless_redirects(world: World) -> None:
    world.server.on("timestamp.json", redirect("{}x"))


def _to_evil_host(world: World) -> None:
    evil = world.own_mirror()
    (evil / "targets" / KIND / the_plain_file(world)).write_bytes(bytes(24_000))
    world.mirror = world.repository
    other = world.use(HostileServer(lambda: evil))
    world.server.on("", redirect(other.url + "{}"))


def _to(address: str) -> Deed:
    return lambda world: world.server.on(
        "timestamp.json", lambda request: request.answer(b"", 302, Location=address)
    )


# --- TLS and proxies -------------------------------------------------------------------------------------------------


def _tls(hosts: tuple[str, ...], believed: bool) -> Deed:
    def deed(world: World) -> None:
        """A server of TLS with a certificate for these hosts."""
        folder = world.folder / f"tls-{len(list(world.folder.iterdir()))}"
        folder.mkdir()
        authority = Authority(folder, "authority")
        certificate = authority.certificate("server", hosts)
        world.url = world.use(HostileServer(lambda: world.mirror, certificate)).url
        if believed:
            world.environment["SSL_CERT_FILE"] = str(authority.ca)

    return deed


right_tls = _tls(("localhost",), True)


def _tls_to_plain(world: World) -> None:
    """The server of TLS sends the robot to one without."""
    plain = world.server.url
    folder = world.folder / "tls-plain"
    folder.mkdir()
    authority = Authority(folder, "authority")
    server = world.use(HostileServer(lambda: world.mirror, authority.certificate("server", ("localhost",))))
    server.on("", redirect(plain + "{}"))
    world.url = server.url
    world.environment["SSL_CERT_FILE"] = str(authority.ca)


def _plain_where_tls_should_be(world: World) -> None:
    world.url = world.server.url.replace("http://", "https://")


def proxied(world: World) -> None:
    """The robot's way out is a proxy, which here is the server itself."""
    world.url = "http://models.example"
    world.environment |= {"http_proxy": world.server.url, "no_proxy": ""}


def _injecting(world: World) -> None:
    """The proxy puts other bytes in the place of the model's."""
    evil = world.own_mirror()
    (evil / "targets" / KIND / the_plain_file(world)).write_bytes(bytes(24_000))


def _injecting_html(world: World) -> None:
    world.server.on(
        "timestamp.json",
        lambda request: request.answer((request.content() or b"").replace(b"{", b"{<script>", 1)),
    )


def _dead_proxy(world: World) -> None:
    world.environment |= {"http_proxy": "http://localhost:1", "no_proxy": ""}


# --- sticks ----------------------------------------------------------------------------------------------------------


def on_a_stick(world: World) -> None:
    """The repository is a folder."""
    stick = world.own_mirror()
    world.url = stick.as_uri()


def _link_out(part: str, to: str) -> Deed:
    def deed(world: World) -> None:
        """A file of the stick is a link out of it."""
        path = _stick_file(world, part)
        path.unlink()
        path.symlink_to(to)

    return deed


def _fifo(part: str) -> Deed:
    def deed(world: World) -> None:
        """A file of the stick is one that nobody ever writes to."""
        path = _stick_file(world, part)
        path.unlink()
        os.mkfifo(path)

    return deed


def _stick_file(world: World, part: str) -> Path:
    name = the_plain_file(world) if part == MODEL else part
    return next(world.mirror.rglob(f"*{name}"))


def _folder_for_a_file(world: World) -> None:
    path = _stick_file(world, "timestamp.json")
    path.unlink()
    path.mkdir()


def _linked_folder(world: World) -> None:
    """The folder of the models is a link to one that holds others."""
    folder = world.mirror / "targets" / KIND
    evil = world.folder / "evil"
    shutil.copytree(folder, evil)
    (evil / the_plain_file(world)).write_bytes(bytes(24_000))
    shutil.rmtree(folder)
    folder.symlink_to(evil)


def _unsigned_news(world: World) -> None:
    """Somebody has counted up the versions on the stick by hand."""
    metadata = world.mirror / "metadata"
    timestamp = (metadata / "timestamp.json").read_text()
    (metadata / "timestamp.json").write_text(re.sub(r'("version": ?)3', r"\g<1>9", timestamp))
    (metadata / "9.snapshot.json").write_bytes((metadata / "3.snapshot.json").read_bytes())


def _without(part: str) -> Deed:
    def deed(world: World) -> None:
        """The stick was pulled out too early when it was written."""
        for path in world.mirror.rglob(f"*{the_plain_file(world) if part == MODEL else part}"):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    return deed


def _cut_file(world: World) -> None:
    file = _stick_file(world, MODEL)
    file.write_bytes(file.read_bytes()[:1000])


ATTACKS = (
    Attack(
        "a resumed download changes behind the cut",
        MIRROR,
        "the whole has the wrong hash: refused",
        on(MODEL, _changed_behind),
        SIGNED_BYTES,
        setting=half_is_here,
    ),
    Attack(
        "a resumed download changes once",
        MIRROR,
        "it is fetched anew from the beginning",
        on(MODEL, _changed_behind_once),
        "is to come",
        setting=half_is_here,
        drives=NEW,
    ),
    Attack(
        "a part of an earlier download was poisoned",
        "the folder of downloads",
        "it is fetched anew from the beginning",
        _poisoned,
        "is to come",
        drives=NEW,
    ),
    *(
        Attack(
            f"ranges: {name}", MIRROR, "refused", on(MODEL, deed), says, setting=half_is_here, drives=drives
        )
        for name, deed, says, drives in (
            ("another than was asked for", _other_range, "asked from byte 12000 on", OLD),
            ("none is named", _no_range, "asked from byte 12000 on", OLD),
            ("the beginning instead of the rest", _lying_range, "larger than the 24000 bytes", OLD),
            ("one without an end", _huge_range, "larger than the 24000 bytes", OLD),
        )
    ),
    Attack(
        "a body longer than it says",
        MIRROR,
        "no more than the signed bytes are taken",
        on(MODEL, _more_than_length),
        "is to come",
        drives=NEW,
    ),
    Attack(
        "a body shorter than it says, for ever",
        MIRROR,
        "given up, what is here is kept",
        on("timestamp.json", _less_than_length),
        "broke off",
    ),
    Attack("a negative length", MIRROR, "refused", on(MODEL, _bad_length), "ended after|broke off|reached"),
    Attack(
        "a compressed bomb",
        MIRROR,
        "nobody asked for it: refused",
        on("timestamp.json", _bomb),
        "nobody asked for that",
    ),
    Attack(
        "200000 header lines",
        MIRROR,
        "refused",
        on("timestamp.json", _many_headers),
        "cannot be reached|forged",
    ),
    Attack(
        "a header of 16 MiB",
        MIRROR,
        "refused",
        on("timestamp.json", _long_header),
        "cannot be reached|forged",
    ),
    Attack("no HTTP at all", MIRROR, "refused", on("timestamp.json", _no_http), "cannot be reached"),
    Attack("a chunk of 2^80 bytes", MIRROR, "refused", on("timestamp.json", _bad_chunks), "broke off|forged"),
    Attack(
        "an endless head of a chunk",
        MIRROR,
        "refused",
        on("timestamp.json", _endless_chunk_head),
        "broke off|took longer|least",
    ),
    Attack(
        "100 Continue for ever",
        MIRROR,
        "given up within its limits",
        on("timestamp.json", _continue_for_ever),
        "took longer|no answer in time|cannot be reached",
    ),
    Attack("redirected to a file of the robot", MIRROR, "refused", _to_file, "sends us from http to file"),
    Attack("redirected to /etc/passwd", MIRROR, "refused", _to_etc, "sends us from http to file"),
    Attack("redirected in a circle", MIRROR, "refused", _loop, "sends us on more than 3 times"),
    Attack(
        "redirected without an end", MIRROR, "refused", _endless_redirects, "sends us on more than 3 times"
    ),
    Attack(
        "redirected to another host, which lies",
        MIRROR,
        "signatures and hashes hold: refused",
        _to_evil_host,
        SIGNED_BYTES,
    ),
    *(
        Attack(f"redirected to no address: {address[:20]}", MIRROR, "refused in one line", _to(address), ".")
        for address in (
            "http://[::/",
            "http://localhost:99999/",
            "http://localhost:port/",
            "http:///",
            "http://.../",
            f"http://{'a' * 300}.example/",
            "http://\xff\xfe/",
            "//",
            "http://user:password@localhost:1/",
        )
    ),
    Attack(
        "TLS: sent on to plain HTTP",
        NETWORK,
        "refused",
        _tls_to_plain,
        "sends us from https to http",
        setting=right_tls,
    ),
    Attack(
        "TLS: a certificate of nobody known",
        NETWORK,
        "refused",
        _tls(("localhost",), False),
        "certificate is not believed",
        setting=right_tls,
    ),
    Attack(
        "TLS: a certificate for another host",
        NETWORK,
        "refused",
        _tls(("models.example",), True),
        "certificate is not believed: Hostname",
        setting=right_tls,
    ),
    Attack("TLS: plain HTTP answers", NETWORK, "refused", _plain_where_tls_should_be, "cannot be reached"),
    Attack("a proxy that injects bytes", "the proxy", "refused", _injecting, SIGNED_BYTES, setting=proxied),
    Attack("a proxy that injects script", "the proxy", "refused", _injecting_html, "forged", setting=proxied),
    Attack(
        "a proxy that is not there",
        "the network",
        "one line; the robot keeps its model",
        _dead_proxy,
        "cannot be reached",
        setting=proxied,
    ),
    *(
        Attack(
            f"stick: {name} is a link to {to}",
            STICK,
            "links out of it are not followed",
            _link_out(part, to),
            says,
            setting=on_a_stick,
        )
        for name, part, to, says in (
            ("the timestamp", "timestamp.json", "/dev/zero", "is a link"),
            ("the model", MODEL, "/etc/passwd", "is a link"),
        )
    ),
    *(
        Attack(
            f"stick: {name} is a FIFO",
            STICK,
            "refused at once",
            _fifo(part),
            "no file of a repository",
            setting=on_a_stick,
        )
        for name, part in (("the timestamp", "timestamp.json"), ("the model", MODEL))
    ),
    Attack(
        "stick: a folder in the place of a file",
        STICK,
        "refused",
        _folder_for_a_file,
        "no file of a repository",
        setting=on_a_stick,
    ),
    Attack(
        "stick: the models' folder is a link to others",
        STICK,
        "hashes hold: refused",
        _linked_folder,
        SIGNED_BYTES,
        setting=on_a_stick,
    ),
    Attack(
        "stick: newer-looking data that nobody signed",
        STICK,
        "refused",
        _unsigned_news,
        "not signed by whom",
        setting=on_a_stick,
    ),
    *(
        Attack(
            f"stick: without {name}",
            STICK,
            "one line; the robot keeps its model",
            _without(part),
            "is not there",
            setting=on_a_stick,
        )
        for name, part in (
            ("the timestamp", "timestamp.json"),
            ("the snapshot", "3.snapshot.json"),
            ("the kind's role", f"3.{KIND}.json"),
            ("the models", f"targets/{KIND}"),
            ("one file of the model", MODEL),
        )
    ),
    Attack(
        "stick: a file that was cut off",
        STICK,
        "refused",
        _cut_file,
        "ended after 1000 of 24000",
        setting=on_a_stick,
    ),
)
