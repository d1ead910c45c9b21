"""The messages that the cloud may send to a unit: the machine-readable authority.

`faults(type, data)` names every fault of a message's data by its path. Nothing is coerced, and members that are not
known here are tolerated, so that an older unit can read a newer cloud. The models describe JSON as it is: validating a
message builds no second copy of it, which would cost more than all checks. Importing this module builds the models,
which costs some memory and time: a unit does it with its first message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

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


def _let_others_run(value: Any) -> Any:
    """Pydantic validates a whole block in one call, which keeps other threads waiting; Python lets them run."""
    return value


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


class Location(TypedDict):
    """WGS 84."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Pay(TypedDict):
    """What the block pays."""

    amount: Amount
    currency: Currency


# ------------------------------------------------------------------------------------------------ block


class Vehicle(TypedDict):
    """What the vehicle may carry."""

    max_weight_g: NotRequired[Count | None]
    max_volume_l: NotRequired[Count | None]


class Travel(TypedDict):
    """Travel times between stops: `seconds[i][j]` from the i-th to the j-th of `stop_ids`."""

    stop_ids: Annotated[list[Identifier], Field(max_length=1000)]
    seconds: Annotated[
        list[list[Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]]], Field(max_length=1000)
    ]


class Elsewhere(TypedDict):
    """A parcel of the same site that belongs to another unit."""

    tracking_number: Identifier
    unit: Identifier


class PickupPoint(TypedDict):
    """One counter of a site: a dock lane, a store."""

    point_id: Identifier
    name: ShortText
    floor: NotRequired[ShortText | None]
    code: NotRequired[ShortText | None]
    ready: NotRequired[bool | None]
    hours: NotRequired[Any]


class Site(TypedDict):
    """A place with one gate: a station, a mall, a partner shop."""

    site_id: Identifier
    name: ShortText
    kind: NotRequired[ShortText | None]
    location: NotRequired[Location | None]
    radius_m: NotRequired[Metres | None]
    pickup_points: NotRequired[Annotated[list[PickupPoint], Field(max_length=500)]]


