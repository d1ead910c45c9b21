"""What the unit knows: blocks with their stops and parcels, offers, messages, as frozen data.

Everything but `here` and `policy` follows from the log alone and is what a snapshot holds. `here` is momentary (fixes,
hysteresis, open questions) and begins empty after a restart; `policy` comes from the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from agent.delivery.model.inputs import Located, Scanned
from agent.delivery.model.manifest import Manifest, ParcelPlan, Pay, Site, StopPlan, Travel, Vehicle
from agent.delivery.model.messages import Advisory, Earnings, Message, Offer, RecipientFeedback, Roster
from agent.delivery.model.times import Instant
from contract.vocabulary import (
    BLOCK_ACTIVE,
    BLOCK_ENDED,
    CUSTODY,
    STOP_ENDED,
    BlockState,
    ParcelState,
    StopKind,
    StopState,
)

T = TypeVar("T")


def replace(thing: T, /, **members: Any) -> T:
    """A copy of frozen data of this module with some members changed.

    What `dataclasses.replace` does, at a tenth of its cost: a block has thirty members, and each scan makes a new one.
    That is also why the classes that change have no slots.
    """
    if not members.keys() <= thing.__dict__.keys():
        raise TypeError(f"{type(thing).__name__} has no {', '.join(members.keys() - thing.__dict__.keys())}")
    copy = object.__new__(type(thing))
    copy.__dict__.update(thing.__dict__)
    copy.__dict__.update(members)
    return copy


@dataclass(frozen=True)
class Attempt:
    """A try at a stop that did not end in delivery."""

    reason: str
    stop_id: str | None
    time: Instant | None
    contacted: bool = False
    made: bool = True
    """``False`` when the stop could not be reached at all."""


@dataclass(frozen=True)
class Parcel:
    """One label, one unit of custody."""

    parcel_id: str
    plan: ParcelPlan
    state: ParcelState = "MANIFESTED"
    stop_id: str | None = None
    """Where it is to be handled next: its delivery stop, or a stop added for another try or for the return."""
    since: Instant | None = None
    """When it came into its state."""
    reason: str | None = None
    """Why it is in its state."""
    loaded_at: Instant | None = None
    load_number: int = 0
    """Which scan of the load it was; 0 when it was not scanned."""
    entry: str | None = None
    """How its last scan was made: ``scan``, ``camera`` or ``manual``."""
    dropped_at: Instant | None = None
    """When its label was scanned at its stop in this attempt."""
    proofs: tuple[str, ...] = ()
    """Satisfied in this attempt: ``photo``, ``photo_excepted``, ``signature``, ``otp``, ``age``."""
    otp_failures: int = 0
    handover: str | None = None
    attempts: tuple[Attempt, ...] = ()
    provisional: bool = False
    """Adopted without the cloud's word."""
    of_parcel_id: str | None = None
    """The parcel that was given up as lost and has turned up as this one."""

    @property
    def tracking_number(self) -> str:
        """What its label says."""
        return self.plan.tracking_number


@dataclass(frozen=True)
class Contact:
    """One attempt to reach the recipient."""

    method: str
    outcome: str
    time: Instant | None


