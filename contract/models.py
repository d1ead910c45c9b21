"""The messages that the cloud may send to a unit: the machine-readable authority.

`read(type, data)` gives what a unit takes of a message, or names every fault of its data by its path. Members that are
not known here are tolerated, so that an older unit can read a newer cloud, and left out: nothing that has no bound and
does not say how secret it is (`contract.secrecy`) goes any further. Importing this module builds the models, which
costs some memory and time: a unit does it with its first message.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from typing_extensions import TypedDict

from contract.faults import MAX_FAULTS, Fault, findings
from contract.members import (
    Age,
    Amount,
    Count,
    Country,
    Currency,
    Digest,
    Hmac,
    Identifier,
    Json,
    Key,
    LongText,
    Metres,
    Name,
    Number,
    Priority,
    Seconds,
    Sequence,
    Setting,
    ShortText,
    Time,
    Version,
)
from contract.references import reference_faults
from contract.secrecy import PERSONAL, PLAIN, SEALED, Plan, plan
from contract.vocabulary import (
    COMMAND_ARGUMENTS,
    SETTING_NAME,
    SETTING_NAME_LENGTH,
    InstructionKind,
    ParcelState,
    PlaceKind,
    StopKind,
)

# ------------------------------------------------------------------------------------------------ block


class Location(TypedDict):
    """WGS 84."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Pay(TypedDict):
    """What the block pays."""

    amount: Amount
    currency: Currency


class Vehicle(TypedDict):
    """What the vehicle may carry."""

    max_weight_g: NotRequired[Count | None]
    max_volume_l: NotRequired[Count | None]


class Travel(TypedDict):
    """Travel times between stops: `seconds[i][j]` from the i-th to the j-th of `stop_ids`."""

    stop_ids: Annotated[list[Identifier], Field(max_length=500)]
    seconds: Annotated[list[Annotated[list[Seconds], Field(max_length=500)]], Field(max_length=500)]


class Elsewhere(TypedDict):
    """A parcel of the same site that belongs to another unit."""

    tracking_number: Identifier
    unit: Identifier


class PickupPoint(TypedDict):
    """One counter of a site: a dock lane, a store."""

    point_id: Identifier
    name: Annotated[ShortText, PLAIN]
    floor: NotRequired[Annotated[ShortText | None, PLAIN]]
    code: NotRequired[Annotated[ShortText | None, SEALED]]
    ready: NotRequired[bool | None]
    hours: NotRequired[Annotated[Json, PERSONAL]]


class Site(TypedDict):
    """A place with one gate: a station, a mall, a partner shop."""

    site_id: Identifier
    name: Annotated[Name, PLAIN]
    kind: NotRequired[Annotated[ShortText | None, PLAIN]]
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
    country: NotRequired[Country | None]
    business: NotRequired[Annotated[bool | None, Field(description="whether a reception may take a parcel")]]


Window = TypedDict("Window", {"from": Time, "to": Time})
Window.__doc__ = "When a stop is to be visited."


class Recipient(TypedDict):
    """Who gets it."""

    name: NotRequired[ShortText | None]
    phone: NotRequired[ShortText | None]


class Stop(TypedDict):
    """One place to stand at."""

    stop_id: Identifier
    kind: StopKind
    sequence: Count
    site_id: NotRequired[Identifier | None]
    service_s: NotRequired[Count | None]
    zone: NotRequired[Annotated[ShortText | None, PLAIN]]
    priority: NotRequired[Priority | None]
    address: NotRequired[Annotated[Address | None, PERSONAL]]
    location: NotRequired[Location | None]
    window: NotRequired[Window | None]
    recipient: NotRequired[Annotated[Recipient | None, PERSONAL]]


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
    minimum_age: NotRequired[Age | None]


class Neighbour(TypedDict):
    """With whom a parcel may be left."""

    name: NotRequired[ShortText | None]
    house_number: NotRequired[ShortText | None]
    phone: NotRequired[ShortText | None]
    text: NotRequired[ShortText | None]


