"""What belongs to one generation of the connection, from CONNACK to its end.

Here is the one loop that publishes for all lanes: within the window, in the order of the lanes, and each PUBACK is told
to the lane whose message it answers. Nothing of a session is used by the next but what it has shown of messages that
connections end for: what was not acknowledged is sent again, in both directions.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from agent.journal.entries import JournalError
from agent.uplink.arrivals import Arrivals
from agent.uplink.backoff import Cause, End, Pause, Timing
from agent.uplink.budget import Budget
from agent.uplink.connection import FAILURE, Connection, in_words
from agent.uplink.cuts import Cuts
from agent.uplink.inbox import InboxReader, Incoming, Token
from agent.uplink.lanes import Lane, Outgoing, StatusLane
from agent.uplink.session_record import SessionRecord
from contract.topics import Topics
from drivers.limited_log import LimitedLog

log = logging.getLogger(__name__)

T = TypeVar("T")

faults: Final = LimitedLog(log, "faults in one connection")

INBOX: Final = "the inbox"
"""The subscription, among the packets that may be under way."""
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
    cuts: Cuts
    inbox_pause: Pause
    """Back-off of the subscription."""
    timing: Timing


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A message that the broker has not answered yet."""

    lane: Lane
    message: Outgoing
    sent_s: float

    @property
    def packet(self) -> tuple[str, str, int]:
        """What tells it from others, also on another connection."""
        return self.lane.name, self.message.topic, self.message.key


