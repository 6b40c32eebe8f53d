"""Where a server, a proxy, or whoever is in between sends a robot."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.attack import Attack, Deed
from tests.attacks.hostile_server import HostileServer, Request
from tests.attacks.servers import MIRROR, NETWORK, SIGNED_BYTES
from tests.attacks.specification import the_plain_file
from tests.attacks.world import KIND, World
from tests.fleet.certificates import Authority


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


ATTACKS = (
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
)
