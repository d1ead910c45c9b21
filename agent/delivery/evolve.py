"""The state after one more entry of the log: an event that happened, or a message of the cloud.

Pure and total over what `decide` writes: replaying the log from its start or from a snapshot gives the same state. An
event that cannot have happened is a DeliveryError; types that are no matter of deliveries change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.delivery.fold import machine
from agent.delivery.fold.manifest import merge, normal, read_block, read_place
from agent.delivery.model.decision import Event
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.state import (
    Attempt,
    Block,
    Contact,
    DeliveryError,
    Message,
    Offer,
    Parcel,
    State,
    Stop,
    replace,
)
from contract.vocabulary import BLOCK_ACTIVE, BLOCK_ENDED, BLOCK_EVENTS, PARCEL_EVENTS, STOP_EVENTS

KEPT_MESSAGES = 50
KEPT_FEEDBACK = 100
KEPT_ADVISORIES = 50
KEPT_EARNINGS = 30


def evolve(state: State, entry: Event | InboxMessage) -> State:
    """The state after an entry of the log; DeliveryError where it cannot follow."""
    if isinstance(entry, InboxMessage):
        receive = _RECEIVED.get(entry.type)
        return receive(state, entry) if receive is not None else state
    if entry.type in PARCEL_EVENTS:
        return _parcel(state, entry)
    if entry.type in STOP_EVENTS:
        return _stop(state, entry)
    if entry.type in BLOCK_EVENTS:
        return _accepted(state, entry) if entry.type == "block.accepted" else _block(state, entry)
    if entry.type.startswith("pod."):
        return _proof(state, entry)
    other = _OTHER.get(entry.type)
    return other(state, entry) if other is not None else state


def _block_of(state: State, event: Event) -> Block:
    block = state.blocks.get(event.data.get("block_id", ""))
    if block is None:
        raise DeliveryError(f"{event.subject}: {event.type} names block {event.data.get('block_id')!r}, not known here")
    return block


def _parcel_of(block: Block, event: Event) -> Parcel:
    parcel = block.parcels.get(event.subject.partition("/")[2])
    if parcel is None:
        raise DeliveryError(f"{event.subject}: {event.type} names a parcel that block {block.block_id} does not have")
    return parcel


def _stop_of(block: Block, event: Event) -> Stop:
    stop = block.stops.get(event.subject.partition("/")[2])
    if stop is None:
        raise DeliveryError(f"{event.subject}: {event.type} names a stop that block {block.block_id} does not have")
    return stop


def _with_block(state: State, block: Block) -> State:
    return replace(state, blocks={**state.blocks, block.block_id: block})


# Parcels


def _parcel(state: State, event: Event) -> State:
    block = _block_of(state, event)
    parcel = _parcel_of(block, event)
    changed = _changed_parcel(block.loads, parcel, event)
    members: dict[str, Any] = {"parcels": {**block.parcels, parcel.parcel_id: changed}}
    if changed.load_number > block.loads:
        members["loads"] = changed.load_number
    stop_id = event.data.get("stop_id")
    if event.type in _MOVING and stop_id is not None and stop_id != parcel.stop_id:
        members["stops"] = _with_parcel_at(block, parcel.parcel_id, stop_id)
    return _with_block(state, replace(block, **members))


_MOVING = frozenset({"parcel.delivered", "parcel.returned"})
"""Events that may happen at another stop than the parcel's."""


def _changed_parcel(loads: int, parcel: Parcel, event: Event) -> Parcel:
    following = machine.parcel_step(parcel.parcel_id, parcel.state, event.type)
    change = _PARCEL_CHANGES.get(event.type, _reason)(loads, parcel, event)
    return replace(parcel, state=following, since=event.time, **change)


