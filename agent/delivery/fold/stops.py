"""What an event about a stop changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace as replace_plan
from typing import Any, Final

from agent.delivery.fold import machine
from agent.delivery.fold.lookup import block_of, not_in_block, stop_of, subject_id, with_block, with_stop
from agent.delivery.fold.manifest import with_manifest
from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import StopPlan
from agent.delivery.model.state import Block, Contact, State, Stop, replace
from contract.vocabulary import STOP_EVENTS


def _stop(state: State, event: Event) -> State:
    block = block_of(state, event)
    stop = stop_of(block, event)
    following = machine.stop_step(stop.stop_id, stop.state, event.type)
    change: dict[str, Any] = {"reason": event.data.get("reason")}
    if event.type == "stop.arrived":
        change |= {"arrived_at": event.at, "overridden": bool(event.data.get("override"))}
    elif event.type == "stop.departed_open":
        change["left_open"] = stop.left_open + 1
    members: dict[str, Any] = {
        "stops": {**block.stops, stop.stop_id: replace(stop, state=following, since=event.at, **change)}
    }
    if following in {"EN_ROUTE", "ARRIVED"}:
        members["current_stop_id"] = stop.stop_id
    elif block.current_stop_id == stop.stop_id:
        members["current_stop_id"] = None
    if event.type == "stop.arrived" and stop.kind == "pickup":
        members["last_pickup_id"] = stop.stop_id
    if event.type == "stop.skipped" and not event.data.get("keeps_place"):
        members["route"] = _to_the_end(block, stop.stop_id)
    changed = replace(block, **members)
    if changed.held_back is not None and changed.standing is None:
        changed = with_manifest(changed, changed.held_back)
    return with_block(state, changed)


def _to_the_end(block: Block, stop_id: str) -> tuple[str, ...]:
    """The route with a stop behind all others but the returns that end it."""
    rest = [known for known in block.route if known != stop_id]
    place = len(rest)
    while place and block.stops[rest[place - 1]].kind == "return":
        place -= 1
    return (*rest[:place], stop_id, *rest[place:])


def _stop_added(state: State, event: Event) -> State:
    block = block_of(state, event)
    stop_id = subject_id(event)
    if stop_id in block.stops:
        raise DeliveryError(f"{event.subject}: stop.added, but block {block.block_id} has that stop already")
    data = event.data
    before = block.stops.get(data["of_stop_id"]) if data.get("of_stop_id") is not None else None
    ids = tuple(data.get("parcel_ids") or ())
    plan = StopPlan(data["kind"], site_id=data.get("site_id"))
    if before is not None:
        # Work goes on at the same door, but not with the same priority.
        plan = replace_plan(before.plan, kind=plan.kind, priority=None)
    stop = Stop(stop_id, plan, parcel_ids=ids, of_stop_id=data.get("of_stop_id"), added=True, since=event.at)
    parcels = dict(block.parcels)
    if stop.kind != "pickup":
        for parcel_id in ids:
            if parcel_id not in parcels:
                raise not_in_block(block, event, parcel_id)
            parcels[parcel_id] = replace(parcels[parcel_id], stop_id=stop_id)
    place = len(block.route)
    if stop.kind != "return":
        # Ahead of everything that is still planned: the driver asked for it now.
        place = next((i for i, known in enumerate(block.route) if block.stops[known].state == "PLANNED"), place)
    route = (*block.route[:place], stop_id, *block.route[place:])
    return with_block(state, replace(block, stops={**block.stops, stop_id: stop}, parcels=parcels, route=route))


def _contacted(state: State, event: Event) -> State:
    block = block_of(state, event)
    stop = stop_of(block, event)
    contact = Contact(event.data["method"], event.data["outcome"], event.at)
    changed = replace(stop, contacts=(*stop.contacts, contact))
    return with_stop(state, block, changed)


def _tagged(state: State, event: Event) -> State:
    if not event.subject.startswith("stop/"):
        return state
    block = block_of(state, event)
    stop = stop_of(block, event)
    changed = replace(stop, tags=(*stop.tags, event.data["kind"]))
    return with_stop(state, block, changed)


EVENTS: Final[Mapping[str, Callable[[State, Event], State]]] = {
    **dict.fromkeys(STOP_EVENTS, _stop),
    "stop.added": _stop_added,
    "contact.attempted": _contacted,
    "stop.tagged": _tagged,
}
