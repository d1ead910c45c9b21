"""One generation of the MQTT connection: a fresh paho client, driven from one thread over its own socket.

paho's callbacks only take notes; whoever owns the connection calls `step` and reads the notes afterwards, outside
paho's locks. Nothing is queued inside paho beyond the window, and nothing survives the generation: what was not
acknowledged is published again by the next one. Tested with paho-mqtt 2.2.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.settings import BrokerSettings, UnusableError, tls_files
from agent.uplink.backoff import Cause, End, Protocol
from drivers.limited_log import LimitedLog

unreadable: Final = LimitedLog(logging.getLogger(__name__), "unreadable properties")

PACKET_OVERHEAD_BYTES: Final = 80
"""What an MQTT packet needs around topic and payload, our properties included."""
SESSION_EXPIRY_S: Final = 7 * 86_400
RECEIVE_MAXIMUM: Final = 20
"""Inbox messages that the broker may send before the first of them is acknowledged."""
MAX_INCOMING_BYTES: Final = 4 * 1024 * 1024
"""Larger packets are kept back by a broker of MQTT 5; what is too large below that is answered."""
UNSUPPORTED_VERSION: Final = 0x84
TAKEN_OVER: Final = 0x8E
MAX_WINDOW: Final = 1000
"""More brings nothing: what is under way is sent again after a cut."""
NO_SUBSCRIBERS: Final = 0x10
FAILURE: Final = 0x80
"""Reason codes from here on say that something was not done (MQTT 5 §2.4)."""
MAX_PROPERTIES_BYTES: Final = 70_000
"""Response topic and correlation data at their longest; paho's time for reading more of them grows with the square."""
READ_BYTES: Final = 65_536
_READ_ROUNDS: Final = 64
_HARMLESS: Final = {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN, MQTTErrorCode.MQTT_ERR_NO_CONN}


class UplinkError(Exception):
    """The uplink cannot be set up: says which setting, what was found and what to do."""


class _Client(Client):
    """paho's client, for which a message with properties that it cannot read is a message without properties.

    To paho they are a fault of the protocol, although they may be valid (a user property with U+FEFF is one): the
    connection would end, the broker would send the message again with the next one, and so on for ever.
    Of a message of any size, which a broker of MQTT 3.1.1 does not keep back, only the beginning is held in memory.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        return super()._sock_recv(min(bufsize, READ_BYTES))

    def _packet_read(self) -> MQTTErrorCode:
        code = super()._packet_read()  # which reads a hundred times at most
        del self._in_packet["packet"][MAX_INCOMING_BYTES:]
        return code

    def _handle_publish(self) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            start = 2 + int.from_bytes(packet[:2], "big") + (2 if self._in_packet["command"] & 0x06 else 0)
            length, of_length = VariableByteIntegers.decode(packet[start : start + 4])  # type: ignore[no-untyped-call]
            if length > MAX_PROPERTIES_BYTES or not _can_be_read(packet[start : start + of_length + length]):
                unreadable.warning("uplink: a message is taken without its properties, which cannot be read")
                self._in_packet["packet"] = packet[:start] + b"\x00" + packet[start + of_length + length :]
        return super()._handle_publish()


def _can_be_read(packed: bytes | bytearray) -> bool:
    try:
        Properties(PacketTypes.PUBLISH).unpack(packed)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 (whatever paho stumbles over)
        return False
    return True


class _PackedProperties(Properties):
    """Properties that are serialised once: paho packs them anew for every publish."""

    def __init__(self, **members: Any) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in members.items():
            setattr(self, name, value)
        object.__setattr__(self, "_packed", super().pack())  # type: ignore[no-untyped-call]

    def pack(self) -> bytes:
        """The bytes on the wire."""
        packed: bytes = self.__dict__["_packed"]
        return packed


def properties(packet_type: int, **members: Any) -> Properties:
    """Properties of one packet, by their names in MQTT 5 §2.2.2.2 without the spaces."""
    made = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in members.items():
        setattr(made, name, value)
    return made


EVENT_PROPERTIES: Final = _PackedProperties(ContentType="application/cloudevents+json")
STATUS_PROPERTIES: Final = _PackedProperties(ContentType="application/json")


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone."""

    topic: str
    payload: bytes


