"""What a broker handed over, read once: a message of the unit whose topic it came on, or the reason why it is none.

Whoever may publish below a unit's topic speaks for that unit and for no other: the topic says whose a message is and
on which lane it came, and an envelope that says otherwise is not believed. What is kept fulfils the contract's models.

>>> Intake("kerbside").read("kerbside/demo/u1/events/parcel/loaded", b"{}").reason
'specversion: it must be there'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from contract import strict_json
from contract.canonical import content_hash
from contract.topics import Topics, short_type

MAX_MESSAGE_BYTES: Final = 512 * 1024
"""The largest that is read; a unit's packets have 128 KiB unless its settings say otherwise."""
EXCERPT_BYTES: Final = 4096
MAX_TOPIC: Final = 200
"""So many bytes, and characters of its topic, are kept of what is not taken."""


@dataclass(frozen=True, slots=True)
class Message:
    """A valid envelope of the unit whose topic it came on."""

    unit: str
    """``/{fleet}/{unit}``."""
    lane: str
    id: str
    sequence: int
    type: str
    """Short, such as ``parcel.loaded``."""
    previous: str | None
    hash: str | None
    sound: bool
    """Whether its content matches its hash; telemetry has none."""
    payload: bytes = field(repr=False)
    """As it came."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is not taken, and why; nothing in it may be believed."""

    topic: str
    """Its beginning: a topic may have 64 KiB."""
    reason: str
    """What was expected; no value is repeated."""
    excerpt: bytes = field(repr=False)
    size: int


class Intake:
    """Reads what comes below a topic root. May be used from any thread."""

    def __init__(self, topic_root: str) -> None:
        from contract.upward import UPWARD  # building the models takes longer than a report, which needs none

        self._topic_root = topic_root
        self._models = {"events": UPWARD["event"], "telemetry": UPWARD["telemetry"]}

    def read(self, topic: str, payload: bytes) -> Message | Unreadable:
        """What came on a topic. Never raises."""
        try:
            return self._read(topic, payload)
        except (ValueError, ArithmeticError) as error:
            return Unreadable(topic[:MAX_TOPIC], str(error), payload[:EXCERPT_BYTES], len(payload))

    def _read(self, topic: str, payload: bytes) -> Message:
        """:raises ValueError: it is no message of the topic's unit"""
        from contract.models import model_faults

        sender = Topics.sender(self._topic_root, topic)
        if sender is None or sender.channel not in self._models:
            raise ValueError("expected the topic of a unit's events or telemetry")
        if len(payload) > MAX_MESSAGE_BYTES:
            raise ValueError(f"expected at most {MAX_MESSAGE_BYTES} bytes")
        envelope = strict_json.parse(payload)
        if found := model_faults(self._models[sender.channel], envelope):
            raise ValueError(str(found[0]))
        if envelope["source"] != sender.source:
            raise ValueError("source: expected the fleet and the unit that the topic names")
        return Message(
            sender.source,
            envelope["lane"],
            envelope["id"],
            int(envelope["sequence"]),
            short_type(envelope["type"]),
            envelope.get("previoushash"),
            envelope.get("hash"),
            sender.channel != "events" or content_hash(envelope) == envelope["hash"],
            payload,
        )
