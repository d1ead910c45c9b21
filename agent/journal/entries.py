"""What the log holds and what is handed to it: events, messages of the cloud, and batches that are written whole.

Everything here is immutable, so that it can cross threads without a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class JournalError(Exception):
    """The journal cannot do what was asked: says what was found, what was expected and what to do."""


class JournalFull(JournalError):  # noqa: N818 (the name says what happened; it is a JournalError)
    """There is no room: the batch was refused before anything of it was written."""


class EventEntry(NamedTuple):
    """One event as it stands in the log for ever."""

    sequence: int
    id: str
    """UUIDv7, in the usual form."""
    type: str
    """Without prefix and version: ``parcel.loaded``."""
    payload: bytes
    """The whole CloudEvent as canonical JSON: the bytes stored are the bytes sent."""


class InboxEntry(NamedTuple):
    """One valid message of the cloud, in the same order as the events it causes."""

    message_id: str
    kind: str
    """The inbox topic's last level: ``block``, ``recall`` …"""
    type: str
    """Without prefix and version: ``block.assigned``."""
    received: str
    """RFC 3339 UTC with milliseconds."""
    body: bytes
    """JSON of the message's data; secrets are sealed tokens."""


Entry = EventEntry | InboxEntry


class TelemetryEntry(NamedTuple):
    """One telemetry message, stored before it is sent."""

    sequence: int
    stream: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one input caused. It is written in one transaction or not at all."""

    entries: tuple[Entry, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Wrapped keys of new scopes (`agent.identity.seal`)."""
    forget: tuple[str, ...] = ()
    """Scopes whose keys are wiped."""
    snapshot: bytes | None = None
    """The state after these entries; a replay may start from it."""


class Head(NamedTuple):
    """Where the chain goes on: the last sequence number that is taken, and the hash of the last event."""

    sequence: int
    hash: str


class Arrived(NamedTuple):
    """Which events have arrived at the broker: all up to one of them but those that it did not accept."""

    through: int = 0
    kept: tuple[int, ...] = ()
    """Sequence numbers of those that are kept and tried again, in order."""

    @property
    def unbroken(self) -> int:
        """Up to here all have arrived."""
        return self.kept[0] - 1 if self.kept else self.through


class Recovery(NamedTuple):
    """A damaged or missing database was replaced: what `unit.journal_recovered` declares."""

    last_sequence: int
    """Of the last event that could be read; 0 when there is none."""
    last_hash: str
    next_sequence: int
    """The chain goes on here: above every number that may ever have been used."""
    lost: Mapping[str, object]
    """What could not be read: ``reason``, ``events`` as ``[first, last]`` pairs of numbers missing before the last,
    ``messages`` (at least so many), ``snapshot`` (whether none is left)."""