def evolve_all(state: State, entries: Iterable[Event | InboxMessage]) -> State:
    """The same as `evolve` for one entry after the other, but quick where many are about parcels of one block."""
    block, parcels, loads = None, {}, 0
    for entry in entries:
        if isinstance(entry, Event) and entry.type in PARCEL_EVENTS and entry.type not in _MOVING:
            if block is None or block.block_id != entry.data.get("block_id"):
                state = state if block is None else _with_block(state, replace(block, parcels=parcels, loads=loads))
                block = _block_of(state, entry)
                parcels, loads = dict(block.parcels), block.loads
            parcel = parcels.get(entry.subject.partition("/")[2])
            if parcel is None:
                raise DeliveryError(f"{entry.subject}: {entry.type}, but block {block.block_id} has no such parcel")
            parcels[parcel.parcel_id] = changed = _changed_parcel(loads, parcel, entry)
            loads = max(loads, changed.load_number)
        else:
            if block is not None:
                state, block = _with_block(state, replace(block, parcels=parcels, loads=loads)), None
            state = evolve(state, entry)
    return state if block is None else _with_block(state, replace(block, parcels=parcels, loads=loads))


def _with_parcel_at(block: Block, parcel_id: str, stop_id: str) -> dict[str, Stop]:
    """The stops after a parcel was handled at another one than its own; that one still names it."""
    here = block.stops.get(stop_id)
    if here is None:
        raise DeliveryError(f"parcel/{parcel_id}: stop {stop_id!r} is not in block {block.block_id}")
    if parcel_id in here.parcel_ids:
        return block.stops
    return {**block.stops, stop_id: replace(here, parcel_ids=(*here.parcel_ids, parcel_id))}


