"""What an event about a block changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.delivery.fold import machine
from agent.delivery.fold.lookup import block_of, with_block
from agent.delivery.model.decision import Event
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.manifest import NO_INSTRUCTION, Instruction
from agent.delivery.model.numbers import codes_of, index_codes
from agent.delivery.model.state import Block, State, replace
from contract.vocabulary import BLOCK_ACTIVE, BLOCK_ENDED, BLOCK_EVENTS


def _block(state: State, event: Event) -> State:
    block = block_of(state, event)
    following = machine.block_step(block.block_id, block.state, event.type)
    members: dict[str, Any] = {"state": following, "since": event.at, "reason": event.data.get("reason")}
    if event.type == "block.checked_in":
        members["checked_in_at"] = event.at
    elif event.type == "block.departed":
        members["departed_at"] = block.departed_at or event.at
    elif event.type == "block.resumed":
        members["paused_s"] = block.paused_s + event.data.get("paused_s", 0.0)
    if following in BLOCK_ENDED:
        members |= {"ended_at": event.at, "otp_key": None, "held_back": None, "current_stop_id": None}
        members["distance_m"] = event.data.get("distance_m")
    block = replace(block, **members)
    state = with_block(state, _without_secrets(block) if block.ended else block)
    if following == "CHECKED_IN":
        return replace(state, block_id=block.block_id)
    return _ended(state, block.block_id) if following in BLOCK_ENDED else state


def _without_secrets(block: Block) -> Block:
    """An ended block without what nobody can open any more, and without what nobody drives by."""
    return replace(
        block,
        weight=0,
        travel=None,
        elsewhere={},
        sites={
            site_id: dataclasses.replace(
                site,
                points={
                    point_id: dataclasses.replace(point, code=None, hours=None)
                    for point_id, point in site.points.items()
                },
            )
            for site_id, site in block.sites.items()
        },
        stops={
            stop_id: replace(stop, plan=dataclasses.replace(stop.plan, address=None, recipient=None))
            for stop_id, stop in block.stops.items()
        },
        parcels={
            parcel_id: parcel
            if parcel.plan.instruction == NO_INSTRUCTION
            else replace(
                parcel, plan=dataclasses.replace(parcel.plan, instruction=Instruction(parcel.plan.instruction.kind))
            )
            for parcel_id, parcel in block.parcels.items()
        },
    )


def _ended(state: State, block_id: str) -> State:
    """Ended blocks go, but for this one and the one under way last, and for what the vehicle still holds of them; so
    does the offer that it came from."""
    last = state.blocks.get(state.block_id) if state.block_id is not None else None
    if (last is None or last.state not in BLOCK_ACTIVE) and state.blocks[block_id].manifest_version >= 0:
        state = replace(state, block_id=block_id)
    blocks = {
        known: block if not block.ended or known in {block_id, state.block_id} else _remainder(block)
        for known, block in state.blocks.items()
        if not block.ended or known in {block_id, state.block_id} or block.custody
    }
    offers = {known: offer for known, offer in state.offers.items() if offer.block_id != block_id}
    return replace(state, blocks=blocks, offers=offers)


def _remainder(block: Block) -> Block:
    """Of a block that has ended long ago what the vehicle still holds, with the stops and sites that this refers to."""
    parcels = {parcel.parcel_id: parcel for parcel in block.custody}
    wanted = {each for p in parcels.values() for each in (p.stop_id, p.plan.stop_id, p.plan.pickup_stop_id)}
    stops = {
        name: replace(stop, parcel_ids=tuple(each for each in stop.parcel_ids if each in parcels))
        for name, stop in block.stops.items()
        if name in wanted
    }
    return replace(
        block,
        parcels=parcels,
        stops=stops,
        route=tuple(stop_id for stop_id in block.route if stop_id in stops),
        codes=index_codes({name: codes_of(parcel.plan) for name, parcel in parcels.items()}),
        last_pickup_id=block.last_pickup_id if block.last_pickup_id in stops else None,
        recalls={name: message for name, message in block.recalls.items() if name in parcels},
    )


def _accepted(state: State, event: Event) -> State:
    state = _block(state, event)
    block_id = event.data["block_id"]
    return replace(state, offers={known: o for known, o in state.offers.items() if o.block_id != block_id})


def _requested(state: State, event: Event) -> State:
    offer = state.offers.get(event.data.get("offer_id", ""))
    if offer is None:
        raise DeliveryError(f"{event.subject}: {event.type} names offer {event.data.get('offer_id')!r}, not known here")
    return replace(state, offers={**state.offers, offer.offer_id: replace(offer, requested_at=event.at)})


def _scan_rejected(state: State, event: Event) -> State:
    if "block_id" not in event.data or event.data.get("code") == "OTHER_CODE" or event.data.get("unknown_form"):
        return state  # no parcel was scanned, as far as anybody can tell
    block = block_of(state, event)
    # How a block went is settled when it ends.
    return state if block.ended else with_block(state, replace(block, rejected_scans=block.rejected_scans + 1))


def _overridden(state: State, event: Event) -> State:
    block = block_of(state, event)
    return with_block(state, replace(block, overrides=block.overrides + 1))


EVENTS: Final[Mapping[str, Callable[[State, Event], State]]] = {
    **dict.fromkeys(BLOCK_EVENTS, _block),
    "block.accepted": _accepted,
    "block.acceptance_requested": _requested,
    "scan.rejected": _scan_rejected,
    "geofence.overridden": _overridden,
}
