"""What a unit sends: the envelopes of events and telemetry, its status, its replies, and what media consist of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from contract.models import Digest, Identifier, Model, Time
from contract.vocabulary import ClockTrust


class Event(Model):
    """A CloudEvent of the `events` lane."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    source: Annotated[str, Field(pattern=r"^/[^/]+/[^/]+$")]
    type: Annotated[str, Field(pattern=r"^org\.kerbside\.[a-z_]+\.[a-z_]+\.v[0-9]+$")]
    subject: Annotated[str, Field(pattern=r"^(unit|(parcel|stop|block|driver|[a-z_]+)/.+)$")]
    time: Time
    datacontenttype: Literal["application/json"] | None = None
    sequence: Annotated[str, Field(pattern=r"^[0-9]{20}$")]
    lane: Literal["events"]
    bootid: Identifier
    uptimems: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    clocktrust: ClockTrust
    previoushash: Digest
    hash: Digest
    data: dict[str, Any]


class TelemetryData(Model):
    """Samples of one stream, oldest first."""

    samples: list[dict[str, Any]]


class Telemetry(Model):
    """A CloudEvent of the `telemetry` lane: it is counted, but not chained."""

    specversion: Literal["1.0"]
    id: Identifier
    source: Annotated[str, Field(pattern=r"^/[^/]+/[^/]+$")]
    type: Annotated[str, Field(pattern=r"^org\.kerbside\.[a-z_]+\.[a-z_]+\.v[0-9]+$")]
    subject: Identifier
    time: Time
    sequence: Annotated[str, Field(pattern=r"^[0-9]{20}$")]
    lane: Literal["telemetry"]
    bootid: Identifier
    uptimems: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    clocktrust: ClockTrust
    data: TelemetryData


class PartStatus(Model):
    """One part of the unit."""

    state: Literal["absent", "opening", "ready", "stale", "faulty"]
    reason: str | None = None
    since: str | None = None


class Status(Model):
    """The retained word on the status topic; in the will, `since` is null: a broker does not say when."""

    state: Literal["online", "offline"]
    version: str
    boot_id: str
    since: str | None = None
    parts: dict[str, PartStatus]


class ReplyError(Model):
    """Why a command was not carried out."""

    code: str
    message: str
    oldest_sequence: int | None = None


class Reply(Model):
    """The answer to a command: `result` when `ok`, else `error`."""

    command_id: str
    ok: bool
    result: Any = None
    error: ReplyError | None = None


class MediaManifest(Model):
    """What a photo or a signature consists of on the wire, beside its parts; an event names the media by its digest."""

    sha256: Digest
    bytes: Annotated[int, Field(ge=1)]
    content_type: str
    part_bytes: Annotated[int, Field(ge=1, description="of every part but the last")]
    parts: Annotated[int, Field(ge=1, description="numbered from 0")]


UPWARD: Final[Mapping[str, type[Model]]] = {
    "event": Event,
    "telemetry": Telemetry,
    "status": Status,
    "reply": Reply,
    "media_manifest": MediaManifest,
}
"""Everything that a unit sends, by the name of its schema."""