def _neighbour(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Who only says who it is writes a text, which has the bound of the member `text`."""
    return check({"text": value})["text"] if isinstance(value, str) else check(value)


class Instruction(TypedDict):
    """Where and with whom the recipient wants it."""

    kind: NotRequired[InstructionKind | None]
    text: NotRequired[Annotated[LongText | None, PERSONAL]]
    neighbour: NotRequired[
        Annotated[
            Neighbour | None, WrapValidator(_neighbour, json_schema_input_type=ShortText | Neighbour | None), PERSONAL
        ]
    ]
    access_codes: NotRequired[Annotated[list[ShortText] | None, Field(max_length=20), SEALED]]
    preferences: NotRequired[Annotated[Json, PERSONAL]]


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
    section: NotRequired[Annotated[ShortText | None, PLAIN]]
    weight_g: NotRequired[Count | None]
    size: NotRequired[Size | None]
    requirements: NotRequired[Requirements | None]
    instruction: NotRequired[Instruction | None]


def _let_others_run(value: Any) -> Any:
    """Pydantic validates a whole block in one call, which keeps other threads waiting; Python lets them run."""
    return value


class Block(TypedDict):
    """A whole block: its sites, stops and parcels."""

    block_id: Identifier
    kind: PlaceKind
    starts_at: Time
    ends_at: Time
    timezone: NotRequired[Annotated[ShortText | None, PLAIN]]
    driver_id: NotRequired[Identifier | None]
    manifest_version: Version
    pay: NotRequired[Pay | None]
    otp_key: NotRequired[Key | None]
    service_radius_m: NotRequired[Metres | None]
    fallback_site_id: NotRequired[Identifier | None]
    vehicle: NotRequired[Vehicle | None]
    travel: NotRequired[Travel | None]
    elsewhere: NotRequired[Annotated[list[Elsewhere], Field(max_length=10_000)] | None]
    sites: Annotated[list[Site], Field(max_length=200)]
    stops: Annotated[list[Stop], Field(max_length=1000)]
    parcels: Annotated[list[Annotated[Parcel, AfterValidator(_let_others_run)]], Field(max_length=1000)]


class BlockCancelled(TypedDict):
    """Operations cancel a block."""

    block_id: Identifier
    reason: NotRequired[Annotated[ShortText | None, PLAIN]]


# ------------------------------------------------------------------------------------------------ the other kinds


class OfferMade(TypedDict):
    """Work that the driver may take."""

    offer_id: Identifier
    block_id: Identifier
    kind: PlaceKind
    place: Annotated[ShortText, PLAIN]
    location: NotRequired[Location | None]
    distance_m: NotRequired[Metres | None]
    starts_at: Time
    ends_at: Time
    timezone: NotRequired[Annotated[ShortText | None, PLAIN]]
    pay: Pay
    expires_at: Time


class OfferConfirmed(TypedDict):
    """The block is the driver's."""

    block_id: Identifier


class OfferRefused(TypedDict):
    """Somebody else was faster, or the cloud has another reason."""

    block_id: Identifier
    reason: NotRequired[Annotated[ShortText | None, PLAIN]]


class ParcelRecalled(TypedDict):
    """Parcels that must not be delivered."""

    parcel_ids: Annotated[list[Identifier], Field(min_length=1, max_length=2000)]
    reason: NotRequired[Annotated[ShortText | None, PLAIN]]


class Driver(TypedDict):
    """Who may sign in."""

    driver_id: Identifier
    name: Annotated[ShortText, SEALED]
    badge_hmac: NotRequired[Hmac | None]
    pin_hmac: NotRequired[Hmac | None]
    approved: bool
    reason: NotRequired[Annotated[ShortText | None, SEALED]]


class RosterReplaced(TypedDict):
    """Everybody who may sign in on this unit, from now on."""

    key: Key
    drivers: Annotated[list[Driver], Field(max_length=1000)]


class AdvisoryIssued(TypedDict):
    """Something about the roads."""

    advisory_id: Identifier
    format: Literal["wzdx", "area", "cap", "speeds"]
    content: Annotated[Json, PLAIN]
    valid_from: NotRequired[Time | None]
    valid_to: NotRequired[Time | None]


class MessageSent(TypedDict):
    """Words for the driver."""

    message_id: Identifier
    text: Annotated[LongText, SEALED]
    needs_ack: NotRequired[bool]


class FeedbackGiven(TypedDict):
    """What a recipient says about a delivery."""

    feedback_id: Identifier
    parcel_id: NotRequired[Identifier | None]
    rating: NotRequired[Number | None]
    text: NotRequired[Annotated[LongText | None, SEALED]]


class EarningsStated(TypedDict):
    """What a block has paid."""

    block_id: Identifier
    base: Amount
    tips: NotRequired[Amount | None]
    currency: Currency


SettingsChanged = Annotated[
    dict[str, Annotated[Setting, SEALED]],
    Field(
        min_length=1,
        max_length=100,
        description="Settings by their dotted names; only those of some sections may be sent.",
        json_schema_extra={"propertyNames": {"pattern": SETTING_NAME + r"(?!\n)", "maxLength": SETTING_NAME_LENGTH}},
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


Command = Annotated[
    CommandRequested,
    Field(
        json_schema_extra={
            "allOf": [
                {
                    "if": {"properties": {"command": {"const": command}}, "required": ["command"]},
                    "then": {"required": [member]},
                }
                for command, member in COMMAND_ARGUMENTS.items()
                if member is not None
            ]
        }
    ),
]


class Envelope(TypedDict):
    """A CloudEvent around the data of a message; what else it has is nothing to the unit."""

    id: Identifier
    specversion: Literal["1.0"]
    source: Annotated[ShortText, Field(min_length=1), PLAIN]
    type: Annotated[ShortText, PLAIN]
    time: NotRequired[Time | None]


ENVELOPE: Final = TypeAdapter(Envelope)

DATA: Final[Mapping[str, Any]] = {
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
    "command.requested": Command,
}
"""What each message's data is, by its type."""

_ADAPTERS: Final = {id(annotation): TypeAdapter(annotation) for annotation in DATA.values()}
MODELS: Final[Mapping[str, TypeAdapter[Any]]] = {type_: _ADAPTERS[id(annotation)] for type_, annotation in DATA.items()}
"""The model of each message's data, by its type."""

PLANS: Final[Mapping[str, Plan]] = {
    type_: found for type_, annotation in DATA.items() if (found := plan(annotation)) is not None
}
"""What is to be sealed in each message's data; a type in which nothing is has none."""


# ------------------------------------------------------------------------------------------------ reading


class MessageError(ValueError):
    """A message does not fulfil its model; `faults` says where and why, without a value of it."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(map(str, faults)))


def read(type_: str, data: Any) -> dict[str, Any]:
    """The data of a message with the members of its model, and no others.

    :raises MessageError: naming every fault, at most `MAX_FAULTS`
    """
    fulfilled: dict[str, Any] = _fulfilled(MODELS[type_], data)
    if found := [*islice(reference_faults(type_, fulfilled), MAX_FAULTS)]:
        raise MessageError(found)
    return fulfilled


def faults(type_: str, data: Any) -> list[Fault]:
    """Every fault of a message's data, at most `MAX_FAULTS`."""
    try:
        read(type_, data)
    except MessageError as error:
        return error.faults
    return []


def envelope_faults(envelope: Mapping[str, Any]) -> list[Fault]:
    """What is wrong around the data; `id` first, because an answer needs it."""
    return model_faults(ENVELOPE, envelope)


def model_faults(model: TypeAdapter[Any], data: Any) -> list[Fault]:
    """The faults of one document by its own model, without looking at what refers to what."""
    try:
        _fulfilled(model, data)
    except MessageError as error:
        return error.faults
    return []


def _fulfilled(model: TypeAdapter[Any], data: Any) -> Any:
    try:
        return model.validate_python(data, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
    if any(isinstance(each["input"], float) and each["input"].is_integer() for each in found):
        # JSON knows one kind of number, in which 900.0 is a whole one. Hardly anybody writes it so.
        return _fulfilled(model, _with_whole_numbers(data))
    raise MessageError(findings(found[:MAX_FAULTS]))


def _with_whole_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_with_whole_numbers(each) for each in value]
        case dict():
            return {name: _with_whole_numbers(each) for name, each in value.items()}
    return value