@dataclass(frozen=True)
class Stop:
    """One place to stand at."""

    stop_id: str
    plan: StopPlan
    state: StopState = "PLANNED"
    parcel_ids: tuple[str, ...] = ()
    """The parcels that were ever to be handled here, in manifest order."""
    of_stop_id: str | None = None
    """The ended stop whose work goes on here."""
    added: bool = False
    """Added on the unit, not by the manifest."""
    since: Instant | None = None
    arrived_at: Instant | None = None
    reason: str | None = None
    left_open: int = 0
    """How often it was left with parcels unresolved."""
    overridden: bool = False
    """The driver arrived against what the position said."""
    contacts: tuple[Contact, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def kind(self) -> StopKind:
        """What is to be done there."""
        return self.plan.kind


@dataclass(frozen=True)
class Block:
    """A window of paid work: sites, stops and parcels under one manifest."""

    block_id: str
    state: BlockState = "OFFERED"
    kind: str = "station"
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    timezone: str | None = None
    driver_id: str | None = None
    manifest_version: int = -1
    """-1 until a manifest has come."""
    weight: int = 0
    """How much it takes of memory, snapshots and screen (`model.weights`); 0 until a manifest has come."""
    held_back: Manifest | None = None
    """A newer manifest of which a part waits: what it says of the stop where the vehicle stands."""
    pay: Pay | None = None
    otp_key: str | None = None
    service_radius_m: float | None = None
    fallback_site_id: str | None = None
    vehicle: Vehicle | None = None
    travel: Travel | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Code of a parcel → the vehicle of this site that carries it."""
    sites: dict[str, Site] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)
    parcels: dict[str, Parcel] = field(default_factory=dict)
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Normal form of a tracking number or alias → ids of the parcels that carry it."""
    route: tuple[str, ...] = ()
    """All stops in the order they are to be driven."""
    current_stop_id: str | None = None
    """The stop that is EN_ROUTE or ARRIVED."""
    last_pickup_id: str | None = None
    """The pickup stop at which the vehicle was last."""
    since: Instant | None = None
    reason: str | None = None
    checked_in_at: Instant | None = None
    departed_at: Instant | None = None
    ended_at: Instant | None = None
    paused_s: float = 0.0
    loads: int = 0
    """How many load scans counted."""
    unexpected: int = 0
    """How many parcels were scanned that the manifest does not know."""
    rejected_scans: int = 0
    overrides: int = 0
    recalls: dict[str, str] = field(default_factory=dict)
    """Parcel that the cloud has recalled → the message that did. It holds for one that turns up later, too."""
    distance_m: float | None = None
    """Driven between check-in and end, once it has ended; unknown without a receiver."""

    @property
    def ended(self) -> bool:
        """Whether the block is in a final state."""
        return self.state in BLOCK_ENDED

    @property
    def current_stop(self) -> Stop | None:
        """The stop that is EN_ROUTE or ARRIVED."""
        return self.stops[self.current_stop_id] if self.current_stop_id is not None else None

    @property
    def standing(self) -> Stop | None:
        """The stop at which the vehicle stands."""
        stop = self.current_stop
        return stop if stop is not None and stop.state == "ARRIVED" else None

    @property
    def custody(self) -> tuple[Parcel, ...]:
        """The parcels that this vehicle is answerable for right now."""
        return tuple(parcel for parcel in self.parcels.values() if parcel.state in CUSTODY)

    def has_turned_up(self, lost: Parcel) -> bool:
        """Whether a parcel that was given up as lost goes on as another one."""
        return lost.state == "LOST" and any(lost.parcel_id == one.of_parcel_id for one in self.parcels.values())

    def parcels_of(self, stop: Stop) -> Iterator[Parcel]:
        """The parcels that were ever to be handled at a stop."""
        return (self.parcels[parcel_id] for parcel_id in stop.parcel_ids)

    def open_stops(self, *kinds: StopKind) -> Iterator[Stop]:
        """The stops that have not ended, in driving order; of the given kinds, or of all."""
        for stop_id in self.route:
            stop = self.stops[stop_id]
            if stop.state not in STOP_ENDED and (not kinds or stop.kind in kinds):
                yield stop


@dataclass(frozen=True)
class Question:
    """A question that the driver has yet to answer."""

    kind: Literal["location", "parcel", "number"]
    """Whether this is the place, which parcel a code means, whether a text is a parcel's number."""
    stop_id: str | None = None
    distance_m: float | None = None
    scan: Scanned | None = None
    parcel_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """The driver's own words: for the screen of this unit, in no event and on no disk."""

    item: str
    text: str = field(repr=False)
    time: str


@dataclass(frozen=True)
class Here:
    """What is only momentary: it is not in the log and begins empty after a restart."""

    fix: Located | None = None
    """The last report with a position."""
    is_lost: bool = False
    """Whether the receiver has reported since then that it has none."""
    distance_m: float | None = None
    """Driven since the check-in of the block under way."""
    near_since_ms: int | None = None
    """Since when the conditions of arriving hold."""
    away_since_ms: int | None = None
    """Since when the conditions of having left hold."""
    question: Question | None = None
    notes: tuple[Note, ...] = ()
    """What the driver noted in this block, the latest last."""
    looked_again: frozenset[str] = frozenset()
    """Parcels that the driver was asked to look for once more."""
    conflicts_told: frozenset[str] = frozenset()
    """Blocks of which the driver was told that their time has come while another runs."""
    offers_told: frozenset[str] = frozenset()
    """Offers about whose missing answer the driver was told."""
    dates_asked: frozenset[str] = frozenset()
    """Blocks of which the driver was asked whether they are today's."""
    idle_since_ms: int | None = None
    """Since when nothing is left to do on the block."""
    is_panic_held: bool = False
    """Whether the panic button of the mount was held at its last reading."""
    called_for_help_ms: int | None = None
    """When the driver has last called for help, by the uptime."""
    asked: frozenset[str] = frozenset()
    """Commands of the cloud, by message, that a worker is busy with."""
    rejections: float = 10.0
    """How many rejections may be written now: a bucket that refills."""
    rejections_ms: int = 0
    suppressed: int = 0
    """Rejections that were not written since the last one that was."""


@dataclass(frozen=True)
class Policy:
    """The settings that the core obeys (contract §3, `[delivery]`)."""

    geofence_inner_m: float = 75.0
    geofence_outer_m: float = 200.0
    allow_adoption: bool = False
    check_in_early_s: float = 3600.0
    no_show_after_s: float = 3600.0
    photo_retakes: int = 2
    max_attempts: int = 3


@dataclass(frozen=True)
class State:
    """All that the core knows."""

    blocks: dict[str, Block] = field(default_factory=dict)
    """Blocks that are not ended, and the last one that has."""
    block_id: str | None = None
    """The block under way, or the one that was under way last."""
    offers: dict[str, Offer] = field(default_factory=dict)
    driver_id: str | None = None
    """The driver who has signed in."""
    roster: Roster | None = None
    messages: tuple[Message, ...] = ()
    advisories: dict[str, Advisory] = field(default_factory=dict)
    feedback: tuple[RecipientFeedback, ...] = ()
    """What recipients said, the latest last."""
    earnings: dict[str, Earnings] = field(default_factory=dict)
    """Statements of the cloud, by block."""
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)
    """What the cloud has set since the unit was installed, by the path of the key."""
    here: Here = field(default=Here(), compare=False)
    policy: Policy = field(default=Policy(), compare=False)

    @property
    def block(self) -> Block | None:
        """The block under way; else the accepted one that begins first; else the last one that ended."""
        last = self.blocks.get(self.block_id) if self.block_id is not None else None
        if last is not None and not last.ended:
            return last
        accepted = [block for block in self.blocks.values() if block.state == "ACCEPTED"]
        return min(accepted, key=lambda block: block.starts_at or Instant.of(0), default=last)

    @property
    def running(self) -> Block | None:
        """The block that the driver is at work on."""
        last = self.blocks.get(self.block_id) if self.block_id is not None else None
        return last if last is not None and last.state in BLOCK_ACTIVE else None

    def with_here(self, here: Here) -> State:
        """The same state with another momentary part."""
        return replace(self, here=here)

    def with_policy(self, policy: Policy) -> State:
        """The same state under other settings."""
        return replace(self, policy=policy)
