"""Loading the vehicle: what is missing or damaged, what nobody expected, closing it, and driving off."""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.state import Block, Parcel
from agent.delivery.rules.follow_ups import end_stop, new_stop_id, settle
from agent.delivery.rules.pickup import last_pickup, open_pickups, stand_at_pickup
from agent.delivery.rules.scans import find
from agent.delivery.rules.transaction import Refused, Transaction


def start_loading(tx: Transaction, a: dict[str, Any]) -> None:
    """Scanning parcels in begins; the manifest's version is written down."""
    tx.on_block("block.load_started", tx.block, manifest_version=tx.block.manifest_version)
    stand_at_pickup(tx)


def mark_missing(tx: Transaction, a: dict[str, Any]) -> None:
    """A parcel is not at the pickup site."""
    parcel = tx.parcel_in(a["parcel_id"], "MANIFESTED")
    tx.on_parcel("parcel.missing_at_load", parcel, reason=a["reason"])


def not_ready(tx: Transaction, a: dict[str, Any]) -> None:
    """A store has not handed parcels over."""
    parcels = [tx.parcel_in(parcel_id, "MANIFESTED") for parcel_id in a["parcel_ids"]]
    tx.each("parcel.not_ready", parcels, reason=a["reason"])


def reject(tx: Transaction, a: dict[str, Any]) -> None:
    """A parcel stays behind because it is damaged or sorted wrongly."""
    parcel = tx.parcel_in(a["parcel_id"], "MANIFESTED", "LOADED")
    if parcel.state == "LOADED":
        tx.on_parcel("parcel.unloaded_at_site", parcel, reason=a["reason"])
    tx.on_parcel("parcel.rejected_at_load", parcel, reason=a["reason"])


def unload(tx: Transaction, a: dict[str, Any]) -> None:
    """A loaded parcel is taken out again."""
    parcel = tx.parcel_in(a["parcel_id"], "LOADED")
    _take_out(tx, parcel, "UNLOADED")


def _take_out(tx: Transaction, parcel: Parcel, reason: str) -> None:
    tx.on_parcel("parcel.unloaded_at_site", parcel, reason=reason)
    if parcel.provisional:
        # The manifest never expected it, so it does not wait to be loaded again.
        tx.on_parcel("parcel.rejected_at_load", parcel, reason="MIS_SORT")


def undo(tx: Transaction, a: dict[str, Any]) -> None:
    """Take back the last load scan."""
    loaded = [parcel for parcel in tx.block.parcels.values() if parcel.state == "LOADED" and parcel.load_number]
    if not loaded:
        raise Refused("NOTHING_TO_UNDO")
    _take_out(tx, max(loaded, key=lambda parcel: parcel.load_number), "UNDO")


def adopt(tx: Transaction, a: dict[str, Any]) -> None:
    """Take a parcel along that the manifest does not know."""
    parcel = tx.parcel_in(a["parcel_id"], "UNEXPECTED")
    if not tx.state.policy.allow_adoption:
        raise Refused("ADOPTION_OFF", parcel_id=parcel.parcel_id)
    tx.on_parcel("parcel.adopted", parcel, provisional=True)
    if tx.block.state in {"ON_ROUTE", "PAUSED"}:
        tx.on_parcel("parcel.out_for_delivery", tx.block.parcels[parcel.parcel_id])


def hand_back(tx: Transaction, a: dict[str, Any]) -> None:
    """Leave an unexpected parcel at the site."""
    parcel = tx.parcel_in(a["parcel_id"], "UNEXPECTED")
    tx.on_parcel("parcel.handed_back", parcel)


def found(tx: Transaction, a: dict[str, Any]) -> None:
    """A parcel has turned up."""
    parcel = tx.parcel_in(a["parcel_id"], "MISSING", "UNLOCATED", "LOST")
    if tx.block.has_turned_up(parcel):
        raise Refused("WRONG_STATE", parcel_id=parcel.parcel_id, parcel_state=parcel.state, expected=["MISSING"])
    find(tx, parcel, entry="manual")


def left_to_load(block: Block) -> list[Parcel]:
    """The parcels of the open pickups that nobody has accounted for, by section."""
    pickups = {name for stop in open_pickups(block) for name in (stop.stop_id, stop.of_stop_id, None)} or {None}
    left = [p for p in block.parcels.values() if p.state == "MANIFESTED" and p.plan.pickup_stop_id in pickups]
    return sorted(left, key=lambda parcel: (parcel.plan.section or "", parcel.tracking_number))


def listed(parcels: list[Parcel]) -> list[dict[str, Any]]:
    """Parcels to look for."""
    return [
        {"parcel_id": parcel.parcel_id, "tracking_number": parcel.tracking_number, "section": parcel.plan.section}
        for parcel in parcels
    ]


def close_loading(tx: Transaction, a: dict[str, Any]) -> None:
    """Everything is loaded or accounted for; what is unscanned is asked for once more, then needs its reasons."""
    left = left_to_load(tx.block)
    if left:
        names = frozenset(parcel.parcel_id for parcel in left)
        params = {"missing": listed(left), "count": len(left)}
        if names <= tx.here.looked_again:
            raise Refused("PARCELS_OPEN", **params)
        tx.momentary(looked_again=tx.here.looked_again | names)
        tx.tell("LOOK_AGAIN", "attention", **params)
        raise Refused("LOOK_AGAIN", **params)
    tx.each("parcel.handed_back", [p for p in tx.block.parcels.values() if p.state == "UNEXPECTED"])
    for stop in open_pickups(tx.block):
        end_stop(tx, stop)
    tx.start_next = False
    states = [parcel.state for parcel in tx.block.parcels.values()]
    tx.on_block("block.load_closed", tx.block, loaded=states.count("LOADED"), missing=states.count("MISSING"))


def reopen_loading(tx: Transaction, a: dict[str, Any]) -> None:
    """Back to loading while still at the site: work goes on at a new pickup stop."""
    block = tx.block
    before = last_pickup(block)
    if before is not None:
        sight = geofence.sight(block, before, tx.here, tx.state.policy, tx.moment)
        if sight.why == "FAR":
            raise Refused("OUTSIDE_FENCE", distance_m=sight.distance_m)
    tx.on_block("block.load_reopened", block)
    if before is not None:
        root = before.of_stop_id or before.stop_id
        stop_id = new_stop_id(block, root)
        pickups = {before.stop_id, root}
        ids = [
            p.parcel_id for p in block.parcels.values() if p.plan.pickup_stop_id in pickups and p.state in _STILL_THERE
        ]
        members = {"stop_id": stop_id, "kind": "pickup", "of_stop_id": root, "parcel_ids": ids}
        tx.add("stop.added", f"stop/{stop_id}", {"block_id": block.block_id, **members})
        tx.on_stop("stop.arrived", tx.block.stops[stop_id], method="reopened")


_STILL_THERE = frozenset({"MANIFESTED", "MISSING"})


def depart(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver says that the vehicle leaves."""
    leave_site(tx, "driver")


def leave_site(tx: Transaction, method: str) -> None:
    """The route begins."""
    tx.on_block("block.departed", tx.block, method=method)
    tx.each("parcel.out_for_delivery", [p for p in tx.block.parcels.values() if p.state == "LOADED"])
    tx.start_next = True
    settle(tx)
    tx.tell("DEPARTED", "good", block_id=tx.block.block_id, next_stop_id=tx.block.current_stop_id)
