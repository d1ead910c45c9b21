"""What the cloud sends: manifests, recalls, offers, commands; and what is answered when a message can not be taken.

A message that is accepted is an entry of the log itself; `evolve` keeps what it says, and the events written here say
what follows. A message that is not accepted changes nothing and is answered with ``message.rejected``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.delivery.evolve import evolve
from agent.delivery.fold.manifest import normal
from agent.delivery.model.decision import Command, Decision, Refusal
from agent.delivery.model.inputs import InboxMessage, InvalidMessage, Moment
from agent.delivery.model.state import Block, DeliveryError, State
from agent.delivery.rules.follow_ups import cancel_stop, end_stop, recall, settle
from agent.delivery.rules.loading import stand_at_pickup
from agent.delivery.rules.transaction import Draft, refuse
from contract.vocabulary import CUSTODY

REJECTIONS_AT_ONCE = 10.0
REJECTION_EVERY_MS = 10_000
"""After a burst, one answer each ten seconds: a flood must not fill the store."""


def received(state: State, message: InboxMessage, moment: Moment) -> Decision:
    """Decide about a message, on the state before it."""
    check, follow = _HANDLERS.get(message.type, (_unknown_type, None))
    try:
        refusal = check(state, message)
        before = state
        state = evolve(state, message) if refusal is None else state
    except (DeliveryError, KeyError, TypeError, ValueError, AttributeError) as fault:
        refusal = refuse("INVALID", path=getattr(fault, "path", None) or "data")
    if refusal is not None:
        path = refusal.params.get("path")
        return rejected(state, message, message.message_id, refusal.reason, path, moment, refusal)
    d = Draft(state, message, moment)
    if follow is not None:
        follow(d, message, before)
        settle(d)
    return d.decision()


def invalid(state: State, message: InvalidMessage, moment: Moment) -> Decision:
    """Answer a message that could not be read."""
    return rejected(state, message, message.message_id, message.reason, message.path, moment, None)


def rejected(
    state: State,
    given: InboxMessage | InvalidMessage,
    message_id: str | None,
    reason: str,
    path: str | None,
    moment: Moment,
    refusal: Refusal | None,
) -> Decision:
    """``message.rejected``, unless too many were written lately: then the next one says how many were not."""
    d = Draft(state, given, moment)
    elapsed_ms = max(0, moment.uptime_ms - d.here.rejections_ms)
    tokens = min(REJECTIONS_AT_ONCE, d.here.rejections + elapsed_ms / REJECTION_EVERY_MS)
    if tokens < 1:
        d.momentary(rejections=tokens, rejections_ms=moment.uptime_ms, suppressed=d.here.suppressed + 1)
        return d.decision(refusal)
    data: dict[str, Any] = {"message_id": message_id, "reason": reason, "path": path}
    if d.here.suppressed:
        data["suppressed"] = d.here.suppressed
    d.add("message.rejected", "unit", data)
    d.momentary(rejections=tokens - 1, rejections_ms=moment.uptime_ms, suppressed=0)
    return d.decision(refusal)


# Manifests


def _check_manifest(state: State, message: InboxMessage) -> Refusal | None:
    block_id = message.data["block_id"]
    known = state.blocks.get(block_id)
    if known is None:
        return refuse("UNKNOWN_BLOCK", path="block_id") if message.type == "block.revised" else None
    if known.ended:
        return refuse("BLOCK_ENDED", path="block_id")
    if known.state == "OFFERED" and message.type == "block.revised":
        return refuse("UNKNOWN_BLOCK", path="block_id")
    if message.data["manifest_version"] <= known.manifest_version:
        return refuse("STALE", path="manifest_version")
    return None


def _manifest(d: Draft, message: InboxMessage, before: State) -> None:
    block_id = message.data["block_id"]
    known, block = before.blocks.get(block_id), d.state.blocks[block_id]
    fresh = known is None or known.manifest_version < 0
    if block.state == "OFFERED":
        d.on_block("block.accepted", block, assigned=True, manifest_version=block.manifest_version)
    old = {} if known is None else known.parcels
    added = [parcel for parcel in block.parcels.values() if parcel.parcel_id not in old]
    for parcel in added:
        members = {"stop_id": parcel.stop_id, "state": None if parcel.state == "MANIFESTED" else parcel.state}
        data = {name: value for name, value in members.items() if value is not None}
        d.of_parcel(block.block_id, "parcel.manifested", parcel, **data)
    cancelled = 0 if known is None else _left_out(d, known, message)
    if fresh and d.state.block is d.state.blocks[block_id]:
        stand_at_pickup(d)
    if known is not None and not fresh:
        counts = {"manifest_version": block.manifest_version, "added": len(added), "cancelled": cancelled}
        d.add("route.revised", f"block/{block_id}", {"block_id": block_id, **counts})
        d.changed = True
        d.tell("BLOCK_REVISED", "attention", block_id=block_id, added=len(added), cancelled=cancelled)
    else:
        counts = {"parcels": len(block.parcels), "stops": len(block.stops)}
        d.tell("BLOCK_ASSIGNED", "attention", block_id=block_id, starts_at=block.starts_at, **counts)


def _left_out(d: Draft, known: Block, message: InboxMessage) -> int:
    """What a newer manifest leaves out is cancelled, unless the vehicle is answerable for it."""
    listed = message.data.get("parcels") or ()
    parcel_ids = {parcel["parcel_id"] for parcel in listed}
    stop_ids = {stop["stop_id"] for stop in message.data.get("stops") or ()}
    gone = [parcel for parcel in known.parcels.values() if parcel.parcel_id not in parcel_ids]
    cancelled = [parcel for parcel in gone if parcel.state == "MANIFESTED"]
    for parcel in cancelled:
        note = "left out of the revised manifest"
        d.of_parcel(known.block_id, "parcel.recalled", parcel, reason="RECALLED", note=note)
    codes = {normal(p["tracking_number"]): p["parcel_id"] for p in listed if p["parcel_id"] not in known.parcels}
    for parcel in gone:
        # What was put aside is on the manifest now, under the cloud's own id: that one is to be scanned.
        replaced_by = codes.get(normal(parcel.tracking_number))
        if parcel.state == "UNEXPECTED" and replaced_by is not None:
            data = {"reason": "NOW_ON_MANIFEST", "replaced_by": replaced_by}
            d.of_parcel(known.block_id, "parcel.handed_back", parcel, **data)
    block = d.state.blocks[known.block_id]
    for stop in known.stops.values():
        if stop.stop_id in stop_ids or stop.added or stop.state not in {"PLANNED", "EN_ROUTE"}:
            continue
        aboard = [p for p in block.parcels_of(stop) if p.state in CUSTODY and p.stop_id == stop.stop_id]
        if not aboard:
            members = {"block_id": block.block_id, "stop_id": stop.stop_id, "kind": stop.kind, "reason": "REVISED"}
            d.add("stop.cancelled", f"stop/{stop.stop_id}", members)
            d.start_next = d.start_next or stop.state == "EN_ROUTE"
    return len(cancelled)


def _check_cancelled(state: State, message: InboxMessage) -> Refusal | None:
    known = state.blocks.get(message.data["block_id"])
    if known is None:
        return refuse("UNKNOWN_BLOCK", path="block_id")
    if known.ended:
        return refuse("BLOCK_ENDED", path="block_id")
    if known.state not in {"OFFERED", "ACCEPTED", "CHECKED_IN"} or known.custody:
        return refuse("TOO_LATE", path="block_id")
    return None


def _cancelled(d: Draft, message: InboxMessage, before: State) -> None:
    block = d.state.blocks[message.data["block_id"]]
    reason = message.data.get("reason")
    if block.state == "OFFERED":
        d.on_block("block.expired", block, reason=reason)
        return
    if d.state.block is block:
        for stop in list(block.open_stops()):
            if stop.state == "ARRIVED":
                end_stop(d, stop)
            else:
                cancel_stop(d, stop, "BLOCK_CANCELLED")
    d.on_block("block.cancelled", d.state.blocks[block.block_id], reason=reason)
    d.tell("BLOCK_CANCELLED", "attention", block_id=block.block_id, reason=reason)


def _check_recalled(state: State, message: InboxMessage) -> Refusal | None:
    ids = set(message.data["parcel_ids"])
    known = any(ids & block.parcels.keys() for block in state.blocks.values() if not block.ended)
    return None if known else refuse("UNKNOWN_PARCEL", path="parcel_ids")


def _recalled(d: Draft, message: InboxMessage, before: State) -> None:
    blocks = [block for block in d.state.blocks.values() if not block.ended]
    ids = [parcel.parcel_id for block in blocks for parcel in recall(d, block)]
    if ids:
        d.tell("PARCELS_RECALLED", "attention", parcel_ids=ids, reason=message.data.get("reason"))


# Offers


def _check_offer(state: State, message: InboxMessage) -> Refusal | None:
    known = state.blocks.get(message.data["block_id"])
    return refuse("STALE", path="block_id") if known is not None and known.state != "OFFERED" else None


def _offer(d: Draft, message: InboxMessage, before: State) -> None:
    d.tell("OFFER", "attention", offer_id=message.data["offer_id"], block_id=message.data["block_id"])


def _check_answer(state: State, message: InboxMessage) -> Refusal | None:
    known = state.blocks.get(message.data["block_id"])
    if known is None:
        return refuse("UNKNOWN_BLOCK", path="block_id")
    return None if known.state == "OFFERED" else refuse("STALE", path="block_id")


def _offer_confirmed(d: Draft, message: InboxMessage, before: State) -> None:
    block = d.state.blocks[message.data["block_id"]]
    d.on_block("block.accepted", block)
    d.tell("OFFER_CONFIRMED", "good", block_id=block.block_id)


def _offer_refused(d: Draft, message: InboxMessage, before: State) -> None:
    block, reason = d.state.blocks[message.data["block_id"]], message.data.get("reason")
    d.on_block("block.expired", block, reason=reason)
    d.tell("OFFER_REFUSED", "attention", block_id=block.block_id, reason=reason)


# Everything else


def _unknown_type(state: State, message: InboxMessage) -> Refusal | None:
    return refuse("UNKNOWN_TYPE", path="type")


def _always(state: State, message: InboxMessage) -> Refusal | None:
    return None


def _message(d: Draft, message: InboxMessage, before: State) -> None:
    data = message.data
    needs_ack = bool(data.get("needs_ack"))
    d.tell("MESSAGE", "attention", message_id=data["message_id"], text=data["text"], needs_ack=needs_ack)


def _command(d: Draft, message: InboxMessage, before: State) -> None:
    d.effects.append(Command(message.message_id, "command", message.data))


def _settings(d: Draft, message: InboxMessage, before: State) -> None:
    d.effects.append(Command(message.message_id, "settings", message.data))


Check = Callable[[State, InboxMessage], Refusal | None]
Follow = Callable[[Draft, InboxMessage, State], None]

_HANDLERS: dict[str, tuple[Check, Follow | None]] = {
    "block.assigned": (_check_manifest, _manifest),
    "block.revised": (_check_manifest, _manifest),
    "block.cancelled": (_check_cancelled, _cancelled),
    "parcel.recalled": (_check_recalled, _recalled),
    "offer.made": (_check_offer, _offer),
    "offer.confirmed": (_check_answer, _offer_confirmed),
    "offer.refused": (_check_answer, _offer_refused),
    "roster.replaced": (_always, None),
    "advisory.issued": (_always, None),
    "message.sent": (_always, _message),
    "feedback.given": (_always, None),
    "earnings.stated": (_always, None),
    "command.requested": (_always, _command),
    "settings.changed": (_always, _settings),
}
