"""The end of a block: parcels go back or to somebody else, the route is aborted, the block is closed."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.decision import Refusal
from agent.delivery.model.open_work import home, returns_at
from agent.delivery.model.state import Parcel, Stop
from agent.delivery.rules.follow_ups import add_return_stop, cancel_stop, end_stop
from agent.delivery.rules.loading import parcel_in
from agent.delivery.rules.scans import give_back
from agent.delivery.rules.transaction import Draft, refuse

MOVABLE = ("LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED", "RETURN_PENDING")


def return_parcels(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Hand parcels back without scanning each; or, elsewhere, decide to drive to that site for it."""
    site_id, block = a["site_id"], d.block
    if site_id not in block.sites and site_id != block.fallback_site_id:
        return refuse("UNKNOWN_SITE", site_id=site_id)
    stop = next((stop for stop in block.open_stops("return") if stop.site_id == site_id), None)
    parcels = _going_back(d, a.get("parcel_ids"), site_id, stop)
    if isinstance(parcels, Refusal):
        return parcels
    if stop is not None and stop.state == "ARRIVED":
        for parcel in parcels:
            give_back(d, parcel, stop, entry="manual")
        members = {"stop_id": stop.stop_id, "site_id": site_id, "count": len(parcels)}
        d.add("handover.confirmed", f"stop/{stop.stop_id}", {"block_id": block.block_id, **members})
        return None
    if stop is not None and all(returns_at(block, parcel, stop) for parcel in parcels):
        return refuse("NOT_ARRIVED", stop_id=stop.stop_id)
    attempted = [parcel for parcel in parcels if parcel.state == "ATTEMPTED"]
    for parcel in attempted:
        d.on_parcel("parcel.return_pending", parcel, reason=parcel.reason, action="return")
    add_return_stop(d, site_id, parcels)
    return None


def _going_back(d: Draft, ids: list[str] | None, site_id: str, stop: Stop | None) -> list[Parcel] | Refusal:
    block = d.block
    anywhere = site_id == block.fallback_site_id
    if ids is None:
        back = [p for p in block.parcels.values() if p.state == "RETURN_PENDING"]
        parcels = [p for p in back if anywhere or home(block, p) == site_id or (stop and returns_at(block, p, stop))]
        return parcels or refuse("NOTHING_TO_DO", stop_id=stop.stop_id if stop is not None else None)
    parcels = []
    for parcel_id in ids:
        parcel = parcel_in(d, parcel_id, "RETURN_PENDING", "ATTEMPTED")
        if isinstance(parcel, Refusal):
            return parcel
        if not anywhere and home(block, parcel) != site_id and (stop is None or not returns_at(block, parcel, stop)):
            return refuse("WRONG_SITE", parcel_id=parcel_id, site_id=home(block, parcel))
        parcels.append(parcel)
    return parcels


def transfer(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """Another driver or a pick-up point takes parcels over."""
    to = {name: a[name] for name in ("driver_id", "point_id") if name in a}
    if len(to) != 1:
        return refuse("BAD_ARGUMENT", path="driver_id", expected="either driver_id or point_id")
    parcels = []
    for parcel_id in a["parcel_ids"]:
        parcel = parcel_in(d, parcel_id, *MOVABLE)
        if isinstance(parcel, Refusal):
            return parcel
        parcels.append(parcel)
    receiver = {f"to_{name}": value for name, value in to.items()}
    d.each("parcel.transferred", parcels, **receiver)
    members = {"block_id": d.block.block_id, "count": len(parcels), **receiver}
    d.add("handover.confirmed", f"block/{d.block.block_id}", members)
    return None


def abort(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The route ends early: what is on board goes back."""
    reason = a["reason"]
    d.on_block("block.aborted", d.block, reason=reason)
    d.each("parcel.handed_back", [p for p in d.block.parcels.values() if p.state == "UNEXPECTED"])
    aboard = [p for p in d.block.parcels.values() if p.state in {"LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED"}]
    arrived = d.block.current_stop
    for parcel in aboard:
        d.on_parcel("parcel.return_pending", parcel, reason=parcel.reason or reason, action="return")
    for stop in list(d.block.open_stops()):
        if stop.state == "ARRIVED":
            if stop.kind != "return":
                end_stop(d, stop)
        elif stop.kind != "return":
            cancel_stop(d, stop, reason)
    d.start_next = arrived is None or arrived.kind != "return"
    return None


def close_block(d: Draft, a: dict[str, Any]) -> Refusal | None:
    """The end: nothing is left in custody, or the driver says why what is left goes back later."""
    block = d.block
    custody = block.custody
    owed = [parcel.parcel_id for parcel in custody]
    if block.state == "CHECKED_IN":
        expected = [parcel for parcel in block.parcels.values() if parcel.state == "MANIFESTED"]
        if expected:
            return refuse("PARCELS_EXPECTED", count=len(expected))
        if custody:
            return refuse("CUSTODY_LEFT", count=len(custody), parcel_ids=owed)
        d.on_block("block.released_unused", block, **_driven(d))
        return None
    later = a.get("reason") if block.state == "RETURNING" else None
    if custody and (later is None or any(parcel.state != "RETURN_PENDING" for parcel in custody)):
        return refuse("CUSTODY_LEFT", count=len(custody), parcel_ids=owed)
    if block.state == "ON_ROUTE":
        stops = [stop.stop_id for stop in block.open_stops()]
        if stops:
            return refuse("STOPS_OPEN", count=len(stops), stop_ids=stops)
    close(d, **({} if not custody else {"reason": later, "obligation": _obligation(d, custody)}))
    return None


def _obligation(d: Draft, custody: tuple[Parcel, ...]) -> dict[str, Any]:
    sites = sorted({home(d.block, parcel) or "" for parcel in custody} - {""})
    return {"parcel_ids": [parcel.parcel_id for parcel in custody], "site_ids": sites}


def close(d: Draft, **data: Any) -> None:
    """Close the block; stops that nobody went to are cancelled."""
    for stop in list(d.block.open_stops()):
        if stop.state == "ARRIVED":
            end_stop(d, stop)
        else:
            cancel_stop(d, stop, "BLOCK_CLOSED")
    for parcel in d.block.parcels.values():
        if parcel.state == "UNEXPECTED":
            d.on_parcel("parcel.handed_back", parcel)
    block = d.block
    states = [parcel.state for parcel in block.parcels.values()]
    counts = {state: states.count(state) for state in sorted(set(states))}
    d.on_block("block.closed", block, counts=counts, **_driven(d), **data)
    d.tell("BLOCK_CLOSED", "good", block_id=block.block_id)


def _driven(d: Draft) -> dict[str, Any]:
    """How far the vehicle drove for the block, where a receiver has told it."""
    return {} if d.here.distance_m is None else {"distance_m": round(d.here.distance_m)}


def nothing_left(d: Draft) -> bool:
    """Whether the block could be closed without a word."""
    block = d.state.block
    if block is None or block.state not in {"ON_ROUTE", "RETURNING"} or block.custody:
        return False
    return block.state == "RETURNING" or not any(True for _ in block.open_stops())
