"""The messages that the cloud may send to a unit: the machine-readable authority.

`faults(type, data)` names every fault of a message's data by its path. Nothing is coerced, and members that are not
known here are tolerated, so that an older unit can read a newer cloud. Importing this module builds the models, which
costs some memory and time: a unit does it with its first message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from contract.faults import MAX_FAULTS, Fault, findings, json_type
from contract.references import reference_faults
from contract.vocabulary import CHANGEABLE_SECTIONS, InstructionKind, ParcelState, PlaceKind, StopKind

# ------------------------------------------------------------------------------------------------ building blocks


def _a_time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in value.upper():
        raise ValueError("expected an RFC 3339 date and time with its offset, such as 2026-11-21T09:00:00Z")
    return value


def _a_key(value: str) -> str:
    try:
        if len(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)) == 32:
            return value
    except (binascii.Error, ValueError):
        pass
    raise ValueError("expected 32 bytes in base64url")


def _a_sequence(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError("expected a sequence number: a whole number or its decimal string")
    return value


Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
ShortText = Annotated[str, Field(max_length=500)]
LongText = Annotated[str, Field(max_length=4000)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_a_time)]
Key = Annotated[str, Field(max_length=64, description="32 bytes, base64url"), AfterValidator(_a_key)]
Hmac = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="HMAC-SHA256, lowercase hex")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, lowercase hex")]
Amount = Annotated[str, Field(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$", description="decimal number")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")]
Sequence = Annotated[
    Any,
    AfterValidator(_a_sequence),
    Field(
        json_schema_extra={"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,20}$"}]}
    ),
]
Count = Annotated[int, Field(ge=0, le=10_000_000)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Metres = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Model(BaseModel):
    """Strict about what it knows, tolerant of what it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Location(Model):
    """WGS 84."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Pay(Model):
    """What the block pays."""

    amount: Amount
    currency: Currency


# ------------------------------------------------------------------------------------------------ block


class Vehicle(Model):
    """What the vehicle may carry."""

    max_weight_g: Count | None = None
    max_volume_l: Count | None = None


class Travel(Model):
    """Travel times between stops: `seconds[i][j]` from the i-th to the j-th of `stop_ids`."""

    stop_ids: Annotated[list[Identifier], Field(max_length=1000)]
    seconds: Annotated[
        list[list[Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]]], Field(max_length=1000)
    ]


class Elsewhere(Model):
    """A parcel of the same site that belongs to another unit."""

    tracking_number: Identifier
    unit: Identifier


class PickupPoint(Model):
    """One counter of a site: a dock lane, a store."""

    point_id: Identifier
    name: ShortText
    floor: ShortText | None = None
    code: ShortText | None = None
    ready: bool | None = None
    hours: Any = None


class Site(Model):
    """A place with one gate: a station, a mall, a partner shop."""

    site_id: Identifier
    name: ShortText
    kind: ShortText | None = None
    location: Location | None = None
    radius_m: Metres | None = None
    pickup_points: Annotated[list[PickupPoint], Field(max_length=500)] = []


class Address(Model):
    """A postal address."""

    line1: ShortText | None = None
    line2: ShortText | None = None
    house_number: ShortText | None = None
    city: ShortText | None = None
    postal_code: ShortText | None = None
    region: ShortText | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")] | None = None


class Window(Model):
    """When a stop is to be visited."""

    from_: Annotated[Time, Field(alias="from")]
    to: Time


class Recipient(Model):
    """Personal data: it is sealed on arrival under the block's key, and never goes into an event."""

    name: ShortText | None = None
    phone: ShortText | None = None


class Stop(Model):
    """One place to stand at."""

    stop_id: Identifier
    kind: StopKind
    sequence: Count
    site_id: Identifier | None = None
    service_s: Count | None = None
    zone: ShortText | None = None
    priority: int | None = None
    address: Address | None = None
    location: Location | None = None
    window: Window | None = None
    recipient: Recipient | None = None


class Size(Model):
    """Outer dimensions."""

    length_mm: Count
    width_mm: Count
    height_mm: Count


class Requirements(Model):
    """What must be shown before the parcel counts as delivered."""

    photo: bool | None = None
    signature: bool | None = None
    otp_hmac: Hmac | None = None
    minimum_age: Annotated[int, Field(ge=1, le=120)] | None = None


class Instruction(Model):
    """Where and with whom the recipient wants it."""

    kind: InstructionKind | None = None
    text: LongText | None = None
    neighbour: Any = None
    access_codes: Annotated[list[ShortText], Field(max_length=20)] | None = None
    preferences: Any = None


class Parcel(Model):
    """One label, one custody unit."""

    parcel_id: Identifier
    tracking_number: Identifier
    aliases: Annotated[list[Identifier], Field(max_length=20)] | None = None
    pickup_stop_id: Annotated[
        Identifier | None, Field(description="may be absent when the block has one pickup stop")
    ] = None
    point_id: Identifier | None = None
    stop_id: Identifier
    return_to: Identifier | None = None
    merchant_id: Identifier | None = None
    state: ParcelState | None = None
    section: ShortText | None = None
    weight_g: Count | None = None
    size: Size | None = None
    requirements: Requirements | None = None
    instruction: Instruction | None = None


