"""At the door: handing over, and everything that happens instead of it.

A handover needs the drop scan and the proofs that the parcel asks for; each refusal says which. A failed proof never
leaves the driver without a way on: `fail` with the reason is always possible.
"""

from __future__ import annotations

from typing import Any

from agent.delivery.model import geofence
from agent.delivery.model.open_work import delivery_stop_of, waiting
from agent.delivery.model.state import Parcel, Stop
from agent.delivery.model.times import text_of
from agent.delivery.rules.proofs import at_door, check_proofs
from agent.delivery.rules.transaction import Refused, Transaction
from contract.vocabulary import REASONS, STOP_ENDED, UNREACHABLE_REASONS

UNATTENDED = frozenset({"front_door", "safe_place"})


def deliver(tx: Transaction, a: dict[str, Any]) -> None:
    """Parcels change hands: those scanned at this stop, or the named ones."""
    stop = at_door(tx)
    reason, handover = a.get("reason"), a["handover"]
    parcels = _to_deliver(tx, stop, a.get("parcel_ids"), reason)
    _check_handover(stop, parcels, handover, reason)
    check_proofs(parcels)
    for parcel in parcels:
        data: dict[str, Any] = {"stop_id": stop.stop_id, "handover": handover, "scanned": parcel.dropped_at is not None}
        if parcel.entry is not None:
            data["entry"] = parcel.entry
        if reason is not None:
            data["reason"] = reason
        if parcel.stop_id != stop.stop_id or parcel.dropped_at is None:
            data["override"] = True
        if a.get("name") is not None:
            # A name is kept with the signature, never in an event: events are hashed for ever.
            data["named"] = True
        tx.on_parcel("parcel.delivered", parcel, **data)


def _to_deliver(tx: Transaction, stop: Stop, ids: list[str] | None, reason: str | None) -> list[Parcel]:
    if ids is None:
        at_stop = waiting(tx.block, stop)
        scanned = [parcel for parcel in at_stop if parcel.dropped_at is not None]
        if not scanned:
            left = [parcel.parcel_id for parcel in at_stop]
            raise Refused("NOTHING_TO_DELIVER", stop_id=stop.stop_id, parcel_ids=left)
        return scanned
    parcels = []
    for parcel_id in ids:
        parcel = tx.parcel_in(parcel_id, "OUT_FOR_DELIVERY")
        if parcel.stop_id != stop.stop_id and reason is None:
            raise Refused("DELIVER_ELSEWHERE", parcel_id=parcel_id, stop_id=parcel.stop_id)
        parcels.append(parcel)
    unscanned = [parcel.parcel_id for parcel in parcels if parcel.dropped_at is None]
    if unscanned and reason is None:
        raise Refused("SCAN_FIRST", parcel_ids=unscanned)
    return parcels


def _check_handover(stop: Stop, parcels: list[Parcel], handover: str, reason: str | None) -> None:
    """Domain rules of who may get a parcel: what a proof forbids is final, what an instruction says yields to a
    reason."""
    for parcel in parcels:
        because = _forbids(parcel, handover)
        if because is not None:
            raise Refused("HANDOVER_NOT_ALLOWED", handover=handover, because=because, parcel_id=parcel.parcel_id)
        if reason is None and not _instruction_allows(stop, parcel, handover):
            raise Refused("HANDOVER_NEEDS_REASON", handover=handover, instruction=parcel.plan.instruction.kind)


def _forbids(parcel: Parcel, handover: str) -> str | None:
    wanted = parcel.plan.requirements
    otp, age = wanted.otp_hmac is not None, wanted.minimum_age is not None
    if handover == "household":
        return "otp" if otp else "age" if age and "age" not in parcel.proofs else None
    if handover == "reception":
        return "age" if age else "otp" if otp and "otp" not in parcel.proofs else None
    if handover == "neighbour" or handover in UNATTENDED:
        return "otp" if otp else "age" if age else "signature" if wanted.signature else None
    return None


def _instruction_allows(stop: Stop, parcel: Parcel, handover: str) -> bool:
    asked = parcel.plan.instruction
    if handover == "neighbour":
        return asked.kind == "neighbour" or asked.neighbour is not None
    if handover == "reception":
        return asked.kind == "reception" or stop.plan.is_business
    if handover in UNATTENDED:
        return asked.kind in UNATTENDED or asked.kind == "none"
    if handover == "locker":
        return asked.kind == "locker"
    return True


