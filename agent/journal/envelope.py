"""The envelope of everything that leaves the unit: CloudEvents 1.0 as canonical JSON, events hash-chained.

The bytes made here are stored and sent as they are. Free members (`data`, `subject`, `source`, `bootid`) go through
`contract.canonical`; the others are digits, hex and fixed words, which are their own canonical form, so each event is
serialised once: the hash covers the text without the member `hash`, and that member is then inserted.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from agent.delivery.model.decision import Event
from agent.delivery.model.inputs import InboxMessage, Moment
from agent.journal.entries import Entry, EventEntry, JournalError
from contract.canonical import canonical
from contract.topics import full_type

_TYPE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_CHAINED = re.compile(
    rb',"hash":"([0-9a-f]{64})","id":"([0-9a-f-]{36})","lane":"events",'
    rb'"previoushash":"([0-9a-f]{64})","sequence":"([0-9]{20})",'
)


def uuid7(wall_ms: int) -> str:
    """A UUIDv7 (RFC 9562) for this Unix time in milliseconds; a clock before 1970 counts as 1970."""
    stamp = f"{max(wall_ms, 0) & 0xFFFFFFFFFFFF:012x}"
    noise = os.urandom(10).hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{noise[:3]}-{_VARIANT[noise[3]]}{noise[4:7]}-{noise[7:19]}"


@lru_cache(maxsize=256)
def _quoted(text: str) -> bytes:
    """Canonical JSON of a text that comes again and again."""
    return canonical(text)


@lru_cache(maxsize=256)
def _full_type(type_: str) -> bytes:
    if not _TYPE.fullmatch(type_):
        raise JournalError(f'event type "{type_}": expected entity.verb in lower case, such as parcel.loaded')
    return full_type(type_).encode()


def _canonical(name: str, data: Mapping[str, Any]) -> bytes:
    try:
        return canonical(dict(data))
    except (ValueError, TypeError, AttributeError, RecursionError) as fault:
        raise JournalError(f"{name}: its data cannot be written as JSON ({fault}); give JSON values only") from fault


class Chain:
    """Gives events their id, sequence number and hash, each linked to the one before."""

    def __init__(self, source: str, sequence: int, last_hash: str) -> None:
        """`source` is ``/{fleet}/{unit}``; `sequence` and `last_hash` are the journal's head."""
        self.sequence = sequence
        self.last_hash = last_hash
        self._source = b',"source":' + _quoted(source) + b',"specversion":"1.0","subject":'

    def add(self, type: str, subject: str, data: Mapping[str, Any], moment: Moment) -> EventEntry:  # noqa: A002
        """The next event.

        :raises JournalError: its data is not JSON; the chain stays where it is
        """
        full_type = _full_type(type)
        body = _canonical(f"event {type}", data)
        sequence = self.sequence + 1
        id_ = uuid7(moment.wall_ms)
        before = b'{"bootid":%b,"clocktrust":%b,"data":%b,' % (_quoted(moment.boot_id), _quoted(moment.trust), body)
        after = (
            b'"id":"%b","lane":"events","previoushash":"%b","sequence":"%020d"%b%b,"time":"%b","type":"%b","uptimems":"%d"}'
            % (
                id_.encode(),
                self.last_hash.encode(),
                sequence,
                self._source,
                canonical(subject),
                moment.time.encode(),
                full_type,
                moment.uptime_ms,
            )
        )
        digest = sha256(before + after).hexdigest()
        self.sequence = sequence
        self.last_hash = digest
        return EventEntry(sequence, id_, type, b'%b"hash":"%b",%b' % (before, digest.encode(), after))


def telemetry(source: str, sequence: int, stream: str, samples: Sequence[Mapping[str, Any]], moment: Moment) -> bytes:
    """One telemetry message: type ``org.kerbside.telemetry.{stream}.v1``, lane ``telemetry``, no hash chain."""
    return _canonical(
        f"telemetry {stream}",
        {
            "bootid": moment.boot_id,
            "clocktrust": moment.trust,
            "data": {"samples": list(samples)},
            "id": uuid7(moment.wall_ms),
            "lane": "telemetry",
            "sequence": f"{sequence:020d}",
            "source": source,
            "specversion": "1.0",
            "subject": "unit",
            "time": moment.time,
            "type": full_type(f"telemetry.{stream}"),
            "uptimems": str(moment.uptime_ms),
        },
    )


class Chained(NamedTuple):
    """What of an event chains it to the one before it, and the next one to it."""

    sequence: int
    id: str
    type: str
    previous_hash: str
    hash: str


def chained(payload: bytes) -> Chained:
    """What chains the event of these stored bytes.

    :raises JournalError: they are no event, or their content does not match their hash
    """
    start = payload.rfind(b',"hash":"')
    found = _CHAINED.match(payload, start) if start >= 0 else None
    if found is None:
        raise JournalError("these bytes are not an event of the log")
    digest = sha256(payload[: start + 1] + payload[start + 75 :]).hexdigest()
    if digest != found[1].decode():
        raise JournalError(f"event {int(found[4])}: its content does not match its hash")
    return Chained(int(found[4]), found[2].decode(), short_type(payload), found[3].decode(), digest)


def short_type(payload: bytes) -> str:
    """``parcel.loaded`` of stored bytes. After the type comes only the uptime, so the last match is the envelope's."""
    start = payload.rfind(b',"type":"') + 22
    return payload[start : payload.index(b'"', start) - 3].decode()


def own_hash(payload: bytes) -> str:
    """The hash that stored bytes carry."""
    start = payload.rfind(b',"hash":"') + 9
    return payload[start : start + 64].decode()


def previous_hash(payload: bytes) -> str:
    """The hash of the event before, as stored bytes carry it."""
    start = payload.rfind(b',"previoushash":"') + 17
    return payload[start : start + 64].decode()


def trusted_time(payload: bytes) -> str | None:
    """When stored bytes say it happened; ``None`` when the clock was not to be trusted."""
    if b'","clocktrust":"unsynced",' in payload[:200]:
        return None
    start = payload.rfind(b',"time":"') + 9
    return payload[start : payload.index(b'"', start)].decode()


def parse(entry: Entry) -> Event | InboxMessage:
    """An entry of the log in the words of the delivery core, for a replay."""
    if isinstance(entry, EventEntry):
        envelope = json.loads(entry.payload)
        return Event(entry.type, envelope["subject"], envelope["data"], envelope["time"])
    return InboxMessage(entry.message_id, entry.kind, entry.type, json.loads(entry.body))
