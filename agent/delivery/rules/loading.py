"""From the check-in to driving off: loading, what is missing or damaged, what nobody expected, and closing it."""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.decision import Refusal
from agent.delivery.model.state import Block, Parcel, Stop
from agent.delivery.model.times import as_text, unix_ms
from agent.delivery.rules.follow_ups import end_stop, new_stop_id, settle
from agent.delivery.rules.scans import find
from agent.delivery.rules.transaction import Draft, refuse


def parcel_in(d: Draft, parcel_id: str, *states: str) -> Parcel | Refusal:
    """The parcel of an action, in one of the states that it is possible in."""
    parcel = d.block.parcels.get(parcel_id)
    if parcel is None:
        return refuse("UNKNOWN_PARCEL", parcel_id=parcel_id)
    if parcel.state not in states:
        return refuse("WRONG_STATE", parcel_id=parcel_id, parcel_state=parcel.state, expected=list(states))
    return parcel


def check_in(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """At the pickup site: the block begins."""
    block, reason = d.block, a.get("reason")
    if block.state != "ACCEPTED":
        if any(other.state == "ACCEPTED" for other in d.state.blocks.values()):
            return refuse("BLOCK_ACTIVE", block_id=block.block_id)
        return refuse("WRONG_TIME", action="check_in", block_state=block.state, expected=["ACCEPTED"])
    opens_ms = check_in_from_ms(block, d.state.policy.check_in_early_s)
    # A clock that nobody has set can not say that it is too early.
    if opens_ms is not None and d.moment.wall_ms < opens_ms and d.moment.trust != "unsynced":
        return refuse("TOO_EARLY", check_in_from=as_text(opens_ms))
    pickup = next(block.open_stops("pickup"), None)
    data: dict[str, Any] = {}
    if pickup is not None:
        sight = geofence.sight(block, pickup, d.here, d.state.policy, d.moment)
        data = sight.data
        if sight.tier == 3:
            if reason is None:
                return refuse("REASON_NEEDED", stop_id=pickup.stop_id, distance_m=sight.distance_m, why=sight.why)
            override(d, pickup, sight, reason)
            data |= {"reason": reason, "override": True}
    d.on_block("block.checked_in", block, **data)
    d.momentary(distance_m=None)
    if pickup is not None:
        d.on_stop("stop.arrived", pickup, method="check_in", **data)
    return None


def check_in_from_ms(block: Block, early_s: float) -> int | None:
    """When the check-in window opens."""
    starts_ms = unix_ms(block.starts_at)
    return None if starts_ms is None else starts_ms - round(early_s * 1000)


def override(d: Draft, stop: Stop, sight: geofence.Sight, reason: str) -> None:
    """The driver says to be there although the position does not."""
    members = {"block_id": d.block.block_id, "stop_id": stop.stop_id, "reason": reason, "why": sight.why, **sight.data}
    d.add("geofence.overridden", f"stop/{stop.stop_id}", members)


def start_loading(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Scanning parcels in begins; the manifest's version is written down."""
    d.on_block("block.load_started", d.block, manifest_version=d.block.manifest_version)
    stand_at_pickup(d)
    return None


def stand_at_pickup(d: Draft) -> None:
    """The manifest of a block may come after the check-in: then the vehicle stands at its first pickup already."""
    block = d.block
    pickup = next(block.open_stops("pickup"), None)
    if block.state in {"CHECKED_IN", "LOADING"} and pickup is not None and block.current_stop_id is None:
        d.on_stop("stop.arrived", pickup, method="manifest")


def mark_missing(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A parcel is not at the pickup site."""
    parcel = parcel_in(d, a["parcel_id"], "MANIFESTED")
    if isinstance(parcel, Refusal):
        return parcel
    d.on_parcel("parcel.missing_at_load", parcel, reason=a["reason"])
    return None


def not_ready(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A store has not handed parcels over."""
    parcels = []
    for parcel_id in a["parcel_ids"]:
        parcel = parcel_in(d, parcel_id, "MANIFESTED")
        if isinstance(parcel, Refusal):
            return parcel
        parcels.append(parcel)
    d.each("parcel.not_ready", parcels, reason=a["reason"])
    return None


def reject(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A parcel stays behind because it is damaged or sorted wrongly."""
    parcel = parcel_in(d, a["parcel_id"], "MANIFESTED", "LOADED")
    if isinstance(parcel, Refusal):
        return parcel
    if parcel.state == "LOADED":
        d.on_parcel("parcel.unloaded_at_site", parcel, reason=a["reason"])
    d.on_parcel("parcel.rejected_at_load", parcel, reason=a["reason"])
    return None


def unload(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A loaded parcel is taken out again."""
    parcel = parcel_in(d, a["parcel_id"], "LOADED")
    if isinstance(parcel, Refusal):
        return parcel
    _take_out(d, parcel, "UNLOADED")
    return None


def _take_out(d: Draft, parcel: Parcel, reason: str) -> None:
    d.on_parcel("parcel.unloaded_at_site", parcel, reason=reason)
    if parcel.provisional:
        # The manifest never expected it, so it does not wait to be loaded again.
        d.on_parcel("parcel.rejected_at_load", parcel, reason="MIS_SORT")


def undo(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Take back the last load scan."""
    loaded = [parcel for parcel in d.block.parcels.values() if parcel.state == "LOADED" and parcel.load_number]
    if not loaded:
        return refuse("NOTHING_TO_UNDO")
    _take_out(d, max(loaded, key=lambda parcel: parcel.load_number), "UNDO")
    return None


def adopt(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Take a parcel along that the manifest does not know."""
    parcel = parcel_in(d, a["parcel_id"], "UNEXPECTED")
    if isinstance(parcel, Refusal):
        return parcel
    if not d.state.policy.allow_adoption:
        return refuse("ADOPTION_OFF", parcel_id=parcel.parcel_id)
    d.on_parcel("parcel.adopted", parcel, provisional=True)
    if d.block.state in {"ON_ROUTE", "PAUSED"}:
        d.on_parcel("parcel.out_for_delivery", d.block.parcels[parcel.parcel_id])
    return None


def hand_back(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Leave an unexpected parcel at the site."""
    parcel = parcel_in(d, a["parcel_id"], "UNEXPECTED")
    if isinstance(parcel, Refusal):
        return parcel
    d.on_parcel("parcel.handed_back", parcel)
    return None


def found(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """A parcel has turned up."""
    parcel = parcel_in(d, a["parcel_id"], "MISSING", "UNLOCATED")
    if isinstance(parcel, Refusal):
        return parcel
    find(d, parcel, entry="manual")
    return None


def open_pickups(block: Block) -> list[Stop]:
    """The pickup stops at which the vehicle stands."""
    return [stop for stop in block.stops.values() if stop.kind == "pickup" and stop.state == "ARRIVED"]


def left_to_load(block: Block) -> list[Parcel]:
    """The parcels of the open pickups that nobody has accounted for, by section."""
    pickups = {name for stop in open_pickups(block) for name in (stop.stop_id, stop.of_stop_id, None)} or {None}
    left = [p for p in block.parcels.values() if p.state == "MANIFESTED" and p.pickup_stop_id in pickups]
    return sorted(left, key=lambda parcel: (parcel.section or "", parcel.tracking_number))


def listed(parcels: list[Parcel]) -> list[dict[str, Any]]:
    """Parcels to look for."""
    return [
        {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number, "section": parcel.section}
        for parcel in parcels
    ]


def close_loading(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Everything is loaded or accounted for; what is unscanned is asked for once more, then needs its reasons."""
    left = left_to_load(d.block)
    if left:
        names = frozenset(parcel.parcel_id for parcel in left)
        params = {"missing": listed(left), "count": len(left)}
        if names <= d.here.looked_again:
            return refuse("PARCELS_OPEN", **params)
        d.momentary(looked_again=d.here.looked_again | names)
        d.tell("LOOK_AGAIN", "attention", **params)
        return refuse("LOOK_AGAIN", **params)
    d.each("parcel.handed_back", [p for p in d.block.parcels.values() if p.state == "UNEXPECTED"])
    for stop in open_pickups(d.block):
        end_stop(d, stop)
    d.start_next = False
    states = [parcel.state for parcel in d.block.parcels.values()]
    d.on_block("block.load_closed", d.block, loaded=states.count("LOADED"), missing=states.count("MISSING"))
    return None


def reopen_loading(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Back to loading while still at the site: work goes on at a new pickup stop."""
    block = d.block
    before = last_pickup(block)
    if before is not None:
        sight = geofence.sight(block, before, d.here, d.state.policy, d.moment)
        if sight.why == "FAR":
            return refuse("OUTSIDE_FENCE", distance_m=sight.distance_m)
    d.on_block("block.load_reopened", block)
    if before is not None:
        root = before.of_stop_id or before.stop_id
        stop_id = new_stop_id(block, root)
        pickups = {before.stop_id, root}
        ids = [p.parcel_id for p in block.parcels.values() if p.pickup_stop_id in pickups and p.state in _STILL_THERE]
        members = {"stop_id": stop_id, "kind": "pickup", "of_stop_id": root, "parcel_ids": ids}
        d.add("stop.added", f"stop/{stop_id}", {"block_id": block.block_id, **members})
        d.on_stop("stop.arrived", d.block.stops[stop_id], method="reopened")
    return None


_STILL_THERE = frozenset({"MANIFESTED", "MISSING"})


def last_pickup(block: Block) -> Stop | None:
    """The pickup stop at which the vehicle was last."""
    visited = [stop for stop in block.stops.values() if stop.kind == "pickup" and stop.arrived_at is not None]
    return max(visited, key=lambda stop: stop.arrived_at or "", default=None)


def depart(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The driver says that the vehicle leaves."""
    leave_site(d, "driver")
    return None


def leave_site(d: Draft, method: str) -> None:
    """The route begins."""
    d.on_block("block.departed", d.block, method=method)
    d.each("parcel.out_for_delivery", [p for p in d.block.parcels.values() if p.state == "LOADED"])
    d.start_next = True
    settle(d)
    d.tell("DEPARTED", "good", block_id=d.block.block_id, next_stop_id=d.block.current_stop_id)
