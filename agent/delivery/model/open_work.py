"""Which parcels a stop still waits for, how a stop ends, and where a parcel goes back to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from agent.delivery.model.state import Block, Parcel, Stop
from contract.vocabulary import STOP_ENDED, StopKind

Outcome = Literal["COMPLETED", "PARTIAL", "FAILED"]

NEVER_ABOARD = frozenset({"MANIFESTED", "MISSING", "REJECTED", "RECALLED_CLOSED", "HANDED_BACK", "UNEXPECTED"})


def outcome(kind: StopKind, parcels: Iterable[Parcel]) -> Outcome:
    """How a stop of these parcels ends. What was recalled before it was loaded, or never came aboard, is no failure
    of the stop that it was for."""
    states = [parcel.state for parcel in parcels]
    if kind == "pickup":
        good = [state not in NEVER_ABOARD for state in states if state != "RECALLED_CLOSED"]
    elif kind == "delivery":
        good = [state == "DELIVERED" for state in states if state not in NEVER_ABOARD]
    else:
        good = [state == "RETURNED" for state in states if state in {"RETURNED", "RETURN_PENDING", "UNLOCATED", "LOST"}]
    return "COMPLETED" if all(good) else "PARTIAL" if any(good) else "FAILED"


def waiting(block: Block, stop: Stop) -> list[Parcel]:
    """The parcels that are still to be handled at a stop, now."""
    if stop.kind == "pickup":
        return [parcel for parcel in block.parcels_of(stop) if parcel.state == "MANIFESTED"]
    if stop.kind == "delivery":
        return [p for p in block.parcels_of(stop) if p.state == "OUT_FOR_DELIVERY" and p.stop_id == stop.stop_id]
    if stop.kind == "return":
        return [p for p in block.parcels.values() if p.state == "RETURN_PENDING" and returns_at(block, p, stop)]
    return []


def returns_at(block: Block, parcel: Parcel, stop: Stop) -> bool:
    """Whether a parcel that goes back goes back at this stop."""
    if parcel.stop_id == stop.stop_id:
        return True
    other = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    if other is not None and other.kind == "return" and other.state not in STOP_ENDED:
        return other.plan.site_id == stop.plan.site_id
    return home(block, parcel) == stop.plan.site_id


def home(block: Block, parcel: Parcel) -> str | None:
    """The site that a parcel goes back to: its own, else where it was picked up, else the block's first."""
    if parcel.plan.return_to is not None and parcel.plan.return_to in block.sites:
        return parcel.plan.return_to
    pickup = block.stops.get(parcel.plan.pickup_stop_id) if parcel.plan.pickup_stop_id is not None else None
    if pickup is not None and pickup.plan.site_id is not None:
        return pickup.plan.site_id
    return next(iter(block.sites), block.fallback_site_id)


def has_future(block: Block, stop: Stop) -> bool:
    """Whether a stop that has not ended may still find work: else there is no need to go there."""
    if stop.kind == "break":
        return True
    if stop.kind == "return":
        return not stop.added or bool(waiting(block, stop))
    if not stop.parcel_ids:
        return True
    for parcel in block.parcels_of(stop):
        if stop.kind == "pickup":
            if parcel.state == "MANIFESTED":
                return True
        elif parcel.stop_id == stop.stop_id and (
            parcel.state in {"LOADED", "OUT_FOR_DELIVERY"}
            or (parcel.state == "MANIFESTED" and pickup_is_open(block, parcel))
        ):
            return True
    return False


def pickup_is_open(block: Block, parcel: Parcel) -> bool:
    """Whether a parcel can still be picked up."""
    if parcel.plan.pickup_stop_id is None:
        return any(True for _ in block.open_stops("pickup"))
    return any(parcel.plan.pickup_stop_id in {stop.stop_id, stop.of_stop_id} for stop in block.open_stops("pickup"))


def can_start(block: Block, stop: Stop) -> bool:
    """Whether a planned stop has something to do right now."""
    if stop.state != "PLANNED":
        return False
    if stop.kind == "break":
        return True
    if stop.kind == "pickup":
        return block.state == "ON_ROUTE"
    return bool(waiting(block, stop)) or (stop.kind == "delivery" and not stop.parcel_ids)


def next_stop(block: Block) -> Stop | None:
    """The stop to drive to next."""
    return next((stop for stop in block.open_stops() if can_start(block, stop)), None)


def delivery_stop_of(block: Block, parcel: Parcel) -> Stop | None:
    """The delivery stop at which a parcel was to be handled last."""
    stop = block.stops.get(parcel.stop_id) if parcel.stop_id is not None else None
    if stop is not None and stop.kind == "delivery":
        return stop
    return next(
        (s for s in reversed(block.stops.values()) if s.kind == "delivery" and parcel.parcel_id in s.parcel_ids), None
    )
