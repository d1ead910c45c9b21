"""Events that the broker has not accepted: kept and tried again, ever more seldom, while all others pass.

A refusal is first taken for one of the topic: newer events on it are kept as well, and from time to time the oldest of
them are tried, a few more each time. Once one of them is accepted the topic is open again, and what was refused
nevertheless is tried again on its own. What the broker ends connections for is tried while nothing else is under way.
Here is only what is known of them; who sends them, and when they may, is the lane's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.uplink.backoff import Timing, wait_of

MAX_KEPT: Final = 2000
"""More events are not passed by: then those behind them wait in the log."""
TOPICS_TOLD: Final = 3
LOOK_AGAIN_S: Final = 0.05


@dataclass(slots=True)
class _Event:
    topic: _Topic
    refusals: int = 0
    due_s: float = 0.0
    alone: bool = False
    """It may be one that the broker ends connections for."""
    under_way: bool = False
    parked: bool = False
    """It cannot be sent over this connection."""
    tried_in: int = -1
    """The topic's round in which it was tried last."""


@dataclass(slots=True)
class _Topic:
    name: str
    why: str = ""
    refusals: int = 0
    """Rounds in a row without any event that was accepted; 0: it is open."""
    round: int = 0
    due_s: float = 0.0
    """When the next round begins."""
    alone: bool = False
    events: int = 0
    unproven: bool = True
    """Nothing was accepted or refused on it yet."""

    @property
    def closed(self) -> bool:
        return self.refusals > 0


