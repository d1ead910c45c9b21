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
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar, Final, Literal

from paho.mqtt.properties import Properties

from agent import __version__
from agent.delivery.model.inputs import Moment
from agent.journal.entries import TelemetryEntry
from agent.journal.envelope import telemetry
from agent.journal.store import Journal
from agent.uplink.backoff import TIMING, Pause, Timing
from agent.uplink.connection import EVENT_PROPERTIES, FAILURE, STATUS_PROPERTIES, in_words
from contract.topics import Topics
from drivers.limited_log import LimitedLog

log = logging.getLogger(__name__)

given_up: Final = LimitedLog(log, "messages that were given up")

MAX_REPLIES: Final = 200
SHORT_REPLY_BYTES: Final = 400
"""An answer of so many bytes is not made any shorter: the id of a command takes up to 128 characters of it."""
TELEMETRY_BATCH: Final = 20


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

    The session calls `take` while window and pause allow, and `answered` with what the broker says of each. After a
    refusal it awaits the answers that are still due, calls `rewind`, and goes on with single messages, ever more
    slowly, until one is accepted. A lane outlives connections: when one ends, nothing is under way any more, and
    `rewind` is called as well. All this happens in the uplink's thread.
    """

    name: ClassVar[str]
    """As in: the broker does not accept ``events``."""
    metered: ClassVar[bool] = False
    """Whether it waits for the next month when this month's traffic is used up."""

    def __init__(self, timing: Timing = TIMING) -> None:
        self.pause = Pause(timing)
        self.under_way = 0
        """Sent and not answered yet; counted by the session."""
        self.finding = ""
        """What could not be sent as it is, in words, until another message has been."""
        self._found_of: int | None = None

    @abstractmethod
    def take(self) -> Outgoing | None:
        """The next message to send, if there is one."""

    @abstractmethod
    def accepted(self, message: Outgoing, code: int) -> None:
        """The broker has this message; it need not be sent again."""

    @abstractmethod
    def rewind(self) -> None:
        """Nothing is under way: `take` begins again with the first message that was not accepted."""

    def answered(self, message: Outgoing, code: int) -> None:
        """The broker has answered with this reason code."""
        if (why_not := self.objection(message, code)) is not None:
            self.pause.refused(why_not)
        else:
            self.accepted(message, code)
            self.pause.accepted()
            if message.key != self._found_of:
                self.finding = ""

    def find(self, message: Outgoing, what: str) -> None:
        """Show what could not be sent as it is."""
        self.finding, self._found_of = what, message.key

    def objection(self, message: Outgoing, code: int) -> str | None:
        """Why a message with this reason code was not accepted and has to come again; ``None`` if it was."""
        if code < FAILURE:
            return None
        return f"the broker does not accept {self.name}: {in_words(code)} on {message.topic}"

    def cut_off(self, message: Outgoing, why: str) -> None:
        """The broker has ended the connection for this message, or has never answered it."""
        self.pause.refused(f"{why} on {message.topic}", alone=True)

    def take_alone(self, now_s: float) -> Outgoing | None:
        """The next of those that a connection has ended for, when it is due: to be sent with nothing else under way."""
        return self.take() if self.is_alone_due(now_s) else None

    def is_alone_due(self, now_s: float) -> bool:
        """Whether such a message is to be tried now."""
        return self.pause.alone and self.pause.allows(self.under_way, now_s)

    def left_s(self, now_s: float) -> float | None:
        """Until something may be tried again; ``None`` where nothing waits for that."""
        return self.pause.left_s(now_s)

    def too_large(self, message: Outgoing, size: int, limit: int) -> Outgoing | None:
        """It does not fit this connection: a shorter one to send instead, if there is one."""
        self.give_up(message, f"it takes {size} bytes, the broker or broker.max_packet_bytes allows {limit}")
        return None

    def give_up(self, message: Outgoing, why: str) -> None:
        """It can never be sent, and nobody else will ever ask for it."""
        self.find(message, f"a message on {message.topic} was given up: {why}")
        given_up.warning("uplink: a message on %s was given up: %s", message.topic, why)
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
        return "; ".join(filter(None, (self.pause.reason, self.finding)))


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
        self._shortened = 0
        """How much is left out of it, because the broker takes no more: see `_SHORTER`."""

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
        self.finding = ""
        self._since = self._now().time
        self._due = True
        self._shortened = 0

    def take(self) -> Outgoing | None:
        if not self._due:
            return None
        self._due = False
        return self._now_said()

    def too_large(self, message: Outgoing, size: int, limit: int) -> Outgoing | None:
        if self._shortened == len(_SHORTER):
            return super().too_large(message, size, limit)
        self._shortened += 1
        self.find(message, f"the status is shortened: in full it takes more than the {limit} bytes that are allowed")
        return self._now_said()

    def _now_said(self) -> Outgoing:
        word = self._word(self._state, self._since)
        return Outgoing(self._topic, word, properties=STATUS_PROPERTIES, retain=True)

    def accepted(self, message: Outgoing, code: int) -> None:
        pass

    def rewind(self) -> None:
        self._due = True

    def _word(self, state: Literal["online", "offline"], since: str | None) -> bytes:
        parts = self._parts if state == "online" else {}
        for shorter in _SHORTER[: self._shortened]:
            parts = shorter(parts)
        word = {"state": state, "version": __version__, "boot_id": self._boot_id, "since": since, "parts": parts}
        return json.dumps(word, ensure_ascii=False).encode()


