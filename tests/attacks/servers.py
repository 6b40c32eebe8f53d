"""What a server does to a download: ranges, lengths and heads that lie."""

from __future__ import annotations

import gzip

from tests.attacks.attack import Attack
from tests.attacks.hostile_server import Request, honest
from tests.attacks.specification import MODEL, on, the_plain_file
from tests.attacks.world import KIND, NEW, OLD, World

NETWORK, MIRROR, STICK = "the network", "the mirror", "the stick"

SIGNED_BYTES = "is not the file that was signed"


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
            ("the beginning instead of the rest", _lying_range, "is to come", NEW),
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
)
