"""What the cloud sends: manifests, recalls, offers, commands; and what is answered when a message cannot be taken.

A message that is accepted is an entry of the log itself; `evolve` keeps what it says, and the events written here say
what follows. A message that is not accepted changes nothing and is answered with ``message.rejected``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.delivery.evolve import evolve
from agent.delivery.model.decision import DIAGNOSTICS, Command, Decision, Refusal, Reply, Work
from agent.delivery.model.error import DeliveryError
from agent.delivery.model.inputs import Finished, InboxMessage, InvalidMessage, Moment
from agent.delivery.model.manifest import Manifest
from agent.delivery.model.numbers import normal
from agent.delivery.model.state import Block, State
from agent.delivery.model.times import read_instant, text_of
from agent.delivery.rules.arguments import reason_code_of_cloud
from agent.delivery.rules.conflicts import warn
from agent.delivery.rules.follow_ups import cancel_stop, end_stop, recall, settle
from agent.delivery.rules.held import held, move_on
from agent.delivery.rules.offers import requested
from agent.delivery.rules.out_of_date import refuse_over, refuse_past
from agent.delivery.rules.pickup import stand_at_pickup
from agent.delivery.rules.room import let_offers_go, refuse_without_room
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import CUSTODY

TOLD_PARCELS = 100
"""How many parcels of a recall an answer names; it says how many there are."""
REJECTIONS_AT_ONCE = 10.0
REJECTION_EVERY_MS = 10_000
"""After a burst, one answer each ten seconds: a flood must not fill the store."""


def received(state: State, message: InboxMessage, moment: Moment) -> Decision:
    """Decide about a message, on the state before it."""
    check, follow = _HANDLERS.get(message.type, (_unknown_type, None))
    try:
        check(state, message, moment)
        after = evolve(state, message)
        refuse_without_room(state, after, message)
    except Refused as refused:
        return _rejected(state, message, refused.refusal, moment)
    except (DeliveryError, KeyError, TypeError, ValueError, AttributeError):
        return _rejected(state, message, Refusal("INVALID", {"path": "data"}), moment)
    tx = Transaction(after, message, moment)
    if follow is not None:
        follow(tx, message, state)
        settle(tx)
    return tx.decision()


def invalid(state: State, message: InvalidMessage, moment: Moment) -> Decision:
    """Answer a message that could not be read."""
    tx = Transaction(state, message, moment)
    _reject(tx, message.message_id, message.reason, message.path)
    return tx.decision()


def _rejected(state: State, message: InboxMessage, refusal: Refusal, moment: Moment) -> Decision:
    tx = Transaction(state, message, moment)
    _reject(tx, message.message_id, refusal.reason, refusal.params.get("path"))
    return tx.decision(refusal)


def _reject(tx: Transaction, message_id: str | None, reason: str, path: str | None, **more: Any) -> None:
    """``message.rejected``, unless too many were written lately: then the next one says how many were not."""
    now_ms, here = tx.moment.uptime_ms, tx.here
    tokens = min(REJECTIONS_AT_ONCE, here.rejections + max(0, now_ms - here.rejections_ms) / REJECTION_EVERY_MS)
    if tokens < 1:
        tx.momentary(rejections=tokens, rejections_ms=now_ms, suppressed=here.suppressed + 1)
        return
    data: dict[str, Any] = {"message_id": message_id, "reason": reason, "path": path, **more}
    if here.suppressed:
        data["suppressed"] = here.suppressed
    tx.add("message.rejected", "unit", data)
    tx.momentary(rejections=tokens - 1, rejections_ms=now_ms, suppressed=0)


# Manifests


def _check_manifest(state: State, message: InboxMessage, moment: Moment) -> None:
    block_id = message.data["block_id"]
    known = state.blocks.get(block_id)
    if message.type == "block.revised" and (known is None or known.state == "OFFERED"):
        raise Refused("UNKNOWN_BLOCK", path="block_id")
    if known is None or known.state in {"OFFERED", "ACCEPTED"}:
        refuse_over(read_instant(message.data.get("ends_at")), moment, "ends_at")
    if known is None:
        return
    if known.ended:
        raise Refused("BLOCK_ENDED", path="block_id")
    if message.data["manifest_version"] <= known.manifest_version:
        raise Refused("STALE", path="manifest_version")


def _manifest(tx: Transaction, message: InboxMessage, before: State) -> None:
    block_id = message.data["block_id"]
    known, block = before.blocks.get(block_id), tx.state.blocks[block_id]
    fresh = known is None or known.manifest_version < 0
    if block.state == "OFFERED":
        tx.on_block("block.accepted", block, assigned=True, manifest_version=block.manifest_version)
    old = {} if known is None else known.parcels
    added = [parcel for parcel in block.parcels.values() if parcel.parcel_id not in old]
    for parcel in added:
        data = {} if parcel.stop_id is None else {"stop_id": parcel.stop_id}
        if parcel.state != "MANIFESTED":
            data["state"] = parcel.state
        tx.of_parcel(block.block_id, "parcel.manifested", parcel, **data)
    for parcel in added:
        if parcel.state in CUSTODY:
            move_on(tx, parcel, block_id)
    cancelled = 0 if known is None else _left_out(tx, known, message.manifest)
    if fresh and tx.state.block is tx.state.blocks[block_id]:
        stand_at_pickup(tx)
    if known is not None and not fresh:
        counts = {"manifest_version": block.manifest_version, "added": len(added), "cancelled": cancelled}
        waits = {} if block.standing is None else {"waits_at": block.standing.stop_id}
        tx.add("route.revised", f"block/{block_id}", {"block_id": block_id, **counts, **waits})
        tx.changed = True
        tx.tell("BLOCK_REVISED", "attention", block_id=block_id, added=len(added), cancelled=cancelled)
    else:
        counts = {"parcels": len(block.parcels), "stops": len(block.stops)}
        tx.tell("BLOCK_ASSIGNED", "attention", block_id=block_id, starts_at=text_of(block.starts_at), **counts)
    if known is None or (known.starts_at, known.ends_at) != (block.starts_at, block.ends_at):
        warn(tx, block_id)


def _left_out(tx: Transaction, known: Block, manifest: Manifest) -> int:
    """What a newer manifest leaves out is cancelled, unless the vehicle is answerable for it."""
    gone = [parcel for parcel in known.parcels.values() if parcel.parcel_id not in manifest.parcels]
    cancelled = [parcel for parcel in gone if parcel.state == "MANIFESTED"]
    for parcel in cancelled:
        note = "left out of the revised manifest"
        tx.of_parcel(known.block_id, "parcel.recalled", parcel, reason="RECALLED", note=note)
    new = {normal(p.tracking_number): name for name, p in manifest.parcels.items() if name not in known.parcels}
    for parcel in gone:
        # What was put aside is on the manifest now, under the cloud's own id: that one is to be scanned.
        replaced_by = new.get(normal(parcel.tracking_number))
        if parcel.state == "UNEXPECTED" and replaced_by is not None:
            data = {"reason": "NOW_ON_MANIFEST", "replaced_by": replaced_by}
            tx.of_parcel(known.block_id, "parcel.handed_back", parcel, **data)
    block = tx.state.blocks[known.block_id]
    for stop in known.stops.values():
        if stop.stop_id in manifest.stops or stop.added or stop.state not in {"PLANNED", "EN_ROUTE"}:
            continue
        aboard = [p for p in block.parcels_of(stop) if p.state in CUSTODY and p.stop_id == stop.stop_id]
        if not aboard:
            members = {"block_id": block.block_id, "stop_id": stop.stop_id, "kind": stop.kind, "reason": "REVISED"}
            tx.add("stop.cancelled", f"stop/{stop.stop_id}", members)
            tx.start_next = tx.start_next or stop.state == "EN_ROUTE"
    return len(cancelled)


def _check_cancelled(state: State, message: InboxMessage, moment: Moment) -> None:
    known = state.blocks.get(message.data["block_id"])
    if known is None:
        raise Refused("UNKNOWN_BLOCK", path="block_id")
    if known.ended:
        raise Refused("BLOCK_ENDED", path="block_id")
    if known.state not in {"OFFERED", "ACCEPTED", "CHECKED_IN"} or known.custody:
        raise Refused("TOO_LATE", path="block_id")


def _cancelled(tx: Transaction, message: InboxMessage, before: State) -> None:
    block = tx.state.blocks[message.data["block_id"]]
    reason = message.data.get("reason")
    if block.state == "OFFERED":
        tx.on_block("block.expired", block, reason=reason_code_of_cloud(reason))
        return
    if tx.state.block is block:
        for stop in list(block.open_stops()):
            if stop.state == "ARRIVED":
                end_stop(tx, stop)
            else:
                cancel_stop(tx, stop, "BLOCK_CANCELLED")
    tx.on_block("block.cancelled", tx.state.blocks[block.block_id], reason=reason_code_of_cloud(reason))
    tx.tell("BLOCK_CANCELLED", "attention", block_id=block.block_id, reason=reason)


def _check_recalled(state: State, message: InboxMessage, moment: Moment) -> None:
    ids = set(message.data["parcel_ids"])
    known = any(ids & block.parcels.keys() for block in state.blocks.values() if not block.ended)
    if not known and not any(parcel.parcel_id in ids for _, parcel in held(state)):
        raise Refused("UNKNOWN_PARCEL", path="parcel_ids")


def _recalled(tx: Transaction, message: InboxMessage, before: State) -> None:
    asked = dict.fromkeys(message.data["parcel_ids"])
    blocks = [block for block in tx.state.blocks.values() if not block.ended]
    ids = [parcel.parcel_id for block in blocks for parcel in recall(tx, block)]
    if ids:
        tx.tell("PARCELS_RECALLED", "attention", parcel_ids=ids, reason=message.data.get("reason"))
    states: dict[str, str] = {parcel.parcel_id: parcel.state for _, parcel in held(tx.state)}
    for block in blocks:
        states |= {parcel_id: block.parcels[parcel_id].state for parcel_id in block.parcels.keys() & asked}
    # The recall holds, should one of these turn up later or its delivery be voided; but now nobody can stop it.
    late = {parcel_id: states.get(parcel_id) for parcel_id in asked if parcel_id not in ids}
    if late:
        told = dict(list(late.items())[:TOLD_PARCELS])
        _reject(tx, message.message_id, "TOO_LATE", "parcel_ids", parcels=told, count=len(late))


# Offers


def _check_offer(state: State, message: InboxMessage, moment: Moment) -> None:
    data = message.data
    known = state.blocks.get(data["block_id"])
    if known is not None and known.state != "OFFERED":
        raise Refused("STALE", path="block_id")
    # What the driver has asked for is what he saw: the cloud answers that before it offers anything else.
    if any(data["offer_id"] == asked.offer_id or data["block_id"] == asked.block_id for asked in requested(state)):
        raise Refused("STALE", path="offer_id")
    refuse_over(read_instant(data.get("ends_at")), moment, "ends_at")
    refuse_past(read_instant(data.get("expires_at")), moment, "expires_at")


def _offer(tx: Transaction, message: InboxMessage, before: State) -> None:
    let_offers_go(tx)
    if message.data["offer_id"] in tx.state.offers:
        tx.tell("OFFER", "attention", offer_id=message.data["offer_id"], block_id=message.data["block_id"])


def _check_answer(state: State, message: InboxMessage, moment: Moment) -> None:
    known = state.blocks.get(message.data["block_id"])
    if known is None:
        raise Refused("UNKNOWN_BLOCK", path="block_id")
    if known.state != "OFFERED":
        raise Refused("STALE", path="block_id")
    if message.type == "offer.confirmed":
        if not any(asked.block_id == known.block_id for asked in requested(state)):
            raise Refused("NOT_REQUESTED", path="block_id")
        refuse_over(known.ends_at, moment, "block_id")


def _offer_confirmed(tx: Transaction, message: InboxMessage, before: State) -> None:
    block = tx.state.blocks[message.data["block_id"]]
    tx.on_block("block.accepted", block)
    tx.tell("OFFER_CONFIRMED", "good", block_id=block.block_id)
    warn(tx, block.block_id)


def _offer_refused(tx: Transaction, message: InboxMessage, before: State) -> None:
    block, reason = tx.state.blocks[message.data["block_id"]], message.data.get("reason")
    tx.on_block("block.expired", block, reason=reason_code_of_cloud(reason))
    tx.tell("OFFER_REFUSED", "attention", block_id=block.block_id, reason=reason)


# Everything else


def _unknown_type(state: State, message: InboxMessage, moment: Moment) -> None:
    raise Refused("UNKNOWN_TYPE", path="type")


def _always(state: State, message: InboxMessage, moment: Moment) -> None:
    """No check but that of the models."""


def _check_advisory(state: State, message: InboxMessage, moment: Moment) -> None:
    refuse_past(read_instant(message.data.get("valid_to")), moment, "valid_to")


def _message(tx: Transaction, message: InboxMessage, before: State) -> None:
    data = message.data
    needs_ack = bool(data.get("needs_ack"))
    tx.tell("MESSAGE", "attention", message_id=data["message_id"], text=data["text"], needs_ack=needs_ack)


def _command(tx: Transaction, message: InboxMessage, before: State) -> None:
    if message.data["command"] == "diag":
        tx.momentary(asked=tx.here.asked | {message.message_id})
        tx.effects.append(Work(DIAGNOSTICS, message.message_id))
    else:
        tx.effects.append(Command(message.message_id, "command", message.data))


def finished(tx: Transaction, given: Finished) -> None:
    """A worker is done: the command that waits for it is answered; a result that nobody waits for changes nothing."""
    if given.kind == DIAGNOSTICS and given.key in tx.here.asked:
        tx.momentary(asked=tx.here.asked - {given.key})
        tx.effects.append(Reply(given.key, given.result))


def _settings(tx: Transaction, message: InboxMessage, before: State) -> None:
    tx.effects.append(Command(message.message_id, "settings", message.data))


Check = Callable[[State, InboxMessage, Moment], None]
"""Raises `Refused` where a message cannot be taken; it gets the state before it."""
Follow = Callable[[Transaction, InboxMessage, State], None]

_HANDLERS: dict[str, tuple[Check, Follow | None]] = {
    "block.assigned": (_check_manifest, _manifest),
    "block.revised": (_check_manifest, _manifest),
    "block.cancelled": (_check_cancelled, _cancelled),
    "parcel.recalled": (_check_recalled, _recalled),
    "offer.made": (_check_offer, _offer),
    "offer.confirmed": (_check_answer, _offer_confirmed),
    "offer.refused": (_check_answer, _offer_refused),
    "roster.replaced": (_always, None),
    "advisory.issued": (_check_advisory, None),
    "message.sent": (_always, _message),
    "feedback.given": (_always, None),
    "earnings.stated": (_always, None),
    "command.requested": (_always, _command),
    "settings.changed": (_always, _settings),
}