def contact(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver tried to reach the recipient."""
    stop = tx.stop_under_way()
    members = {"block_id": tx.block.block_id, "stop_id": stop.stop_id, "method": a["method"], "outcome": a["outcome"]}
    tx.add("contact.attempted", f"stop/{stop.stop_id}", members)


def fail(tx: Transaction, a: dict[str, Any]) -> None:
    """A try did not end in delivery, or the stop cannot be reached."""
    stop = tx.stop_under_way()
    if stop.kind != "delivery":
        raise Refused("WRONG_KIND", stop_id=stop.stop_id, kind=stop.kind, expected="delivery")
    reason = REASONS[a["reason"]]
    note = a.get("note", "").strip()
    if stop.state == "EN_ROUTE":
        if reason.code not in UNREACHABLE_REASONS:
            raise Refused("NOT_ARRIVED", stop_id=stop.stop_id)
        a = {name: value for name, value in a.items() if name != "parcel_ids"}
    parcels = _parcels(tx, stop, a.get("parcel_ids"))
    if reason.asks_contact and not stop.contacts:
        raise Refused("CONTACT_NEEDED", reason=reason.code)
    if len(note) < reason.least_note:
        raise Refused("NOTE_NEEDED", reason=reason.code, least_length=reason.least_note)
    data: dict[str, Any] = {"stop_id": stop.stop_id, "reason": reason.code, "action": reason.next_action}
    if note:
        data["noted"] = True
        tx.note(f"stop/{stop.stop_id}", note)
    if reason.action in _INSTEAD:
        tx.each(_INSTEAD[reason.action], parcels, **data)
    elif stop.state == "EN_ROUTE" and reason.code == "OUT_OF_TIME":
        # Nobody was at the door: this is no attempt.
        tx.each("parcel.return_pending", parcels, **data)
    else:
        here = stop.state == "ARRIVED"
        tx.each("parcel.attempt_failed", parcels, contacted=bool(stop.contacts), attempted=here, **data)
    if stop.state == "EN_ROUTE":
        tx.on_stop("stop.failed", stop, reason=reason.code)
        tx.start_next = True


_INSTEAD = {"refuse": "parcel.refused", "damage": "parcel.damaged", "not_in_vehicle": "parcel.not_in_vehicle"}
"""Reasons that have an action of their own, and its event."""


def _parcels(tx: Transaction, stop: Stop, ids: list[str] | None) -> list[Parcel]:
    """The named parcels, or all that are still to be handled at this stop."""
    if ids is None:
        at_stop = waiting(tx.block, stop)
        if not at_stop:
            raise Refused("NOTHING_TO_DO", stop_id=stop.stop_id)
        return at_stop
    parcels = []
    for parcel_id in ids:
        parcel = tx.parcel_in(parcel_id, "OUT_FOR_DELIVERY")
        if parcel.stop_id != stop.stop_id:
            raise Refused("WRONG_STOP", parcel_id=parcel_id, stop_id=parcel.stop_id)
        parcels.append(parcel)
    return parcels


def refuse_parcels(tx: Transaction, a: dict[str, Any]) -> None:
    """The recipient does not want them."""
    stop = at_door(tx)
    parcels = _parcels(tx, stop, a.get("parcel_ids"))
    tx.each("parcel.refused", parcels, stop_id=stop.stop_id, reason="REFUSED", action="return")


def damage(tx: Transaction, a: dict[str, Any]) -> None:
    """A parcel is damaged: it stays behind, or goes back."""
    if tx.block.state == "LOADING":
        parcel = tx.parcel_in(a["parcel_id"], "MANIFESTED", "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED")
    else:
        parcel = tx.parcel_in(a["parcel_id"], "LOADED", "OUT_FOR_DELIVERY", "ATTEMPTED")
    if parcel.state == "MANIFESTED":
        tx.on_parcel("parcel.rejected_at_load", parcel, reason="DAMAGED")
    else:
        tx.on_parcel("parcel.damaged", parcel, reason="DAMAGED", action="return")


def not_in_vehicle(tx: Transaction, a: dict[str, Any]) -> None:
    """A parcel that should be on board cannot be found."""
    parcel = tx.parcel_in(a["parcel_id"], "LOADED", "OUT_FOR_DELIVERY", "RETURN_PENDING")
    tx.on_parcel("parcel.not_in_vehicle", parcel, reason="NOT_IN_VEHICLE")


def lost(tx: Transaction, a: dict[str, Any]) -> None:
    """The vehicle was searched at the end, and a parcel is not there."""
    parcel = tx.parcel_in(a["parcel_id"], "UNLOCATED")
    if tx.block.state != "RETURNING" and any(True for _ in tx.block.open_stops("delivery", "pickup")):
        raise Refused("SEARCH_FIRST", parcel_id=parcel.parcel_id)
    tx.on_parcel("parcel.lost", parcel, reason="NOT_IN_VEHICLE")


def void(tx: Transaction, a: dict[str, Any]) -> None:
    """A delivery did not happen: the parcel is out for delivery again, and the first event stays."""
    parcel = tx.parcel_in(a["parcel_id"], "DELIVERED")
    corrects = {"type": "parcel.delivered", "time": text_of(parcel.since)}
    tx.on_parcel("parcel.delivery_voided", parcel, reason=a["reason"], corrects=corrects, **_open_stop(tx, parcel))


def reattempt(tx: Transaction, a: dict[str, Any]) -> None:
    """Another try in the same block."""
    parcel = tx.parcel_in(a["parcel_id"], "ATTEMPTED", "RETURN_PENDING")
    attempts = sum(attempt.made for attempt in parcel.attempts)
    reason = REASONS.get(parcel.reason or "")
    if attempts >= tx.state.policy.max_attempts or (reason is not None and not reason.may_reattempt):
        raise Refused("NO_REATTEMPT", parcel_id=parcel.parcel_id, reason=parcel.reason, attempts=attempts)
    if delivery_stop_of(tx.block, parcel) is None:
        raise Refused("NO_REATTEMPT", parcel_id=parcel.parcel_id, reason="NO_STOP", attempts=attempts)
    tx.on_parcel("parcel.reattempt_started", parcel, attempt=attempts + 1, **_open_stop(tx, parcel))


def _open_stop(tx: Transaction, parcel: Parcel) -> dict[str, str]:
    """The parcel's delivery stop while it is open; when it has ended, a new stop is added."""
    stop = delivery_stop_of(tx.block, parcel)
    return {"stop_id": stop.stop_id} if stop is not None and stop.state not in STOP_ENDED else {}


def suggest_location(tx: Transaction, a: dict[str, Any]) -> None:
    """The driver says where the door is: only the cloud moves the pin."""
    stop = tx.stop_under_way()
    if geofence.where(tx.here, tx.moment) is None:
        raise Refused("NO_POSITION")
    tx.add("location.suggested", f"stop/{stop.stop_id}", {"block_id": tx.block.block_id, "stop_id": stop.stop_id})
