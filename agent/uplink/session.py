"""What belongs to one generation of the connection, from CONNACK to its end.

Here is the one loop that publishes for all lanes: within the window, in the order of the lanes, and each PUBACK is told
to the lane whose message it answers. Inbox messages are acknowledged when their owner says so, in the order they came.
Nothing of a session is used by the next: what was not acknowledged is sent again, in both directions.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import MQTTMessage

from agent.journal.entries import JournalError
from agent.uplink.backoff import Cause, Timing
from agent.uplink.budget import Budget
from agent.uplink.connection import FAILURE, Connection, in_words
from agent.uplink.inbox import InboxReader, Incoming, Token
from agent.uplink.lanes import Lane, Outgoing, StatusLane
from agent.uplink.session_record import SessionRecord
from contract import strict_json
from contract.topics import Topics
from drivers.limited_log import LimitedLog

log = logging.getLogger(__name__)

faults: Final = LimitedLog(log, "faults in one connection")

HAND_OVER_TRIES: Final = 3
HAND_OVER_AGAIN_S: Final = 1.0
TURN_S: Final = 1.0
"""A turn waits no longer, even if nothing happens."""
BREATH_S: Final = 0.002
"""While a backlog drains: what the broker answers meanwhile is taken together, and scans get their turn."""
GIVE_WAY_S: Final = 0.05
"""A backlog is held back no longer than this for what is on its way to disk: a disk that hangs must not hold it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What outlives a session, and is used by one after the other."""

    topics: Topics
    client_id: str
    status: StatusLane
    lanes: Sequence[Lane]
    """In the order of their precedence; `status` is one of them."""
    record: SessionRecord
    head: Callable[[], int]
    """The newest event."""
    budget: Budget
    reader: InboxReader
    on_message: Callable[[Incoming], None]
    on_session_lost: Callable[[], None]
    on_damage: Callable[[JournalError], None]
    acknowledged: deque[Token]
    """Inbox messages that are durable; filled by any thread."""
    gives_way: Callable[[], bool]
    """Whether a driver waits for an answer."""
    timing: Timing


@dataclass(frozen=True, slots=True)
class HandOver:
    """A message of the inbox on its way to its owner."""

    incoming: Incoming
    tries: int = HAND_OVER_TRIES
    due_s: float = 0.0


class Acknowledgements:
    """PUBACKs for inbox messages: sent in the order in which the messages came (MQTT 5 §4.6)."""

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._durable: set[int] = set()

    def came(self, mid: int) -> None:
        """A message has come."""
        self._waiting.append(mid)

    def durable(self, mid: int) -> None:
        """Its owner has it."""
        if mid in self._waiting:  # else a later message with the same identifier would count as durable, too
            self._durable.add(mid)

    def due(self) -> Iterator[int]:
        """Those that may be sent now."""
        while self._waiting and self._waiting[0] in self._durable:
            mid = self._waiting.popleft()
            self._durable.discard(mid)
            yield mid


class Session:
    """One session on a connection that has had its CONNACK."""

    def __init__(self, connection: Connection, parts: Parts) -> None:
        self._connection = connection
        self._parts = parts
        self._in_flight: dict[int, tuple[Lane, Outgoing]] = {}
        self._acknowledgements = Acknowledgements()
        self._handed_over: deque[HandOver] = deque()
        """Messages whose owner failed at them, to be handed over again."""
        self._subscription: int | None = None
        self._subscribe_at_s: float | None = None
        self._inbox_fault = ""
        self._progress_s = time.monotonic()
        self._giving_way_since_s: float | None = None
        self.last_transfer_ns: int | None = None
        """When the broker last acknowledged something, on the monotonic clock."""
        for lane in parts.lanes:
            with self._ends_only(lane):
                lane.connected()
        if parts.record.connected(session_present=connection.session_present, head=parts.head()):
            log.warning("uplink: the broker has lost our session")
            for lane in parts.lanes:
                with self._ends_only(lane):
                    lane.session_lost()
            parts.on_session_lost()
        self._subscribe()

    @property
    def under_way(self) -> int:
        """Messages that the broker has not answered yet."""
        return len(self._in_flight)

    @property
    def complaint(self) -> str:
        """What is wrong although we are online."""
        reasons = [lane.complaint for lane in self._parts.lanes]
        reasons += [self._parts.budget.complaint, self._inbox_fault]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    # ---------------------------------------------------------------- one turn

    def turn(self) -> None:
        """Do what can be done now."""
        self._settle()
        self._receive()
        self._acknowledge()
        self._fill()
        self._connection.flush()
        self._parts.budget.spend(self._connection.take_traffic())

    def wait(self) -> None:
        """Until something happens, or a pause is over."""
        connection, now_s = self._connection, time.monotonic()
        if connection.ended is not None:
            return
        if self._in_flight:
            time.sleep(BREATH_S)
            while self._gives_way():
                time.sleep(BREATH_S / 2)
        left_s = [left_s for lane in self._parts.lanes if (left_s := lane.pause.left_s(now_s)) is not None]
        connection.step(max(min([TURN_S, *left_s]), 0.01))
        now_s, timing = time.monotonic(), self._parts.timing
        if not self._in_flight:
            self._progress_s = now_s
        elif now_s - self._progress_s > timing.puback_s:
            connection.end(Cause.DISCONNECTED, f"nothing was acknowledged for {timing.puback_s:g} s")
        if self._subscribe_at_s is not None and now_s >= self._subscribe_at_s:
            self._subscribe()

    def leave(self, until_s: float) -> None:
        """Send what is under way, say offline and disconnect; about until then, on the monotonic clock."""
        self.turn()
        self._await_answers(until_s)
        if self._connection.ended is None:
            self._parts.status.leave()
            if (farewell := self._parts.status.take()) is not None:
                self._publish(self._parts.status, farewell)
                self._await_answers(max(until_s, time.monotonic() + 0.2))
            self._connection.leave()

    def close(self) -> None:
        """Nothing is under way any more."""
        now_s = time.monotonic()
        for lane in self._parts.lanes:
            lane.under_way = 0
            with self._ends_only(lane):
                lane.rewind()
            if lane.pause.pending:
                lane.pause.begin(now_s)

    # ---------------------------------------------------------------- what goes out

    def _fill(self) -> None:
        """Fill the window."""
        connection, now_s = self._connection, time.monotonic()
        for lane in self._parts.lanes:
            if lane.metered and self._parts.budget.used_up:
                continue
            with self._ends_only(lane):
                while len(self._in_flight) < connection.window and lane.pause.allows(lane.under_way, now_s):
                    if self._in_flight and self._gives_way():
                        return
                    if (message := lane.take()) is None:
                        break
                    self._send(lane, message)
                if lane.holds_back:
                    return

    def _send(self, lane: Lane, message: Outgoing) -> None:
        connection = self._connection
        try:
            size = connection.packet_bytes(message.topic, message.payload, message.properties)
            if size <= connection.max_packet_bytes:
                self._publish(lane, message)
                return
        except Exception as fault:  # noqa: BLE001 (whatever of the message cannot be put into a packet)
            faults.warning("uplink: a message on %s: %s", message.topic, type(fault).__name__, fault=fault)
            lane.give_up(message, f"it is no packet of MQTT ({type(fault).__name__})")
        else:
            lane.too_large(message, size, connection.max_packet_bytes)

    def _gives_way(self) -> bool:
        """Both threads want Python's lock: the one that a driver waits for gets it several times for one scan."""
        if not self._parts.gives_way():
            self._giving_way_since_s = None
            return False
        now_s = time.monotonic()
        if self._giving_way_since_s is None:
            self._giving_way_since_s = now_s
        return now_s - self._giving_way_since_s < GIVE_WAY_S

    def _publish(self, lane: Lane, message: Outgoing) -> None:
        mid = self._connection.publish(message.topic, message.payload, message.properties, retain=message.retain)
        self._in_flight[mid] = lane, message
        lane.under_way += 1

    @contextmanager
    def _ends_only(self, lane: Lane) -> Iterator[None]:
        """A fault of our own in one lane pauses that lane, and nothing else."""
        try:
            yield
        except Exception as fault:  # noqa: BLE001 (the other lanes go on)
            faults.warning("uplink: %s: %s", lane.name, type(fault).__name__, fault=fault)
            if isinstance(fault, JournalError):
                self._parts.on_damage(fault)
            lane.failed(fault)

    def _await_answers(self, until_s: float) -> None:
        while self._connection.ended is None and self._in_flight and time.monotonic() < until_s:
            self._connection.flush()
            self._connection.step(0.05)
            self._settle()

    # ---------------------------------------------------------------- what comes in

    def _settle(self) -> None:
        """PUBACKs and SUBACKs."""
        published = self._connection.published
        if published:
            self._progress_s = time.monotonic()
        while published:
            mid, code = published.popleft()
            if (known := self._in_flight.pop(mid, None)) is not None:
                self._answered(*known, code)
        for lane in self._parts.lanes:
            with self._ends_only(lane):
                lane.settle()
            if lane.pause.pending and lane.under_way == 0:
                lane.pause.begin(time.monotonic())
                with self._ends_only(lane):
                    lane.rewind()
        while self._connection.subscribed:
            self._on_suback(*self._connection.subscribed.popleft())

    def _answered(self, lane: Lane, message: Outgoing, code: int) -> None:
        lane.under_way -= 1
        if code < FAILURE:
            self.last_transfer_ns = time.monotonic_ns()
        with self._ends_only(lane):
            if (why_not := lane.objection(message, code)) is not None:
                lane.pause.refused(why_not)
            else:
                lane.accepted(message, code)
                lane.pause.accepted()

    def _subscribe(self) -> None:
        self._subscribe_at_s = None
        self._subscription = self._connection.subscribe(self._parts.topics.all_inboxes, self._parts.topics.status)

    def _on_suback(self, mid: int, codes: list[int]) -> None:
        if mid != self._subscription:
            return
        of_inbox = codes[0] if codes else 0
        if of_inbox < FAILURE:
            self._inbox_fault = ""
            self._parts.record.subscribed()
            return
        self._inbox_fault = (
            f"the broker does not let us read our inbox: {in_words(of_inbox)}; "
            f"allow {self._parts.client_id} to subscribe to {self._parts.topics.all_inboxes}"
        )
        self._subscribe_at_s = time.monotonic() + self._parts.timing.retry_max_s

    def _receive(self) -> None:
        while self._connection.arrived:
            message = self._connection.arrived.popleft()
            try:
                self._take_in(message)
            except Exception as fault:  # noqa: BLE001 (it ends this message; with the connection it would only come again)
                faults.warning("uplink: a message that came: %s", type(fault).__name__, fault=fault)
                self._acknowledgements.durable(message.mid)
        while self._handed_over and self._handed_over[0].due_s <= time.monotonic():
            self._hand_over(self._handed_over.popleft())

    def _take_in(self, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        if topic == self._parts.topics.status:
            self._on_own_status(message)
            return
        if message.qos > 0:
            self._acknowledgements.came(message.mid)
        if (kind := self._parts.topics.inbox_kind(topic)) is None:
            faults.warning("uplink: a message on a topic that we did not ask for is ignored")
            self._acknowledgements.durable(message.mid)
            return
        token = Token(self._connection.generation, message.mid)
        given = message.properties
        answer_to = getattr(given, "ResponseTopic", None), getattr(given, "CorrelationData", None)
        self._hand_over(HandOver(self._parts.reader.read(kind, bytes(message.payload), token, *answer_to)))

    def _hand_over(self, what: HandOver) -> None:
        """To the owner of the inbox; where that fails, a few times more."""
        try:
            self._parts.on_message(what.incoming)
        except Exception as fault:  # noqa: BLE001 (the messages behind it are taken)
            faults.warning("uplink: a message could not be handed over: %s", type(fault).__name__, fault=fault)
            if what.tries > 1:
                due_s = time.monotonic() + HAND_OVER_AGAIN_S
                self._handed_over.append(HandOver(what.incoming, what.tries - 1, due_s))
            else:
                self._acknowledgements.durable(what.incoming.token.mid)

    def _on_own_status(self, message: MQTTMessage) -> None:
        """A late will of an earlier connection says that we are offline: say again that we are not."""
        if message.retain:
            return
        try:
            said = strict_json.parse(bytes(message.payload))
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("state") != "online":
            self._parts.status.say_again()

    def _acknowledge(self) -> None:
        acknowledged = self._parts.acknowledged
        while acknowledged:
            token = acknowledged.popleft()
            if token.generation == self._connection.generation:
                self._acknowledgements.durable(token.mid)
        for mid in self._acknowledgements.due():
            self._connection.acknowledge(mid)