def _reason(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {"reason": event.data.get("reason")}


def _aboard(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason"),
        "loaded_at": event.time,
        "load_number": loads + 1,
        "entry": event.data.get("entry"),
        "provisional": event.type == "parcel.adopted",
    }


def _found(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return _aboard(loads, parcel, event) if parcel.state == "MISSING" else {"reason": None}


def _unloaded(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {"reason": event.data.get("reason"), "loaded_at": None, "load_number": 0, "entry": None}


def _delivered(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason"),
        "handover": event.data.get("handover"),
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


def _attempted(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    reason = event.data.get("reason", "OTHER")
    attempt = Attempt(
        reason,
        event.data.get("stop_id"),
        event.time,
        contacted=bool(event.data.get("contacted")),
        made=bool(event.data.get("attempted", True)),
    )
    return {"reason": reason, "attempts": (*parcel.attempts, attempt)}


def _tried_again(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    # Proofs belong to one attempt.
    return {
        "reason": None,
        "dropped_at": None,
        "proofs": (),
        "otp_failures": 0,
        "handover": None,
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


def _returned(loads: int, parcel: Parcel, event: Event) -> dict[str, Any]:
    return {
        "reason": event.data.get("reason", parcel.reason),
        "entry": event.data.get("entry"),
        "stop_id": event.data.get("stop_id", parcel.stop_id),
    }


_PARCEL_CHANGES: dict[str, Callable[[int, Parcel, Event], dict[str, Any]]] = {
    "parcel.loaded": _aboard,
    "parcel.adopted": _aboard,
    "parcel.found": _found,
    "parcel.unloaded_at_site": _unloaded,
    "parcel.delivered": _delivered,
    "parcel.attempt_failed": _attempted,
    "parcel.reattempt_started": _tried_again,
    "parcel.delivery_voided": _tried_again,
    "parcel.returned": _returned,
}


def _unexpected(state: State, event: Event) -> State:
    block = _block_of(state, event)
    parcel_id = event.subject.partition("/")[2]
    number = event.data["tracking_number"]
    parcel = Parcel(parcel_id, number, "UNEXPECTED", since=event.time, entry=event.data.get("entry"))
    code = normal(number)
    return _with_block(
        state,
        replace(
            block,
            parcels={**block.parcels, parcel_id: parcel},
            codes={**block.codes, code: (*block.codes.get(code, ()), parcel_id)},
            unexpected=block.unexpected + 1,
            rejected_scans=block.rejected_scans + 1,
        ),
    )


def _proof(state: State, event: Event) -> State:
    """An event about proof names its parcels by `parcel_ids`, or is about the one of its subject."""
    block = _block_of(state, event)
    ids = event.data.get("parcel_ids")
    if ids is None:
        ids = [event.subject.partition("/")[2]]
    parcels = dict(block.parcels)
    for parcel_id in ids:
        parcel = parcels.get(parcel_id)
        if parcel is None:
            raise DeliveryError(f"{event.subject}: {event.type} names parcel {parcel_id!r}, not in {block.block_id}")
        parcels[parcel_id] = replace(parcel, **_proof_change(parcel, event))
    return _with_block(state, replace(block, parcels=parcels))


_PROOFS = {
    "pod.photo_captured": "photo",
    "pod.photo_excepted": "photo_excepted",
    "pod.signature_captured": "signature",
    "pod.otp_verified": "otp",
    "pod.age_verified": "age",
}


def _proof_change(parcel: Parcel, event: Event) -> dict[str, Any]:
    if event.type == "pod.drop_scanned":
        return {"dropped_at": event.time, "entry": event.data.get("entry")}
    if event.type == "pod.otp_failed":
        return {"otp_failures": parcel.otp_failures + 1}
    proof = _PROOFS.get(event.type)
    if proof is None or proof in parcel.proofs or (proof == "signature" and event.data.get("outcome") == "declined"):
        return {}
    return {"proofs": (*parcel.proofs, proof)}


# Stops


def _stop(state: State, event: Event) -> State:
    block = _block_of(state, event)
    stop = _stop_of(block, event)
    following = machine.stop_step(stop.stop_id, stop.state, event.type)
    change: dict[str, Any] = {"reason": event.data.get("reason")}
    if event.type == "stop.arrived":
        change |= {"arrived_at": event.time, "overridden": bool(event.data.get("override"))}
    elif event.type == "stop.departed_open":
        change["left_open"] = stop.left_open + 1
    members: dict[str, Any] = {
        "stops": {**block.stops, stop.stop_id: replace(stop, state=following, since=event.time, **change)}
    }
    if following in {"EN_ROUTE", "ARRIVED"}:
        members["current_stop_id"] = stop.stop_id
    elif block.current_stop_id == stop.stop_id:
        members["current_stop_id"] = None
    if event.type == "stop.skipped" and not event.data.get("keeps_place"):
        members["route"] = _to_the_end(block, stop.stop_id)
    return _with_block(state, replace(block, **members))


def _to_the_end(block: Block, stop_id: str) -> tuple[str, ...]:
    """The route with a stop behind all others but the returns that end it."""
    rest = [known for known in block.route if known != stop_id]
    place = len(rest)
    while place and block.stops[rest[place - 1]].kind == "return":
        place -= 1
    return (*rest[:place], stop_id, *rest[place:])


def _stop_added(state: State, event: Event) -> State:
    block = _block_of(state, event)
    stop_id = event.subject.partition("/")[2]
    if stop_id in block.stops:
        raise DeliveryError(f"{event.subject}: stop.added, but block {block.block_id} has that stop already")
    data = event.data
    before = block.stops.get(data["of_stop_id"]) if data.get("of_stop_id") is not None else None
    ids = tuple(data.get("parcel_ids") or ())
    stop = Stop(
        stop_id=stop_id,
        kind=data["kind"],
        site_id=data.get("site_id"),
        parcel_ids=ids,
        of_stop_id=data.get("of_stop_id"),
        added=True,
        since=event.time,
    )
    if before is not None:
        stop = replace(
            stop,
            sequence=before.sequence,
            site_id=before.site_id,
            location=before.location,
            address=before.address,
            window=before.window,
            recipient_name=before.recipient_name,
            recipient_phone=before.recipient_phone,
            service_s=before.service_s,
            zone=before.zone,
        )
    parcels = dict(block.parcels)
    if stop.kind != "pickup":
        for parcel_id in ids:
            if parcel_id not in parcels:
                raise DeliveryError(f"{event.subject}: stop.added names parcel {parcel_id!r}, not in {block.block_id}")
            parcels[parcel_id] = replace(parcels[parcel_id], stop_id=stop_id)
    place = len(block.route)
    if stop.kind != "return":
        # Ahead of everything that is still planned: the driver asked for it now.
        place = next((i for i, known in enumerate(block.route) if block.stops[known].state == "PLANNED"), place)
    route = (*block.route[:place], stop_id, *block.route[place:])
    return _with_block(state, replace(block, stops={**block.stops, stop_id: stop}, parcels=parcels, route=route))


def _contacted(state: State, event: Event) -> State:
    block = _block_of(state, event)
    stop = _stop_of(block, event)
    contact = Contact(event.data["method"], event.data["outcome"], event.time)
    changed = replace(stop, contacts=(*stop.contacts, contact))
    return _with_block(state, replace(block, stops={**block.stops, stop.stop_id: changed}))


def _tagged(state: State, event: Event) -> State:
    if not event.subject.startswith("stop/"):
        return state
    block = _block_of(state, event)
    stop = _stop_of(block, event)
    changed = replace(stop, tags=(*stop.tags, event.data["kind"]))
    return _with_block(state, replace(block, stops={**block.stops, stop.stop_id: changed}))


# Blocks


def _block(state: State, event: Event) -> State:
    block = _block_of(state, event)
    following = machine.block_step(block.block_id, block.state, event.type)
    members: dict[str, Any] = {"state": following, "since": event.time, "reason": event.data.get("reason")}
    if event.type == "block.checked_in":
        members["checked_in_at"] = event.time
    elif event.type == "block.departed":
        members["departed_at"] = block.departed_at or event.time
    elif event.type == "block.resumed":
        members["paused_s"] = block.paused_s + event.data.get("paused_s", 0.0)
    if following in BLOCK_ENDED:
        members |= {"ended_at": event.time, "otp_key": None, "current_stop_id": None}
        members["distance_m"] = event.data.get("distance_m")
        members["obligation"] = tuple(event.data.get("obligation", {}).get("parcel_ids", ()))
    state = _with_block(state, replace(block, **members))
    if following == "CHECKED_IN":
        return replace(state, block_id=block.block_id)
    return _ended(state, block.block_id) if following in BLOCK_ENDED else state


def _ended(state: State, block_id: str) -> State:
    """Ended blocks go, but for this one and the one under way last; so does the offer that it came from."""
    last = state.blocks.get(state.block_id) if state.block_id is not None else None
    if (last is None or last.state not in BLOCK_ACTIVE) and state.blocks[block_id].manifest_version >= 0:
        state = replace(state, block_id=block_id)
    blocks = {
        known: block for known, block in state.blocks.items() if not block.ended or known in {block_id, state.block_id}
    }
    offers = {known: offer for known, offer in state.offers.items() if offer.block_id != block_id}
    return replace(state, blocks=blocks, offers=offers)


def _accepted(state: State, event: Event) -> State:
    state = _block(state, event)
    block_id = event.data["block_id"]
    return replace(state, offers={known: o for known, o in state.offers.items() if o.block_id != block_id})


def _requested(state: State, event: Event) -> State:
    offer = state.offers.get(event.data.get("offer_id", ""))
    if offer is None:
        raise DeliveryError(f"{event.subject}: {event.type} names offer {event.data.get('offer_id')!r}, not known here")
    return replace(state, offers={**state.offers, offer.offer_id: replace(offer, requested_at=event.time)})


def _scan_rejected(state: State, event: Event) -> State:
    if "block_id" not in event.data:
        return state
    block = _block_of(state, event)
    return _with_block(state, replace(block, rejected_scans=block.rejected_scans + 1))


def _overridden(state: State, event: Event) -> State:
    block = _block_of(state, event)
    return _with_block(state, replace(block, overrides=block.overrides + 1))


# The driver


def _signed_in(state: State, event: Event) -> State:
    return replace(state, driver_id=event.subject.partition("/")[2])


def _signed_out(state: State, event: Event) -> State:
    return replace(state, driver_id=None)


def _acknowledged(state: State, event: Event) -> State:
    message_id = event.data["message_id"]
    messages = tuple(replace(m, acknowledged=True) if m.message_id == message_id else m for m in state.messages)
    return replace(state, messages=messages)


_OTHER: dict[str, Callable[[State, Event], State]] = {
    "block.acceptance_requested": _requested,
    "parcel.unexpected": _unexpected,
    "stop.added": _stop_added,
    "contact.attempted": _contacted,
    "stop.tagged": _tagged,
    "scan.rejected": _scan_rejected,
    "geofence.overridden": _overridden,
    "driver.signed_in": _signed_in,
    "driver.signed_out": _signed_out,
    "message.acknowledged": _acknowledged,
}


# Messages


def _manifest(state: State, received: InboxMessage) -> State:
    new = read_block(received.data)
    known = state.blocks.get(new.block_id)
    return _with_block(state, new if known is None else merge(known, new))


def _recalled(state: State, received: InboxMessage) -> State:
    named = dict.fromkeys(received.data["parcel_ids"], received.message_id)
    blocks = {
        block_id: block if block.ended else replace(block, recalls=named | block.recalls)
        for block_id, block in state.blocks.items()
    }
    return replace(state, blocks=blocks)


def _offer_made(state: State, received: InboxMessage) -> State:
    data = received.data
    offer = Offer(
        offer_id=data["offer_id"],
        block_id=data["block_id"],
        kind=data.get("kind"),
        place=data.get("place"),
        location=read_place(data.get("location")),
        distance_m=data.get("distance_m"),
        starts_at=data.get("starts_at"),
        ends_at=data.get("ends_at"),
        pay=data.get("pay"),
        expires_at=data.get("expires_at"),
    )
    block = state.blocks.get(offer.block_id) or Block(
        offer.block_id,
        kind=offer.kind or "station",
        starts_at=offer.starts_at,
        ends_at=offer.ends_at,
        pay=offer.pay,
    )
    return replace(_with_block(state, block), offers={**state.offers, offer.offer_id: offer})


def _message_sent(state: State, received: InboxMessage) -> State:
    data = received.data
    message = Message(data["message_id"], data["text"], needs_ack=bool(data.get("needs_ack")))
    rest = tuple(known for known in state.messages if known.message_id != message.message_id)
    return replace(state, messages=(*rest, message)[-KEPT_MESSAGES:])


def _feedback_given(state: State, received: InboxMessage) -> State:
    return replace(state, feedback=(*state.feedback, dict(received.data))[-KEPT_FEEDBACK:])


def _latest(known: Mapping[str, Any], key: str, value: Any, bound: int) -> dict[str, Any]:
    """The mapping with this key as its latest; the oldest go over the bound."""
    items = [(name, item) for name, item in known.items() if name != key]
    return dict([*items, (key, value)][-bound:])


def _earnings_stated(state: State, received: InboxMessage) -> State:
    data = dict(received.data)
    return replace(state, earnings=_latest(state.earnings, data["block_id"], data, KEPT_EARNINGS))


def _advisory_issued(state: State, received: InboxMessage) -> State:
    data = dict(received.data)
    return replace(state, advisories=_latest(state.advisories, data["advisory_id"], data, KEPT_ADVISORIES))


def _roster_replaced(state: State, received: InboxMessage) -> State:
    return replace(state, roster=dict(received.data))


def _settings_changed(state: State, message: InboxMessage) -> State:
    return replace(state, settings={**state.settings, **message.data})


_RECEIVED: dict[str, Callable[[State, InboxMessage], State]] = {
    "block.assigned": _manifest,
    "block.revised": _manifest,
    "parcel.recalled": _recalled,
    "offer.made": _offer_made,
    "message.sent": _message_sent,
    "feedback.given": _feedback_given,
    "earnings.stated": _earnings_stated,
    "advisory.issued": _advisory_issued,
    "roster.replaced": _roster_replaced,
    "settings.changed": _settings_changed,
}
