"""An uplink with a real journal and a real broker, and a gate between them that can misbehave packet by packet."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.delivery.model.inputs import Moment
from agent.identity.seal import Sealer
from agent.journal.entries import Batch, EventEntry
from agent.journal.envelope import Chain
from agent.journal.store import Journal
from agent.settings import BrokerSettings
from agent.uplink.backoff import Timing
from agent.uplink.inbox import InboxReader, Incoming
from agent.uplink.session_record import SESSION_FILE
from agent.uplink.uplink import Listeners, Uplink
from tests.waiting import PATIENCE_S, wait_until

FLEET, UNIT = "fleet", "u1"
ROOT = f"kerbside/{FLEET}/{UNIT}"
QUICK = Timing(
    connack_s=3.0,
    puback_s=1.5,
    retry_min_s=0.05,
    retry_max_s=0.4,
    takeover_s=30.0,
    alone_max_s=1.0,
    quiet_s=0.3,
    stable_s=5.0,
    telemetry_s=0.2,
    resend_s=600.0,
)

CONNECT, PUBLISH, PUBACK, SUBSCRIBE = 1, 3, 4, 8


def until(condition: Callable[[], Any], what: str, found_instead: Callable[[], Any] = lambda: "") -> Any:
    """What the condition gives once it gives something true."""
    return wait_until(condition, what, instead=found_instead)


def now() -> Moment:
    return Moment(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000, "boot-1", "ntp")


@dataclass(frozen=True)
class Packet:
    """One MQTT packet."""

    type: int
    flags: int
    body: bytes
    raw: bytes

    @property
    def topic(self) -> str:
        length = int.from_bytes(self.body[:2], "big")
        return self.body[2 : 2 + length].decode()

    @property
    def mid(self) -> bytes:
        if self.type == PUBACK:
            return self.body[:2]
        length = int.from_bytes(self.body[:2], "big")
        return self.body[2 + length : 4 + length]


class Side:
    """The two sockets of one connection through the gate."""

    def __init__(self, unit: socket.socket, broker: socket.socket) -> None:
        self._unit, self._broker = unit, broker

    def tell_unit(self, raw: bytes) -> None:
        self._unit.sendall(raw)

    def close(self) -> None:
        for end in (self._unit, self._broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


Hook = Callable[[Packet, Side], bool]


class Gate:
    """A TCP listener in front of a broker. A hook that returns true has dealt with the packet itself."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.from_unit: Hook = lambda _packet, _side: False
        self.from_broker: Hook = lambda _packet, _side: False
        self.connections = 0
        self.seen: list[Packet] = []
        """What the unit sent."""
        self._sides: list[Side] = []
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def published(self, part: str) -> list[Packet]:
        return [packet for packet in list(self.seen) if packet.type == PUBLISH and part in packet.topic]

    def shut(self) -> None:
        """Cut every connection and let no other begin, until `reopen`."""
        self.from_unit = lambda packet, side: packet.type == CONNECT and (side.close() or True)  # type: ignore[func-returns-value]
        self.cut()

    def reopen(self) -> None:
        """Everything passes again."""
        self.from_unit = lambda _packet, _side: False

    def cut(self) -> None:
        """Cut every connection, as a tunnel does."""
        for side in self._sides:
            side.close()
        self._sides.clear()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._closed:
            try:
                unit, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
            except OSError:
                unit.close()
                continue
            for end in (unit, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side = Side(unit, broker)
            self._sides.append(side)
            for source, target, ours in ((unit, broker, True), (broker, unit, False)):
                thread = threading.Thread(target=self._carry, args=(source, target, side, ours), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, target: socket.socket, side: Side, from_unit: bool) -> None:
        try:
            for packet in packets(source):
                if from_unit:
                    self.seen.append(packet)
                hook = self.from_unit if from_unit else self.from_broker
                if not hook(packet, side):
                    target.sendall(packet.raw)
        except OSError:
            pass
        finally:
            side.close()


def packets(source: socket.socket) -> Iterator[Packet]:
    """The packets of one direction until the connection ends."""
    stream = source.makefile("rb")
    while first := stream.read(1):
        length, shift, header = 0, 0, first
        while True:
            byte = stream.read(1)
            if not byte:
                return
            header += byte
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if not byte[0] & 0x80:
                break
        body = stream.read(length)
        if len(body) < length:
            return
        yield Packet(first[0] >> 4, first[0] & 0x0F, body, header + body)


class Listener:
    """Keeps what the uplink tells, and acknowledges when it should."""

    def __init__(self) -> None:
        self.messages: list[Incoming] = []
        self.states: list[tuple[bool, str]] = []
        self.lost = 0
        self.acknowledge: Callable[[Incoming], None] = lambda _message: None
        self.on_session_lost: Callable[[], Any] = lambda: None
        self.uplink: Uplink | None = None

    def listeners(self) -> Listeners:
        return Listeners(
            on_message=self._on_message,
            on_state=self._on_state,
            on_session_lost=self._on_session_lost,
            on_damage=lambda _fault: None,
        )

    def _on_message(self, incoming: Incoming) -> None:
        self.messages.append(incoming)
        self.acknowledge(incoming)

    def _on_state(self) -> None:
        if self.uplink is not None:
            self.states.append((self.uplink.state.online, self.uplink.state.reason))

    def _on_session_lost(self) -> None:
        self.lost += 1
        self.on_session_lost()


class Vehicle:
    """One unit: journal, chain and uplink; `restart` begins a new process's life on the same state."""

    def __init__(
        self, state_dir: Path, url: str, *, timing: Timing = QUICK, confirm: str = "broker", **settings: Any
    ) -> None:
        state_dir.mkdir(exist_ok=True)
        self.state_dir = state_dir
        self.timing, self.confirm = timing, confirm
        self.settings = {"url": url, **settings}
        self.journal = Journal.open(state_dir, max_bytes=1 << 28, retain_days=30, confirm=confirm)  # type: ignore[arg-type]
        head = self.journal.head
        self.chain = Chain(f"/{FLEET}/{UNIT}", head.sequence, head.hash)
        self.is_scanning = False
        """Whether a driver waits for a beep."""
        self.reader = InboxReader(Sealer(state_dir, self.journal.keys()))
        self.listener = Listener()
        self.uplink = self._make()

    def _make(self) -> Uplink:
        uplink = Uplink(
            BrokerSettings(**self.settings),
            FLEET,
            UNIT,
            self.journal,
            self.reader,
            self.listener.listeners(),
            state_dir=self.state_dir,
            now=now,
            confirm=self.confirm,  # type: ignore[arg-type]
            timing=self.timing,
            gives_way=lambda: self.is_scanning,
        )
        self.listener.uplink = uplink
        return uplink

    def start(self, *, online: bool = True) -> Self:
        self.uplink.start()
        if online:
            self.online()
        return self

    def online(self) -> None:
        """Connected, and the inbox is subscribed to."""
        session = self.state_dir / SESSION_FILE
        until(lambda: self.uplink.state.online and session.exists(), "the connection", lambda: self.uplink.state)

    def offline(self) -> str:
        until(lambda: not self.uplink.state.online, "the loss of the connection", lambda: self.uplink.state)
        return self.uplink.state.reason

    def restart(self, **settings: Any) -> None:
        assert self.uplink.stop()
        self.settings.update(settings)
        self.listener = Listener()
        self.uplink = self._make()
        self.start()

    def write(self, count: int = 1, type_: str = "parcel.loaded", **data: Any) -> list[EventEntry]:
        """Events that are durable when this returns."""
        events = [self.chain.add(type_, f"parcel/P{n}", {"n": n, **data}, now()) for n in range(count)]
        written: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self.journal.write(Batch(tuple(events)), written.put)
        fault = written.get(timeout=PATIENCE_S)
        assert fault is None, fault
        self.uplink.wake()
        return events

    def confirmed(self, sequence: int) -> None:
        until(lambda: self.journal.confirmed >= sequence, f"the cursor at {sequence}", lambda: self.journal.status())

    def close(self) -> None:
        self.uplink.stop()
        self.journal.close()


@dataclass
class Subscriber:
    """A plain paho client that hears everything of the unit, from before it is connected until it is closed."""

    port: int
    topic: str = f"{ROOT}/#"
    client_id: str = "subscriber"
    protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
    heard: list[MQTTMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        five = self.protocol == MQTTProtocolVersion.MQTTv5
        self.client = Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=self.protocol, clean_session=None if five else False
        )
        self._ready = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe(self.topic, qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.append(message)
        self.client.reconnect_delay_set(1, 1)
        properties = None
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
        self.client.connect(
            "127.0.0.1", self.port, **({"clean_start": False, "properties": properties} if five else {})
        )
        self.client.loop_start()
        assert self._ready.wait(PATIENCE_S)

    def on(self, part: str) -> list[MQTTMessage]:
        return [message for message in list(self.heard) if part in message.topic]

    def payloads(self, part: str = "/events/") -> list[bytes]:
        return [bytes(message.payload) for message in self.on(part)]

    def publish(self, topic: str, payload: bytes, **more: Any) -> None:
        self.client.publish(topic, payload, qos=1, **more).wait_for_publish(PATIENCE_S)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