class Connection:
    """From CONNECT to the end of the socket.

    :param generation: tells this connection's packet identifiers from those of any other
    """

    def __init__(self, broker: BrokerSettings, client_id: str, protocol: Protocol, will: Will, generation: int) -> None:
        self.generation: Final = generation
        self.protocol: Final = protocol
        self.connected = False
        """CONNACK has come, with success."""
        self.session_present = False
        self.window = min(broker.max_inflight, MAX_WINDOW)
        self.max_packet_bytes = broker.max_packet_bytes
        self.ended: End | None = None
        """Why the connection is over; ``None`` while it is alive."""
        self.published: deque[tuple[int, int]] = deque()
        """PUBACKs: packet identifier and reason code."""
        self.arrived: deque[MQTTMessage] = deque()
        self._traffic_bytes = 0
        self.subscribed: deque[tuple[int, list[int]]] = deque()
        """SUBACKs: packet identifier and reason codes."""
        self._broker = broker
        self._client = self._make_client(client_id, will)
        self._selector = selectors.DefaultSelector()
        self._socket: Any = None
        self._interest = 0
        self._checked_s = 0.0

    def _make_client(self, client_id: str, will: Will) -> Client:
        broker, five = self._broker, self.protocol == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if five else False,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # the window is ours: paho scans its queue at every PUBACK to keep one
        client.connect_timeout = 10.0
        of_will = properties(PacketTypes.WILLMESSAGE, ContentType="application/json") if five else None
        client.will_set(will.topic, will.payload, qos=1, retain=True, properties=of_will)
        if broker.username is not None:
            client.username_pw_set(broker.username, password_of(broker))
        if broker.tls:
            client.tls_set_context(tls_context(broker))
        client.on_socket_open = self._on_socket_open
        client.on_socket_register_write = _nothing  # paho then queues, and `step` writes
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    # ---------------------------------------------------------------- driving

    def open(self, wake: socket.socket) -> None:
        """Connect and send CONNECT; blocks for name, TCP and TLS, each bounded.

        :param wake: what arrives there ends a waiting `step`
        :raises OSError: no way to the broker (`ssl.SSLError` is one)
        """
        self._selector.register(wake, selectors.EVENT_READ)
        if self.protocol == "5":
            asked = properties(
                PacketTypes.CONNECT,
                SessionExpiryInterval=SESSION_EXPIRY_S,
                ReceiveMaximum=RECEIVE_MAXIMUM,
                MaximumPacketSize=MAX_INCOMING_BYTES,
            )
            self._client.connect(
                self._broker.host, self._broker.port, self._broker.keepalive_s, clean_start=False, properties=asked
            )
        else:
            self._client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
        self._socket = self._client.socket()
        self._interest = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(self._socket, self._interest)

    def step(self, timeout_s: float) -> None:
        """Wait for the socket or the wake pipe, then read and write what is possible, and keep the connection alive."""
        readable = writable = False
        for key, mask in self._selector.select(timeout_s):
            if key.fileobj is self._socket:
                readable = readable or bool(mask & selectors.EVENT_READ)
                writable = writable or bool(mask & selectors.EVENT_WRITE)
        if readable:
            self._read()
        if writable and self.ended is None:
            self.flush()
        now_s = time.monotonic()
        if now_s - self._checked_s >= 0.5 and self.ended is None:
            self._checked_s = now_s
            self._note(self._client.loop_misc())

    def _read(self) -> None:
        # paho reads as many packets as it has publishes under way, at least one: a decrypted rest in the TLS layer
        # would not wake the selector again.
        for _ in range(_READ_ROUNDS):
            self._note(self._client.loop_read())
            if self.ended is not None or not getattr(self._socket, "pending", _none_pending)():
                return

    def flush(self) -> None:
        """Write what paho has queued, as far as the socket takes it."""
        if self._client.want_write():
            self._note(self._client.loop_write())
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        if self.ended is None and interest != self._interest:
            self._interest = interest
            self._selector.modify(self._socket, interest)

    def _note(self, code: MQTTErrorCode) -> None:
        refused = self.ended is not None and self.ended.cause in {Cause.REFUSED, Cause.VERSION_REFUSED}
        if code == MQTTErrorCode.MQTT_ERR_PROTOCOL and not self.connected and not refused:
            # An answer of the other version of MQTT; paho reports it as a closed connection first.
            self.ended = End(Cause.VERSION_REFUSED, f"the broker does not speak MQTT {self.protocol}")
        elif self._client.socket() is None or code not in _HARMLESS:
            self.end(Cause.LOST, "connection lost")

    def end(self, cause: Cause, reason: str) -> None:
        """It is over from now on; what was said first about why remains."""
        if self.ended is None:
            self.ended = End(cause, reason)

    def take_traffic(self) -> int:
        """What has been carried since the last time, about, in bytes: what TLS and TCP add is not known here."""
        traffic_bytes, self._traffic_bytes = self._traffic_bytes, 0
        return traffic_bytes

    def leave(self) -> None:
        """Say DISCONNECT, so that the broker keeps the will to itself."""
        if self.ended is None:
            self._client.disconnect()
            self._client.loop_write()

    def close(self) -> None:
        """Give back the socket. Without `leave` before, the broker publishes the will."""
        self._selector.close()
        held = self._client.socket()
        if held is not None:
            held.close()  # type: ignore[no-untyped-call, unused-ignore]
        self.end(Cause.DISCONNECTED, "closed")

    # ---------------------------------------------------------------- saying

    def publish(self, topic: str, payload: bytes, described: Properties, *, retain: bool = False) -> int:
        """Queue one QoS 1 message; gives its packet identifier. MQTT 3.1.1 knows no properties."""
        self._traffic_bytes += len(topic) + len(payload) + PACKET_OVERHEAD_BYTES
        return self._client.publish(topic, payload, 1, retain, described if self.protocol == "5" else None).mid

    def packet_bytes(self, topic: str, payload: bytes, described: Properties) -> int:
        """What `publish` would send, in bytes: the size that the broker's Maximum Packet Size bounds."""
        rest = 4 + len(topic.encode()) + len(payload)  # length of the topic and packet identifier take two bytes each
        if self.protocol == "5":
            rest += len(described.pack())  # type: ignore[no-untyped-call]
        return 2 + rest + (rest >= 1 << 7) + (rest >= 1 << 14) + (rest >= 1 << 21)

    def subscribe(self, inbox: str, status: str) -> int | None:
        """Ask for the inbox (QoS 1) and for what is said about us (QoS 0); gives the packet identifier."""
        if self.protocol == "5":
            return self._client.subscribe(
                [
                    (inbox, SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)),
                    (status, SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)),
                ]
            )[1]
        return self._client.subscribe([(inbox, 1), (status, 0)])[1]

    def acknowledge(self, mid: int) -> None:
        """Send PUBACK for an inbox message."""
        self._client.ack(mid, 1)

    # ---------------------------------------------------------------- paho's callbacks: they only take notes

    def _on_socket_open(self, _client: Client, _data: Any, opened: Any) -> None:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, _client: Client, _data: Any, flags: ConnectFlags, reason: ReasonCode, given: Properties | None
    ) -> None:
        if reason.value >= FAILURE:
            cause = Cause.VERSION_REFUSED if reason.value == UNSUPPORTED_VERSION else Cause.REFUSED
            self.end(cause, f"the broker refused the connection: {reason.getName()} (0x{reason.value:02X})")
            return
        self.connected = True
        self.session_present = flags.session_present
        self.window = min(self.window, getattr(given, "ReceiveMaximum", 65_535))
        self.max_packet_bytes = min(self.max_packet_bytes, getattr(given, "MaximumPacketSize", 268_435_455))
        if getattr(given, "MaximumQoS", 1) < 1:
            self.end(Cause.DISCONNECTED, "the broker does not support QoS 1, which acknowledged delivery needs")

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            cause = Cause.TAKEN_OVER if reason.value == TAKEN_OVER else Cause.DISCONNECTED
            self.end(cause, f"the broker ended the connection: {reason.getName()} (0x{reason.value:02X})")
        elif self.connected:
            self.end(Cause.LOST, "connection lost")
        else:
            self.end(Cause.CLOSED_UNANSWERED, "the broker closed the connection instead of answering CONNECT")

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self.subscribed.append((mid, [reason.value for reason in reasons]))

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.published.append((mid, reason.value))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._traffic_bytes += len(message.payload) + PACKET_OVERHEAD_BYTES
        self.arrived.append(message)


