"""One connection to an MQTT broker, and the topics of a fleet on it.

    edge-wm/KIND/ROBOT/status         a ``RobotStatus``, retained: the broker keeps the newest
    edge-wm/KIND/ROBOT/availability   ``online``, ``offline`` or ``asleep``, retained; the broker says ``offline`` for a robot that is
                                      gone, and forgets ``asleep`` when the robot is overdue

MQTT 5, because its broker says when a client may not publish: an older one takes the message and drops it.  All of a
connection happens in the thread that calls it.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_wm.errors import BadInput
from edge_wm.fleet.config import BrokerConfig, address_of, refuse_in_the_clear, secret_in
from edge_wm.network_error import said

SCHEMES = {"mqtts": (8883, True), "mqtt": (1883, False)}
CONNECT_S = 15.0
TURN_S = 0.2
AGAIN = 1
"""Marks the message that was asked for with ``ask_again``: MQTT 5's subscription identifier."""
MAX_PACKET_BYTES = 256 << 10
"""Far more than any status: a broker that sends more is up to something."""

OnMessage = Callable[[str, bytes], None]


def status_topic(robot_kind: str, robot_id: str) -> str:
    """Where a robot says what it has; ``+`` stands for any kind or robot."""
    return f"edge-wm/{robot_kind}/{robot_id}/status"


def availability_topic(robot_kind: str, robot_id: str) -> str:
    """Where it stands whether a robot can be heard; ``+`` stands for any kind or robot."""
    return f"edge-wm/{robot_kind}/{robot_id}/availability"


class _BoundedClient(paho.Client):
    """paho allocates for a packet what its sender says, up to 256 MiB: too much for a small board."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_PACKET_BYTES:  # what is missing of a packet
            raise ConnectionError(f"a packet of {bufsize} bytes")
        return super()._sock_recv(bufsize)

    def free_sockets(self) -> None:
        """Now: paho does so when somebody collects the client."""
        self._reset_sockets()


class BrokerConnection:
    """A connection, open as a context manager; it takes leave unless an error ends it, and then the broker publishes the will.

    Args:
        config: whom to connect to.
        folder: what the paths in it are relative to.
        client_id: tells this client from others; the broker ends an older connection with the same one.
        will: topic and content of what the broker publishes, retained, when the connection breaks.
        on_message: is given topic and content of what was subscribed to.
    """

    def __init__(
        self,
        config: BrokerConfig,
        folder: Path,
        client_id: str,
        *,
        will: tuple[str, bytes] | None = None,
        on_message: OnMessage | None = None,
    ) -> None:
        self._url = config.url
        self._address = address_of(config.url, SCHEMES)
        self._keepalive_s = config.keepalive_s
        self._connected = False
        self._refused: str | None = None
        self._unanswered: set[int] = set()
        self._on_message = on_message
        self.retained: str | None = None
        """The topic of the newest message that the broker had kept; None before there was one."""
        self.again = False
        """Whether what ``ask_again`` asked for has come."""
        self._client = _BoundedClient(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.connect_timeout = CONNECT_S
        if self._address.tls:
            self._client.tls_set_context(_tls(config, folder))
        if config.user is not None:
            if config.password_file is not None:
                refuse_in_the_clear(self._address, config.url)
            password = secret_in(folder / config.password_file) if config.password_file else None
            self._client.username_pw_set(config.user, password)
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_any_message

    def __enter__(self) -> BrokerConnection:
        """Connect, and wait until the broker has agreed.

        Raises:
            BadInput: it cannot be reached, is not the one that is trusted, or does not want this client.
        """
        try:
            self._client.connect(self._address.host, self._address.port, self._keepalive_s)
            self._turn_until(lambda: self._connected, CONNECT_S, "does not answer as an MQTT broker")
        except (OSError, ValueError, BadInput) as error:
            self._client.free_sockets()
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{self._url}: {said(error)}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._client.disconnect()
        self._client.free_sockets()

    def publish(self, topic: str, content: bytes, forget_after_s: float | None = None) -> None:
        """Hand over something to keep, for so long if it is said; ``delivered`` says when the broker has it."""
        expiry = None
        if forget_after_s is not None:
            expiry = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            expiry.MessageExpiryInterval = math.ceil(forget_after_s)
        mid = self._client.publish(topic, content, qos=1, retain=True, properties=expiry).mid
        self._unanswered.add(mid)

    @property
    def delivered(self) -> bool:
        """Whether the broker has answered everything: it has what was published."""
        return not self._unanswered

    def subscribe(self, topics: list[str]) -> None:
        """Ask for messages, and wait until the broker has agreed.

        They are asked for without acknowledgement (QoS 0), as a fleet's retained messages come all at once: of messages that
        wait for one, a broker queues a thousand for a client, and drops the others.

        Raises:
            BadInput: the connection is lost, or this client may not read them.
        """
        self._ask(topics, None)
        self._turn_until(lambda: self.delivered, CONNECT_S, "does not answer")

    def ask_again(self, topic: str) -> None:
        """Ask once more for a kept message: ``again`` says when it has come.

        A broker answers in order, so all that was asked for before has come by then.  MQTT promises that of one topic only;
        mosquitto keeps one queue for all that goes to a client.  It lets the message lie there if it has much to send just
        then: ask once more when this is ``delivered`` and nothing came.
        """
        identifier = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
        identifier.SubscriptionIdentifier = AGAIN
        self._ask([topic], identifier)

    def _ask(self, topics: list[str], properties: Properties | None) -> None:
        _, mid = self._client.subscribe([(topic, 0) for topic in topics], properties=properties)
        if mid is None:
            raise BadInput(f"{self._url}: the connection is lost")
        self._unanswered.add(mid)

    def turn(self, timeout_s: float = TURN_S) -> None:
        """Send and receive for up to ``timeout_s``; less if something came.

        Raises:
            BadInput: the connection is lost, or the broker refused something.
        """
        try:
            code = self._client.loop(timeout_s)
        except Exception as error:  # paho has no one kind of error for what is not MQTT
            raise BadInput(f"{self._url}: sends what is not MQTT ({type(error).__name__})") from None
        if self._refused is not None:
            raise BadInput(f"{self._url}: {self._refused}")
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BadInput(f"{self._url}: the connection is lost")

    def _turn_until(self, done: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        end = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > end:
                raise BadInput(f"{self._url}: {otherwise}")
            self.turn()

    # --- what paho calls ---------------------------------------------------------------------------------------------

    def _on_connect(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = f"refuses the connection: {code}"
        self._connected = not code.is_failure

    def _on_any_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.retain:
            self.retained = message.topic
            self.again |= AGAIN in getattr(message.properties, "SubscriptionIdentifier", ())
        if self._on_message is not None:
            self._on_message(message.topic, bytes(message.payload))

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure and self._refused is None and str(code) != "Unspecified error":
            self._refused = f"ends the connection: {code}"

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        self._unanswered.discard(mid)
        if code.is_failure:
            self._refused = f"refuses the robot's message: {code}"

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Properties
    ) -> None:
        self._unanswered.discard(mid)
        for code in codes:
            if code.is_failure:
                self._refused = f"refuses to let this client read: {code}"


def _tls(config: BrokerConfig, folder: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(folder / config.ca) if config.ca else None)
        if config.certificate is not None:
            key = str(folder / config.key) if config.key else None
            context.load_cert_chain(str(folder / config.certificate), key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (config.ca, config.certificate, config.key)))
        raise BadInput(f"{files}: {said(error)}") from None
    return context
