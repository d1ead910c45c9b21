"""What a unit sends: the envelopes of events and telemetry, its status, its replies, and what media consist of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from contract.members import Digest, Identifier, LongText, ShortText, Time
from contract.topics import SOURCE
from contract.vocabulary import ClockTrust

Source = Annotated[str, Field(max_length=258, pattern=SOURCE, description="/{fleet}/{unit}, as in the topic")]
Type = Annotated[str, Field(max_length=100, pattern=r"^org\.kerbside\.[a-z_]+\.[a-z_]+\.v[0-9]+$")]
SequenceNumber = Annotated[str, Field(max_length=20, pattern=r"^0{5}[0-9]{15}$", description="20 digits, below 2^53")]


class Event(TypedDict):
    """A CloudEvent of the `events` lane."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    source: Source
    type: Type
    subject: Annotated[str, Field(max_length=200, pattern=r"^(unit|(parcel|stop|block|driver|[a-z_]+)/.+)$")]
    time: Time
    datacontenttype: NotRequired[Literal["application/json"] | None]
    sequence: SequenceNumber
    lane: Literal["events"]
    bootid: Identifier
    uptimems: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    clocktrust: ClockTrust
    previoushash: Digest
    hash: Digest
    data: dict[str, Any]


class TelemetryData(TypedDict):
    """Samples of one stream, oldest first."""

    samples: list[dict[str, Any]]


class Telemetry(TypedDict):
    """A CloudEvent of the `telemetry` lane: it is counted, but not chained."""

    specversion: Literal["1.0"]
    id: Identifier
    source: Source
    type: Type
    subject: Identifier
    time: Time
    sequence: SequenceNumber
    lane: Literal["telemetry"]
    bootid: Identifier
    uptimems: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    clocktrust: ClockTrust
    data: TelemetryData


class PartStatus(TypedDict):
    """One part of the unit."""

    state: Literal["absent", "opening", "ready", "stale", "faulty"]
    reason: NotRequired[LongText | None]
    since: NotRequired[ShortText | None]


class Status(TypedDict):
    """The retained word on the status topic; in the will, `since` is null: a broker does not say when."""

    state: Literal["online", "offline"]
    version: ShortText
    boot_id: ShortText
    since: NotRequired[ShortText | None]
    parts: Annotated[dict[str, PartStatus], Field(max_length=200)]


class ReplyError(TypedDict):
    """Why a command was not carried out."""

    code: ShortText
    message: LongText
    oldest_sequence: NotRequired[int | None]


class Reply(TypedDict):
    """The answer to a command: `result` when `ok`, else `error`."""

    command_id: ShortText
    ok: bool
    result: NotRequired[Any]
    error: NotRequired[ReplyError | None]


class MediaManifest(TypedDict):
    """What a photo or a signature consists of on the wire, beside its parts; an event names the media by its digest."""

    sha256: Digest
    bytes: Annotated[int, Field(ge=1)]
    content_type: ShortText
    part_bytes: Annotated[int, Field(ge=1, description="of every part but the last")]
    parts: Annotated[int, Field(ge=1, description="numbered from 0")]


UPWARD: Final[Mapping[str, TypeAdapter[Any]]] = {
    "event": TypeAdapter(Event),
    "telemetry": TypeAdapter(Telemetry),
    "status": TypeAdapter(Status),
    "reply": TypeAdapter(Reply),
    "media_manifest": TypeAdapter(MediaManifest),
}
"""Everything that a unit sends, by the name of its schema."""
