"""The messages that the cloud may send, and the envelopes that the unit sends: the machine-readable authority.

`faults(type, data)` names every fault of a message's data by its path; `schema(name)` gives JSON Schema 2020-12.
Nothing is coerced, and members that are not known here are tolerated, so that an older unit can read a newer cloud.
Importing this module builds the models, which costs some memory: `inbox` does it with the first message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

PREFIX = "org.kerbside."
MAX_FAULTS = 50
SETTINGS_SECTIONS = ("delivery.", "route.", "gps.", "camera.")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a message: where it is, and what was expected there. Values are never repeated."""

    path: str
    """Dotted, with indexes in brackets: ``parcels[3].stop_id``."""
    expected: str


# ------------------------------------------------------------------------------------------------ building blocks


def _a_time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in value.upper():
        raise PydanticCustomError("time", "an RFC 3339 date and time with its offset, such as 2026-11-21T09:00:00Z")
    return value


def _a_key(value: str) -> str:
    try:
        if len(base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)) == 32:
            return value
    except (binascii.Error, ValueError):
        pass
    raise PydanticCustomError("key", "32 bytes in base64url")


def _a_sequence(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise PydanticCustomError("sequence", "a sequence number: a whole number or its decimal string")
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
InstructionKind = Literal[
    "front_door", "resident", "household", "neighbour", "reception", "safe_place", "locker", "none"
]  # fmt: skip
PlaceKind = Literal["station", "retail", "partner"]
ParcelState = Literal[
    "MANIFESTED", "UNEXPECTED", "LOADED", "MISSING", "REJECTED", "RECALLED_CLOSED", "HANDED_BACK", "OUT_FOR_DELIVERY",
    "ATTEMPTED", "UNLOCATED", "RETURN_PENDING", "DELIVERED", "RETURNED", "LOST", "TRANSFERRED",
]  # fmt: skip


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
    kind: Literal["pickup", "delivery", "return", "break"]
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

    kind: (
        Literal["front_door", "resident", "household", "neighbour", "reception", "safe_place", "locker", "none"] | None
    ) = None
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
            "propertyNames": {"pattern": r"^(delivery|route|gps|camera)\.[a-z0-9_]+$"},
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


KINDS: Mapping[str, tuple[str, ...]] = {
    "offer": ("offer.made", "offer.confirmed", "offer.refused"),
    "block": ("block.assigned", "block.cancelled"),
    "revision": ("block.revised",),
    "recall": ("parcel.recalled",),
    "roster": ("roster.replaced",),
    "advisory": ("advisory.issued",),
    "message": ("message.sent",),
    "feedback": ("feedback.given",),
    "earnings": ("earnings.stated",),
    "settings": ("settings.changed",),
    "command": ("command.requested",),
}
"""The types that each inbox topic carries, without prefix and version."""

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


# ------------------------------------------------------------------------------------------------ what the unit sends


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
    clocktrust: Literal["gps", "ntp", "rtc", "unsynced"]
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
    clocktrust: Literal["gps", "ntp", "rtc", "unsynced"]
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


UPWARD: Mapping[str, type[Model]] = {"event": Event, "telemetry": Telemetry, "status": Status, "reply": Reply}


def names() -> list[str]:
    """Everything that `schema` knows: the inbox types, then `event`, `telemetry`, `status` and `reply`."""
    return [*MODELS, *UPWARD]


def schema(name: str) -> dict[str, Any]:
    """JSON Schema 2020-12 of a message with its envelope, or of something that the unit sends.

    Raises `KeyError` for a name that is not one of `names()`.
    """
    if name in UPWARD:
        body = UPWARD[name].model_json_schema(mode="validation")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body, "title": name}
    body = MODELS[name].model_json_schema(mode="validation", ref_template="#/$defs/{model}")
    definitions = body.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1, "maxLength": 128},
            "source": {"type": "string", "minLength": 1},
            "type": {"const": f"{PREFIX}{name}.v1"},
            "time": {"type": "string", "format": "date-time"},
            "data": body,
        },
        **({"$defs": definitions} if definitions else {}),
    }


