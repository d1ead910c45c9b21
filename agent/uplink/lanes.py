"""What is still to be sent: one class a kind of message, all behind one interface.

A lane says which of its messages is next, and what follows from the broker's answer. It knows nothing of packets,
windows and connections: `session.Session` publishes, counts and settles for all lanes alike. A new kind of message is a
new class and one line, ``uplink.add(...)``.
"""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Final, Literal

from paho.mqtt.properties import Properties

from agent import __version__
from agent.delivery.model.inputs import Moment
from agent.journal.entries import EventEntry, TelemetryEntry
from agent.journal.envelope import telemetry
from agent.journal.store import Journal
from agent.uplink.backoff import TIMING, Pause, Timing
from agent.uplink.connection import EVENT_PROPERTIES, FAILURE, NO_SUBSCRIBERS, STATUS_PROPERTIES, in_words
from agent.uplink.session_record import SESSION_RESET, SessionRecord
from contract.topics import Topics
from drivers.limited_log import LimitedLog

log = logging.getLogger(__name__)

given_up: Final = LimitedLog(log, "messages that were given up")

READ_AHEAD: Final = 256
"""Events read from the journal at a time."""
MAX_REPLIES: Final = 200
MAX_REPLAYS: Final = 16
TELEMETRY_BATCH: Final = 20

