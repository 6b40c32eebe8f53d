"""The tables ``[mqtt]`` and ``[rollout]`` of ``update.toml``: whom a robot tells what it has, and whom it asks when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from edge_wm.errors import BadInput

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts to which a secret may go in the clear."""

Tenant = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z")]


class BrokerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """An MQTT broker; paths are relative to the file that names them.

    Attributes:
        url: ``mqtts://host[:8883]``, or ``mqtt://host[:1883]`` without TLS.
        ca: certificates that are believed; None for the system's.
        certificate: of this client, with the chain to its authority, if the broker asks for one.
        key: of that certificate; None if it is in the same file.
        user: name to log in with.
        password_file: its first line is the password.
        keepalive_s: after one and a half times as long without a word the broker says that this client is offline.
    """

    url: str
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 120


class RolloutConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A rollout server that speaks hawkBit's DDI; paths are relative to the file that names them.

    Attributes:
        url: ``https://host[:port]``, or ``http://…`` on this machine.
        token_file: its first line is the token.
        tenant: of the server.
        token: whether that is the token of this robot or of all robots behind a gateway.
        ca: certificates that are believed; None for the system's.
    """

    url: str
    token_file: str
    tenant: Tenant = "DEFAULT"
    token: Literal["target", "gateway"] = "target"
    ca: str | None = None


class Address(Struct, frozen=True):
    """Where a server is."""

    host: str
    port: int
    tls: bool


def address_of(url: str, schemes: dict[str, tuple[int, bool]]) -> Address:
    """The address in a URL of scheme, host and port.

    Args:
        url: what a person wrote.
        schemes: for each the usual port, and whether it is TLS.

    Raises:
        BadInput: it is something else.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"{url}: {error}") from None
    if parts.scheme not in schemes or not parts.hostname:
        known = " or ".join(f"{scheme}://HOST" for scheme in schemes)
        raise BadInput(f"{url}: write {known}, with :PORT if it is an unusual one")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise BadInput(f"{url}: only scheme, host and port belong here")
    usual, tls = schemes[parts.scheme]
    return Address(parts.hostname, port if port is not None else usual, tls)


def secret_in(file: Path) -> str:
    """The first line of a file that holds a password or a token.

    Raises:
        BadInput: it cannot be read, or its first line is empty or no text.
    """
    try:
        secret = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadInput(f"{file}: holds no text") from None
    if not secret or not secret.isprintable():
        raise BadInput(f"{file}: its first line must be the secret")
    return secret


def refuse_in_the_clear(address: Address, url: str) -> None:
    """Raise BadInput if a secret would travel to another machine without TLS."""
    if not address.tls and address.host not in LOOPBACK:
        raise BadInput(f"{url}: a secret would travel in the clear: use {url.partition(':')[0]}s://")
