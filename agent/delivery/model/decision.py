"""What comes out of the core: events to write, what the driver is told, and work for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from agent.delivery.model.times import Instant, read_instant

if TYPE_CHECKING:
    from agent.delivery.model.state import Here, State

Tone = Literal["good", "repeat", "bad", "attention"]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that happened, in the names of the state machine. It is appended once and never changed."""

    type: str
    """``parcel.loaded``; the envelope makes it `org.kerbside.parcel.loaded.v1`."""
    subject: str
    """``parcel/{parcel_id}``, ``stop/{stop_id}``, ``block/{block_id}``, ``driver/{driver_id}`` or ``unit``."""
    data: Mapping[str, Any]
    """JSON values only."""
    time: str = ""
    """RFC 3339 UTC with milliseconds: the moment's label."""

    @property
    def at(self) -> Instant | None:
        """The instant of its time."""
        return read_instant(self.time)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the driver hears and sees, given only after the events are durable (contract §6)."""

    code: str
    tone: Tone
    params: Mapping[str, Any] = field(default_factory=dict)
    section: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an action is not accepted: a code and what the sentence needs."""

    reason: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forget:
    """Effect: wipe the key of this scope (`model.scopes`), so that its secrets can never be opened."""

    scope: str


@dataclass(frozen=True, slots=True)
class Command:
    """Effect: carry out a command of the cloud (contract §4, inbox `command` and `settings`)."""

    message_id: str
    kind: Literal["command", "settings"]
    data: Mapping[str, Any]


DIAGNOSTICS = "diagnostics"
"""Kind of work: collect what the check-up finds."""


@dataclass(frozen=True, slots=True)
class Work:
    """Effect: slow work for a worker; its result comes back as the input `Finished` of the same kind and key."""

    kind: str
    """`DIAGNOSTICS`."""
    key: str
    """What the result is for, so that a result nobody waits for any more can be told."""
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """Effect: answer a command of the cloud on the topic `replies`."""

    message_id: str
    result: Any
    """JSON value."""


Effect = Forget | Command | Work | Reply


@dataclass(frozen=True, slots=True)
class Decision:
    """The core's answer to one input."""

    events: tuple[Event, ...] = ()
    feedback: Feedback | None = None
    effects: tuple[Effect, ...] = ()
    refusal: Refusal | None = None
    """An action was not accepted (`events` holds at most the refused scan), or a message was not: then it is no entry
    of the log, and `events` at most answer it."""
    here: Here | None = None
    """The momentary part of the state as it is now, where it changed."""
    after: State | None = field(default=None, compare=False, repr=False)
    """The state behind the events, where there are any: what `evolve` makes of them, so that nobody does it twice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an action came to, once its events are durable."""

    events: tuple[str, ...] = ()
    """Ids of the events it caused; a refused scan has one too."""
    refusal: Refusal | None = None
    """Why it was not accepted; ``None`` when it was."""
    message: str = ""
    """The same as the driver reads it, once it was put into words."""
