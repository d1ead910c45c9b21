"""The end of a block: parcels go back or to somebody else, the route is aborted, the block is closed."""

from __future__ import annotations

from typing import Any

from agent.delivery.model.open_work import home, returns_at
from agent.delivery.model.state import Parcel, Stop
from agent.delivery.rules.follow_ups import add_return_stop, cancel_stop, end_stop
from agent.delivery.rules.out_of_date import is_over
from agent.delivery.rules.scans import give_back
from agent.delivery.rules.transaction import Refused, Transaction

MOVABLE = ("LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED", "RETURN_PENDING")


def return_parcels(tx: Transaction, a: dict[str, Any]) -> None:
    """Hand parcels back without scanning each; or, elsewhere, decide to drive to that site for it."""
    site_id, block = a["site_id"], tx.block
    if site_id not in block.sites and site_id != block.fallback_site_id:
        raise Refused("UNKNOWN_SITE", site_id=site_id)
    if block.ended:
        parcels = _going_back(tx, a.get("parcel_ids"), site_id, None)
        for parcel in parcels:
            give_back(tx, parcel, site_id=site_id, entry="manual")
        members: dict[str, Any] = {"block_id": block.block_id, "site_id": site_id, "count": len(parcels)}
        tx.add("handover.confirmed", f"block/{block.block_id}", members)
        return
    stop = next((stop for stop in block.open_stops("return") if stop.plan.site_id == site_id), None)
    parcels = _going_back(tx, a.get("parcel_ids"), site_id, stop)
    if stop is not None and stop.state == "ARRIVED":
        for parcel in parcels:
            give_back(tx, parcel, stop_id=stop.stop_id, site_id=site_id, entry="manual")
        members = {"stop_id": stop.stop_id, "site_id": site_id, "count": len(parcels)}
        tx.add("handover.confirmed", f"stop/{stop.stop_id}", {"block_id": block.block_id, **members})
        return
    if stop is not None and all(returns_at(block, parcel, stop) for parcel in parcels):
        raise Refused("NOT_ARRIVED", stop_id=stop.stop_id)
    attempted = [parcel for parcel in parcels if parcel.state == "ATTEMPTED"]
    for parcel in attempted:
        tx.on_parcel("parcel.return_pending", parcel, reason=parcel.reason, action="return")
    add_return_stop(tx, site_id, parcels)


def _going_back(tx: Transaction, ids: list[str] | None, site_id: str, stop: Stop | None) -> list[Parcel]:
    block = tx.block
    anywhere = site_id == block.fallback_site_id
    if ids is None:
        back = [p for p in block.parcels.values() if p.state == "RETURN_PENDING"]
        parcels = [p for p in back if anywhere or home(block, p) == site_id or (stop and returns_at(block, p, stop))]
        if not parcels:
            raise Refused("NOTHING_TO_DO", stop_id=stop.stop_id if stop is not None else None)
        return parcels
    parcels = []
    for parcel_id in ids:
        parcel = tx.parcel_in(parcel_id, "RETURN_PENDING", "ATTEMPTED")
        if not anywhere and home(block, parcel) != site_id and (stop is None or not returns_at(block, parcel, stop)):
            raise Refused("WRONG_SITE", parcel_id=parcel_id, site_id=home(block, parcel))
        parcels.append(parcel)
    return parcels


def transfer(tx: Transaction, a: dict[str, Any]) -> None:
    """Another driver or a pick-up point takes parcels over."""
    to = {name: a[name] for name in ("driver_id", "point_id") if name in a}
    if len(to) != 1:
        raise Refused("BAD_ARGUMENT", path="driver_id", expected="either driver_id or point_id")
    parcels = [tx.parcel_in(parcel_id, *MOVABLE) for parcel_id in a["parcel_ids"]]
    receiver = {f"to_{name}": value for name, value in to.items()}
    tx.each("parcel.transferred", parcels, **receiver)
    members = {"block_id": tx.block.block_id, "count": len(parcels), **receiver}
    tx.add("handover.confirmed", f"block/{tx.block.block_id}", members)