def _nothing(*_arguments: Any) -> None:
    """A callback whose presence is all that matters."""


def _none_pending() -> int:
    return 0


def password_of(broker: BrokerSettings) -> str | None:
    if broker.password_file is None:
        return None
    try:
        return tls_files.password(broker.password_file)
    except UnusableError as error:
        raise UplinkError(f"broker.password_file: {error}") from error


def tls_context(broker: BrokerSettings) -> ssl.SSLContext:
    """The unit's view of TLS: the broker's certificate and name are always verified."""
    try:
        context = ssl.create_default_context(cafile=None if broker.ca_file is None else str(broker.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise UplinkError(_wrong_file(broker)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.cert_file is not None:
        try:
            # Without a password OpenSSL would ask the terminal for one.
            context.load_cert_chain(broker.cert_file, broker.key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise UplinkError(_wrong_file(broker)) from error
    return context


def _wrong_file(broker: BrokerSettings) -> str:
    """What is wrong with the files of the connection."""
    for key, error in tls_files.examine(broker):
        return f"{key}: {error}"
    return "broker.ca_file, broker.cert_file, broker.key_file: one of them was replaced this moment: try again"


def in_words(code: int) -> str:
    """A reason code that says that something was not done (MQTT 5 §2.4)."""
    words = {
        0x80: "unspecified error",
        0x83: "implementation specific error",
        0x87: "not authorized",
        0x8F: "topic filter invalid",
        0x90: "topic name invalid",
        0x91: "packet identifier in use",
        0x97: "quota exceeded",
        0x99: "payload format invalid",
    }
    return f"{words.get(code, 'failure')} (0x{code:02X})"


def unreachable(broker: BrokerSettings, error: Exception) -> str:
    """Why `Connection.open` has failed."""
    where = f"{broker.host}:{broker.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where}: the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{where}: no TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return f"{where}: no answer"
    return f"{where}: {getattr(error, 'strerror', None) or error}"