class Address(TypedDict):
    """A postal address."""

    line1: NotRequired[ShortText | None]
    line2: NotRequired[ShortText | None]
    house_number: NotRequired[ShortText | None]
    city: NotRequired[ShortText | None]
    postal_code: NotRequired[ShortText | None]
    region: NotRequired[ShortText | None]
    country: NotRequired[Annotated[str, Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2")] | None]


class Window(TypedDict):
    """When a stop is to be visited."""

    from_: Annotated[Time, Field(alias="from")]
    to: Time


class Recipient(TypedDict):
    """Personal data: it is sealed on arrival under the block's key, and never goes into an event."""

    name: NotRequired[ShortText | None]
    phone: NotRequired[ShortText | None]


class Stop(TypedDict):
    """One place to stand at."""

    stop_id: Identifier
    kind: StopKind
    sequence: Count
    site_id: NotRequired[Identifier | None]
    service_s: NotRequired[Count | None]
    zone: NotRequired[ShortText | None]
    priority: NotRequired[int | None]
    address: NotRequired[Address | None]
    location: NotRequired[Location | None]
    window: NotRequired[Window | None]
    recipient: NotRequired[Recipient | None]


class Size(TypedDict):
    """Outer dimensions."""

    length_mm: Count
    width_mm: Count
    height_mm: Count


class Requirements(TypedDict):
    """What must be shown before the parcel counts as delivered."""

    photo: NotRequired[bool | None]
    signature: NotRequired[bool | None]
    otp_hmac: NotRequired[Hmac | None]
    minimum_age: NotRequired[Annotated[int, Field(ge=1, le=120)] | None]


class Instruction(TypedDict):
    """Where and with whom the recipient wants it."""

    kind: NotRequired[InstructionKind | None]
    text: NotRequired[LongText | None]
    neighbour: NotRequired[Any]
    access_codes: NotRequired[Annotated[list[ShortText], Field(max_length=20)] | None]
    preferences: NotRequired[Any]


class Parcel(TypedDict):
    """One label, one custody unit."""

    parcel_id: Identifier
    tracking_number: Identifier
    aliases: NotRequired[Annotated[list[Identifier], Field(max_length=20)] | None]
    pickup_stop_id: NotRequired[
        Annotated[Identifier | None, Field(description="may be absent when the block has one pickup stop")]
    ]
    point_id: NotRequired[Identifier | None]
    stop_id: Identifier
    return_to: NotRequired[Identifier | None]
    merchant_id: NotRequired[Identifier | None]
    state: NotRequired[ParcelState | None]
    section: NotRequired[ShortText | None]
    weight_g: NotRequired[Count | None]
    size: NotRequired[Size | None]
    requirements: NotRequired[Requirements | None]
    instruction: NotRequired[Instruction | None]


class Block(TypedDict):
    """A whole block: its sites, stops and parcels."""

    block_id: Identifier
    kind: PlaceKind
    starts_at: Time
    ends_at: Time
    timezone: NotRequired[ShortText | None]
    driver_id: NotRequired[Identifier | None]
    manifest_version: Annotated[int, Field(ge=0)]
    pay: NotRequired[Pay | None]
    otp_key: NotRequired[Key | None]
    service_radius_m: NotRequired[Metres | None]
    fallback_site_id: NotRequired[Identifier | None]
    vehicle: NotRequired[Vehicle | None]
    travel: NotRequired[Travel | None]
    elsewhere: NotRequired[Annotated[list[Elsewhere], Field(max_length=20_000)] | None]
    sites: Annotated[list[Site], Field(max_length=500)]
    stops: Annotated[list[Stop], Field(max_length=1000)]
    parcels: Annotated[list[Annotated[Parcel, AfterValidator(_let_others_run)]], Field(max_length=5000)]


class BlockCancelled(TypedDict):
    """Operations cancel a block."""

    block_id: Identifier
    reason: NotRequired[ShortText | None]


# ------------------------------------------------------------------------------------------------ the other kinds


class OfferMade(TypedDict):
    """Work that the driver may take."""

    offer_id: Identifier
    block_id: Identifier
    kind: PlaceKind
    place: ShortText
    location: NotRequired[Location | None]
    distance_m: NotRequired[Metres | None]
    starts_at: Time
    ends_at: Time
    timezone: NotRequired[ShortText | None]
    pay: Pay
    expires_at: Time


class OfferConfirmed(TypedDict):
    """The block is the driver's."""

    block_id: Identifier


class OfferRefused(TypedDict):
    """Somebody else was faster, or the cloud has another reason."""

    block_id: Identifier
    reason: NotRequired[ShortText | None]


class ParcelRecalled(TypedDict):
    """Parcels that must not be delivered."""

    parcel_ids: Annotated[list[Identifier], Field(min_length=1, max_length=5000)]
    reason: NotRequired[ShortText | None]


class Driver(TypedDict):
    """Who may sign in."""

    driver_id: Identifier
    name: ShortText
    badge_hmac: NotRequired[Hmac | None]
    pin_hmac: NotRequired[Hmac | None]
    approved: bool
    reason: NotRequired[ShortText | None]


class RosterReplaced(TypedDict):
    """Everybody who may sign in on this unit, from now on."""

    key: Key
    drivers: Annotated[list[Driver], Field(max_length=1000)]


class AdvisoryIssued(TypedDict):
    """Something about the roads."""

    advisory_id: Identifier
    format: Literal["wzdx", "area", "cap", "speeds"]
    content: Any
    valid_from: NotRequired[Time | None]
    valid_to: NotRequired[Time | None]


class MessageSent(TypedDict):
    """Words for the driver."""

    message_id: Identifier
    text: LongText
    needs_ack: NotRequired[bool]


class FeedbackGiven(TypedDict):
    """What a recipient says about a delivery."""

    feedback_id: Identifier
    parcel_id: NotRequired[Identifier | None]
    rating: NotRequired[Annotated[float, Field(allow_inf_nan=False)] | None]
    text: NotRequired[LongText | None]


class EarningsStated(TypedDict):
    """What a block has paid."""

    block_id: Identifier
    base: Amount
    tips: NotRequired[Amount | None]
    currency: Currency


SettingsChanged = Annotated[
    dict[str, Any],
    Field(
        description="Settings by their dotted names; only those of some sections may be sent.",
        json_schema_extra={
            "minProperties": 1,
            "propertyNames": {"pattern": rf"^({'|'.join(CHANGEABLE_SECTIONS)})\.[a-z0-9_]+$"},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    ),
]


class CommandRequested(TypedDict):
    """Something to do at once; a command that the unit does not know is answered with an error."""

    command_id: Identifier
    command: Identifier
    from_sequence: NotRequired[Sequence]
    to_sequence: NotRequired[Sequence]
    sequence: NotRequired[Sequence]
    sha256: NotRequired[Digest | None]


_BLOCK: Final = TypeAdapter(Block)

MODELS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "offer.made": TypeAdapter(OfferMade),
    "offer.confirmed": TypeAdapter(OfferConfirmed),
    "offer.refused": TypeAdapter(OfferRefused),
    "block.assigned": _BLOCK,
    "block.cancelled": TypeAdapter(BlockCancelled),
    "block.revised": _BLOCK,
    "parcel.recalled": TypeAdapter(ParcelRecalled),
    "roster.replaced": TypeAdapter(RosterReplaced),
    "advisory.issued": TypeAdapter(AdvisoryIssued),
    "message.sent": TypeAdapter(MessageSent),
    "feedback.given": TypeAdapter(FeedbackGiven),
    "earnings.stated": TypeAdapter(EarningsStated),
    "settings.changed": TypeAdapter(SettingsChanged),
    "command.requested": TypeAdapter(CommandRequested),
}
"""The model of each message's data, by its type."""


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


def model_faults(model: TypeAdapter[Any], data: Any) -> list[Fault]:
    """The faults of one document by its own model, without looking at what refers to what."""
    try:
        model.validate_python(data, strict=True)
    except ValidationError as error:
        return findings(error.errors(include_url=False)[:MAX_FAULTS])
    return []
