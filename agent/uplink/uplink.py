"""The uplink: one thread that owns the MQTT connection, sends what the journal holds and hands over what comes in.

Events go out in the order of their sequence and before any telemetry; the journal's cursor moves over the unbroken
prefix of what was acknowledged with success. Inbox messages are acknowledged when their owner says so, in the order
they came, and only on the connection they came on. No fault ends the thread: it is shown in `state`, and the next
connection begins where this one left off. The methods of `Uplink` may be called from any thread and never wait.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec

from paho.mqtt.packettypes import PacketTypes

from agent.delivery.model.inputs import Moment
from agent.journal.entries import JournalError
from agent.journal.store import Journal
from agent.journal.telemetry import STREAMS
from agent.settings import BrokerSettings, is_loopback
from agent.uplink.backoff import TIMING, Backoff, Cause, End, Pause, Timing
from agent.uplink.budget import Budget
from agent.uplink.connection import Connection, UplinkError, Will, properties, unreachable
from agent.uplink.cuts import Cuts
from agent.uplink.events import Confirm, EventsLane, ReplaysLane
from agent.uplink.inbox import InboxReader, Incoming, Token
from agent.uplink.lanes import Lane, RepliesLane, StatusLane, TelemetryLane
from agent.uplink.session import Parts, Session
from agent.uplink.session_record import SessionRecord
from contract.topics import Topics
from drivers.readings import Condition, PartState

log = logging.getLogger(__name__)

BUDGET_FILE: Final = "uplink.traffic"
CONNECTING: Final = "connecting"

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class UplinkState:
    """What the connection to the broker is doing."""

    online: bool = False
    reason: str = "not started"
    """Why it is offline, or what is wrong although it is online; empty when all is well."""
    since_ns: int = 0
    """Since when it is online or offline, on the monotonic clock."""
    protocol: str | None = None
    """``5`` or ``3.1.1``, while online."""
    inflight: int = 0
    last_transfer_ns: int | None = None
    """When the broker last acknowledged something, on the monotonic clock."""

    def as_part(self) -> PartState:
        """The same, as the status topic, the doctor and the screen show the unit's parts."""
        return PartState(Condition.READY if self.online else Condition.FAULTY, self.reason, self.since_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listeners:
    """Whom the uplink tells of what; each is called in the uplink's thread, so it should only pass things on."""

    on_message: Callable[[Incoming], None]
    """An inbox message has come; `Uplink.acknowledge` once it is durable."""
    on_state: Callable[[], None]
    """The connection came, went, or has another reason: see `Uplink.state`."""
    on_session_lost: Callable[[], None]
    """The broker has forgotten our session: write `unit.session_reset`.

    It is told again with each connection, also after a restart, until such an event has been acknowledged.
    """
    on_damage: Callable[[JournalError], None]
    """The journal cannot be read: somebody has to repair it."""

    def called_in(self, loop: AbstractEventLoop) -> Listeners:
        """The same, called in the thread of this event loop; nobody is told any more once it is closed."""

        def in_loop(listener: Callable[P, None]) -> Callable[P, None]:
            def call(*arguments: P.args, **named: P.kwargs) -> None:
                with contextlib.suppress(RuntimeError):  # closed: the process is ending
                    loop.call_soon_threadsafe(partial(listener, *arguments, **named))

            return call

        return Listeners(
            on_message=in_loop(self.on_message),
            on_state=in_loop(self.on_state),
            on_session_lost=in_loop(self.on_session_lost),
            on_damage=in_loop(self.on_damage),
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer to a wish for a replay."""

    accepted: bool
    oldest_sequence: int
    """The oldest event that is kept."""


class Uplink:
    """The unit's connection to its broker.

    :param now: the unit's clock; called in the uplink's and in the journal's thread
    :param confirm: whose word frees an event: the ``broker``'s PUBACK, or the ``cloud``'s high-water mark
    :param gives_way: whether a driver waits for an answer, so that a backlog is held back for a moment
    :raises UplinkError: the settings cannot lead to a connection
    """

    def __init__(
        self,
        broker: BrokerSettings,
        fleet: str,
        unit: str,
        journal: Journal,
        reader: InboxReader,
        listeners: Listeners,
        *,
        state_dir: Path,
        now: Callable[[], Moment],
        confirm: Confirm = "broker",
        timing: Timing = TIMING,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        if not broker.tls and not is_loopback(broker.host):
            raise UplinkError(
                f"broker.url: expected mqtts:// for {broker.host}, mqtt:// is allowed only on loopback; use mqtts://"
            )
        self.client_id: Final = f"{fleet}-{unit}"
        self.topics: Final = Topics(broker.topic_root, fleet, unit)
        self._broker = broker
        self._journal = journal
        self._listeners = listeners
        self._confirm = confirm
        self._timing = timing
        self._budget = Budget(state_dir / BUDGET_FILE, broker.monthly_bytes, now)
        self._backoff = Backoff(timing, self.client_id, broker.protocol)
        record = SessionRecord(state_dir)

        # In the order of their precedence.
        self._status = StatusLane(self.topics, now, timing)
        self._replies = RepliesLane(self.topics)
        self._replays = ReplaysLane(self.topics, journal, timing)
        self._events = EventsLane(self.topics, journal, record, confirm, timing)
        telemetry = [TelemetryLane(self.topics, journal, stream, f"/{fleet}/{unit}", now, timing) for stream in STREAMS]
        self._lanes: list[Lane] = [self._status, self._replies, self._replays, self._events, *telemetry]

        self._acknowledged: deque[Token] = deque()
        self._parts = Parts(
            topics=self.topics,
            client_id=self.client_id,
            status=self._status,
            lanes=self._lanes,
            record=record,
            head=lambda: journal.head.sequence,
            budget=self._budget,
            reader=reader,
            on_message=listeners.on_message,
            on_session_lost=listeners.on_session_lost,
            on_damage=listeners.on_damage,
            acknowledged=self._acknowledged,
            gives_way=gives_way,
            cuts=Cuts(),
            inbox_pause=Pause(timing),
            timing=timing,
        )
        self._wake_here, self._wake_there = socket.socketpair()
        self._wake_here.setblocking(False)
        self._wake_there.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._stopping = threading.Event()
        self._stop_by_s = 0.0
        self._generation = 0
        self._session: Session | None = None
        self._last_transfer_ns: int | None = None
        self._state = UplinkState(since_ns=time.monotonic_ns())

    def add(self, lane: Lane) -> None:
        """Send what this lane has as well, when those before it leave room; only before `start`."""
        self._lanes.append(lane)

    # ---------------------------------------------------------------- from any thread

    @property
    def state(self) -> UplinkState:
        """What the connection is doing now."""
        session = self._session
        if session is None:
            return replace(self._state, last_transfer_ns=self._last_transfer_ns)
        transfer_ns = session.last_transfer_ns or self._last_transfer_ns
        return replace(self._state, inflight=session.under_way, last_transfer_ns=transfer_ns)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Send what is under way, say offline and disconnect; false if that took longer than the time given."""
        self._stop_by_s = time.monotonic() + timeout_s * 0.8
        self._stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._wake_here.close()
        self._wake_there.close()
        return True

    def wake(self) -> None:
        """The journal, or a lane that was added, holds more than before."""
        self._events.news()
        self._wake()

    def acknowledge(self, token: Token) -> None:
        """The inbox message is durable. A token of an earlier connection does nothing: the broker sends it again."""
        self._acknowledged.append(token)
        self._wake()

    def set_status(self, parts: Mapping[str, Any]) -> None:
        """The states of the unit's parts, as the status topic shows them: ``{name: {state, reason, since}}``."""
        if self._status.set_parts(parts):
            self._wake()

    def reply(self, answer: Mapping[str, Any], to: Incoming | None = None) -> None:
        """Answer a message on the topic it asked for, else on `replies`.

        Kept over reconnects, not over a restart; of more than `lanes.MAX_REPLIES` the oldest is dropped.
        """
        described = properties(PacketTypes.PUBLISH, ContentType="application/json")
        topic = self.topics.replies
        if to is not None and to.correlation_data is not None:
            described.CorrelationData = to.correlation_data
        if to is not None and to.response_topic and _may_be_published(to.response_topic):
            topic = to.response_topic
        text = json.dumps(answer, ensure_ascii=False, default=str)
        self._replies.put(topic, text.encode(errors="backslashreplace"), described)
        self._wake()

    def high_water(self, sequence: int) -> None:
        """The cloud's consumer has everything up to here; frees events where its word counts."""
        if self._confirm == "cloud":
            self._journal.confirm_through(min(sequence, self._journal.head.sequence))

    def replay(self, from_sequence: int, to_sequence: int | None = None) -> Replay:
        """Send stored events again, the same bytes on the same topics, before newer ones.

        Not accepted when `from_sequence` is below what is kept, or when too many replays wait already.
        """
        oldest, last = self._journal.oldest_sequence, self._journal.head.sequence
        until = last if to_sequence is None else min(to_sequence, last)
        accepted = from_sequence >= oldest and self._replays.ask(from_sequence - 1, until)
        if accepted:
            self._wake()
        return Replay(accepted, oldest)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # a full one wakes as well; a closed one has nobody to wake
            self._wake_there.send(b"w")

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._generation == 0:
                    self._tell(online=False, reason=CONNECTING)
                self._backoff.connecting(time.monotonic())
                end = self._one_connection()
                self._tell(online=False, reason=self._backoff.ended(end, time.monotonic()))
            except Exception:
                log.exception("uplink: unforeseen fault, the connection starts anew")
                self._stopping.wait(self._timing.retry_max_s)
            if not self._stopping.is_set():
                self._stopping.wait(self._backoff.wait_s)
        self._budget.save()
        self._tell(online=False, reason="stopped")

    def _one_connection(self) -> End:
        """From CONNECT to the end. Raises nothing: a fault of our own is an end as any other."""
        self._generation += 1
        try:
            will = Will(self.topics.status, self._status.will())
            connection = Connection(
                self._broker, self.client_id, self._backoff.protocol, will, generation=self._generation
            )
            try:
                return self._serve(connection)
            finally:
                connection.close()
                self._close_session()
        except UplinkError as error:
            return End(Cause.FAILED, str(error))
        except JournalError as error:
            self._listeners.on_damage(error)
            return End(Cause.FAILED, str(error))
        except Exception as error:
            log.exception("uplink: unforeseen fault, the connection starts anew")
            return End(Cause.FAILED, f"unforeseen fault: {type(error).__name__}")

    def _serve(self, connection: Connection) -> End:
        try:
            connection.open(self._wake_here)
        except (OSError, ValueError) as error:
            return End(Cause.FAILED, unreachable(self._broker, error))
        self._await_connack(connection)
        if connection.connected and connection.ended is None:
            self._backoff.online(time.monotonic())
            self._session = session = Session(connection, self._parts)
            log.info("uplink: online, MQTT %s, window %d", connection.protocol, connection.window)
            self._tell(online=True, reason="", protocol=connection.protocol)
            while connection.ended is None:
                if self._stopping.is_set():
                    session.leave(self._stop_by_s)
                    break
                session.turn()
                self._tell(online=True, reason=session.complaint, protocol=connection.protocol)
                session.wait()
                self._drain_wakes()
            else:
                return session.ended(connection.ended)
        return connection.ended or End(Cause.DISCONNECTED, "stopped")

    def _await_connack(self, connection: Connection) -> None:
        deadline_s = time.monotonic() + self._timing.connack_s
        while not connection.connected and connection.ended is None and not self._stopping.is_set():
            if time.monotonic() > deadline_s:
                connection.end(Cause.FAILED, f"no answer to CONNECT within {self._timing.connack_s:g} s")
                return
            connection.step(0.5)
            self._drain_wakes()

    def _close_session(self) -> None:
        self._acknowledged.clear()
        if (session := self._session) is not None:
            self._last_transfer_ns = session.last_transfer_ns or self._last_transfer_ns
            self._session = None
            session.close()

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(self._wake_here.recv(4096)) == 4096:
                pass

    def _tell(self, *, online: bool, reason: str, protocol: str | None = None) -> None:
        before = self._state
        if (online, reason, protocol) == (before.online, before.reason, before.protocol):
            return
        # Told once for each reason, not once for each try.
        if reason and reason not in {CONNECTING, before.reason} and not self._stopping.is_set():
            log.warning("uplink: %s: %s", "online" if online else "offline", reason)
        since_ns = before.since_ns if before.online == online else time.monotonic_ns()
        self._state = UplinkState(online=online, reason=reason, since_ns=since_ns, protocol=protocol)
        try:
            self._listeners.on_state()
        except Exception:
            log.exception("uplink: the listener failed")


def _may_be_published(topic: str) -> bool:
    """Whether a topic that somebody else has named can be put into a packet that every broker takes."""
    return topic.isprintable() and len(topic.encode()) <= 1024 and not set("+#") & set(topic)