class Session:
    """One session on a connection that has had its CONNACK."""

    def __init__(self, connection: Connection, parts: Parts) -> None:
        self._connection = connection
        self._parts = parts
        self._in_flight: dict[int, UnderWay] = {}
        self._alone = False
        """What is under way is a message that has ended a connection before: nothing goes beside it."""
        self._drained = False
        """All that is not suspected of ending connections has gone out once."""
        self._began_s = time.monotonic()
        self._arrivals = Arrivals(
            connection, parts.topics, parts.status, parts.reader, parts.on_message, parts.acknowledged
        )
        self._subscription: int | None = None
        """Of SUBSCRIBE, until it is answered."""
        self._subscribed = False
        self._answered_s: float | None = None
        """When the newest message was sent that the broker has answered."""
        self._ignores = False
        """The broker answers, but not every message."""
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
        if not parts.cuts.careful and not parts.inbox_pause.alone:
            self._subscribe()

    @property
    def under_way(self) -> int:
        """Messages that the broker has not answered yet."""
        return len(self._in_flight)

    @property
    def complaint(self) -> str:
        """What is wrong although we are online."""
        reasons = [self._ask(lane, lambda lane: lane.complaint, "") for lane in self._parts.lanes]
        reasons += [self._parts.budget.complaint, self._parts.inbox_pause.reason]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    # ---------------------------------------------------------------- one turn

    def turn(self) -> None:
        """Do what can be done now."""
        self._settle()
        self._arrivals.take_in()
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
        pauses = [self._ask(lane, lambda lane: lane.left_s(now_s), None) for lane in self._parts.lanes]
        pauses += [self._parts.inbox_pause.left_s(now_s), self._quiet_s(now_s)]
        connection.step(max(min([TURN_S, *(left_s for left_s in pauses if left_s is not None)]), 0.01))
        self._look_for_silence(time.monotonic())

    def _look_for_silence(self, now_s: float) -> None:
        limit_s = self._parts.timing.puback_s
        if not self._busy:
            self._progress_s = now_s
        elif now_s - self._progress_s > limit_s:
            self._connection.end(Cause.SILENT, f"nothing was acknowledged for {limit_s:g} s")
        elif self._in_flight:
            oldest = next(iter(self._in_flight.values()))
            if now_s - oldest.sent_s > limit_s and self._was_passed_over(oldest):
                self._ignores = True
                what = (
                    f"a message on {oldest.message.topic} was not acknowledged for {limit_s:g} s, and newer ones were"
                )
                self._connection.end(Cause.SILENT, what)

    def _was_passed_over(self, sent: UnderWay) -> bool:
        return self._answered_s is not None and sent.sent_s < self._answered_s

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

    def ended(self, end: End) -> End:
        """What is known of the connection's end; the lane of a message that it ended for is told."""
        under_way: dict[object, UnderWay | None] = {each.packet: each for each in self._in_flight.values()}
        if self._subscription is not None:
            under_way[INBOX] = None
        told = replace(end, idle=not under_way)
        if end.cause not in {Cause.LOST, Cause.DISCONNECTED, Cause.SILENT}:
            return told
        if self._ignores:
            for each in self._in_flight.values():
                if self._was_passed_over(each):
                    self._cut_off(each, "the broker does not answer what is published")
            return told
        if end.cause is Cause.SILENT and self._answered_s is None:
            return told  # it answers nothing at all
        lived_s = time.monotonic() - self._began_s
        short = end.cause is Cause.SILENT or lived_s < self._parts.timing.stable_s
        found = self._parts.cuts.cut(under_way, short=short, alone=self._alone)
        if found == INBOX:
            topic = self._parts.topics.all_inboxes
            self._parts.inbox_pause.refused(
                f"the broker ended the connection when we subscribed to {topic}", alone=True
            )
            self._parts.inbox_pause.begin(time.monotonic())
            return replace(told, reason=f"{end.reason}, when we subscribed to {topic}")
        if found is not None and (blamed := under_way[found]) is not None:
            sent = blamed.message
            size = self._connection.packet_bytes(sent.topic, sent.payload, sent.properties)
            self._cut_off(
                blamed,
                f"the broker ends the connection when {size} bytes are published (not allowed, or too large for it?)",
            )
            return replace(told, reason=f"{end.reason}, when {size} bytes were published on {sent.topic}")
        if under_way and end.cause is Cause.LOST:
            return replace(told, reason=f"{end.reason} while {len(under_way)} packets were under way")
        return told

    def _cut_off(self, sent: UnderWay, why: str) -> None:
        with self._ends_only(sent.lane):
            sent.lane.cut_off(sent.message, why)

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

    @property
    def _busy(self) -> bool:
        """Whether the broker still has to answer something."""
        return bool(self._in_flight) or self._subscription is not None

    def _quiet_s(self, now_s: float) -> float | None:
        """How long nothing is sent yet: a connection that ends meanwhile does not end for a message of ours."""
        left_s = self._began_s + self._parts.timing.quiet_s - now_s
        return left_s if self._parts.cuts.careful and left_s > 0 else None

    def _fill(self) -> None:
        """Fill the window; what connections have ended for goes out while nothing else is under way."""
        now_s, careful = time.monotonic(), self._parts.cuts.careful
        if self._alone or (careful and self._busy) or self._quiet_s(now_s) is not None:
            return
        lanes = [lane for lane in self._parts.lanes if not (lane.metered and self._parts.budget.used_up)]
        if self._drained and self._is_alone_due(lanes, now_s) and (self._busy or self._send_alone(lanes, now_s)):
            return
        if self._may_subscribe(now_s) and not self._parts.inbox_pause.alone:
            self._subscribe()
            if careful:
                return
        self._fill_from(lanes, now_s, 1 if careful else self._connection.window)
        if not self._busy:
            self._drained = True
            self._parts.cuts.calm()

    def _fill_from(self, lanes: Sequence[Lane], now_s: float, window: int) -> None:
        for lane in lanes:
            with self._ends_only(lane):
                while (
                    len(self._in_flight) < window and not lane.pause.alone and lane.pause.allows(lane.under_way, now_s)
                ):
                    if self._in_flight and self._gives_way():
                        return
                    if (message := lane.take()) is None:
                        break
                    self._send(lane, message)
                if lane.holds_back:
                    return

    def _may_subscribe(self, now_s: float) -> bool:
        return not self._subscribed and self._subscription is None and self._parts.inbox_pause.allows(0, now_s)

    def _is_alone_due(self, lanes: Sequence[Lane], now_s: float) -> bool:
        inbox = self._parts.inbox_pause.alone and self._may_subscribe(now_s)
        return inbox or any(self._ask(lane, lambda lane: lane.is_alone_due(now_s), False) for lane in lanes)

    def _send_alone(self, lanes: Sequence[Lane], now_s: float) -> bool:
        """The next message or subscription that a connection has ended for; false when there is none after all."""
        if self._parts.inbox_pause.alone and self._may_subscribe(now_s):
            self._subscribe()
            self._alone = True
            return True
        for lane in lanes:
            with self._ends_only(lane):
                if not lane.is_alone_due(now_s):
                    continue
                if (message := lane.take_alone(now_s)) is not None:
                    self._send(lane, message)
                    self._alone = bool(self._in_flight)
                    return True
            lane.pause.put_off(now_s)
        return False

    def _send(self, lane: Lane, message: Outgoing | None) -> None:
        """Publish a message, or what its lane makes of it where it does not fit."""
        connection = self._connection
        while message is not None:
            try:
                size = connection.packet_bytes(message.topic, message.payload, message.properties)
                if size <= connection.max_packet_bytes:
                    self._publish(lane, message)
                    return
            except Exception as fault:  # noqa: BLE001 (whatever of the message cannot be put into a packet)
                faults.warning("uplink: a message on %s: %s", message.topic, type(fault).__name__, fault=fault)
                lane.give_up(message, f"it is no packet of MQTT ({type(fault).__name__})")
                return
            message = lane.too_large(message, size, connection.max_packet_bytes)

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
        self._in_flight[mid] = UnderWay(lane, message, time.monotonic())
        lane.under_way += 1

    def _ask(self, lane: Lane, question: Callable[[Lane], T], otherwise: T) -> T:
        """What a lane says of itself."""
        with self._ends_only(lane):
            return question(lane)
        return otherwise

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
            if (sent := self._in_flight.pop(mid, None)) is not None:
                self._answered(sent, code)
        for lane in self._parts.lanes:
            with self._ends_only(lane):
                lane.settle()
            if lane.pause.pending and lane.under_way == 0:
                lane.pause.begin(time.monotonic())
                with self._ends_only(lane):
                    lane.rewind()
        while self._connection.subscribed:
            self._on_suback(*self._connection.subscribed.popleft())

    def _answered(self, sent: UnderWay, code: int) -> None:
        lane = sent.lane
        lane.under_way -= 1
        self._alone = False
        self._answered_s = sent.sent_s if self._answered_s is None else max(self._answered_s, sent.sent_s)
        self._parts.cuts.answered(sent.packet)
        if code < FAILURE:
            self.last_transfer_ns = time.monotonic_ns()
        with self._ends_only(lane):
            lane.answered(sent.message, code)

    def _subscribe(self) -> None:
        self._subscription = self._connection.subscribe(self._parts.topics.all_inboxes, self._parts.topics.status)

    def _on_suback(self, mid: int, codes: list[int]) -> None:
        if mid != self._subscription:
            return
        self._subscription, self._alone = None, False
        self._progress_s = time.monotonic()
        self._answered_s = self._answered_s or self._began_s
        self._parts.cuts.answered(INBOX)
        of_inbox, pause = codes[0] if codes else 0, self._parts.inbox_pause
        if of_inbox < FAILURE:
            self._subscribed = True
            pause.accepted()
            self._parts.record.subscribed()
            return
        pause.refused(
            f"the broker does not let us read our inbox: {in_words(of_inbox)}; "
            f"allow {self._parts.client_id} to subscribe to {self._parts.topics.all_inboxes}"
        )
        pause.begin(time.monotonic())