class Block(Model):
    """A whole block: its sites, stops and parcels."""

    block_id: Identifier
    kind: PlaceKind
    starts_at: Time
    ends_at: Time
    timezone: ShortText | None = None
    driver_id: Identifier | None = None
    manifest_version: Annotated[int, Field(ge=0)]
    pay: Pay | None = None
    otp_key: Key | None = None
    service_radius_m: Metres | None = None
    fallback_site_id: Identifier | None = None
    vehicle: Vehicle | None = None
    travel: Travel | None = None
    elsewhere: Annotated[list[Elsewhere], Field(max_length=20_000)] | None = None
    sites: Annotated[list[Site], Field(max_length=500)]
    stops: Annotated[list[Stop], Field(max_length=1000)]
    parcels: Annotated[list[Parcel], Field(max_length=5000)]


class BlockCancelled(Model):
    """Operations cancel a block."""

    block_id: Identifier
    reason: ShortText | None = None


# ------------------------------------------------------------------------------------------------ the other kinds


class OfferMade(Model):
    """Work that the driver may take."""

    offer_id: Identifier
    block_id: Identifier
    kind: PlaceKind
    place: ShortText
    location: Location | None = None
    distance_m: Metres | None = None
    starts_at: Time
    ends_at: Time
    pay: Pay
    expires_at: Time


class OfferConfirmed(Model):
    """The block is the driver's."""

    block_id: Identifier


class OfferRefused(Model):
    """Somebody else was faster, or the cloud has another reason."""

    block_id: Identifier
    reason: ShortText | None = None


class ParcelRecalled(Model):
    """Parcels that must not be delivered."""

    parcel_ids: Annotated[list[Identifier], Field(min_length=1, max_length=5000)]
    reason: ShortText | None = None


class Driver(Model):
    """Who may sign in."""

    driver_id: Identifier
    name: ShortText
    badge_hmac: Hmac | None = None
    pin_hmac: Hmac | None = None
    approved: bool
    reason: ShortText | None = None


class RosterReplaced(Model):
    """Everybody who may sign in on this unit, from now on."""

    key: Key
    drivers: Annotated[list[Driver], Field(max_length=1000)]


class AdvisoryIssued(Model):
    """Something about the roads."""

    advisory_id: Identifier
    format: Literal["wzdx", "area", "cap", "speeds"]
    content: Any
    valid_from: Time | None = None
    valid_to: Time | None = None


class MessageSent(Model):
    """Words for the driver."""

    message_id: Identifier
    text: LongText
    needs_ack: bool = False


class FeedbackGiven(Model):
    """What a recipient says about a delivery."""

    feedback_id: Identifier
    parcel_id: Identifier | None = None
    rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    text: LongText | None = None


class EarningsStated(Model):
    """What a block has paid."""

    block_id: Identifier
    base: Amount
    tips: Amount | None = None
    currency: Currency


class SettingsChanged(Model):
    """Settings by their dotted names; only those of `delivery`, `route`, `gps` and `camera` may be sent."""

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        frozen=True,
        json_schema_extra={
            "minProperties": 1,
            "propertyNames": {"pattern": rf"^({'|'.join(CHANGEABLE_SECTIONS)})\.[a-z0-9_]+$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    )


class CommandRequested(Model):
    """Something to do at once; a command that the unit does not know is answered with an error."""

    command_id: Identifier
    command: Identifier
    from_sequence: Sequence = None
    to_sequence: Sequence = None
    sequence: Sequence = None
    sha256: Digest | None = None


MODELS: Mapping[str, type[Model]] = {
    "offer.made": OfferMade,
    "offer.confirmed": OfferConfirmed,
    "offer.refused": OfferRefused,
    "block.assigned": Block,
    "block.cancelled": BlockCancelled,
    "block.revised": Block,
    "parcel.recalled": ParcelRecalled,
    "roster.replaced": RosterReplaced,
    "advisory.issued": AdvisoryIssued,
    "message.sent": MessageSent,
    "feedback.given": FeedbackGiven,
    "earnings.stated": EarningsStated,
    "settings.changed": SettingsChanged,
    "command.requested": CommandRequested,
}


# ------------------------------------------------------------------------------------------------ faults


def faults(type_: str, data: Any) -> list[Fault]:
    """Every fault of a message's data, at most `MAX_FAULTS`; none means that it may be used as it is."""
    return model_faults(MODELS[type_], data) or [*islice(reference_faults(type_, data), MAX_FAULTS)]


def envelope_faults(envelope: Mapping[str, Any]) -> list[Fault]:
    """What is wrong around the data; `id` first, because an answer needs it."""
    found = []
    message_id = envelope.get("id")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= 128 or not message_id.isprintable():
        found.append(Fault("id", "expected a text of 1 to 128 printable characters"))
    if envelope.get("specversion") != "1.0":
        found.append(Fault("specversion", 'expected "1.0"'))
    found += [
        Fault(member, f"expected a text, got {json_type(envelope.get(member))}")
        for member in ("source", "type")
        if not isinstance(envelope.get(member), str)
    ]
    return found


def model_faults(model: type[Model], data: Any) -> list[Fault]:
    """The faults of one document by its own model, without looking at what refers to what."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        return findings(error.errors(include_url=False)[:MAX_FAULTS])
    return []
