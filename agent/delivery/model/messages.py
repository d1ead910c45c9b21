"""What the state keeps of the messages of the cloud, but for manifests."""

from __future__ import annotations

from dataclasses import dataclass

from agent.delivery.model.manifest import Pay, Place, Sealed
from agent.delivery.model.times import Instant


@dataclass(frozen=True)
class Offer:
    """A block that is offered; its block is OFFERED until it was answered."""

    offer_id: str
    block_id: str
    kind: str | None = None
    place: str | None = None
    location: Place | None = None
    distance_m: float | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    timezone: str | None = None
    pay: Pay | None = None
    expires_at: Instant | None = None
    requested_at: Instant | None = None
    """When the driver accepted it; the cloud has yet to answer."""


@dataclass(frozen=True)
class Message:
    """A message from dispatch."""

    message_id: str
    text: Sealed
    needs_ack: bool = False
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """Who may sign in."""

    driver_id: str
    name: Sealed = None
    badge_hmac: str | None = None
    pin_hmac: str | None = None
    approved: bool = False
    reason: Sealed = None
    """Why not, where a driver is not approved."""


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody who may sign in on this unit."""

    key: Sealed
    """Of the HMACs."""
    drivers: tuple[Driver, ...] = ()


@dataclass(frozen=True, slots=True)
class Advisory:
    """Something about the roads. The state knows where the content is, not the content."""

    advisory_id: str
    format: str
    """``wzdx``, ``area``, ``cap`` or ``speeds``."""
    valid_from: Instant | None = None
    valid_to: Instant | None = None
    inbox_message_id: str | None = None
    """The entry of the journal that holds the content. ``None`` for one that a snapshot of an older version kept."""


@dataclass(frozen=True, slots=True)
class RecipientFeedback:
    """What a recipient said about a delivery."""

    feedback_id: str
    parcel_id: str | None = None
    rating: float | None = None
    text: Sealed = None


@dataclass(frozen=True, slots=True)
class Earnings:
    """What the cloud says that a block has paid."""

    block_id: str
    base: str
    """Decimal number."""
    tips: str | None = None
    currency: str | None = None
    """ISO 4217."""