_SHORTER: Final[tuple[Callable[[Mapping[str, Any]], Mapping[str, Any]], ...]] = (
    lambda parts: {name: {**part, "reason": str(part.get("reason", ""))[:80]} for name, part in parts.items()},
    lambda parts: {name: {"state": part.get("state")} for name, part in parts.items()},
    lambda _parts: {},
)
"""What of the parts is left out first, and then."""


class RepliesLane(Lane):
    """Answers to commands. Kept over reconnects, not over a restart; of too many the oldest is dropped.

    An answer that does not fit is replaced by one that says so; whoever asked hears of it on `R/replies`, where the
    topic or the correlation data that he gave are what is too long.
    """

    name = "replies"

    def __init__(self, topics: Topics) -> None:
        super().__init__()
        self._topic = topics.replies
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

    def cut_off(self, message: Outgoing, why: str) -> None:
        """As one that is refused; the topic may be one that its sender has named."""
        self.give_up(message, why)

    def too_large(self, message: Outgoing, size: int, limit: int) -> Outgoing | None:
        shorter = message
        if len(message.payload) > SHORT_REPLY_BYTES:
            shorter = replace(message, payload=_shortened(message.payload, size, limit))
        elif message.properties is not STATUS_PROPERTIES:
            shorter = replace(message, topic=self._topic, properties=STATUS_PROPERTIES)
        else:
            return super().too_large(message, size, limit)
        self.find(message, f"an answer on {message.topic} was shortened: it takes {size} bytes, {limit} are allowed")
        self._sent[message.key] = shorter
        return shorter

    def rewind(self) -> None:
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()


def _shortened(payload: bytes, size: int, limit: int) -> bytes:
    """What is answered instead: as much of the reason as is short, or that the result is too long."""
    answer = json.loads(payload)
    error = answer.get("error") or {
        "code": "TOO_LARGE",
        "message": f"it was carried out, but the answer takes {size} bytes and the broker allows {limit}",
    }
    told = {"code": str(error.get("code"))[:40], "message": str(error.get("message"))[:100]}
    return json.dumps({"command_id": answer.get("command_id"), "ok": False, "error": told}).encode()


class TelemetryLane(Lane):
    """Samples of one stream, packed by the journal into messages as long as nothing else waits."""

    name = "telemetry"
    metered = True

    def __init__(
        self, topics: Topics, journal: Journal, stream: str, source: str, now: Callable[[], Moment], timing: Timing
    ) -> None:
        super().__init__(timing)
        self._topic = topics.telemetry(stream)
        self._journal = journal
        self._stream = stream
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
        return Outgoing(self._topic, entry.payload, entry.sequence)

    def _look(self) -> bool:
        """Look for more in the journal; what is under way is still there, and would come again."""
        now_s = time.monotonic()
        if self.under_way or now_s < self._look_s:
            return False
        self._waiting.extend(self._journal.telemetry_waiting(TELEMETRY_BATCH, self._stream))
        if not self._waiting:
            self._waiting.extend(self._journal.pack_telemetry(self._pack, TELEMETRY_BATCH, self._stream))
        if not self._waiting:
            self._look_s = now_s + self._look_every_s
        return bool(self._waiting)

    def too_large(self, message: Outgoing, size: int, limit: int) -> Outgoing | None:
        """It is split in two, and again; a single sample that does not fit is dropped, and counted as such."""
        parts = self._journal.split_telemetry(message.key, self._pack)
        if not parts:
            self.find(message, f"a sample of {self._stream} takes {size} bytes, {limit} are allowed: it is dropped")
            return None
        self._waiting.extendleft(reversed(parts[1:]))
        return Outgoing(self._topic, parts[0].payload, parts[0].sequence)

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
