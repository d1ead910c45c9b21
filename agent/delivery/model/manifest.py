"""What a manifest says about places, parcels and pay, as frozen data.

Nothing here changes by what happens on the road; only a newer manifest replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from agent.delivery.model.times import Instant
from contract.vocabulary import ParcelState, StopKind

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Sealed = object
"""A sealed token, which the core passes on and never looks into; what an earlier version kept open is JSON."""


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the map, WGS 84."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class PickupPoint:
    """One counter of a site: a dock lane, a store."""

    point_id: str
    name: str | None = None
    floor: str | None = None
    code: Sealed = None
    ready: bool | None = None
    hours: Sealed = None


@dataclass(frozen=True, slots=True)
class Site:
    """A place with one gate: a station, a mall, a partner's shop."""

    site_id: str
    name: str | None = None
    kind: str | None = None
    location: Place | None = None
    radius_m: float | None = None
    points: dict[str, PickupPoint] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Window:
    """When a stop is to be visited."""

    from_: Instant | None = None
    to: Instant | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Outer dimensions of a parcel."""

    length_mm: int
    width_mm: int
    height_mm: int


@dataclass(frozen=True, slots=True)
class Requirements:
    """Which proofs a delivery needs."""

    photo: bool = False
    signature: bool = False
    otp_hmac: str | None = None
    minimum_age: int | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """What the recipient or the shipper asked for."""

    kind: str = "none"
    text: Sealed = None
    neighbour: Sealed = None
    access_codes: tuple[Sealed, ...] = ()
    """Each holds one code or a list of them."""
    preferences: Sealed = None


NO_REQUIREMENTS = Requirements()
NO_INSTRUCTION = Instruction()


@dataclass(frozen=True, slots=True)
class StopPlan:
    """What the manifest says of one stop."""

    kind: StopKind
    sequence: int | None = None
    site_id: str | None = None
    location: Place | None = None
    address: Sealed = None
    is_business: bool = False
    """Whether somebody at a reception may take a parcel."""
    window: Window | None = None
    recipient: Sealed = None
    service_s: float | None = None
    zone: str | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class ParcelPlan:
    """What the manifest says of one parcel."""

    tracking_number: str
    aliases: tuple[str, ...] = ()
    pickup_stop_id: str | None = None
    point_id: str | None = None
    stop_id: str | None = None
    """Its delivery stop."""
    return_to: str | None = None
    merchant_id: str | None = None
    section: str | None = None
    weight_g: int | None = None
    size: Size | None = None
    requirements: Requirements = NO_REQUIREMENTS
    instruction: Instruction = NO_INSTRUCTION


@dataclass(frozen=True, slots=True)
class Pay:
    """What a block pays."""

    amount: str
    """Decimal number."""
    currency: str
    """ISO 4217."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What the vehicle may carry."""

    max_weight_g: int | None = None
    max_volume_l: int | None = None


@dataclass(frozen=True, slots=True)
class Travel:
    """Travel times between stops: ``seconds[i][j]`` from the i-th to the j-th of `stop_ids`."""

    stop_ids: tuple[str, ...]
    seconds: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a block message says."""

    block_id: str
    version: int
    kind: str
    starts_at: Instant | None
    ends_at: Instant | None
    timezone: str | None
    driver_id: str | None
    pay: Pay | None
    otp_key: str | None
    service_radius_m: float | None
    fallback_site_id: str | None
    vehicle: Vehicle | None
    travel: Travel | None
    elsewhere: dict[str, str]
    """Normal form of a code → the vehicle of this site that carries its parcel."""
    sites: dict[str, Site]
    stops: dict[str, StopPlan]
    """In the order in which they are to be driven."""
    parcels: dict[str, ParcelPlan]
    states: dict[str, ParcelState]
    """How far parcels were on a unit that this one replaces."""
    codes: dict[str, tuple[str, ...]]
    """Parcel → the normal forms of its tracking number and aliases."""
    weight: int = 0
    """How much it takes (`model.weights`)."""


def as_json(part: DataclassInstance | None) -> dict[str, Any] | None:
    """A part of a message as the contract has it: what is unknown is absent."""
    if part is None:
        return None
    members = {member.name.rstrip("_"): getattr(part, member.name) for member in fields(part)}
    return {
        name: value.text if isinstance(value, Instant) else value
        for name, value in members.items()
        if value is not None
    }