# ------------------------------------------------------------------------------------------------ faults


def faults(type_: str, data: Any) -> list[Fault]:
    """Every fault of a message's data, at most `MAX_FAULTS`; none means that it may be used as it is."""
    return model_faults(MODELS[type_], data) or [*_references(type_, data)][:MAX_FAULTS]


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
        return [
            Fault(_path(fault["loc"]), _expected(fault))
            for fault in error.errors(include_url=False, include_input=True)[:MAX_FAULTS]
        ]
    return []


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part[:60]}" if path else part[:60]
    return path[:200]


_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "finite_number": "a finite number",
}


def _expected(fault: Any) -> str:
    kind: str = fault["type"]
    context: Mapping[str, Any] = fault.get("ctx", {})
    if kind == "missing":
        return "it must be there"
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}, got {json_type(fault['input'])}"
    if kind == "string_pattern_mismatch":
        return f"expected a text like {context['pattern']}"
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind in {"time", "key", "sequence"}:
        return f"expected {fault['msg']}"
    message: str = fault["msg"]
    subject, _, rule = message.partition(" should ")
    nouns = {"String": "a text", "List": "a list", "Dictionary": "an object"}
    return f"expected {nouns.get(subject, 'a value')} {rule.removeprefix('be ').removeprefix('have ')}"


