"""The lanes of stored events: the log as it grows, and what somebody has asked for again.

Each is sent with the bytes that are stored, in the order of the log; one that the broker refuses is passed by.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from agent.journal.entries import Arrived, EventEntry
from agent.journal.store import Journal
from agent.uplink.backoff import Timing
from agent.uplink.connection import FAILURE, NO_SUBSCRIBERS, in_words
from agent.uplink.kept import Kept
from agent.uplink.lanes import Lane, Outgoing
from agent.uplink.session_record import SESSION_RESET, SessionRecord
from contract.topics import Topics
from drivers.limited_log import LimitedLog

log = logging.getLogger(__name__)

refusals: Final = LimitedLog(log, "events that the broker does not accept")

READ_AHEAD: Final = 256
"""Events read from the journal at a time."""
MAX_REPLAYS: Final = 16

Confirm = Literal["broker", "cloud"]


class Stream:
    """Stored events after one sequence number, in order, up to another; it knows what is acknowledged.

    :param read: gives the events after a sequence number, at most so many, in order
    :param after: the last event that needs no sending
    :param until: the last event that is sent; ``None`` follows the log as it grows
    """

    def __init__(self, read: Callable[[int, int], list[EventEntry]], after: int, until: int | None = None) -> None:
        self.prefix = after
        """Everything up to here is acknowledged."""
        self._read = read
        self._until = until
        self._read_through = after
        self._exhausted = False
        self._waiting: deque[EventEntry] = deque()
        self._order: deque[int] = deque()
        self._acknowledged: set[int] = set()

    def news(self) -> None:
        """The log has grown."""
        self._exhausted = False

    def take(self) -> EventEntry | None:
        """The next event to send; it stays unacknowledged until `acknowledged`, also after a `rewind`."""
        while True:
            if not self._waiting and not self._refill():
                return None
            entry = self._waiting.popleft()
            self._order.append(entry.sequence)
            if entry.sequence not in self._acknowledged:
                return entry
            self._advance()

    def acknowledged(self, sequence: int) -> None:
        """This event need not be sent any more."""
        if sequence > self.prefix:
            self._acknowledged.add(sequence)
            self._advance()

    def rewind(self, to: int | None = None) -> None:
        """Begin again after the unbroken prefix, or after an earlier event; what is acknowledged is not sent again.

        Going back before the prefix forgets what was acknowledged: then everything is sent again.
        """
        if to is not None and to < self.prefix:
            self.prefix = to
            self._acknowledged.clear()
        self._waiting.clear()
        self._order.clear()
        self._read_through = self.prefix
        self._exhausted = False

    @property
    def waiting(self) -> bool:
        """Whether `take` gives one more."""
        return bool(self._waiting) or self._refill()

    def _advance(self) -> None:
        while self._order and self._order[0] in self._acknowledged:
            self.prefix = self._order.popleft()
            self._acknowledged.discard(self.prefix)

    def _refill(self) -> bool:
        if self._exhausted:
            return False
        entries = self._read(self._read_through, READ_AHEAD)
        if self._until is not None:
            entries = [entry for entry in entries if entry.sequence <= self._until]
        self._exhausted = not entries
        if entries:
            self._read_through = entries[-1].sequence
            self._waiting.extend(entries)
        return bool(entries)


class _StoredEventsLane(Lane):
    """Events of the journal, the same bytes that are stored."""

    name = "events"

    def __init__(self, topics: Topics, journal: Journal, timing: Timing) -> None:
        super().__init__(timing)
        self._topics = topics
        self._journal = journal

    def _outgoing(self, entry: EventEntry) -> Outgoing:
        return Outgoing(self._topics.event(entry.type), entry.payload, entry.sequence)


class ReplaysLane(_StoredEventsLane):
    """Stored events that somebody asked for again, one replay after the other, before newer events.

    What the broker refuses of a replay is left out of it: newer events must not wait, and it may be asked for again.
    """

    def __init__(self, topics: Topics, journal: Journal, timing: Timing) -> None:
        super().__init__(topics, journal, timing)
        self._asked: deque[tuple[int, int]] = deque()
        self._streams: deque[Stream] = deque()

    def ask(self, after: int, until: int) -> bool:
        """Send the events behind one up to another; from any thread. False when too many replays wait already."""
        if len(self._asked) + len(self._streams) >= MAX_REPLAYS:
            return False
        self._asked.append((after, until))
        return True

    def take(self) -> Outgoing | None:
        while self._asked:
            self.finding = ""
            # Counted in both for a moment, never in none.
            self._streams.append(Stream(self._journal.events_after, *self._asked[0]))
            self._asked.popleft()
        while self._streams:
            if (entry := self._streams[0].take()) is not None:
                return self._outgoing(entry)
            if self.under_way:
                return None
            self._streams.popleft()
        return None

    def answered(self, message: Outgoing, code: int) -> None:
        if code >= FAILURE:
            self._left_out(message, f"the broker does not accept events: {in_words(code)}")
        self.accepted(message, code)

    def accepted(self, message: Outgoing, code: int) -> None:
        if self._streams:
            self._streams[0].acknowledged(message.key)

    def cut_off(self, message: Outgoing, why: str) -> None:
        self._left_out(message, why)
        self.accepted(message, 0)

    def give_up(self, message: Outgoing, why: str) -> None:
        self._left_out(message, why)
        self.accepted(message, 0)

    def _left_out(self, message: Outgoing, why: str) -> None:
        self.finding = f"{why} on {message.topic}: left out of a replay"
        refusals.warning("uplink: event %d is left out of a replay: %s on %s", message.key, why, message.topic)

    def rewind(self) -> None:
        for stream in self._streams:
            stream.rewind()

    def failed(self, fault: Exception) -> None:
        """It ends the replay that met it: whoever wants it may ask again."""
        if self._streams:
            self._streams.popleft()
        super().failed(fault)

    @property
    def holds_back(self) -> bool:
        return bool(self._streams or self._asked)


class EventsLane(_StoredEventsLane):
    """The events of the log as it grows.

    The journal's cursor moves over the unbroken prefix of what has arrived. What the broker does not accept is kept
    and tried again while the others pass; the journal remembers which those are, so that a restart sends the others
    not once more. With ``confirm = "cloud"`` only the consumer's high-water mark moves the cursor.
    """

    def __init__(
        self, topics: Topics, journal: Journal, record: SessionRecord, confirm: Confirm, timing: Timing
    ) -> None:
        super().__init__(topics, journal, timing)
        self._confirm = confirm
        self._record = record
        self._reset_topic = topics.event(SESSION_RESET)
        self._kept = Kept(timing)
        self._kept_before = journal.arrived.kept if confirm == "broker" else ()
        """Of an earlier life: which topics they belong on is read with the first connection."""
        after = max(journal.confirmed, journal.arrived.through) if confirm == "broker" else journal.confirmed
        self._stream = Stream(journal.events_after, after)
        self._news = True
        self._resend_s = timing.resend_s
        self._high_water = journal.confirmed
        self._high_water_s = time.monotonic()
        self._heard = False
        """Somebody subscribes to some of the events, as far as this connection has shown."""
        self._unheard = 0
        """The first event for which there was no subscriber, since there last was one."""
        self._too_large: dict[int, str] = {}
        """Those of the kept that do not fit this connection, and why."""

    def news(self) -> None:
        """The journal holds more than before; from any thread."""
        self._news = True

    def connected(self) -> None:
        for sequence in self._kept_before:
            for entry in self._journal.events_between(sequence, sequence, 1):
                self._kept.add(sequence, self._topics.event(entry.type), alone=True)
        self._kept_before = ()
        self._kept.connected()
        self._heard = False
        self._too_large.clear()

    # ---------------------------------------------------------------- what is sent

    def take(self) -> Outgoing | None:
        while (sequence := self._kept.next(time.monotonic())) is not None:
            if (message := self._again(sequence)) is not None:
                return message
        self._look()
        while not self._kept.full and (entry := self._stream.take()) is not None:
            message = self._outgoing(entry)
            if entry.sequence not in self._kept and not self._kept.is_closed(message.topic):
                return message
            self._kept.add(message.key, message.topic)
            self._stream.acknowledged(message.key)
        return None

    def take_alone(self, now_s: float) -> Outgoing | None:
        while (sequence := self._kept.next_alone(now_s)) is not None:
            if (message := self._again(sequence)) is not None:
                return message
        return super().take_alone(now_s)

    def is_alone_due(self, now_s: float) -> bool:
        return self._kept.is_alone_due(now_s) or super().is_alone_due(now_s)

    def left_s(self, now_s: float) -> float | None:
        waits = super().left_s(now_s), self._kept.left_s(now_s)
        return min((left_s for left_s in waits if left_s is not None), default=None)

    def _again(self, sequence: int) -> Outgoing | None:
        """A kept event; ``None`` where the log does not hold it any more."""
        for entry in self._journal.events_between(sequence, sequence, 1):
            return self._outgoing(entry)
        self._kept.drop(sequence)
        return None

    def _look(self) -> None:
        if self._news:
            self._news = False
            self._stream.news()

    @property
    def holds_back(self) -> bool:
        self._look()
        return self.under_way > 0 or (not self._kept.full and self._stream.waiting)

    # ---------------------------------------------------------------- what the broker says

    def answered(self, message: Outgoing, code: int) -> None:
        if code >= FAILURE:
            self._refused(message, f"the broker does not accept events: {in_words(code)}")
        elif code == NO_SUBSCRIBERS and self._waits_for_subscribers():
            self._unheard = min(self._unheard or message.key, message.key)
            if self._heard:
                self._refused(message, "nobody subscribes to the events")
            else:
                self.pause.refused("nobody subscribes to the events")
        else:
            self.accepted(message, code)
            self.pause.accepted()

    def _waits_for_subscribers(self) -> bool:
        """Whether events wait until somebody subscribes: only where the cloud has to confirm them by a message.

        Some brokers hand events to rules that are no subscribers; a mark beyond such an event shows that.
        """
        return self._confirm == "cloud" and not (self._unheard and self._journal.confirmed >= self._unheard)

    def accepted(self, message: Outgoing, code: int) -> None:
        if code != NO_SUBSCRIBERS:
            self._unheard, self._heard = 0, True
        self._kept.accepted(message.key, message.topic)
        self._stream.acknowledged(message.key)
        if message.topic == self._reset_topic:
            self._record.told(message.key)

    def cut_off(self, message: Outgoing, why: str) -> None:
        self._refused(message, why, alone=True)

    def _refused(self, message: Outgoing, why: str, *, alone: bool = False) -> None:
        refusals.warning("uplink: event %d is kept: %s on %s", message.key, why, message.topic)
        self._kept.refused(message.key, message.topic, why, time.monotonic(), alone=alone)
        self._stream.acknowledged(message.key)

    def give_up(self, message: Outgoing, why: str) -> None:
        self._refused(message, why)

    def too_large(self, message: Outgoing, size: int, limit: int) -> Outgoing | None:
        """It stays in the log, and is tried again with the next connection."""
        if message.key not in self._too_large:
            type_ = ".".join(message.topic.rsplit("/", 2)[1:])
            self._too_large[message.key] = (
                f"event {message.key} ({type_}, {size} bytes) is larger than the broker or "
                f"broker.max_packet_bytes allows ({limit}); raise the smaller one"
            )
            log.error("uplink: %s", self._too_large[message.key])
        self._kept.park(message.key, message.topic)
        self._stream.acknowledged(message.key)
        return None

    # ---------------------------------------------------------------- what is kept of it

    def rewind(self) -> None:
        self._stream.rewind()
        self._kept.rewind()

    def session_lost(self) -> None:
        if self._confirm == "cloud":
            self._stream.rewind(self._journal.confirmed)

    def settle(self) -> None:
        if self._confirm == "cloud":
            self._kept.arrived_through(self._journal.confirmed)
            self._check_high_water(time.monotonic())
        else:
            kept = self._kept_before or self._kept.sequences
            self._journal.arrived_through(Arrived(self._stream.prefix, kept))

    def _check_high_water(self, now_s: float) -> None:
        confirmed = self._journal.confirmed
        known = confirmed != self._high_water or confirmed >= self._stream.prefix or confirmed + 1 in self._kept
        if known:
            self._high_water, self._high_water_s = confirmed, now_s
        elif now_s - self._high_water_s > self._resend_s and not self.holds_back:
            log.warning("uplink: no high-water mark since event %d, sending again from there", confirmed)
            self._high_water_s = now_s
            self._stream.rewind(confirmed)

    @property
    def complaint(self) -> str:
        too_large = next(iter(self._too_large.values()), "")
        return "; ".join(filter(None, (self.pause.reason, self._kept.complaint, too_large)))