Confirm = Literal["broker", "cloud"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way to the broker, with QoS 1."""

    topic: str
    payload: bytes
    key: int = 0
    """By which the lane knows it again."""
    properties: Properties = EVENT_PROPERTIES
    retain: bool = False


class Lane(ABC):
    """Messages of one kind, in their order.

    The session calls `take` while window and pause allow, and then for each message either `accepted` or nothing, where
    the broker refused it. After a refusal it awaits the answers that are still due, calls `rewind`, and goes on with
    single messages, ever more slowly, until one is accepted. A lane outlives connections: when one ends, nothing is
    under way any more, and `rewind` is called as well. All this happens in the uplink's thread.
    """

    name: ClassVar[str]
    """As in: the broker does not accept ``events``."""
    metered: ClassVar[bool] = False
    """Whether it waits for the next month when this month's traffic is used up."""

    def __init__(self, timing: Timing = TIMING) -> None:
        self.pause = Pause(timing)
        self.under_way = 0
        """Sent and not answered yet; counted by the session."""

    @abstractmethod
    def take(self) -> Outgoing | None:
        """The next message to send, if there is one."""

    @abstractmethod
    def accepted(self, message: Outgoing, code: int) -> None:
        """The broker has this message; it need not be sent again."""

    @abstractmethod
    def rewind(self) -> None:
        """Nothing is under way: `take` begins again with the first message that was not accepted."""

    def objection(self, message: Outgoing, code: int) -> str | None:
        """Why a message with this reason code was not accepted and has to come again; ``None`` if it was."""
        return f"the broker does not accept {self.name}: {in_words(code)}" if code >= FAILURE else None

    def too_large(self, message: Outgoing, size: int, limit: int) -> None:
        """It cannot be sent over this connection."""
        self.give_up(message, f"{size} bytes, the broker allows {limit}")

    def give_up(self, message: Outgoing, why: str) -> None:
        """It can never be sent, and nobody else will ever ask for it."""
        given_up.warning("uplink: a message on %s is given up: %s", message.topic, why)
        self.accepted(message, 0)

    def failed(self, fault: Exception) -> None:
        """A fault of our own in this lane: it begins again after a pause, and the others go on meanwhile."""
        self.pause.refused(f"a fault of the unit in {self.name}: {type(fault).__name__}")

    def connected(self) -> None:  # noqa: B027 (most lanes have nothing to do then)
        """A connection begins."""

    def session_lost(self) -> None:  # noqa: B027 (most lanes have nothing to do then)
        """The broker has forgotten our session, and perhaps with it what it had not passed on yet."""

    def settle(self) -> None:  # noqa: B027 (most lanes have nothing to do then)
        """Keep what was accepted: called once for all answers that came together, and at least each second."""

    @property
    def holds_back(self) -> bool:
        """Whether the lanes behind this one have to wait."""
        return False

    @property
    def complaint(self) -> str:
        """What is wrong, in words; empty when all is well."""
        return self.pause.reason


class StatusLane(Lane):
    """The retained word about the unit: online and how its parts are, or offline."""

    name = "the status"

    def __init__(self, topics: Topics, now: Callable[[], Moment], timing: Timing) -> None:
        super().__init__(timing)
        self._topic = topics.status
        self._now = now
        self._boot_id = now().boot_id
        self._parts: Mapping[str, Any] = {}
        self._due = False
        self._state: Literal["online", "offline"] = "online"
        self._since: str | None = None

    def set_parts(self, parts: Mapping[str, Any]) -> bool:
        """The states of the unit's parts, from any thread; whether they are new."""
        if parts == self._parts:
            return False
        self._parts = dict(parts)
        self._due = True
        return True

    def say_again(self) -> None:
        """Somebody else has said something different."""
        self._due = True

    def leave(self) -> None:
        """From now on it is: offline, in good order."""
        self._state, self._since = "offline", self._now().time
        self._due = True

    def will(self) -> bytes:
        """What the broker says when we are gone. It is written when we connect, so it cannot say since when."""
        return self._word("offline", None)

    def connected(self) -> None:
        self._since = self._now().time
        self._due = True

    def take(self) -> Outgoing | None:
        if not self._due:
            return None
        self._due = False
        return Outgoing(self._topic, self._word(self._state, self._since), properties=STATUS_PROPERTIES, retain=True)

    def accepted(self, message: Outgoing, code: int) -> None:
        pass

    def rewind(self) -> None:
        self._due = True

    def _word(self, state: Literal["online", "offline"], since: str | None) -> bytes:
        parts = self._parts if state == "online" else {}
        word = {"state": state, "version": __version__, "boot_id": self._boot_id, "since": since, "parts": parts}
        return json.dumps(word, ensure_ascii=False).encode()


class RepliesLane(Lane):
    """Answers to commands. Kept over reconnects, not over a restart; of too many the oldest is dropped."""

    name = "replies"

    def __init__(self) -> None:
        super().__init__()
        self._numbers = count()
        self._waiting: deque[Outgoing] = deque(maxlen=MAX_REPLIES)
        self._sent: dict[int, Outgoing] = {}

    def put(self, topic: str, payload: bytes, properties: Properties) -> None:
        """Send this answer; from any thread."""
        self._waiting.append(Outgoing(topic, payload, next(self._numbers), properties))

    def take(self) -> Outgoing | None:
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._sent[message.key] = message
        return message

    def objection(self, message: Outgoing, code: int) -> str | None:
        """A reply that is refused would be refused again: whoever asked may ask again."""
        if code >= FAILURE:
            given_up.warning("uplink: a reply on %s was not accepted: %s", message.topic, in_words(code))
        return None

    def accepted(self, message: Outgoing, code: int) -> None:
        self._sent.pop(message.key, None)

    def rewind(self) -> None:
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()


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
        """This event has arrived."""
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

    def __init__(self, topics: Topics, journal: Journal, confirm: Confirm, timing: Timing) -> None:
        super().__init__(timing)
        self._topics = topics
        self._journal = journal
        self._confirm = confirm
        self._too_large: dict[int, str] = {}
        self._unheard = 0
        """The first event for which there was no subscriber, since there last was one."""

    def objection(self, message: Outgoing, code: int) -> str | None:
        if code == NO_SUBSCRIBERS and self._waits_for_subscribers():
            self._unheard = min(self._unheard or message.key, message.key)
            return "nobody subscribes to the events"
        return super().objection(message, code)

    def _waits_for_subscribers(self) -> bool:
        """Whether events wait until somebody subscribes: only where the cloud has to confirm them by a message.

        Some brokers hand events to rules that are no subscribers; a mark beyond such an event shows that.
        """
        return self._confirm == "cloud" and not (self._unheard and self._journal.confirmed >= self._unheard)

    def accepted(self, message: Outgoing, code: int) -> None:
        if code != NO_SUBSCRIBERS:
            self._unheard = 0
        if self._too_large:
            self._too_large.pop(message.key, None)

    def too_large(self, message: Outgoing, size: int, limit: int) -> None:
        """It stays in the log, and holds the cursor but no other event up."""
        if message.key not in self._too_large:
            type_ = ".".join(message.topic.rsplit("/", 2)[1:])
            self._too_large[message.key] = (
                f"event {message.key} ({type_}, {size} bytes) is larger than the broker or "
                f"broker.max_packet_bytes allows ({limit}); raise the smaller one"
            )
            log.error("uplink: %s", self._too_large[message.key])

    @property
    def complaint(self) -> str:
        return "; ".join(filter(None, (self.pause.reason, next(iter(self._too_large.values()), ""))))

    def _outgoing(self, entry: EventEntry) -> Outgoing:
        return Outgoing(self._topics.event(entry.type), entry.payload, entry.sequence)


class ReplaysLane(_StoredEventsLane):
    """Stored events that somebody asked for again, one replay after the other, before newer events."""

    def __init__(self, topics: Topics, journal: Journal, confirm: Confirm, timing: Timing) -> None:
        super().__init__(topics, journal, confirm, timing)
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

    def accepted(self, message: Outgoing, code: int) -> None:
        super().accepted(message, code)
        self._streams[0].acknowledged(message.key)

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
    """The events of the log as it grows. The journal's cursor moves over the unbroken prefix of what was accepted."""

    def __init__(
        self, topics: Topics, journal: Journal, record: SessionRecord, confirm: Confirm, timing: Timing
    ) -> None:
        super().__init__(topics, journal, confirm, timing)
        self._record = record
        self._reset_topic = topics.event(SESSION_RESET)
        self._stream = Stream(journal.events_after, journal.confirmed)
        self._news = True
        self._resend_s = timing.resend_s
        self._high_water = journal.confirmed
        self._high_water_s = time.monotonic()

    def news(self) -> None:
        """The journal holds more than before; from any thread."""
        self._news = True

    def take(self) -> Outgoing | None:
        self._look()
        entry = self._stream.take()
        return None if entry is None else self._outgoing(entry)

    def _look(self) -> None:
        if self._news:
            self._news = False
            self._stream.news()

    def accepted(self, message: Outgoing, code: int) -> None:
        super().accepted(message, code)
        self._stream.acknowledged(message.key)
        if message.topic == self._reset_topic:
            self._record.told(message.key)

    def rewind(self) -> None:
        self._stream.rewind()

    def session_lost(self) -> None:
        if self._confirm == "cloud":
            self._stream.rewind(self._journal.confirmed)

    def settle(self) -> None:
        if self._confirm == "cloud":
            self._check_high_water(time.monotonic())
        elif self._stream.prefix > self._journal.confirmed:
            self._journal.confirm_through(self._stream.prefix)

    def _check_high_water(self, now_s: float) -> None:
        confirmed = self._journal.confirmed
        if confirmed != self._high_water or confirmed >= self._stream.prefix:
            self._high_water, self._high_water_s = confirmed, now_s
        elif now_s - self._high_water_s > self._resend_s and not self.holds_back:
            log.warning("uplink: no high-water mark since event %d, sending again from there", confirmed)
            self._high_water_s = now_s
            self._stream.rewind(confirmed)

    @property
    def holds_back(self) -> bool:
        self._look()
        return self.under_way > 0 or self._stream.waiting


class TelemetryLane(Lane):
    """Samples, packed by the journal into messages as long as nothing else waits."""

    name = "telemetry"
    metered = True

    def __init__(
        self, topics: Topics, journal: Journal, source: str, now: Callable[[], Moment], timing: Timing
    ) -> None:
        super().__init__(timing)
        self._topics = topics
        self._journal = journal
        self._source = source
        self._now = now
        self._look_every_s = timing.telemetry_s
        self._look_s = 0.0
        self._waiting: deque[TelemetryEntry] = deque()
        self._done: list[int] = []

    def take(self) -> Outgoing | None:
        if not self._waiting and not self._look():
            return None
        entry = self._waiting.popleft()
        return Outgoing(self._topics.telemetry(entry.stream), entry.payload, entry.sequence)

    def _look(self) -> bool:
        """Look for more in the journal; what is under way is still there, and would come again."""
        now_s = time.monotonic()
        if self.under_way or now_s < self._look_s:
            return False
        self._waiting.extend(self._journal.telemetry_waiting(TELEMETRY_BATCH))
        if not self._waiting:
            self._waiting.extend(self._journal.pack_telemetry(self._pack, TELEMETRY_BATCH))
        if not self._waiting:
            self._look_s = now_s + self._look_every_s
        return bool(self._waiting)

    def _pack(self, sequence: int, stream: str, samples: list[dict[str, Any]]) -> bytes:
        return telemetry(self._source, sequence, stream, samples, self._now())

    def accepted(self, message: Outgoing, code: int) -> None:
        self._done.append(message.key)

    def settle(self) -> None:
        if self._done:
            self._journal.telemetry_done(self._done)
            self._done = []

    def rewind(self) -> None:
        self._waiting.clear()
        self._look_s = 0.0
