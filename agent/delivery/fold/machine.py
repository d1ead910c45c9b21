"""The transition tables of blocks, stops and parcels, and the one check that every change of state passes.

An event is a key of its table only where it may follow; whatever is not listed can not happen.
"""

from __future__ import annotations

from typing import cast

from agent.delivery.model.state import BlockState, DeliveryError, ParcelState, StopState

Transitions = dict[tuple[str, str], str]
"""(state, event) → the state that follows."""

BLOCK: Transitions = {
    ("OFFERED", "block.accepted"): "ACCEPTED",
    ("OFFERED", "block.declined"): "DECLINED",
    ("OFFERED", "block.expired"): "EXPIRED",
    ("ACCEPTED", "block.forfeited"): "FORFEITED",
    ("ACCEPTED", "block.cancelled"): "CANCELLED",
    ("ACCEPTED", "block.no_show"): "NO_SHOW",
    ("ACCEPTED", "block.checked_in"): "CHECKED_IN",
    ("CHECKED_IN", "block.released_unused"): "CLOSED",
    ("CHECKED_IN", "block.cancelled"): "CANCELLED",
    ("CHECKED_IN", "block.load_started"): "LOADING",
    ("LOADING", "block.load_closed"): "LOADED",
    ("LOADING", "block.aborted"): "RETURNING",
    ("LOADED", "block.load_reopened"): "LOADING",
    ("LOADED", "block.departed"): "ON_ROUTE",
    ("LOADED", "block.aborted"): "RETURNING",
    ("ON_ROUTE", "block.extra_pickup_started"): "LOADING",
    ("ON_ROUTE", "block.paused"): "PAUSED",
    ("PAUSED", "block.resumed"): "ON_ROUTE",
    ("PAUSED", "block.aborted"): "RETURNING",
    ("ON_ROUTE", "block.stops_done"): "RETURNING",
    ("ON_ROUTE", "block.closed"): "CLOSED",
    ("ON_ROUTE", "block.aborted"): "RETURNING",
    ("RETURNING", "block.closed"): "CLOSED",
}

STOP: Transitions = {
    ("PLANNED", "stop.started"): "EN_ROUTE",
    ("PLANNED", "stop.cancelled"): "CANCELLED",
    ("EN_ROUTE", "stop.arrived"): "ARRIVED",
    ("PLANNED", "stop.arrived"): "ARRIVED",
    ("EN_ROUTE", "stop.skipped"): "PLANNED",
    ("EN_ROUTE", "stop.cancelled"): "CANCELLED",
    ("EN_ROUTE", "stop.failed"): "FAILED",
    ("ARRIVED", "stop.departed_open"): "PLANNED",
    ("ARRIVED", "stop.completed"): "COMPLETED",
    ("ARRIVED", "stop.partially_completed"): "PARTIAL",
    ("ARRIVED", "stop.failed"): "FAILED",
}

PARCEL: Transitions = {
    ("MANIFESTED", "parcel.loaded"): "LOADED",
    ("MANIFESTED", "parcel.missing_at_load"): "MISSING",
    ("MANIFESTED", "parcel.not_ready"): "MISSING",
    ("MANIFESTED", "parcel.rejected_at_load"): "REJECTED",
    ("MANIFESTED", "parcel.recalled"): "RECALLED_CLOSED",
    ("MISSING", "parcel.found"): "LOADED",
    ("UNEXPECTED", "parcel.adopted"): "LOADED",
    ("UNEXPECTED", "parcel.handed_back"): "HANDED_BACK",
    ("LOADED", "parcel.unloaded_at_site"): "MANIFESTED",
    ("LOADED", "parcel.out_for_delivery"): "OUT_FOR_DELIVERY",
    ("LOADED", "parcel.damaged"): "RETURN_PENDING",
    ("LOADED", "parcel.recalled"): "RETURN_PENDING",
    ("LOADED", "parcel.return_pending"): "RETURN_PENDING",
    ("LOADED", "parcel.transferred"): "TRANSFERRED",
    ("LOADED", "parcel.not_in_vehicle"): "UNLOCATED",
    ("OUT_FOR_DELIVERY", "parcel.delivered"): "DELIVERED",
    ("OUT_FOR_DELIVERY", "parcel.attempt_failed"): "ATTEMPTED",
    ("OUT_FOR_DELIVERY", "parcel.refused"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.damaged"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.recalled"): "RETURN_PENDING",
    ("OUT_FOR_DELIVERY", "parcel.not_in_vehicle"): "UNLOCATED",
    ("OUT_FOR_DELIVERY", "parcel.transferred"): "TRANSFERRED",
    ("OUT_FOR_DELIVERY", "parcel.return_pending"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.reattempt_started"): "OUT_FOR_DELIVERY",
    ("ATTEMPTED", "parcel.return_pending"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.recalled"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.damaged"): "RETURN_PENDING",
    ("ATTEMPTED", "parcel.transferred"): "TRANSFERRED",
    ("UNLOCATED", "parcel.found"): "OUT_FOR_DELIVERY",
    ("UNLOCATED", "parcel.lost"): "LOST",
    ("DELIVERED", "parcel.delivery_voided"): "OUT_FOR_DELIVERY",
    ("RETURN_PENDING", "parcel.reattempt_started"): "OUT_FOR_DELIVERY",
    ("RETURN_PENDING", "parcel.returned"): "RETURNED",
    ("RETURN_PENDING", "parcel.transferred"): "TRANSFERRED",
    ("RETURN_PENDING", "parcel.not_in_vehicle"): "UNLOCATED",
}


def _step(transitions: Transitions, subject: str, state: str, event: str) -> str:
    following = transitions.get((state, event))
    if following is None:
        possible = ", ".join(name for known, name in transitions if known == state) or "nothing: the state is final"
        raise DeliveryError(f"{subject}: {event} can not happen in state {state}; expected {possible}")
    return following


def block_step(block_id: str, state: BlockState, event: str) -> BlockState:
    """The state that follows; DeliveryError where the event can not happen."""
    return cast("BlockState", _step(BLOCK, f"block/{block_id}", state, event))


def stop_step(stop_id: str, state: StopState, event: str) -> StopState:
    """The state that follows; DeliveryError where the event can not happen."""
    return cast("StopState", _step(STOP, f"stop/{stop_id}", state, event))


def parcel_step(parcel_id: str, state: ParcelState, event: str) -> ParcelState:
    """The state that follows; DeliveryError where the event can not happen."""
    return cast("ParcelState", _step(PARCEL, f"parcel/{parcel_id}", state, event))