class Kept:
    """The events, by their sequence numbers, and the topics that they belong on. Used by one thread."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._events: dict[int, _Event] = {}
        self._topics: dict[str, _Topic] = {}
        self._sorted: tuple[int, ...] | None = None
        self._nothing_before_s = 0.0
        """`next` has nothing before, unless something is heard meanwhile."""
        self._alone_due_s: float | None = None
        """When `next_alone` has something; ``None`` where that is to be looked for."""

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._events

    def __len__(self) -> int:
        return len(self._events)

    @property
    def sequences(self) -> tuple[int, ...]:
        """In order."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self._events))
        return self._sorted

    @property
    def full(self) -> bool:
        """Whether no other event may be kept."""
        return len(self._events) >= MAX_KEPT

    @property
    def complaint(self) -> str:
        """Which topics are refused and why, in words; empty when none is."""
        told = [f"{topic.why} on {topic.name}" for topic in self._topics.values() if topic.why]
        if not told:
            return ""
        more = f" and {len(told) - TOPICS_TOLD} other topics" if len(told) > TOPICS_TOLD else ""
        full = ", and newer ones wait, because no more may be set aside" if self.full else ""
        return "; ".join(told[:TOPICS_TOLD]) + f"{more}: these events are kept and tried again{full}"

    def is_closed(self, topic: str) -> bool:
        """Whether a newer event on this topic is to be kept without being tried."""
        return topic in self._topics and self._topics[topic].closed

    def add(self, sequence: int, topic: str, *, alone: bool = False) -> None:
        """Keep an event that was not tried.

        :param alone: whether it may be one that the broker ends connections for
        """
        self._changed()
        self._kept(sequence, topic).alone |= alone

    def refused(self, sequence: int, topic: str, why: str, now_s: float, *, alone: bool = False) -> None:
        """The broker has refused this event, or has ended the connection for it (`alone`)."""
        self._changed()
        event = self._kept(sequence, topic)
        known, tried = event.topic, event.under_way
        event.refusals += 1
        event.under_way, event.alone = False, alone
        event.due_s = now_s + wait_of(self._timing, event.refusals, alone=alone)
        known.why, known.unproven = why, False
        if not known.closed and event.refusals > 1:
            return  # others on this topic pass: it is this event
        if not known.closed or (tried and not any(e.under_way for e in self._events.values() if e.topic is known)):
            known.refusals += 1
            known.round += 1
            known.alone = alone
            known.due_s = now_s + wait_of(self._timing, known.refusals, alone=alone)

    def accepted(self, sequence: int, topic: str) -> None:
        """The broker has this event: so it takes the topic."""
        if (known := self._topics.get(topic)) is None:
            return
        self._changed()
        self.drop(sequence)
        if known.closed or known.unproven:
            known.refusals, known.unproven = 0, False
            for event in self._events.values():
                if event.topic is known and event.refusals <= 1 and not event.under_way:
                    event.due_s = 0.0
                    event.alone = event.alone and event.refusals > 0

    def arrived_through(self, sequence: int) -> None:
        """The cloud has everything up to here."""
        self._changed()
        for known in [each for each in self._events if each <= sequence]:
            self.drop(known)

    def park(self, sequence: int, topic: str) -> None:
        """Keep an event that cannot be sent over this connection: it is tried with the next one."""
        event = self._kept(sequence, topic)
        event.parked, event.under_way = True, False
        self._changed()

    def connected(self) -> None:
        """With a new connection what was parked is tried again."""
        self._changed()
        for event in self._events.values():
            event.parked = False

    def rewind(self) -> None:
        """Nothing is under way."""
        self._changed()
        for event in self._events.values():
            event.under_way = False
            event.tried_in = -1

    def next(self, now_s: float) -> int | None:
        """The next event to try beside others; it counts as under way."""
        if now_s < self._nothing_before_s:
            return None
        rounds: dict[str, int] = {}
        for sequence in self.sequences:
            event = self._events[sequence]
            topic = event.topic
            if event.alone or event.parked:
                continue
            if topic.closed:
                place = rounds[topic.name] = rounds.get(topic.name, 0) + 1
                due = topic.due_s <= now_s and not topic.alone and event.tried_in != topic.round
                due = due and place <= 1 + topic.refusals // 2
            else:
                due = event.due_s <= now_s
            if due and not event.under_way:
                event.under_way, event.tried_in = True, topic.round
                return sequence
        self._nothing_before_s = now_s + max(self.left_s(now_s) or 0.0, LOOK_AGAIN_S)
        return None

    def next_alone(self, now_s: float) -> int | None:
        """The next event to try while nothing else is under way: of a topic's events the one that was refused least."""
        due = [
            (event.refusals, sequence) for sequence, event in self._events.items() if self._alone_from_s(event) <= now_s
        ]
        if not due:
            return None
        sequence = min(due)[1]
        self._events[sequence].under_way = True
        self._changed()
        return sequence

    def is_alone_due(self, now_s: float) -> bool:
        """Whether `next_alone` gives one."""
        if self._alone_due_s is None:
            self._alone_due_s = min(map(self._alone_from_s, self._events.values()), default=float("inf"))
        return self._alone_due_s <= now_s

    def left_s(self, now_s: float) -> float | None:
        """Until the next try; ``None`` where nothing waits for one."""
        waits = [
            event.topic.due_s if event.topic.closed else event.due_s
            for event in self._events.values()
            if not event.under_way and not event.parked
        ]
        return max(min(waits) - now_s, 0.0) if waits else None

    def _changed(self) -> None:
        self._nothing_before_s, self._alone_due_s = 0.0, None

    def _kept(self, sequence: int, topic: str) -> _Event:
        if (event := self._events.get(sequence)) is None:
            known = self._topics.setdefault(topic, _Topic(topic))
            known.events += 1
            event = self._events[sequence] = _Event(known)
            self._sorted = None
        return event

    def drop(self, sequence: int) -> None:
        """This event need not be sent any more."""
        if (event := self._events.pop(sequence, None)) is not None:
            self._sorted = None
            event.topic.events -= 1
            if not event.topic.events:
                del self._topics[event.topic.name]

    def _alone_from_s(self, event: _Event) -> float:
        """From when on an event may be tried alone."""
        if event.under_way or event.parked:
            return float("inf")
        if event.topic.closed:
            return event.topic.due_s if event.topic.alone or event.alone else float("inf")
        return event.due_s if event.alone else float("inf")