def json_type(value: Any) -> str:
    """The JSON name of a value's type: faults name types, because a value may be a secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"


def _references(type_: str, data: Mapping[str, Any]) -> Iterable[Fault]:
    if type_ in {"block.assigned", "block.revised"}:
        return _block_references(data)
    if type_ == "command.requested":
        return _command_arguments(data)
    if type_ == "settings.changed":
        return _settings_names(data)
    if type_ == "roster.replaced":
        return _unique(data["drivers"], "drivers", "driver_id")
    if type_ == "offer.made":
        return _in_order(data, "starts_at", "ends_at")
    return ()


def _command_arguments(data: Mapping[str, Any]) -> Iterable[Fault]:
    needed = {"replay": "from_sequence", "high_water": "sequence", "media_stored": "sha256", "media_send": "sha256"}
    member = needed.get(data["command"])
    if member is not None and data.get(member) is None:
        yield Fault(member, f"it must be there for the command {data['command']}")
    elif (
        data["command"] == "replay"
        and data.get("to_sequence") is not None
        and int(data["to_sequence"]) < int(data["from_sequence"])
    ):
        yield Fault("to_sequence", "expected a number that is not below from_sequence")


def _settings_names(data: Mapping[str, Any]) -> Iterable[Fault]:
    if not data:
        yield Fault("", "expected at least one setting")
    for name, value in data.items():
        section, _, key = name.partition(".")
        if f"{section}." not in SETTINGS_SECTIONS or not key:
            yield Fault(name[:60], "expected a name under " + ", ".join(f"{each}*" for each in SETTINGS_SECTIONS))
        elif not isinstance(value, (str, int, float, bool)):
            yield Fault(name[:60], f"expected a text, a number or true or false, got {json_type(value)}")


def _unique(items: list[Mapping[str, Any]], path: str, member: str) -> Iterable[Fault]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        before = first.setdefault(item[member], index)
        if before != index:
            yield Fault(f"{path}[{index}].{member}", f"expected an id of its own, {path}[{before}] has the same")


def _in_order(data: Mapping[str, Any], start: str, end: str, prefix: str = "") -> Iterable[Fault]:
    if datetime.fromisoformat(data[start]) > datetime.fromisoformat(data[end]):
        yield Fault(f"{prefix}{end}", f"expected a time that is not before {start}")


def _block_references(block: Mapping[str, Any]) -> Iterable[Fault]:
    sites, stops, parcels = block["sites"], block["stops"], block["parcels"]
    yield from _in_order(block, "starts_at", "ends_at")
    yield from _unique(sites, "sites", "site_id")
    for index, site in enumerate(sites):
        yield from _unique(site.get("pickup_points", []), f"sites[{index}].pickup_points", "point_id")
    yield from _unique(stops, "stops", "stop_id")
    yield from _unique(parcels, "parcels", "parcel_id")
    yield from _unique(parcels, "parcels", "tracking_number")

    points = {site["site_id"]: {point["point_id"] for point in site.get("pickup_points", [])} for site in sites}
    by_id = {stop["stop_id"]: stop for stop in stops}
    pickups = [stop["stop_id"] for stop in stops if stop["kind"] == "pickup"]

    if (fallback := block.get("fallback_site_id")) is not None and fallback not in points:
        yield Fault("fallback_site_id", "expected the site_id of one of the sites")
    yield from _travel(block.get("travel"), by_id)
    for index, stop in enumerate(stops):
        yield from _stop_references(stop, f"stops[{index}]", points)
    for index, parcel in enumerate(parcels):
        yield from _parcel_references(parcel, f"parcels[{index}]", by_id, points, pickups, block.get("otp_key"))


def _travel(travel: Mapping[str, Any] | None, stops: Mapping[str, Any]) -> Iterable[Fault]:
    if travel is None:
        return
    size = len(travel["stop_ids"])
    for index, stop_id in enumerate(travel["stop_ids"]):
        if stop_id not in stops:
            yield Fault(f"travel.stop_ids[{index}]", "expected the stop_id of one of the stops")
    if len(travel["seconds"]) != size:
        yield Fault("travel.seconds", "expected one row for each of stop_ids")
    for index, row in enumerate(travel["seconds"]):
        if len(row) != size:
            yield Fault(f"travel.seconds[{index}]", "expected one number for each of stop_ids")


def _stop_references(stop: Mapping[str, Any], path: str, sites: Mapping[str, Any]) -> Iterable[Fault]:
    site_id = stop.get("site_id")
    if site_id is None and stop["kind"] in {"pickup", "return"}:
        yield Fault(f"{path}.site_id", f"it must be there for a {stop['kind']} stop")
    elif site_id is not None and site_id not in sites:
        yield Fault(f"{path}.site_id", "expected the site_id of one of the sites")
    if stop["kind"] == "delivery" and stop.get("location") is None and stop.get("address") is None:
        yield Fault(f"{path}.location", "expected a location or an address for a delivery stop")
    if stop.get("window") is not None:
        yield from _in_order(stop["window"], "from", "to", f"{path}.window.")


def _parcel_references(
    parcel: Mapping[str, Any],
    path: str,
    stops: Mapping[str, Any],
    points: Mapping[str, set[str]],
    pickups: list[str],
    otp_key: str | None,
) -> Iterable[Fault]:
    delivery = stops.get(parcel["stop_id"])
    if delivery is None:
        yield Fault(f"{path}.stop_id", "expected the stop_id of one of the stops")
    elif delivery["kind"] != "delivery":
        yield Fault(f"{path}.stop_id", f"expected a delivery stop, that one is a {delivery['kind']} stop")

    pickup_stop_id = parcel.get("pickup_stop_id")
    if pickup_stop_id is None and len(pickups) == 1:
        pickup_stop_id = pickups[0]
    pickup = stops.get(pickup_stop_id) if pickup_stop_id is not None else None
    if pickup_stop_id is None:
        yield Fault(f"{path}.pickup_stop_id", "it must be there unless the block has exactly one pickup stop")
    elif pickup is None:
        yield Fault(f"{path}.pickup_stop_id", "expected the stop_id of one of the stops")
    elif pickup["kind"] != "pickup":
        yield Fault(f"{path}.pickup_stop_id", f"expected a pickup stop, that one is a {pickup['kind']} stop")
    elif parcel.get("point_id") is not None and parcel["point_id"] not in points.get(pickup.get("site_id", ""), ()):
        yield Fault(f"{path}.point_id", "expected the point_id of a pickup point at the site of the pickup stop")

    if parcel.get("return_to") is not None and parcel["return_to"] not in points:
        yield Fault(f"{path}.return_to", "expected the site_id of one of the sites")
    requirements = parcel.get("requirements")
    if requirements is not None and requirements.get("otp_hmac") is not None and otp_key is None:
        yield Fault("otp_key", f"it must be there because {path} asks for a one-time code")