def abort(tx: Transaction, a: dict[str, Any]) -> None:
    """The route ends early: what is on board goes back."""
    reason = a["reason"]
    tx.on_block("block.aborted", tx.block, reason=reason)
    tx.each("parcel.handed_back", [p for p in tx.block.parcels.values() if p.state == "UNEXPECTED"])
    aboard = [p for p in tx.block.parcels.values() if p.state in {"LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED"}]
    arrived = tx.block.current_stop
    for parcel in aboard:
        tx.on_parcel("parcel.return_pending", parcel, reason=parcel.reason or reason, action="return")
    for stop in list(tx.block.open_stops()):
        if stop.state == "ARRIVED":
            if stop.kind != "return":
                end_stop(tx, stop)
        elif stop.kind != "return":
            cancel_stop(tx, stop, reason)
    tx.start_next = arrived is None or arrived.kind != "return"


def close_block(tx: Transaction, a: dict[str, Any]) -> None:
    """The end: nothing is left in custody, or the driver says why what is left goes back later."""
    block = tx.block
    custody = block.custody
    owed = [parcel.parcel_id for parcel in custody]
    if block.state == "CHECKED_IN":
        expected = [parcel for parcel in block.parcels.values() if parcel.state == "MANIFESTED"]
        if expected and not (tx.moment.is_trusted and is_over(block.ends_at, tx.moment)):
            raise Refused("PARCELS_EXPECTED", count=len(expected))
        if custody:
            raise Refused("CUSTODY_LEFT", count=len(custody), parcel_ids=owed)
        tx.on_block("block.released_unused", block, **_driven(tx))
        return
    later = a.get("reason") if block.state == "RETURNING" else None
    if custody and (later is None or any(parcel.state != "RETURN_PENDING" for parcel in custody)):
        raise Refused("CUSTODY_LEFT", count=len(custody), parcel_ids=owed)
    if block.state == "ON_ROUTE":
        stops = [stop.stop_id for stop in block.open_stops()]
        if stops:
            raise Refused("STOPS_OPEN", count=len(stops), stop_ids=stops)
    close(tx, **({} if not custody else {"reason": later, "obligation": _obligation(tx, custody)}))


def _obligation(tx: Transaction, custody: tuple[Parcel, ...]) -> dict[str, Any]:
    sites = sorted({home(tx.block, parcel) or "" for parcel in custody} - {""})
    return {"parcel_ids": [parcel.parcel_id for parcel in custody], "site_ids": sites}


def close(tx: Transaction, **data: Any) -> None:
    """Close the block; stops that nobody went to are cancelled."""
    for stop in list(tx.block.open_stops()):
        if stop.state == "ARRIVED":
            end_stop(tx, stop)
        else:
            cancel_stop(tx, stop, "BLOCK_CLOSED")
    for parcel in tx.block.parcels.values():
        if parcel.state == "UNEXPECTED":
            tx.on_parcel("parcel.handed_back", parcel)
    block = tx.block
    states = [parcel.state for parcel in block.parcels.values()]
    counts = {state: states.count(state) for state in sorted(set(states))}
    tx.on_block("block.closed", block, counts=counts, **_driven(tx), **data)
    tx.tell("BLOCK_CLOSED", "good", block_id=block.block_id)


def _driven(tx: Transaction) -> dict[str, Any]:
    """How far the vehicle drove for the block, where a receiver has told it."""
    return {} if tx.here.distance_m is None else {"distance_m": round(tx.here.distance_m)}


def nothing_left(tx: Transaction) -> bool:
    """Whether the block could be closed without a word."""
    block = tx.state.block
    if block is None or block.state not in {"ON_ROUTE", "RETURNING"} or block.custody:
        return False
    return block.state == "RETURNING" or not any(True for _ in block.open_stops())
